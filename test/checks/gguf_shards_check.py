#!/usr/bin/env python3
"""A GGUF model that the package gguf split over several files is the model that it wrote as one file, whichever shard is named; llama.cpp takes and
refuses the same files, where llama-cpp-python is installed for the benchmarks (build/venv-peers)."""
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from models import llamaConfig, smallTokenizer, writeGguf

from harness import expect, expectEqual, main, scratch

PROMPT = "Once upon a time, in Größe 東京 🦙"
LLAMA = """
import sys
from llama_cpp import Llama
model = Llama(sys.argv[1], n_ctx=32, logits_all=True, verbose=False)
model.eval([5, 6, 7, 8])
print(int(model.scores[3].argmax()))
"""


class Models:
    """The same model as one file and, in three ways, as several."""

    def __init__(self, lathe, python):
        self.lathe, self.python = lathe, python
        self.keep = tempfile.TemporaryDirectory(dir=scratch(lathe.work))
        self.folder = Path(self.keep.name)
        self.tokenizer = smallTokenizer()
        self.config = llamaConfig(vocab_size=self.tokenizer.get_vocab_size())
        self.whole = self.write("whole")
        self.toml = lathe.run("import", self.whole).expect(0).text

    def write(self, name, **shards):
        folder = self.folder / name
        folder.mkdir()
        writeGguf(folder / "m.gguf", self.config, 7, tokenizer=self.tokenizer, shards=shards)
        return sorted(folder.iterdir())[0]

    def logits(self, ids, model, *options):
        output = self.folder / "out.lathe"
        self.lathe.compile(model, output, "--cpu", self.lathe.tiers[0], *options).expect(0)
        return self.lathe.logits(output, ids)

    def llama(self, path):
        done = subprocess.run([self.python, "-c", LLAMA, path], capture_output=True, text=True, timeout=600)
        return int(done.stdout) if done.returncode == 0 else None


def same(models, shards):
    first = models.write("-".join(f"{key}{value}" for key, value in shards.items()), **shards)
    files = sorted(first.parent.iterdir())
    expect(len(files) > 1, f"the package gguf wrote {[file.name for file in files]}")
    for file in files if len(files) < 5 else (files[0], files[2], files[-1]):
        expectEqual(models.lathe.run("import", file).expect(0).text, models.toml, f"import of {file.name}")
    toml = models.folder / "model.toml"
    toml.write_text(models.toml)
    ids = np.arange(5, 15)
    for options in (("--weights",), ("--quant", "keep")) if len(files) > 4 else (("--quant", "int8"),):
        outputs = [models.logits(ids, *((toml, "--weights", source) if options == ("--weights",) else (source, *options)))
                   for source in (models.whole, files[1])]
        expect(np.array_equal(*outputs), f"{options}: logits differ from those of one file")
    answer = models.lathe.generate(models.folder / "out.lathe", "-p", PROMPT, "-n", 1)
    expectEqual(answer["prompt_ids"], models.tokenizer.encode(PROMPT).ids, "tokens by the tokenizer of the first shard")
    return f"{len(files)} files"


def refusals(models):
    """Every error is one line that names the file."""
    def broken(change, *parts, named=0):
        folder = models.folder / "broken"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(models.shards.parent, folder)
        files = sorted(folder.iterdir())
        change(files)
        done = models.lathe.run("import", files[named])
        expectEqual(done.status, 3, f"exit status: {done.stderr}")
        lines = done.stderr.strip().splitlines()
        expectEqual(len(lines), 1, "lines of the error")
        for part in parts:
            expect(part in lines[0], f"the error does not say {part!r}: {lines[0]}")
        if models.python.exists():
            expectEqual(models.llama(files[0]), None, f"what llama.cpp makes of a model of which lathe says {lines[0]!r}")

    models.shards = models.write("shards", split_max_tensors=8)
    count = len(list(models.shards.parent.iterdir()))
    last = f"m-{count:05}-of-{count:05}.gguf"
    broken(lambda files: files[-1].unlink(), last, "missing")
    broken(lambda files: shutil.copy(files[1], files[-1]), last, "split.no", str(count - 1))
    broken(lambda files: files[-1].write_bytes(files[-1].read_bytes()[:-100]), last, "truncated")
    broken(lambda files: files[-1].write_bytes(b""), last)
    broken(lambda files: files[0].rename(files[0].with_name("m.gguf")) and files.__setitem__(0, files[0].with_name("m.gguf")), "m.gguf", "-00001-of-")


def likeLlama(models):
    want = models.llama(models.whole)
    expect(want is not None, "llama.cpp does not load the whole file")
    first = models.write("llama", split_max_tensors=5)
    expectEqual(models.llama(first), want, "the token that llama.cpp gives for the shards")
    output = models.folder / "llama.lathe"
    models.lathe.compile(first, output, "--quant", "f32").expect(0)
    expectEqual(models.lathe.generate(output, "--ids", "5,6,7,8", "-n", 1, "--ignore-eos", "--temp", 0)["ids"], [want], "the token that lathe gives")


def fill(suite, lathe, args):
    python = lathe.bin.parent / "venv-peers" / "bin" / "python3"
    models = Models(lathe, python)
    for shards in ({"split_max_tensors": 4}, {"split_max_tensors": 9, "small_first_shard": True}, {"split_max_size": 100_000}):
        suite.add(f"split by {' '.join(shards)}", same, models, shards)
    suite.add("refusals", refusals, models)
    if python.exists():
        suite.add("llama.cpp", likeLlama, models)
    else:
        print("llama-cpp-python is not installed (tools/bench-peers does it): split files are not compared with llama.cpp")


if __name__ == "__main__":
    main(__doc__, fill)

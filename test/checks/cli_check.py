#!/usr/bin/env python3
"""The command line's contract: exit codes, one-line errors, JSON fields, streaming, stop strings, pipes and interrupts."""
import copy
import json
import os
import re
import signal
import struct
import subprocess
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np

from harness import Run, expect, expectEqual, main, run, scratch, start
from models import llamaConfig, smallTokenizer, writeHuggingFace

PROMPT = "Once upon a time, in Größe 東京 🦙"


class Small:
    """A model with a tokenizer and one without, made once."""

    def __init__(self, lathe):
        self.lathe = lathe
        self.keep = tempfile.TemporaryDirectory(dir=scratch(lathe.work))
        self.folder = Path(self.keep.name)
        self.tokenizer = smallTokenizer()
        config = llamaConfig(vocab_size=self.tokenizer.get_vocab_size())
        self.model = writeHuggingFace(self.folder / "model", config, 3, tokenizer=self.tokenizer)
        self.bare = writeHuggingFace(self.folder / "bare", config, 3)
        self.artifact, self.bareArtifact = self.folder / "small.lathe", self.folder / "bare.lathe"
        for model, artifact in ((self.model, self.artifact), (self.bare, self.bareArtifact)):
            lathe.compile(model, artifact, "--quant", "f32").expect(0)

    def file(self, name, text):
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path


def oneLineError(done: Run, status, *parts):
    allowed = status if isinstance(status, tuple) else (status,)
    expect(done.status in allowed, f"exit status {done.status}, expected {status}: {done.stderr.strip()[-400:]}")
    expectEqual(done.stdout, b"", "stdout of a failing command")
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    expect(len(lines) >= 1, "no message on stderr")
    if done.status != 2:  # a usage error may be followed by the usage
        expectEqual(len(lines), 1, f"lines of the error {done.stderr!r}")
    for part in parts:
        expect(part in done.stderr, f"the error does not say {part!r}: {done.stderr.strip()}")


def usage(small):
    lathe = small.lathe
    for arguments in ([], ["nonsense"], ["compile"], ["generate"], ["generate", small.artifact, "--nonsense"],
                      ["compile", small.model, "-o", small.folder / "x.lathe", "--quant", "int7"],
                      ["generate", small.artifact, "--ids", "1,x,3"], ["generate", small.artifact],
                      ["eval", small.artifact, "--logits", small.folder / "x.safetensors"],
                      ["generate", small.artifact, "--ids", "1", "-n", "-3"],
                      ["generate", small.artifact, "--ids", "1", "--cpu", "mmx"]):
        done = lathe.run(*arguments)
        expect(done.status == 2, f"exit status {done.status}, expected 2: lathe {' '.join(map(str, arguments))}: {done.stderr.strip()[-200:]}")
        expect(done.stderr.strip(), f"no message: lathe {' '.join(map(str, arguments))}")
        expectEqual(done.stdout, b"", "stdout of a usage error")


def helps(small):
    for arguments in (["--help"], *([verb, "--help"] for verb in ("compile", "generate", "batch", "eval", "bench", "inspect", "import", "tune"))):
        done = small.lathe.run(*arguments).expect(0)
        expect(len(done.stdout) > 100, f"lathe {' '.join(arguments)} prints {len(done.stdout)} bytes on stdout")
    for flag in ("-n", "--temp", "--top-k", "--top-p", "--min-p", "--seed", "--stop", "--ignore-eos", "--json", "--cpu"):
        expect(flag in small.lathe.run("generate", "--help").text, f"generate --help does not name {flag}")
    expect(re.search(r"\d+\.\d+\.\d+", small.lathe.run("--version").expect(0).text), "--version prints no version")


def badInput(small):
    lathe, out = small.lathe, small.folder / "x.lathe"
    oneLineError(lathe.run("generate", small.folder / "absent.lathe", "--ids", "1"), 3, "absent.lathe")
    oneLineError(lathe.run("generate", small.file("text.lathe", "no artifact"), "--ids", "1"), 3, "text.lathe")
    oneLineError(lathe.compile(small.folder / "absent", out), 3, "absent")
    oneLineError(lathe.compile(small.file("empty.toml", ""), out), 3, "empty.toml")
    oneLineError(lathe.run("generate", small.artifact, "--ids", "1,99999"), (2, 3), "99999")
    oneLineError(lathe.run("generate", small.artifact, "-f", small.folder / "absent.txt"), 3, "absent.txt")
    expect(not out.exists(), "a failed compilation left an artifact")


def configErrors(small):
    """Unknown, missing, mistyped and contradictory keys: file, line, column, path, nearest name, allowed values."""
    toml = small.lathe.run("import", small.model).expect(0).text
    lines = toml.splitlines()

    def broken(change, *parts, line=None):
        changed = [change(text) for text in lines]
        changed = [text for text in changed if text is not None]
        path = small.file("broken.toml", "\n".join(changed) + "\n")
        done = small.lathe.run("import", path)
        where = ["broken.toml"]
        if line is not None:
            number = next(i for i, text in enumerate(changed, 1) if line in text)
            where.append(f"broken.toml:{number}:")
        oneLineError(done, 3, *where, *parts)

    def replace(key, value):
        return lambda text: f"{key} = {value}" if re.match(rf"{key}\s*=", text) else text

    broken(lambda t: t.replace("hidden_size", "hiden_size"), "hiden_size", "hidden_size", line="hiden_size")
    broken(lambda t: None if re.match(r"num_hidden_layers\s*=", t) else t, "num_hidden_layers")
    broken(replace("hidden_size", '"64"'), "hidden_size", "integer", line="hidden_size")
    broken(replace("num_key_value_heads", "3"), "num_key_value_heads", "num_attention_heads", line="num_key_value_heads")
    broken(replace("hidden_size", "-64"), "hidden_size", line="hidden_size")
    broken(replace("hidden_size", "4611686018427387904"), "hidden_size", line="hidden_size")
    broken(replace("hidden_act", '"sillu"'), "hidden_act", "silu", line="hidden_act")
    broken(lambda t: t + " = =" if t.startswith("vocab_size") else t, line="vocab_size")
    expectEqual(small.lathe.run("import", small.file("good.toml", toml)).expect(0).text, toml, "import of the printed TOML")


def generateJson(small):
    answer = small.lathe.generate(small.artifact, "-p", PROMPT, "-n", 9, "--ignore-eos")
    expectEqual(set(answer), {"prompt_ids", "ids", "text", "finish_reason", "timings"}, "fields of --json")
    expectEqual(small.lathe.run("generate", small.artifact, "-p", PROMPT, "-n", 1).expect(0).stderr.count("sampling:"), 0, "talk of sampling")
    ids = small.tokenizer.encode(PROMPT).ids
    expectEqual(answer["prompt_ids"], ids, "prompt_ids")
    expectEqual(len(answer["ids"]), 9, "number of new ids")
    expectEqual(answer["text"], small.tokenizer.decode(answer["ids"]), "text")
    expectEqual(answer["finish_reason"], "length", "finish_reason")
    expect(isinstance(answer["timings"], dict) and answer["timings"], "timings is empty")
    expect(all(isinstance(value, (int, float)) and value >= 0 for value in answer["timings"].values()), f"timings: {answer['timings']}")
    again = small.lathe.generate(small.artifact, "--ids", ",".join(map(str, ids)), "-n", 9, "--ignore-eos")
    expectEqual(again["ids"], answer["ids"], "ids from ids")
    fromFile = small.lathe.generate(small.artifact, "-f", small.file("prompt.txt", PROMPT), "-n", 9, "--ignore-eos")
    expectEqual(fromFile["ids"], answer["ids"], "ids from -f")


def noTokenizer(small):
    answer = small.lathe.generate(small.bareArtifact, "--ids", "5,6,7", "-n", 4, "--ignore-eos")
    expectEqual(answer["text"], None, "text of a model without a tokenizer")
    expectEqual(len(answer["ids"]), 4, "number of new ids")
    oneLineError(small.lathe.run("generate", small.bareArtifact, "-p", "x", "-n", 1), (2, 3), "tokenizer")


def streaming(small):
    """stdout of the plain form is the text, in pieces that are each whole UTF-8, and nothing else."""
    answer = small.lathe.generate(small.artifact, "-p", PROMPT, "-n", 60, "--ignore-eos", "--temp", 1.5, "--seed", 5)
    with tempfile.TemporaryFile() as err:
        process = start([small.lathe.program, "generate", small.artifact, "-p", PROMPT, "-n", 60, "--ignore-eos", "--temp", 1.5,
                         "--seed", 5], stdout=subprocess.PIPE, stderr=err)
        pieces = []
        while piece := os.read(process.stdout.fileno(), 1 << 16):
            pieces.append(piece)
        expectEqual(process.wait(), 0, "exit status")
    for piece in pieces:
        piece.decode()  # raises where a character was split
    text = b"".join(pieces).decode()
    expect(text.endswith(answer["text"].strip("\n")) or answer["text"].strip() in text,
           f"stdout {text!r} does not hold the text of --json {answer['text']!r}")
    return f"{len(pieces)} writes"


def seeds(small):
    def ids(*options):
        return small.lathe.generate(small.artifact, "--ids", "5,6,7", "-n", 24, "--ignore-eos", *options)["ids"]

    greedy = ids()
    expectEqual(ids("--temp", 0), greedy, "ids with --temp 0")
    expectEqual(ids("--temp", 5, "--top-k", 1, "--seed", 3), greedy, "ids with --top-k 1")
    expectEqual(ids("--temp", 1, "--min-p", 1, "--seed", 3), greedy, "ids with --min-p 1")
    hot = ids("--temp", 2, "--seed", 11)
    expectEqual(ids("--temp", 2, "--seed", 11), hot, "ids with an equal seed")
    expectEqual(ids("--temp", 2, "--seed", 11, "-t", 1), hot, "ids with an equal seed and one thread")
    expect(ids("--temp", 2, "--seed", 12) != hot, "another seed gave the same 24 ids")
    expect(hot != greedy, "--temp 2 gave the greedy ids")


def stops(small):
    plain = small.lathe.generate(small.artifact, "-p", PROMPT, "-n", 40, "--ignore-eos", "--temp", 1, "--seed", 2)
    text = plain["text"]
    at = next(i for i in range(2, len(text) - 6) if text.find(text[i:i + 3]) == i and "\ufffd" not in text[i : i + 3])
    stop = text[at : at + 3]
    answer = small.lathe.generate(small.artifact, "-p", PROMPT, "-n", 40, "--ignore-eos", "--temp", 1, "--seed", 2, "--stop", stop)
    expectEqual(answer["text"], text[:at], f"text before the stop string {stop!r}")
    expectEqual(answer["finish_reason"], "stop", "finish_reason")
    expect(len(answer["ids"]) < len(plain["ids"]), "generation went on behind the stop string")


def contextEnd(small):
    answer = small.lathe.generate(small.artifact, "--ids", "5,6,7", "-n", 500, "--ignore-eos", "-c", 32)
    expectEqual(answer["finish_reason"], "length", "finish_reason past the context")
    expectEqual(3 + len(answer["ids"]), 32, "tokens in a context of 32")
    done = small.lathe.run("generate", small.artifact, "--ids", ",".join(["5"] * 40), "-n", 1, "-c", 32)
    expect(done.status in (2, 3), f"exit status {done.status} for a prompt longer than the context")
    expect("32" in done.stderr and "40" in done.stderr, f"the error does not say 40 and 32: {done.stderr}")


def bestTokenEnds(small):
    """Without --ignore-eos an end-of-sequence token ends the text: the model's own greedy path decides."""
    free = small.lathe.generate(small.artifact, "--ids", "5,6,7", "-n", 100, "--ignore-eos", "--temp", 3, "--seed", 1)["ids"]
    seed = 1
    while 2 not in free and seed < 20:
        seed += 1
        free = small.lathe.generate(small.artifact, "--ids", "5,6,7", "-n", 100, "--ignore-eos", "--temp", 3, "--seed", seed)["ids"]
    expect(2 in free, "no seed below 20 draws the end-of-sequence token")
    ended = small.lathe.generate(small.artifact, "--ids", "5,6,7", "-n", 100, "--temp", 3, "--seed", seed)
    end = free.index(2)
    expectEqual(ended["finish_reason"], "stop", "finish_reason")
    expect(ended["ids"] in (free[:end], free[:end + 1]), f"ids {ended['ids']} do not end where the free run has its eos: {free[:end + 1]}")


def evaluate(small):
    ids = [5, 6, 7, 8, 9]
    whole = small.lathe.logits(small.artifact, ids)
    expectEqual(whole.shape, (5, small.tokenizer.get_vocab_size()), "shape of logits")
    best = small.lathe.generate(small.artifact, "--ids", "5,6,7,8,9", "-n", 1, "--ignore-eos")["ids"]
    expectEqual(best, [int(np.argmax(whole[-1]))], "greedy id and argmax of eval")


def batch(small):
    requests = [
        {"prompt": PROMPT, "n": 5, "ignore_eos": True},
        {"ids": [5, 6, 7], "n": 3, "ignore_eos": True},
        {"ids": [9], "n": 6, "temp": 1.5, "seed": 4, "ignore_eos": True},
        {"prompt": "x", "n": 1},
    ]
    source = small.file("in.jsonl", "".join(json.dumps(r) + "\n" for r in requests))
    output = small.file("out.jsonl", "what stood here before\n")
    small.lathe.run("batch", small.artifact, source, "-o", output).expect(0)
    answers = [json.loads(line) for line in output.read_text().splitlines()]
    expectEqual(len(answers), len(requests), "lines of output")
    expectEqual([len(a["ids"]) for a in answers[:3]], [5, 3, 6], "numbers of new ids")
    expectEqual(answers[1]["prompt_ids"], [5, 6, 7], "order of the answers")
    for answer in answers:
        expect({"prompt_ids", "ids", "text", "finish_reason", "timings"} <= set(answer), f"fields {sorted(answer)}")
    before = output.read_bytes()
    for text, part in (('{"ids": [1]}\n{"ids": [1], "n": "x"}\n', ":2"), ("{}\n", ":1"), ('{"ids": [1], "nn": 3}\n', "nn"), ("[", ":1")):
        bad = small.lathe.run("batch", small.artifact, small.file("bad.jsonl", text), "-o", output)
        oneLineError(bad, 3, "bad.jsonl", part)
        expect(output.read_bytes() == before, "a failed batch changed the output")


def bench(small):
    done = small.lathe.run("bench", small.artifact, "-p", 8, "-n", 4, "-d", "0,16", "-b", "1,2", "-r", 2, "-o", "json").expect(0)
    rows = done.json()
    fields = {"n_prompt", "n_gen", "n_depth", "n_batch", "n_threads", "avg_ts", "stddev_ts", "samples_ts", "bytes_per_token",
              "probe_gbs", "share", "int8_peak_gops", "share_of_peak"}
    expect(isinstance(rows, list) and rows, "bench -o json gives no rows")
    for row in rows:
        expect(fields <= set(row), f"a row lacks {sorted(fields - set(row))}")
        expectEqual(len(row["samples_ts"]), 2, "samples of a row")
    expectEqual({row["n_depth"] for row in rows}, {0, 16}, "depths")
    expectEqual({row["n_batch"] for row in rows if row["n_gen"]}, {1, 2}, "batches")
    table = small.lathe.run("bench", small.artifact, "-p", 8, "-n", 4, "-r", 1).expect(0).text
    expect("|" in table and "pp8" in table.replace(" ", "") and "tg4" in table.replace(" ", ""), f"no Markdown table:\n{table}")


def benchKernel(small):
    """bench --kernel: every kernel of a compiled model alone; a wrong name is told the right ones."""
    names = [kernel["name"] for kernel in small.lathe.run("inspect", small.artifact, "kernels", "--json").expect(0).json()]
    for name in (names[1], "attention", "norm_logits"):
        rows = small.lathe.run("bench", small.artifact, "--kernel", name, "-m", "1,5", "-d", 40, "-r", 1, "-o", "json").expect(0).json()
        expectEqual([row["n_rows"] for row in rows], [1, 5], f"rows of {name}")
        expect(all(row["median_us"] > 0 for row in rows), f"no time of {name}")
    done = small.lathe.run("bench", small.artifact, "--kernel", "qkv")
    oneLineError(done, 2, "small.lathe", "no kernel 'qkv'", *names)


def inspect(small):
    text = small.lathe.run("inspect", small.artifact).expect(0).text
    for part in ("f32", *small.lathe.tiers):
        expect(part in text, f"inspect does not say {part}:\n{text}")
    small.lathe.run("inspect", small.artifact, "--verify").expect(0)
    data = bytearray(small.artifact.read_bytes())
    data[-len(data) // 3] ^= 1  # weights.bin is the last member and the largest
    oneLineError(small.lathe.run("inspect", small.file("flipped.lathe", bytes(data)), "--verify"), 6, "flipped.lathe")


SCHEDULE = """[[schedule]]
tier = "x86-64-v3"
kind = "linear"
quant = "f32"
n = 192
k = 64
rows = 3
columns = 32
unit_block = 12
"""


def schedules(small):
    """compile --schedules: the table's choice is printed by inspect, changes no logit, and equal tables give equal bytes."""
    lathe = small.lathe
    table, artifact, again = small.file("mine.toml", SCHEDULE), small.folder / "scheduled.lathe", small.folder / "again.lathe"
    for output in (artifact, again):
        lathe.compile(small.bare, output, "--quant", "f32", "--schedules", table).expect(0)
    expect(artifact.read_bytes() == again.read_bytes(), "the same table gave other bytes")
    expect(artifact.read_bytes() != small.bareArtifact.read_bytes(), "the table changed nothing")

    def chosen(path):
        kernels = lathe.run("inspect", path, "kernels", "--json").expect(0).json()
        return {kernel["name"]: kernel["tiers"]["x86-64-v3"] for kernel in kernels}

    before, after = chosen(small.bareArtifact), chosen(artifact)
    changed = [name for name in after if after[name] != before[name]]
    expectEqual(changed, ["norm_gate_up_gated"], "kernels with another schedule")
    got = {key: after[changed[0]][key] for key in ("rows", "columns", "unit_block", "schedule")}
    expectEqual(got, {"rows": 3, "columns": 32, "unit_block": 12, "schedule": "measured, mine.toml:1"}, "the schedule")
    expect(before[changed[0]]["schedule"].startswith("default, cpu.toml:"), f"the default is {before[changed[0]]['schedule']}")
    for arguments in (["kernels", "--cpu", "x86-64-v3"], ["kernel", changed[0], "--cpu", "x86-64-v3"]):
        text = lathe.run("inspect", artifact, *arguments).expect(0).text
        expect("3 x 32 of 12 (measured, mine.toml:1)" in text, f"inspect {arguments[0]} does not print the choice:\n{text[:500]}")
    ids = list(range(5, 25))
    expect(np.array_equal(lathe.logits(artifact, ids, "--cpu", "x86-64-v3"), lathe.logits(small.bareArtifact, ids)),
           "another schedule gave other logits")

    out = small.folder / "x.lathe"
    for change, place, part in ((("rows = 3", "rows = 99"), ":7:8:", "from 1 to 64"), (("columns", "colums"), ":8:1:", "did you mean 'columns'?"),
                                (("unit_block = 12", "unit_block = 13"), ":9:14:", "multiple of rows = 3"), (("k = 64\n", ""), ":1:1:", "together")):
        bad = small.file("bad.toml", SCHEDULE.replace(*change))
        oneLineError(lathe.compile(small.bare, out, "--schedules", bad), 3, "bad.toml" + place, part)
    oneLineError(lathe.compile(small.bare, out, "--schedules", small.folder / "absent.toml"), 3, "absent.toml")
    expect(not out.exists(), "a table with a mistake left an artifact")


def tune(small):
    """lathe tune: a table that compiles again, bad arguments, and Ctrl-C that leaves nothing but what was done."""
    lathe, table = small.lathe, small.folder / "tuned.toml"
    tier = lathe.machineTiers[-1]
    with tempfile.TemporaryDirectory(dir=small.folder) as temporary:
        def left():
            return [path.name for path in Path(temporary).iterdir()]

        done = lathe.run("tune", small.bareArtifact, "--kernel", "norm_logits", "--seconds", 3, "-o", table, "--cpu", tier,
                         env={"TMPDIR": temporary}).expect(0)
        expect("| norm_logits | 320 | 64 |" in done.text, f"no row of the kernel:\n{done.text}")
        expect(int(done.text.split("|")[-2]) >= 1, f"no candidate was measured:\n{done.text}{done.stderr}")
        expectEqual(left(), [], "files that tune left behind")
        lathe.compile(small.bare, small.folder / "tuned.lathe", "--quant", "f32", "--schedules", table).expect(0)
        oneLineError(lathe.run("tune", small.folder / "absent.lathe"), 3, "absent.lathe")
        oneLineError(lathe.run("tune", small.bare, "-o", small.folder / "absent" / "x.toml"), 3, "x.toml")
        unknown = lathe.run("tune", small.bare, "--kernel", "qkv", "-o", table, env={"TMPDIR": temporary})
        expect(unknown.status == 2 and "norm_logits" in unknown.stderr.splitlines()[-1], f"an unknown kernel: {unknown.stderr}")
        before = table.read_bytes()
        process = start([lathe.program, "tune", small.bareArtifact, "--seconds", 60, "-o", table], stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL, env={"TMPDIR": temporary})
        time.sleep(2.5)
        expect(process.poll() is None, f"lathe tune ended before it could be interrupted: {process.returncode}")
        os.killpg(process.pid, signal.SIGINT)
        expectEqual(process.wait(20), 130, "exit status after SIGINT")
        expectEqual([name for name in left() if name.startswith("lathe-tune")], [], "folders that an interrupted tune left")
        expect(table.read_bytes() == before or table.read_text().startswith("# "), "an interrupted tune broke the table")


def libraries(small):
    """`lathe` starts at once and without a toolchain: neither LLVM nor MLIR nor CUDA is linked."""
    linked = run(["ldd", small.lathe.program]).expect(0).text
    wrong = [line.strip() for line in linked.splitlines() if re.search(r"LLVM|MLIR|clang|cuda|lld", line, re.I)]
    expect("libc.so" in linked, f"ldd printed no libraries: {linked}")
    expect(not wrong, f"lathe links {wrong}")


def members(small):
    listing = run(["unzip", "-lv", small.artifact]).expect(0).text
    names = [line.split()[-1] for line in listing.splitlines() if "Stored" in line]
    for name in ("manifest.json", "config.toml", "plan.json", "tokenizer.json", "weights.bin", *(f"kernels/{t}.so" for t in small.lathe.tiers)):
        expect(name in names, f"{name} is no stored member of the artifact: {names}")
    expect(run(["unzip", "-tq", small.artifact]).status == 0, "unzip -t finds the artifact broken")
    manifest = json.loads(run(["unzip", "-p", small.artifact, "manifest.json"]).expect(0).stdout)
    expectEqual(set(manifest["tiers"]), {"x86-64-v3", "avxvnni", "avx512vnni", "amx"}, "tiers of the artifact")


def newerVersion(small):
    """An intact artifact of another version is refused with 4 and a message that says so."""
    data = small.artifact.read_bytes()
    manifest = run(["unzip", "-p", small.artifact, "manifest.json"]).expect(0).stdout
    changed = re.sub(rb'("artifact_?[vV]ersion"\s*:\s*)1', rb"\g<1>9", manifest, count=1)
    expect(changed != manifest, f"no artifact version 1 in the manifest: {manifest[:200]}")
    data = data.replace(manifest, changed)
    # The zip's checksum of the member stands in its local header and in the directory.
    data = data.replace(struct.pack("<I", zlib.crc32(manifest)), struct.pack("<I", zlib.crc32(changed)))
    done = small.lathe.run("generate", small.file("newer.lathe", data), "--ids", "1", "-n", 1)
    oneLineError(done, 4, "version", "9")


def poolTooLarge(small):
    done = small.lathe.run("generate", small.artifact, "--ids", "1", "-n", 1, "-c", 1 << 40)
    expect(done.status in (2, 3, 5), f"exit status {done.status} for a context of 2^40")
    expect(done.stderr.strip(), "no message")


def closedPipe(small):
    """`lathe generate | head -c 1`: quiet."""
    with tempfile.TemporaryFile() as err:
        process = start([small.lathe.program, "generate", small.artifact, "-p", PROMPT, "-n", 100, "--ignore-eos"],
                        stdout=subprocess.PIPE, stderr=err)
        process.stdout.read(1)
        process.stdout.close()
        status = process.wait(60)
        err.seek(0)
        message = err.read().decode()
    expect(status in (0, 141, -signal.SIGPIPE), f"exit status {status} on a closed pipe")
    expect("error" not in message.lower() and "pipe" not in message.lower(), f"not quiet on a closed pipe: {message}")


def interrupted(small):
    requests = small.file("long.jsonl", "".join(json.dumps({"ids": [5 + i % 300], "n": 120, "ignore_eos": True}) + "\n" for i in range(10000)))
    output = small.file("kept.jsonl", "what stood here before\n")
    for command in (["batch", small.artifact, requests, "-o", output],
                    ["bench", small.artifact, "-p", 64, "-n", 64, "-r", 100000]):
        with tempfile.TemporaryFile() as err:
            process = start([small.lathe.program, *command], stdout=subprocess.DEVNULL, stderr=err)
            time.sleep(0.4)
            expect(process.poll() is None, f"lathe {command[0]} ended before it could be interrupted: {process.returncode}")
            os.killpg(process.pid, signal.SIGINT)
            try:
                status = process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                status = "none within 20 s"
        expect(status == 130, f"exit status {status} of lathe {command[0]} after SIGINT, expected 130")
    expectEqual(output.read_text(), "what stood here before\n", "output of an interrupted batch")


def resume(small):
    """An interrupted batch keeps its finished lines; --resume computes the others, and what changed, and no more."""
    lines = [json.dumps({"ids": [5 + i % 300, i % 7], "n": 90, "ignore_eos": True, "temp": 2.0, "samples": 1 + i % 2}) for i in range(400)]
    requests, output, partial = small.file("kept.jsonl", "\n".join(lines) + "\n"), small.folder / "resumed.jsonl", small.folder / "resumed.jsonl.partial"
    whole = small.folder / "whole.jsonl"
    output.unlink(missing_ok=True)  # of the same check with another program
    small.lathe.run("batch", small.artifact, requests, "-o", whole, "-t", 1).expect(0)

    def content(path):
        return [{key: value for key, value in json.loads(line).items() if key != "timings"} for line in path.read_text().splitlines()]

    process = start([small.lathe.program, "batch", small.artifact, requests, "-o", output, "-t", 1], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (partial.exists() and partial.read_bytes().count(b"\n") > 8):
        time.sleep(0.001)
    expect(process.poll() is None, "the batch ended before it could be interrupted")
    os.killpg(process.pid, signal.SIGINT)
    expectEqual(process.wait(20), 130, "exit status after SIGINT")
    expect(not output.exists(), "an interrupted batch left an output")
    kept = partial.read_bytes().count(b"\n") - 1
    expect(0 < kept < 400, f"{kept} lines were kept")
    other = small.lathe.run("batch", small.bareArtifact, requests, "-o", output, "--resume")
    oneLineError(other, 3, "resumed.jsonl.partial", "another artifact")
    with partial.open("ab") as file:
        file.write(b'{"request": 5, "line": "12')  # as a crash leaves it
    changed = list(lines)
    changed[0] = changed[0].replace('"n": 90', '"n": 3')
    requests.write_text("\n".join(changed) + "\n")
    done = small.lathe.run("batch", small.artifact, requests, "-o", output, "--resume", "-t", 1).expect(0)
    found = re.search(r"(\d+) of 400 lines are answered", done.stderr)
    expect(found and kept - 1 <= int(found[1]) <= kept, f"{kept} lines were kept, but: {done.stderr}")
    expect(not partial.exists(), "the partial file is still there")
    before, after = content(whole), content(output)
    expectEqual(after[1:], before[1:], "answers after --resume")
    expectEqual(len(after[0]["ids"]), 3, "a line that was changed in between")
    small.lathe.run("batch", small.artifact, requests, "-o", output, "--resume").expect(0)
    return f"{kept} of 400 lines were kept"


def interruptedCompile(small):
    output = small.folder / "interrupted.lathe"
    process = start([small.lathe.program, "compile", small.model, "-o", output], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.15)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        status = process.wait(60)
        expect(status in (130, -signal.SIGINT), f"exit status {status} of lathe compile after SIGINT")  # a shell shows both as 130
        expect(not output.exists(), "an interrupted compilation left an artifact")
        left = [p.name for p in small.folder.iterdir() if p.name.startswith("interrupted")]
        expect(not left, f"an interrupted compilation left {left}")


CHECKS = {
    "usage errors": usage, "help and version": helps, "bad input": badInput, "config errors": configErrors,
    "generate --json": generateJson, "no tokenizer": noTokenizer, "streaming": streaming, "seeds": seeds, "stop strings": stops,
    "end of context": contextEnd, "end of sequence": bestTokenEnds, "eval": evaluate, "batch": batch, "bench": bench, "bench --kernel": benchKernel,
    "inspect": inspect, "schedules": schedules, "tune": tune, "libraries": libraries, "members of the artifact": members, "artifact of another version": newerVersion,
    "context that cannot fit": poolTooLarge, "closed pipe": closedPipe, "interrupted": interrupted, "resume": resume,
    "interrupted compile": interruptedCompile,
}


def fill(suite, lathe, args):
    small = Small(lathe)
    for name, function in CHECKS.items():
        suite.add(name, function, small)
    if args.asan:  # the scheduler and the journal
        other = copy.copy(small)
        other.lathe = lathe.sanitized(args.asan)
        for name in ("batch", "resume"):
            suite.add(f"{name}, sanitized", CHECKS[name], other)


if __name__ == "__main__":
    main(__doc__, fill)

#!/usr/bin/env python3
"""The command line's contract: exit codes, one-line errors, JSON fields, stop strings, members of an artifact."""
import copy
import json
import re
import struct
import zlib

import numpy as np

from harness import expect, expectEqual, main, run
from small import PROMPT, Small, oneLineError


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


def inspect(small):
    text = small.lathe.run("inspect", small.artifact).expect(0).text
    for part in ("f32", *small.lathe.tiers):
        expect(part in text, f"inspect does not say {part}:\n{text}")
    small.lathe.run("inspect", small.artifact, "--verify").expect(0)
    data = bytearray(small.artifact.read_bytes())
    data[-len(data) // 3] ^= 1  # weights.bin is the last member and the largest
    oneLineError(small.lathe.run("inspect", small.file("flipped.lathe", bytes(data)), "--verify"), 6, "flipped.lathe")


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


CHECKS = {
    "usage errors": usage, "help and version": helps, "bad input": badInput, "config errors": configErrors,
    "generate --json": generateJson, "no tokenizer": noTokenizer, "seeds": seeds, "stop strings": stops,
    "end of context": contextEnd, "end of sequence": bestTokenEnds, "eval": evaluate, "batch": batch, "bench": bench,
    "inspect": inspect, "libraries": libraries, "members of the artifact": members, "artifact of another version": newerVersion,
    "context that cannot fit": poolTooLarge,
}


def fill(suite, lathe, args):
    small = Small(lathe)
    for name, function in CHECKS.items():
        suite.add(name, function, small)
    if args.asan:  # the scheduler and the journal
        other = copy.copy(small)
        other.lathe = lathe.sanitized(args.asan)
        suite.add("batch, sanitized", batch, other)


if __name__ == "__main__":
    main(__doc__, fill)

#!/usr/bin/env python3
"""What goes through pipes and ends early: streams of text, closed pipes, Ctrl-C, and `batch --resume`."""
import copy
import json
import os
import re
import signal
import subprocess
import tempfile
import time

from harness import expect, expectEqual, main, start
from small import PROMPT, Small, oneLineError


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


CHECKS = {"streaming": streaming, "closed pipe": closedPipe, "interrupted": interrupted, "resume": resume, "interrupted compile": interruptedCompile}


def fill(suite, lathe, args):
    small = Small(lathe)
    for name, function in CHECKS.items():
        suite.add(name, function, small)
    if args.asan:  # the scheduler and the journal
        other = copy.copy(small)
        other.lathe = lathe.sanitized(args.asan)
        suite.add("resume, sanitized", resume, other)


if __name__ == "__main__":
    main(__doc__, fill)

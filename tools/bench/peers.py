#!/usr/bin/env python3
"""Lathe's int8 against llama.cpp's Q8_0 on the same weights: interleaved pairs of tg128 and pp512, medians and spread.

Both programs stay apart: llama.cpp runs in the Python of build/venv-peers with the model loaded, Lathe as `lathe bench`, each
warmed up before a timed run. Within a pair the order alternates, so that a drifting clock or a neighbour hits both alike.
"""
import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TESTS = (("tg", 128), ("pp", 512))


class LlamaCpp:
    name = "llama.cpp Q8_0"

    def __init__(self, python, gguf, threads):
        self.process = subprocess.Popen([python, HERE / "llama_cpp_run.py", "serve", gguf, "-t", str(threads)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.system = self.process.stdout.readline().strip()

    def run(self, kind, count):
        self.process.stdin.write(f"{kind} {count}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


class Lathe:
    name = "Lathe int8"

    def __init__(self, program, artifact, threads):
        self.command = [program, "bench", artifact, "-t", str(threads), "-r", "1", "-o", "json"]

    def run(self, kind, count):
        sizes = ["-p", str(count), "-n", "0"] if kind == "pp" else ["-p", "0", "-n", str(count)]
        rows = json.loads(subprocess.run([*self.command, *sizes], check=True, stdout=subprocess.PIPE).stdout)
        row = next(r for r in rows if (r["n_prompt"], r["n_gen"]) == ((count, 0) if kind == "pp" else (0, count)))
        return row["samples_ts"][0]


def cpuName():
    match = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return match[1] if match else platform.processor()


def spread(samples):
    return f"{min(samples):.1f} .. {max(samples):.1f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lathe", type=Path, required=True, help="the lathe program")
    parser.add_argument("--artifact", type=Path, required=True)
    parser.add_argument("--gguf", type=Path, required=True, help="the same weights in Q8_0")
    parser.add_argument("--peers-python", type=Path, required=True, help="python with llama-cpp-python")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("-t", "--threads", type=int, default=2)
    args = parser.parse_args()

    ours, theirs = Lathe(args.lathe, args.artifact, args.threads), LlamaCpp(args.peers_python, args.gguf, args.threads)
    samples = {(peer, kind): [] for peer in (ours, theirs) for kind, _ in TESTS}
    for kind, count in TESTS:
        ours.run(kind, count)  # warms the page cache and the clock
    for pair in range(args.pairs):
        for kind, count in TESTS:
            for peer in (ours, theirs) if pair % 2 == 0 else (theirs, ours):
                samples[peer, kind].append(peer.run(kind, count))
        print(f"bench-peers: pair {pair + 1} of {args.pairs}: " +
              ", ".join(f"{kind}{count} {samples[ours, kind][-1]:.1f} : {samples[theirs, kind][-1]:.1f}" for kind, count in TESTS),
              file=sys.stderr)

    print(f"{cpuName()}, {args.threads} threads of {os.cpu_count()} CPUs, median of {args.pairs} interleaved pairs, tokens per second\n")
    print(f"| test | {ours.name} | spread | {theirs.name} | spread | ratio of medians | spread of the pairs' ratios |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for kind, count in TESTS:
        a, b = samples[ours, kind], samples[theirs, kind]
        ratios = [x / y for x, y in zip(a, b)]
        print(f"| {kind}{count} | {statistics.median(a):.1f} | {spread(a)} | {statistics.median(b):.1f} | {spread(b)} | "
              f"{statistics.median(a) / statistics.median(b):.2f} | {min(ratios):.2f} .. {max(ratios):.2f} |")
    print(f"\nllama.cpp: llama-cpp-python 0.3.36, built here with GGML_NATIVE, flash attention on, no mmap; {theirs.system}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Lathe against llama.cpp, OpenVINO GenAI and CTranslate2 on the same weights: interleaved rounds, a table, a plot.

In every round each engine runs every test once, in an order that rotates from round to round, while the others stand still; so
a drifting clock or a neighbour hits all alike. The machine's limits are measured in every round by roofline.cpp.
"""
import argparse
import datetime
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import prepare
import report
from engines import TESTS, Refused, Test
from prepare import ROOT, die, say

SLOW_SECONDS, SLOW_ROUNDS = 30, 3  # what takes longer is measured in the first rounds only, as are memory peaks
GREEDY_TOKENS = 12


def cpuName():
    match = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return match[1].strip() if match else os.uname().machine


def readArguments():
    names = [test.name for test in TESTS]

    def listed(text):
        return [part.strip() for part in text.split(",") if part.strip()]

    parser = argparse.ArgumentParser(prog="tools/bench-peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=listed, default=[], metavar="ENGINES",
                        help=f"of {', '.join(prepare.KEYS)}, by how they begin: lathe,llama.cpp")
    parser.add_argument("--tests", type=listed, default=names, help=f"of {', '.join(names)} (default: all)")
    parser.add_argument("--rounds", type=int, default=7, help="default: 7")
    parser.add_argument("-t", "--threads", type=int, default=2, help="default: 2")
    parser.add_argument("--artifact", action="append", default=[], metavar="LABEL=FILE", help="one more artifact, compared with the Q8_0 engines")
    parser.add_argument("--output", type=Path, help="folder for table.md, plot.svg and results.json (default: build/bench-peers)")
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="build folder with bin/lathe")
    args = parser.parse_args()
    unknown = [name for name in args.tests if name not in names]
    if unknown or not args.tests:
        parser.error(f"--tests: expected some of {', '.join(names)}, found {', '.join(unknown) or 'none'}")
    unknown = [part for part in args.only if not any(key.startswith(part) for key in prepare.KEYS)]
    if unknown:
        parser.error(f"--only: expected beginnings of {', '.join(prepare.KEYS)}, found {', '.join(unknown)}")
    if args.rounds < 1 or args.threads < 1:
        parser.error("--rounds and --threads: expected at least 1")
    args.build = args.build.resolve()
    args.output = args.output or args.build / "bench-peers"
    if not (args.build / "bin" / "lathe").exists():
        die(f"there is no {args.build / 'bin' / 'lathe'}: run tools/quickstart first")
    return args


class Roofline:
    """Once with both sizes of pages, then in each round with huge ones, where the system grants them."""

    def __init__(self, program, threads):
        self.command, self.pages = [str(program), str(threads), "2048", "5"], "all"

    def measure(self):
        done = subprocess.run([*self.command, self.pages], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.pages = "2m"
        return json.loads(done.stdout)


class Rounds:
    def __init__(self, args, engines):
        self.args, self.engines = args, engines
        self.tests = [test for test in TESTS if test.name in args.tests]
        self.samples = {test.name: {engine.key: [] for engine in engines} for test in self.tests}
        self.details = {test.name: {engine.key: [] for engine in engines if engine.isLathe} for test in self.tests}
        self.slow = {(test.name, engine.key) for test in self.tests for engine in engines if test.kind == "memory"}
        self.broken = set()
        self.limits = []
        self.load = os.getloadavg()[0]
        if self.load > 0.5:
            say(f"the load average is {self.load:.1f}: other processes are running, and figures will be theirs as well")
        self.roofline = Roofline(prepare.roofline(args.build), args.threads)

    def open(self):
        """Loads all; who fails is left out. Equal greedy tokens say that all compute the same model."""
        opened, first = [], {}
        for engine in self.engines:
            try:
                engine.description = engine.open()
                ids = engine.greedy(GREEDY_TOKENS)
            except (Refused, OSError, ValueError, KeyError) as error:
                say(f"left out: {engine.name}: {error}")
                engine.close()
                continue
            name, want = first.setdefault(engine.weights, (engine.name, ids))
            same = next((i for i, (a, b) in enumerate(zip(ids, want)) if a != b), GREEDY_TOKENS)
            engine.agreement = f"{same} of {GREEDY_TOKENS} greedy tokens as {name}" if ids is not want else ""
            opened.append(engine)
            say(f"{engine.name}: {engine.description}" + (f"; {engine.agreement}" if engine.agreement else ""))
        self.engines = opened

    def run(self):
        for number in range(self.args.rounds):
            self.limits.append(self.roofline.measure())
            for test in self.tests:
                turn = number % len(self.engines)
                for engine in self.engines[turn:] + self.engines[:turn]:
                    self.measure(number, test, engine)
                values = [(engine.key, self.samples[test.name][engine.key][-1]) for engine in self.engines]
                say(f"round {number + 1} of {self.args.rounds}: {test.name}: " +
                    ", ".join(f"{key} {value:.1f}" for key, value in values if value is not None))

    def measure(self, number, test, engine):
        value, engine.details, begin = None, {}, time.monotonic()
        left = engine.key in self.broken or (number >= SLOW_ROUNDS and (test.name, engine.key) in self.slow)
        if not left and (test.kind != "busy" or engine.hasBusy):
            try:
                value = self.busy(engine) if test.kind == "busy" else engine.sample(test)
            except (Refused, OSError, ValueError, KeyError) as error:
                say(f"{engine.name}, {test.name}: {error}; it is left out from here on")
                self.broken.add(engine.key)
        if time.monotonic() - begin > SLOW_SECONDS:
            self.slow.add((test.name, engine.key))
        self.samples[test.name][engine.key].append(value)
        if engine.isLathe:
            self.details[test.name][engine.key].append(engine.details if value is not None and test.kind != "busy" else None)

    def busy(self, engine):
        """tg128 while another process keeps the last core busy, as a share of tg128 just before; percent."""
        test = Test("tg128", "tg", 128)
        quiet = engine.sample(test)
        neighbour = subprocess.Popen([self.roofline.command[0], "busy", str(max(os.sched_getaffinity(0)))])
        try:
            time.sleep(0.2)
            return 100 * engine.sample(test) / quiet
        finally:
            neighbour.kill()
            neighbour.wait()

    def results(self):
        return {
            "date": datetime.date.today().isoformat(), "cpu": cpuName(), "cpus": len(os.sched_getaffinity(0)),
            "load": self.load, "threads": self.args.threads, "rounds": self.args.rounds, "command": "tools/bench-peers " + " ".join(sys.argv[1:]),
            "engines": [{"key": engine.key, "name": engine.name, "weights": engine.weights, "lathe": engine.isLathe,
                         "description": engine.description, "greedy": engine.agreement} for engine in self.engines],
            "samples": self.samples, "details": self.details, "roofline": self.limits}


def main():
    args = readArguments()
    engines = prepare.engines(args, lambda key: not args.only or any(key.startswith(part) for part in args.only))
    rounds = Rounds(args, engines)
    rounds.open()
    try:
        if not rounds.engines:
            die("no engine to measure")
        rounds.run()
    finally:
        for engine in rounds.engines:
            engine.close()
    results = rounds.results()
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    table = report.markdown(results)
    (args.output / "table.md").write_text(table)
    subprocess.run([args.build / "venv-peers" / "bin" / "python3", prepare.HERE / "plot.py", args.output / "results.json",
                    args.output / "plot.svg"], check=True)
    print(table, end="")
    say(f"table.md, plot.svg and results.json are in {args.output}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Runs every suite of a build and sums up: tools/test builds, this runs.

A suite is a GoogleTest program, all lit tests, tools/lint, or one test/checks/*_check.py. One that crashes, hangs or
prints no summary counts as one failure on top of what it reported.
"""
import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUITE_SECONDS = 30 * 60
SUMMARY = re.compile(r"^(\d+) passed, (\d+) failed$")
# Checks that take minutes; --fast leaves them out.
SLOW = {"osc_check", "smollm2_check", "atomic_check"}
# Checks that type at a terminal, send signals at a moment, or fill a disk: nothing else runs beside them.
ALONE = {"atomic_check", "chat_check", "conventions_check", "schedules_check", "signals_check"}


class Suite:
    """A command and how to count what it ran."""

    def __init__(self, name, command, count, env=None):
        self.name, self.command, self.count, self.env = name, command, count, env or {}

    def run(self, logs):
        log = logs / f"{self.name.replace('/', '-')}.log"
        start, processor = time.monotonic(), 0.0
        with log.open("wb") as out:
            try:
                process = subprocess.Popen(self.command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=ROOT,
                                           env={**os.environ, "LATHE_CONFIG": "", **self.env}, start_new_session=True)
                status, processor = waitFor(process)
            except OSError as error: # a program that was not built
                status = error
        text = log.read_text(errors="replace")
        counted = self.count(text)
        passed, failed = counted or (0, 0)
        broken = counted is None or passed + failed == 0 or (status != 0 and failed == 0)
        seconds = time.monotonic() - start
        said = [f"{self.name}: {passed} passed, {failed + broken} failed ({seconds:.1f} s, {processor:.1f} s of processor time)"]
        if failed or broken:
            said += extract(text, log, f"exit status {status}" if broken else "")
        print("\n".join(said), flush=True)
        return passed, failed + broken


def waitFor(process):
    """Exit status, or what is wrong with it, and the seconds of processor time that the process took with all it started."""
    end, said = time.monotonic() + SUITE_SECONDS, None
    while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
        if said is None and time.monotonic() > end:
            os.killpg(process.pid, signal.SIGKILL)
            said = f"no end after {SUITE_SECONDS} s"
        time.sleep(0.05)
    process.returncode = os.waitstatus_to_exitcode(ended[1])
    return said or process.returncode, ended[2].ru_utime + ended[2].ru_stime


def extract(text, log, reason):
    """The lines of a log that say what failed, or its end."""
    lines = [line for line in text.splitlines() if re.match(r"FAIL|\[  FAILED|.*(ERROR: |runtime error:|Failure$)", line)]
    if reason or not lines:
        lines += text.splitlines()[-25:]
    where = log.relative_to(ROOT) if log.is_relative_to(ROOT) else log
    return [f"    {line}" for line in lines[:60]] + [f"    {reason + ': ' if reason else ''}all of it in {where}"]


def countLastLine(text):
    for line in reversed(text.splitlines()):
        if match := SUMMARY.match(line.strip()):
            return int(match[1]), int(match[2])
        if line.strip():
            return None
    return None


def gtestSuites(folder, logs, prefix, env):
    for program in sorted((folder / "bin").glob("*_tests")):
        report = logs / f"{prefix}{program.name}.json"
        report.unlink(missing_ok=True)

        def count(_, report=report):
            try:
                data = json.loads(report.read_text())
            except (OSError, ValueError):
                return None
            failed = data["failures"] + data["errors"]
            return data["tests"] - data["disabled"] - failed, failed

        yield Suite(prefix + program.name, [str(program), f"--gtest_output=json:{report}", "--gtest_brief=1"], count, env)


def litSuite(build, logs):
    report = logs / "lit.json"
    report.unlink(missing_ok=True)

    def count(_):
        try:
            codes = [test["code"] for test in json.loads(report.read_text())["tests"]]
        except (OSError, ValueError):
            return None
        good = sum(code in ("PASS", "XFAIL") for code in codes)
        unsupported = codes.count("UNSUPPORTED")
        return good, len(codes) - good - unsupported

    return Suite("lit", ["lit-22", "-v", "-j2", "--output", str(report), str(build / "test")], count)


def suites(args, logs):
    yield Suite("lint", ["tools/lint"], countLastLine)
    yield from gtestSuites(args.build, logs, "", {})
    if args.asan:
        yield from gtestSuites(args.asan, logs, "asan-", {"UBSAN_OPTIONS": "print_stacktrace=1", "ASAN_OPTIONS": "detect_leaks=1"})
    yield litSuite(args.build, logs)
    for check in sorted((ROOT / "test" / "checks").glob("*_check.py")):
        if args.fast and check.stem in SLOW:
            continue
        command = [sys.executable, str(check), "--build", str(args.build)]
        command += ["--asan", str(args.asan)] if args.asan else []
        command += ["--fast"] if args.fast else []
        yield Suite(check.stem, command, countLastLine)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--asan", type=Path, help="a build with LATHE_SANITIZE=ON whose tests run as well")
    parser.add_argument("--broken", action="append", default=[], help="a build that failed: counts as one failure")
    parser.add_argument("--fast", action="store_true", help="without the checks that take minutes")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="so many suites at once (default: as many as there are processors)")
    parser.add_argument("--filter", default="", help="only suites whose name matches this regular expression")
    args = parser.parse_args()
    args.build = args.build.resolve()
    args.asan = args.asan.resolve() if args.asan else None
    logs = args.build / "test-logs"
    logs.mkdir(parents=True, exist_ok=True)

    passed, failed = 0, len(args.broken)
    for build in args.broken:
        print(f"{build}: did not build")
    chosen = [suite for suite in suites(args, logs) if re.search(args.filter, suite.name)]
    with ThreadPoolExecutor(max(1, args.jobs)) as together:
        results = list(together.map(lambda suite: suite.run(logs), [suite for suite in chosen if suite.name not in ALONE]))
    results += [suite.run(logs) for suite in chosen if suite.name in ALONE]
    for good, bad in results:
        passed, failed = passed + good, failed + bad
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())

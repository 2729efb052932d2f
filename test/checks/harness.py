"""What every check uses: running `lathe` from outside, measuring it, compiling models once, and counting results.

A check file fills a Suite with named checks and calls `main`. Each prints one line, the file lastly `N passed, N failed`.
"""
import argparse
import copy
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "test" / "data"
SHARED = ROOT.parent / "shared"  # beside a checkout where the project is built; absent elsewhere
MIB = 1 << 20


class Failed(Exception):
    """A check that did not hold; the message says expected and actual."""


def expect(condition, message):
    if not condition:
        raise Failed(message)


def expectEqual(actual, expected, what):
    expect(actual == expected, f"{what}: expected {expected!r}, got {actual!r}")


@dataclass
class Run:
    """What a finished program left. `peak` is the resident memory of its largest process, children too, in bytes."""

    command: list
    status: int  # exit status; -N: ended by signal N; None: still running at the time limit, killed
    stdout: bytes
    stderr: str
    seconds: float
    peak: int

    @property
    def text(self):
        return self.stdout.decode(errors="strict")

    def expect(self, status=0):
        tail = self.stderr.strip()[-600:]
        ending = "no end within the time limit" if self.status is None else f"exit status {self.status}"
        expect(self.status == status, f"{ending}, expected {status}: {shellWords(self.command)}\n    stderr: {tail}")
        return self

    def json(self):
        try:
            return json.loads(self.stdout)
        except ValueError as error:
            raise Failed(f"no JSON on stdout ({error}): {shellWords(self.command)}: {self.stdout[:200]!r}") from None


def shellWords(command):
    words = [str(word) for word in command]
    return " ".join(word if len(word) < 120 else word[:117] + "..." for word in words)


def start(command, *, addressSpace=None, fileSize=None, env=None, **options):
    """Starts a program in its own process group, optionally under limits in bytes."""

    def limit():
        if addressSpace:
            resource.setrlimit(resource.RLIMIT_AS, (addressSpace, addressSpace))
        if fileSize:
            resource.setrlimit(resource.RLIMIT_FSIZE, (fileSize, fileSize))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writes then fail with EFBIG, as with ENOSPC on a full disk
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    return subprocess.Popen([str(word) for word in command], start_new_session=True, preexec_fn=limit,
                            env={**os.environ, "LATHE_CONFIG": "", **(env or {})}, **options)  # no settings of the user's own


def run(command, *, timeout=300, stdin=None, **options):
    """Runs to the end. Output goes through files, so that a program that writes much never waits."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        begin = time.monotonic()
        process = start(command, stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL, stdout=out, stderr=err,
                        **options)
        if stdin is not None:
            try:
                process.stdin.write(stdin if isinstance(stdin, bytes) else stdin.encode())
                process.stdin.close()
            except BrokenPipeError:
                pass
        timedOut, pause = False, 0.001
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if not timedOut and time.monotonic() - begin > timeout:
                timedOut = True
                os.killpg(process.pid, signal.SIGKILL)
            time.sleep(pause)
            pause = min(pause * 2, 0.02)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - begin
        out.seek(0)
        err.seek(0)
        return Run(list(command), None if timedOut else process.returncode, out.read(), err.read().decode(errors="replace"),
                   seconds, usage.ru_maxrss * 1024)


def machineTiers():
    """The CPU tiers of an artifact that this machine can run, least first, and those that bin/lathe-emulated runs on it."""
    try:
        flags = set(re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.M)[1].split())
    except (OSError, TypeError):
        flags = set()
    v3 = {"avx2", "fma", "f16c", "bmi2"} <= flags
    avx512 = v3 and {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni"} <= flags
    tiers = {"x86-64-v3": (v3, False), "avxvnni": (v3 and "avx_vnni" in flags, v3), "avx512vnni": (avx512, False),
             "amx": (avx512 and {"amx_tile", "amx_int8"} <= flags, avx512)}
    return [name for name, (runs, _) in tiers.items() if runs], [name for name, (runs, emulated) in tiers.items() if emulated and not runs]


def machineFeatures():
    """The features beyond a tier that this machine has, as they stand in a tier's name."""
    flags = Path("/proc/cpuinfo").read_text().split()
    return [name for name, flag in (("bf16", "avx512_bf16"), ("gfni", "gfni")) if flag in flags]


def referenceModel(name):
    """A folder with config, weights and expected.safetensors: the project's own copy, else the one beside the checkout."""
    for folder in (DATA / "reference" / name, SHARED / "reference" / name):
        if (folder / "expected.safetensors").exists():
            return folder
    return None


def expected(folder):
    return load_file(folder / "expected.safetensors")


def idList(ids):
    return ",".join(str(int(token)) for token in np.ravel(ids))


class Lathe:
    """The programs of a build, and a cache of what they compiled."""

    def __init__(self, build):
        self.bin = build / "bin"
        self.program = self.bin / "lathe"
        self.work = build / "check-work"
        self.machineTiers, self.emulatedTiers = machineTiers()
        # The emulated ones stand last: what is compared is compared with a tier of the machine.
        self.tiers = self.machineTiers + self.emulatedTiers
        # The widest tier with the features that this machine has: "avx512vnni+bf16".
        self.featured = [f"avx512vnni+{feature}" for feature in machineFeatures() if "avx512vnni" in self.machineTiers]

    def sanitized(self, asan):
        """The same with the `lathe` of a build with LATHE_SANITIZE=ON, where what it finds ends the program."""
        other, folder = copy.copy(self), scratch(self.work / "sanitized")
        shutil.copy(asan / "bin" / "lathe", folder / "lathe")
        (folder / "lathe-compiler").unlink(missing_ok=True)
        (folder / "lathe-compiler").symlink_to(self.bin / "lathe-compiler")
        other.program = folder / "lathe"
        return other

    def run(self, *arguments, **options):
        emulated = "compile" not in arguments[:1] and any(argument in self.emulatedTiers for argument in arguments)
        return run([self.bin / "lathe-emulated" if emulated else self.program, *arguments], **options)

    def compile(self, model, output, *options, **limits):
        return self.run("compile", model, "-o", output, *options, **limits)

    def stamp(self):
        """Changes whenever a program of the build does, so that artifacts of an older compiler are never taken."""
        files = sorted(path for path in self.bin.glob("lathe*") if path.is_file())
        return hashlib.sha256(repr([(f.name, f.stat().st_mtime_ns, f.stat().st_size) for f in files]).encode()).hexdigest()[:12]

    def artifact(self, model, *options):
        """Compiles once per build for all checks; returns the path."""
        folder = self.work / "artifacts" / self.stamp()
        if not folder.exists():
            for older in scratch(folder.parent).iterdir():
                if older != folder:
                    shutil.rmtree(older, ignore_errors=True)
            scratch(folder) # another check may have made it meanwhile
        key = hashlib.sha256(repr((str(model), options)).encode()).hexdigest()[:12]
        path = folder / f"{Path(model).name}-{key}.lathe"
        if not path.exists():
            self.compile(model, path, *options).expect(0)
        return path

    def distinctTiers(self, artifact):
        """Those of `tiers` that the artifact has code for, without the ones whose code is that of a tier before, byte for byte (in f32 and bf16
        avxvnni has that of x86-64-v3, amx that of avx512vnni): what was seen of one was seen of its twin."""
        codes = {}
        with zipfile.ZipFile(artifact) as file:
            for tier in self.tiers:
                if f"kernels/{tier}.so" in file.namelist():
                    codes.setdefault(file.read(f"kernels/{tier}.so"), tier)
        return list(codes.values())

    def logits(self, artifact, ids, *options):
        """`lathe eval`: float32 [tokens, vocab]."""
        with tempfile.TemporaryDirectory(dir=scratch(self.work)) as folder:
            output = Path(folder) / "logits.safetensors"
            self.run("eval", artifact, "--ids", idList(ids), "--logits", output, *options).expect(0)
            values = load_file(output)
        expect("logits" in values, f"eval wrote {sorted(values)}, expected a tensor named logits")
        logits = values["logits"]
        expect(logits.dtype == np.float32, f"logits are {logits.dtype}, expected float32")
        expect(logits.ndim == 2 and logits.shape[0] == np.size(ids), f"logits have shape {logits.shape} for {np.size(ids)} ids")
        return logits

    def generate(self, artifact, *options, **limits):
        """`lathe generate --json`: the parsed object."""
        return self.run("generate", artifact, "--json", *options, **limits).expect(0).json()


def scratch(folder):
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def smollm2():
    """The GGUF of SmolLM2-135M-Instruct, fetched as tools/quickstart does."""
    fetched = run([ROOT / "tools" / "fetch-model"], timeout=900)
    expect(fetched.status == 0, f"tools/fetch-model: {fetched.stderr.strip()}")
    return Path(fetched.text.strip())


class Suite:
    """Named checks. A check is a function that raises Failed, and may return figures to print."""

    def __init__(self, title):
        self.title = title
        self.checks = []

    def add(self, name, function, *arguments, slow=False):
        self.checks.append((name, function, arguments, slow))


def main(title, fill):
    """Parses the common flags, has `fill(suite, lathe, args)` add the checks, runs them."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="build folder with bin/lathe")
    parser.add_argument("--asan", type=Path, help="a build with LATHE_SANITIZE=ON")
    parser.add_argument("--only", default="", help="only checks whose name contains this")
    parser.add_argument("--fast", action="store_true", help="fewer repetitions")
    parser.add_argument("--all", action="store_true", help="everything where a check tries a sample")
    args = parser.parse_args()
    args.build = args.build.resolve()
    args.asan = args.asan.resolve() if args.asan else None
    suite = Suite(title)
    passed = failed = 0
    try:
        fill(suite, Lathe(args.build), args)
    except Failed as error:
        print(f"FAIL set-up: {error}")
        failed += 1
    for name, function, arguments, slow in suite.checks:
        if args.only not in name or (slow and args.fast):
            continue
        begin = time.monotonic()
        try:
            figures = function(*arguments)
        except Failed as error:
            failed += 1
            print(f"FAIL {name}: {error}", flush=True)
        except Exception:
            failed += 1
            print(f"FAIL {name}: {traceback.format_exc().strip()}", flush=True)
        else:
            passed += 1
            print(f"ok   {name}{': ' + figures if figures else ''} ({time.monotonic() - begin:.1f} s)", flush=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)

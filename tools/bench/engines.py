"""The engines under measurement, each behind the same few calls: Lathe as `lathe bench`, a peer as the process of its own program."""
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
GREEDY = [504, 3575, 282, 4649, 314, 7042, 30, 378, 3575, 282, 4521, 314]  # "The capital of France is Paris. The capital of Germany is"


class Refused(Exception):
    """An engine could not do what was asked; the message says why. The others go on."""


@dataclass(frozen=True)
class Test:
    """`pp`: a prompt of `count` tokens; `tg`: `count` tokens for each of `batch` sequences after `depth`."""

    name: str
    kind: str
    count: int = 0
    depth: int = 0
    batch: int = 1


TESTS = [
    Test("pp512", "pp", 512),
    Test("tg128", "tg", 128),
    Test("tg128@4096", "tg", 128, 4096 - 128),
    Test("tg128x2", "tg", 128, batch=2),
    Test("tg128x4", "tg", 128, batch=4),
    Test("tg128x8", "tg", 128, batch=8),
    Test("busy", "busy"),
    Test("memory", "memory"),
    Test("startup", "startup"),
    Test("load", "load"),
]
UNITS = {"pp": "tok/s", "tg": "tok/s", "busy": "% of quiet", "memory": "MiB", "startup": "ms", "load": "ms"}


def finished(command, timeout=600):
    """Runs to the end; stdout, seconds from outside, and the peak of its resident memory in bytes."""
    begin = time.perf_counter()
    with subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Refused(f"no end after {timeout} s: {' '.join(map(str, command))}") from None
        seconds = time.perf_counter() - begin
    if process.returncode:
        raise Refused((err.decode(errors="replace").strip().splitlines() or [f"exit status {process.returncode}"])[-1])
    return out.decode(), seconds


def peakMemory(command):
    """Of the process alone, not of what waits for it: the kernel's own count at its end."""
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise Refused(f"exit status {process.returncode}: {' '.join(map(str, command))}")
    return usage.ru_maxrss * 1024


class Engine:
    """`weights`: which file's; a peer is compared with the Lathe engine on the same. `details` of a sample: `lathe bench`'s row."""

    def __init__(self, key, name, weights, threads):
        self.key, self.name, self.weights, self.threads = key, name, weights, threads
        self.hasBusy = False
        self.details = {}

    def sample(self, test):
        if test.kind in ("pp", "tg"):
            return test.count * test.batch / self.seconds(test)
        return {"memory": self.memory, "startup": self.startUp, "load": self.load}[test.kind]()


class LatheEngine(Engine):
    isLathe = True

    def __init__(self, key, name, weights, threads, program, artifact):
        super().__init__(key, name, weights, threads)
        self.program, self.artifact, self.hasBusy = program, artifact, True

    def open(self):
        inspected, _ = finished([self.program, "inspect", self.artifact, "--json"])
        self.inspected = json.loads(inspected)
        finished([self.program, "bench", self.artifact, "-t", self.threads, "-r", "1"])  # warms the page cache and the clock
        return f"{self.artifact.name}: {self.inspected['compiler']}, {self.inspected['quant']}, KV {self.inspected['kv_element']}"

    def close(self):
        pass

    def seconds(self, test):
        sizes = ["-p", test.count, "-n", 0] if test.kind == "pp" else ["-p", 0, "-n", test.count]
        out, _ = finished([self.program, "bench", self.artifact, "-t", self.threads, "-r", 1, "-d", test.depth, "-b", test.batch, *sizes,
                           "-o", "json"])
        (row,) = json.loads(out)
        self.details = row
        return test.count * test.batch / row["samples_ts"][0]

    def generate(self, ids, count):
        return [self.program, "generate", self.artifact, "-t", self.threads, "--ids", ",".join(map(str, ids)), "-n", count, "--ignore-eos",
                "--json"]

    def memory(self):
        peak = peakMemory(self.generate([1 + i % 1000 for i in range(512)], 128)) / 2**20
        model = self.inspected["weight_bytes"] + self.inspected["kv_bytes"] / self.inspected["context"] * 640
        self.details = {"above_mib": peak - model / 2**20}
        return peak

    def startUp(self):
        return finished(self.generate([1, 2, 3], 1))[1] * 1e3

    load = startUp

    def greedy(self, count):
        return json.loads(finished(self.generate(GREEDY, count))[0])["ids"]


class PeerEngine(Engine):
    isLathe = False

    def __init__(self, key, name, weights, threads, python, program, model, hasBusy=False):
        super().__init__(key, name, weights, threads)
        self.hasBusy = hasBusy
        self.command = [str(python), str(HERE / program)]
        self.model = [str(model), "-t", str(threads)]

    def open(self):
        """What was loaded, in words. Its errors go to stderr; a process that ends is one that refused."""
        self.process = subprocess.Popen([*self.command, "serve", *self.model], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self.answer()["engine"]

    def close(self):
        """Also after a failure: whatever it does, it ends."""
        self.process.send_signal(signal.SIGCONT)
        try:
            self.process.stdin.close()
            self.process.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()

    def answer(self):
        """Its threads stand still while others are measured: some runtimes spin for long after a run."""
        line = self.process.stdout.readline()
        if not line:
            raise Refused(f"ended with exit status {self.process.wait()}")
        self.process.send_signal(signal.SIGSTOP)
        return json.loads(line)

    def ask(self, question):
        self.process.send_signal(signal.SIGCONT)
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Refused(f"ended with exit status {self.process.wait()}") from None
        return self.answer()

    def seconds(self, test):
        return self.ask({"kind": test.kind, "count": test.count, "depth": test.depth, "batch": test.batch})["seconds"]

    def once(self, prompt, count):
        return [*self.command, "once", *self.model, "-p", prompt, "-n", count]

    def memory(self):
        return peakMemory(self.once(512, 128)) / 2**20

    def startUp(self):
        return finished(self.once(3, 1))[1] * 1e3

    def load(self):
        """Without the start of Python and its imports."""
        return json.loads(finished(self.once(3, 1))[0])["seconds"] * 1e3

    def greedy(self, count):
        return self.ask({"ids": GREEDY, "count": count})["ids"]

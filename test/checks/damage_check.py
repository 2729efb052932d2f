#!/usr/bin/env python3
"""200 damaged inputs of six kinds, drawn from one seed: each ends with a message and exit code 2 to 6, or does no harm.

No crash, no hang, and no memory that the file's own length cannot justify.
"""
import re
import shutil
import struct
import tempfile
from pathlib import Path

import numpy as np

from harness import DATA, MIB, Failed, expect, main, run, scratch
from models import llamaConfig, smallTokenizer, writeGguf, writeHuggingFace

SEED = 20_03
COUNTS = {"toml": 30, "cfg": 25, "gguf": 45, "safetensors": 30, "tokenizer": 30, "lathe": 40}  # 200 together
HEADROOM = 256 * MIB
SECONDS = 30
HUGE = [0xFFFFFFFFFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 1 << 63, 1 << 48, 1 << 40, 0xFFFFFFFF, 0x80000000, 0x7FFFFFFF, 1 << 24, 0]
TEXT_HUGE = ["18446744073709551616", "9223372036854775807", "-1", "0", "4294967296", "1e999", "nan", "1e-400", '"x"', "[]", "{}", "null",
             "99999999"]


def cut(data, generator):
    return data[: generator.integers(0, len(data))]


def flip(data, generator):
    """One to eight bits, half of the time near the start, where headers are."""
    changed = bytearray(data)
    for _ in range(generator.integers(1, 9)):
        reach = len(data) if generator.random() < 0.5 else min(len(data), 4096)
        changed[generator.integers(reach)] ^= 1 << generator.integers(8)
    return bytes(changed)


def wrongSize(data, generator):
    """A 4- or 8-byte number replaced by one that a reader should not believe."""
    value = HUGE[generator.integers(len(HUGE))]
    width = 8 if generator.random() < 0.6 or value >> 32 else 4
    reach = min(len(data), 2048) if generator.random() < 0.7 else len(data)
    at = int(generator.integers(0, max(1, reach - width)))
    return data[:at] + struct.pack("<Q", value)[:width] + data[at + width :]


def dropSpan(data, generator):
    at, length = int(generator.integers(len(data))), int(generator.integers(1, 64))
    return data[:at] + data[at + length :]


def repeatSpan(data, generator):
    at, length = int(generator.integers(len(data))), int(generator.integers(1, 200))
    return data[: at + length] + data[at:]


def zeroSpan(data, generator):
    at, length = int(generator.integers(len(data))), int(generator.integers(1, 512))
    return data[:at] + bytes(min(length, len(data) - at)) + data[at + length :]


def garbage(data, generator):
    at = int(generator.integers(len(data)))
    return data[:at] + generator.bytes(int(generator.integers(1, 100))) + data[at:]


def wrongNumber(data, generator):
    """In a text: a number replaced by one of another size, sign or type."""
    places = list(re.finditer(rb"\b\d+(\.\d+)?\b", data))
    if not places:
        return flip(data, generator)
    place = places[generator.integers(len(places))]
    return data[: place.start()] + TEXT_HUGE[generator.integers(len(TEXT_HUGE))].encode() + data[place.end() :]


def wrongWord(data, generator):
    """In a text: one quoted word replaced by another of the same text."""
    words = list(re.finditer(rb'"[^"\n]{1,60}"', data))
    if len(words) < 2:
        return flip(data, generator)
    place, other = words[generator.integers(len(words))], words[generator.integers(len(words))]
    return data[: place.start()] + other[0] + data[place.end() :]


def nest(data, generator):
    """In a text: brackets to a depth that recursion does not survive."""
    at = int(generator.integers(len(data)))
    return data[:at] + [b"[", b'{"a":', b"[[{"][generator.integers(3)] * 60_000 + data[at:]


def empty(data, generator):
    return [b"", b"\0", b"\xff\xfe", b"\n"][generator.integers(4)]


BINARY = [cut, flip, flip, wrongSize, wrongSize, wrongSize, dropSpan, repeatSpan, zeroSpan, garbage, empty]
TEXTUAL = [cut, flip, dropSpan, repeatSpan, zeroSpan, garbage, wrongNumber, wrongNumber, wrongNumber, wrongWord, wrongWord, nest, empty]
DAMAGES = {"toml": TEXTUAL, "cfg": TEXTUAL, "tokenizer": TEXTUAL, "gguf": BINARY, "safetensors": BINARY + [wrongWord, wrongNumber],
           "lathe": BINARY}


class Bench:
    """The intact input of each kind and the commands that read it."""

    def __init__(self, lathe, asan):
        self.lathe = lathe
        self.sanitized = asan / "bin" if asan else None
        self.temporary = tempfile.TemporaryDirectory(dir=scratch(lathe.work))
        self.folder = Path(self.temporary.name)
        self.kept = lathe.work / "damaged"  # what a failing check read, for a second look
        shutil.rmtree(self.kept, ignore_errors=True)
        tokenizer = smallTokenizer()
        config = llamaConfig(vocab_size=tokenizer.get_vocab_size())
        self.model = writeHuggingFace(self.folder / "model", config, 5, tokenizer=tokenizer)
        gguf = writeGguf(self.folder / "model.gguf", config, 5, tokenizer=tokenizer)
        artifact = self.folder / "model.lathe"
        lathe.compile(self.model, artifact, "--quant", "int8").expect(0)
        self.intact = {
            "toml": lathe.run("import", self.model).expect(0).stdout,
            "cfg": (DATA / "osc" / "decoder.cfg").read_bytes(),
            "gguf": gguf.read_bytes(),
            "safetensors": (self.model / "model.safetensors").read_bytes(),
            "tokenizer": (self.model / "tokenizer.json").read_bytes(),
            "lathe": artifact.read_bytes(),
        }

    def place(self, folder, kind, data):
        """Writes the damaged file where a user would have it; returns what to hand to lathe."""
        if kind in ("safetensors", "tokenizer"):
            model = folder / "model"
            shutil.copytree(self.model, model)
            (model / ("model.safetensors" if kind == "safetensors" else "tokenizer.json")).write_bytes(data)
            return model
        path = folder / {"toml": "model.toml", "cfg": "model.cfg", "gguf": "model.gguf", "lathe": "model.lathe"}[kind]
        path.write_bytes(data)
        return path

    def commands(self, kind, path, folder):
        """Each is tried while those before it succeeded, as a user would go on; the sanitized programs first."""
        if kind == "lathe":
            for folder in ([self.sanitized] if self.sanitized else []) + [self.lathe.bin]:
                yield [folder / "lathe", "generate", path, "--ids", "1,2,3", "-n", "3"]
                yield [folder / "lathe", "generate", path, "-p", "Once upon", "-n", "3"]
            return
        if self.sanitized:
            yield [self.sanitized / "lathe_import_probe", path]
        yield [self.lathe.program, "import", path]
        weights = ["--weights", "random:0"] if kind == "toml" else []
        if kind != "cfg":  # three quarters of a billion parameters take a minute
            yield [self.lathe.program, "compile", path, "-o", folder / "out.lathe", "--quant", "int8", *weights,
                   "--cpu", self.lathe.tiers[0]]
        if kind in ("gguf", "tokenizer"):
            yield [self.lathe.program, "generate", folder / "out.lathe", "-p", "Once upon", "-n", "3"]


def isHarmless(done, command, size, sanitized):
    """True when the command succeeded; raises where it did what no input may cause."""
    name = f"{'sanitized ' if sanitized else ''}{command[0].name} {command[1]}"
    expect(done.status is not None, f"{name}: no end within {SECONDS} s")
    expect(done.status == 0 or 2 <= done.status <= 6, f"{name}: exit status {done.status}: {done.stderr.strip()[-700:]}")
    expect("AddressSanitizer" not in done.stderr and "runtime error:" not in done.stderr, f"{name}: {done.stderr.strip()[-1500:]}")
    if done.status:
        message = done.stderr.strip().splitlines()
        expect(message, f"{name}: exit status {done.status} without a message")
        expect(len(done.stderr) < 4000, f"{name}: a message of {len(done.stderr)} bytes")
    if command[1] != "compile" and not sanitized:
        expect(done.peak <= size + HEADROOM, f"{name}: {done.peak / MIB:.0f} MiB for an input of {size / MIB:.1f} MiB")
    return done.status == 0


def damaged(bench, kind, number):
    seed = [SEED, list(COUNTS).index(kind), number]
    generator = np.random.default_rng(seed)
    damage = DAMAGES[kind][generator.integers(len(DAMAGES[kind]))]
    data = damage(bench.intact[kind], generator)
    folder = bench.folder / f"{kind}-{number}"
    folder.mkdir()
    path = bench.place(folder, kind, data)
    size = sum(f.stat().st_size for f in path.iterdir()) if path.is_dir() else len(data)
    try:
        for command in bench.commands(kind, path, folder):
            sanitized = command[0].parent == bench.sanitized
            done = run(command, timeout=SECONDS * (4 if sanitized else 1),
                       addressSpace=None if sanitized else size + 6 * 1024 * MIB,
                       env={"ASAN_OPTIONS": "exitcode=99:max_allocation_size_mb=1024", "UBSAN_OPTIONS": "halt_on_error=1"})
            if not isHarmless(done, command, size, sanitized):
                break
    except Failed as error:
        bench.kept.mkdir(exist_ok=True)
        shutil.move(folder, bench.kept / folder.name)
        raise Failed(f"{damage.__name__}: {error}\n    input kept in {bench.kept / folder.name / path.name}") from None
    shutil.rmtree(folder)
    return f"{damage.__name__}, " + ("harmless" if done.status == 0 else f"exit {done.status}: {done.stderr.strip().splitlines()[-1][:110]}")


def intact(bench, kind):
    """What the damage is done to is itself accepted, else every refusal below would mean nothing."""
    folder = bench.folder / f"{kind}-intact"
    folder.mkdir()
    path = bench.place(folder, kind, bench.intact[kind])
    for command in bench.commands(kind, path, folder):
        run(command).expect(0)


def fill(suite, lathe, args):
    bench = Bench(lathe, args.asan)
    for kind, count in COUNTS.items():
        suite.add(f"{kind}/intact", intact, bench, kind)
        for number in range(count):
            suite.add(f"{kind}/{number}", damaged, bench, kind, number, slow=number % 4 != 0)


if __name__ == "__main__":
    main(__doc__, fill)

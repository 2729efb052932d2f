#!/usr/bin/env python3
"""`library = "onednn"`: products of many rows come from the library and change no bit; what goes wrong is said.

A stand-in library of the test build shows that the products are asked for and what happens when they fail; oneDNN itself
(tools/fetch-onednn) that its numbers are ours.
"""
import os
import re
import subprocess
import time

import numpy as np
from models import drawWeights, llamaConfig, writeGguf, writeHuggingFace
from oracle import Oracle

from harness import ROOT, expect, expectEqual, main, run, scratch, start

ROWS = 3  # from so many rows on the library multiplies
TOKENS = 67
# Widths around a panel of 32, a group of 32 and a span of 256, and beyond two spans.
MODELS = {
    "narrow": llamaConfig(hidden_size=40, num_attention_heads=5, num_key_value_heads=1, head_dim=6, intermediate_size=75, vocab_size=101),
    "odd": llamaConfig(hidden_size=90, num_attention_heads=4, num_key_value_heads=2, head_dim=24, intermediate_size=257),
    "wide": llamaConfig(hidden_size=256, num_attention_heads=3, num_key_value_heads=3, head_dim=100, intermediate_size=700, vocab_size=333),
}
NUMBERS = {"f32": ["--quant", "f32"], "bf16": ["--quant", "bf16"], "int8": ["--quant", "int8"], "int8 in groups of 64": ["--quant", "int8", "--group", "64"]}


def table(tiers, library=True):
    """Default schedules; the rows of a call are few enough that the model's rows take several calls."""
    entries = ""
    for tier in tiers:
        for quant in ("f32", "bf16", "f16", "int8"):
            entries += (f'[[schedule]]\ntier = "{tier}"\nkind = "linear"\nquant = "{quant}"\nrows = 2\ncolumns = 32\nunit_block = 40\n'
                        + (f'library = "onednn"\nlibrary_rows = {ROWS}\n' if library else "") + "\n")
    return entries


class Library:
    """Models compiled with and without a library, and what the runtime is told about it."""

    def __init__(self, lathe):
        self.lathe, self.folder = lathe, scratch(lathe.work / "onednn")
        self.fake = next((lathe.bin.parent / "test" / "runtime").glob("liblathe_fake_onednn.so"))
        self.schedules = self.folder / f"table-{lathe.stamp()}.toml"
        self.schedules.write_text(table(lathe.tiers))

    def model(self, name):
        folder = self.folder / name
        if not folder.exists():
            writeHuggingFace(folder, MODELS[name], len(name))
        return folder

    def artifacts(self, name, numbers):
        """Without a library, for one tier, and with it: the first says what bits all tiers give."""
        own = self.lathe.artifact(self.model(name), *NUMBERS[numbers], "--cpu", self.lathe.tiers[0])
        return own, self.lathe.artifact(self.model(name), *NUMBERS[numbers], "--schedules", self.schedules)

    def ids(self, name):
        return np.random.default_rng(5).integers(0, MODELS[name]["vocab_size"], TOKENS)

    def eval(self, artifact, ids, *options, library, **env):
        """`lathe eval` with a library: its result and the logits' bytes."""
        output = self.folder / "logits.safetensors"
        output.unlink(missing_ok=True)
        done = self.lathe.run("eval", artifact, "--ids", ",".join(map(str, ids)), "--logits", output, *options,
                              env={"LATHE_ONEDNN": str(library), **env})
        return done, output.read_bytes() if output.exists() else None


def sameBits(with_, name, numbers, tier, library):
    """Numbers of rows of a step on either side of the one from which the library multiplies. The library takes the instructions that the machine
    has, whatever our tier: beyond a few, tiers share the numbers up to 33 among them."""
    own, other = with_.artifacts(name, numbers)
    tiers = with_.lathe.distinctTiers(other)
    if tier not in tiers:
        return "the code of a tier before it"
    ids = with_.ids(name)
    first, want = with_.eval(own, ids, library="none")
    first.expect(0)
    shared = [rows for rows in range(ROWS + 3, 34) if rows % len(tiers) == tiers.index(tier)]
    counts = [*range(1, ROWS + 3), *shared, TOKENS]
    for rows in counts:
        done, got = with_.eval(other, ids, "--cpu", tier, "--chunk", rows, "-t", 1 + rows % 2, library=library)
        done.expect(0)
        expect(got == want, f"steps of {rows} rows give other bits than without a library")
    if numbers == "f32":
        logits = with_.lathe.logits(own, ids)
        error = np.abs(logits - Oracle(config=MODELS[name], weights=drawWeights(MODELS[name], len(name))).logits(ids)).max()
        expect(error < 2e-4, f"logits are off by {error:.2e}")
    return f"{len(counts)} row counts"


def isAsked(with_, numbers):
    """Steps of enough rows ask the library for products, others never do; without one in the schedules it is not opened."""
    own, other = with_.artifacts("odd", numbers)
    ids, counted = with_.ids("odd"), with_.folder / "calls"

    def calls(artifact, rows):
        counted.unlink(missing_ok=True)
        with_.eval(artifact, ids, "--chunk", rows, library=with_.fake, FAKE_ONEDNN_CALLS=str(counted))[0].expect(0)
        return int(counted.read_text()) if counted.exists() else None

    expectEqual(calls(own, TOKENS), None, "calls without a library in the schedules")
    atLoad = calls(other, 1)
    expect(atLoad > 0, "the library's numbers are not tried at load")
    expectEqual(calls(other, ROWS - 1), atLoad, f"calls with steps of {ROWS - 1} rows")
    expect(calls(other, ROWS) > atLoad + 100, f"steps of {ROWS} rows hardly call the library")
    return f"{atLoad} products at load"


def mistakes(with_):
    """One line that says what is missing or wrong and what to do; never other numbers."""
    _, artifact = with_.artifacts("odd", "f32")
    _, bytes_ = with_.artifacts("odd", "int8")
    ids = with_.ids("odd")

    def error(artifact, status, *parts, library=with_.fake, **env):
        done, logits = with_.eval(artifact, ids, library=library, **env)
        done.expect(status)
        expect(logits is None, "logits were written")
        expectEqual(len(done.stderr.strip().splitlines()), 1, "lines of the error")
        for part in parts:
            expect(part in done.stderr, f"expected {part!r} in {done.stderr!r}")
        return done.stderr

    error(artifact, 4, "/absent/libdnnl.so.3 cannot be loaded", "pip install onednn==2026.1.0", "LATHE_ONEDNN",
          "table of schedules without library", library="/absent/libdnnl.so.3")
    error(artifact, 4, "another order", "without library", FAKE_ONEDNN="backwards")
    error(bytes_, 4, "not add up products", "exactly on this machine", FAKE_ONEDNN="saturate")
    error(artifact, 4, "brings threads of its own", FAKE_ONEDNN="openmp")
    error(artifact, 4, "expected oneDNN 3, found oneDNN 2.7.1", FAKE_ONEDNN="old")
    counted = with_.folder / "calls"
    with_.eval(artifact, ids, "--chunk", 1, library=with_.fake, FAKE_ONEDNN_CALLS=str(counted))[0].expect(0)
    error(artifact, 5, "oneDNN could not multiply (status 1)", FAKE_ONEDNN=f"fail {int(counted.read_text()) + 3}")
    # The environment of Python is the last place that is looked at.
    folder = scratch(with_.folder / "venv" / "lib")
    link = folder / "libdnnl.so.3"
    link.unlink(missing_ok=True)
    os.symlink(with_.fake, link)
    done, _ = with_.eval(artifact, ids, library="", VIRTUAL_ENV=str(folder.parent))
    done.expect(0)


def inspected(with_):
    """inspect prints the library, and the same table gives the same bytes."""
    _, artifact = with_.artifacts("odd", "int8")
    tier = with_.lathe.tiers[0]
    text = with_.lathe.run("inspect", artifact, "kernels", "--cpu", tier).expect(0).text
    expect(re.search(rf"o_residual .* 2 x 32 of 40, onednn from {ROWS} rows \(default, table", text), f"no library printed:\n{text[:600]}")
    kernels = with_.lathe.run("inspect", artifact, "kernels", "--json").expect(0).json()
    libraries = {kernel["name"]: kernel["tiers"][tier].get("library") for kernel in kernels}
    expectEqual({name: library for name, library in libraries.items() if library is None}, {"embed": None, "attention": None},
                "kernels without a library")
    expectEqual(kernels[-1]["tiers"][tier]["library_rows"], ROWS, "library_rows")


def keptBlocks(with_, library):
    """A GGUF file's own 8-bit blocks and halves; 4-bit ones stay with our kernels."""
    config = llamaConfig(hidden_size=96, num_attention_heads=6, intermediate_size=160, head_dim=16)
    for element in ("Q8_0", "F16", "Q4_0"):
        model = with_.folder / f"keep-{element}.gguf"
        if not model.exists():
            writeGguf(model, config, 300, element=element)
        own = with_.lathe.artifact(model, "--quant", "keep", "--cpu", with_.lathe.tiers[0])
        other = with_.lathe.artifact(model, "--quant", "keep", "--schedules", with_.schedules)
        ids = np.random.default_rng(5).integers(0, config["vocab_size"], TOKENS)
        want = with_.eval(own, ids, library="none")[1]
        done, got = with_.eval(other, ids, library=library)
        done.expect(0)
        expect(got == want and want is not None, f"{element}: other bits than without a library")


def refusedWithoutVnni(with_, library):
    """On a machine without AVX-512 oneDNN adds floats in another order and saturates sums of bytes: both are refused."""
    for numbers, part in (("f32", "in another order on this machine"), ("int8", "not add up products")):
        _, artifact = with_.artifacts("odd", numbers)
        done, logits = with_.eval(artifact, with_.ids("odd"), library=library, ONEDNN_MAX_CPU_ISA="AVX2")
        done.expect(4)
        expect(part in done.stderr and logits is None, f"expected {part!r} in {done.stderr!r}")


def noThreads(with_, library):
    """A process with the library has as many threads as one without it."""
    counts = []
    for artifact in with_.artifacts("wide", "f32"):
        process = start([with_.lathe.program, "bench", artifact, "-p", 64, "-n", 0, "-r", 30, "-t", 2], stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL, env={"LATHE_ONEDNN": str(library)})
        most = 0
        while process.poll() is None:
            try:
                most = max(most, len(os.listdir(f"/proc/{process.pid}/task")))
            except OSError:
                pass
            time.sleep(0.001)
        expectEqual(process.returncode, 0, "exit status of bench")
        counts.append(most)
    expect(counts[0] == counts[1] > 0, f"{counts[0]} threads without the library, {counts[1]} with it")
    return f"{counts[0]} threads"


def fill(suite, lathe, args):
    with_ = Library(lathe)
    fetched = run([ROOT / "tools" / "fetch-onednn"], timeout=900)
    word, library = ("oneDNN", fetched.text.strip()) if fetched.status == 0 else ("stand-in", with_.fake)
    if fetched.status != 0:
        print(f"skipped: oneDNN itself, its stand-in is used: {' '.join(fetched.stderr.split())[-300:]}")
    for name in MODELS:
        for numbers in NUMBERS:
            for tier in lathe.tiers:
                suite.add(f"{word}/{name}/{numbers}/{tier}/the same bits", sameBits, with_, name, numbers, tier, library)
    suite.add(f"{word}/kept blocks", keptBlocks, with_, library)
    suite.add(f"{word}/no threads of its own", noThreads, with_, library)
    if word == "oneDNN":
        suite.add("oneDNN/refused without VNNI", refusedWithoutVnni, with_, library)
    suite.add("stand-in/odd/f32/the same bits", sameBits, with_, "odd", "f32", lathe.tiers[0], with_.fake)
    for numbers in ("f32", "bf16", "int8"):
        suite.add(f"stand-in/{numbers}/is asked", isAsked, with_, numbers)
    suite.add("stand-in/mistakes", mistakes, with_)
    suite.add("inspect", inspected, with_)


if __name__ == "__main__":
    main(__doc__, fill)

#!/usr/bin/env python3
"""Kernels with one mistake in their text: `lathe compile --use-kernels` must refuse nearly all of them, and take what only reads otherwise.

A sample is tried, the same each time; --all tries every one (some minutes). The mistakes stand in a kernel's own text or in the
device library, which is then part of the text of a kernel that uses the place. One that no execution could tell from the kernel
is left out by a rule: the host's code for it is the same, byte for byte, or what it takes away is said around it already
(`saidBefore`). A guard of a store into rows of shared memory that are there and that nobody reads is no mistake either: its
mistakes leave out a row more.
"""
import functools
import os
import re
import tempfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness import ROOT, expect, expectEqual, main, referenceModel, run, scratch

MODELS = [("qwen3", "bf16"), ("mistral-window", "f32"), ("qwen2", "int8+kv")] # +kv: keys and values of int8
CAUGHT = 0.95
SAMPLE = 16  # of each model
# A pattern of a text and what stands there instead; each place is a mutant. No line is added or left out.
MISTAKES = {
    "no barrier": (r"(?:block|group)_barrier\(\);", ";"),
    "no wait for the launches before": (r"dependency_wait\(\);", ";"),
    "work before that wait": (r"dependency_wait\(\);((?:.|\n)*)\n}\n\Z", r";\1 dependency_wait();\n}\n"),
    "another tile is prefetched": (r"prefetch_weight<(\d+)>\((\w+), tile(\w*)", r"prefetch_weight<\1>(\2, 1 + batch.rows() + tile\3"),
    "rows that are not there": (r"min\((first \+ \d+), batch\.\w+\(\)\)", r"\1"),
    "a row too few": (r"min\((first \+ \d+), batch\.(\w+)\(\)\)", r"min(\1, batch.\2() - 1)"),
    "columns that are not there": (r"\b(thread|lane)\(\) < \d+ \?", r"\1() < kThreads ?"),
    "one column is left out": (r"if \((thread|lane)\(\) < (\d+)\)", r"if (\1() < \2 - 1)"),
    "a page too few": (r"(score_chunk\(.*), (\w+), product, ", r"\1, \2 - 1, product, "),
    "a page too many": (r"(score_chunk\(.*), (\w+), product, ", r"\1, \2 + 1, product, "),
    "a position that nobody wrote": (r"row_position \+ 1, product, ", "row_position + 2, product, "),
    "a position too few": (r"<= (batch\.)?row_position", r"< \1row_position"),
    "a row less by the weight": (r"dot\(last - first, ", "dot(last - first - 1, "),
    "a row more by the weight": (r"dot\(last - first, ", "dot(last - first + 1, "),
    "another panel": (r"(\bdot\(.*weight, )(\w+) \* (\d+)", r"\1\2 * \3 + 1"),
    "a row that nobody takes": (r"\+ group\(\); (\w+) < (\w+); \1 \+= 16", r"+ group() + 1; \1 < \2; \1 += 16"),
    "a maximum that begins too high": (r"memory\.maxima\((\w+), lane\(\)\) = -1e\+30f;", r"memory.maxima(\1, lane()) = 0.0f;"),
    "the other scale": (r"store_(?:key|value)_scale\((\w+), (.*), (\w+), ", r"store_key_scale(\1, \2, \3 ^ 1, "),
    "a code of another column": (r"(store_\w+_code\(.*, )(\w+)( \+ lane\(\))", r"\1(\2 ^ 16)\3"),
    "half of the range of codes": (r"127\.0f / ", "63.5f / "),
    "a scale that may be NaN": (r"(\w+) != -1e\+30f \? (\w+ \* memory\.value_scales\(.*\)) : 0\.0f;", r"\2;"),
    "no counting of items": (r"ready = arrive\(.*\);", "ready = true;"),
}
# The same of kernels for many rows, besides.
MANY_MISTAKES = {
    "no barrier": (r"block_barrier\(\);", ";"),
    "the other stage is filled": (r"memory\.input\((\w+ % 2), ", r"memory.input(1 - \1, "),
    "the other stage is multiplied": (r"(add_piece\(.*, )(\w+ % 2), (\w+)\);", r"\g<1>1 - \2, \3);"),
    "one stage for all pieces": (r"(memory\.input(?:\(|, )\w+) % 2", r"\1 % 1"),
    "another piece": (r"(add_piece\(.*, )(\w+)\);", r"\1\2 + 1);"),
    "a piece too few": (r"int piece = 0;", "int piece = 1;"),
    "columns of another piece": (r"(= to_bf16\(.*\bx\(\w+, \w+) \+ ", r"\1 + 16 + "),
    "a row less by the weight": (r"(add_piece\(\w+, last - first)", r"\1 - 1"),
    "a row more by the weight": (r"(add_piece\(\w+, last - first)", r"\1 + 1"),
    "a row that is not stored": (r"(store_gemm\(\w+, last - first)", r"\1 - 1"),
    "another panel": (r"(start_gemm.*, )(\w+ \* \d+, \d+\))", r"\g<1>1 + \2"),
    "a tile too few": (r"(int last_tile = min\(.*)\);", r"\1) - 1;"),
    "rows that are not there": (r"if \(row(\w*) < last\)", "if (true)"),
    "another slot of a row's norm": (r"memory\.inverse\((\w+), lane\(\)\);", r"memory.inverse(\1 ^ 1, lane());"),
    "half of a row's sum": (r"group_sum\((\w+)\) \+ group_sum\((\w+)\)", r"group_sum(\1) + group_sum(\1)"),
}
MANY_LIBRARY_MISTAKES = {
    "a block's weights twice": (r"sums\.load\(block \+ 1\)", "sums.load(block)"),
    "other rows of an operand": (r"t \* 8 \+ warp_lane\(\) / 4, rows - 1", "t * 8 + (warp_lane() / 4 ^ 1), rows - 1"),
    "other columns of an operand": (r"column = warp_lane\(\) % 4 \* 8", "column = (warp_lane() % 4 ^ 1) * 8"),
    "other lanes of a result": (r"warp_lane\(\) % 4 \* 2 \+ i % 2", "warp_lane() % 4 * 2 + 1 - i % 2"),
    "halves of a result changed": (r"i / 2 \* 8 \+ warp_lane\(\) / 4", "8 - i / 2 * 8 + warp_lane() / 4"),
    "a span's sum twice": (r"sums\.sum\[f\]\[t\]\[i\] = 0\.0f;", ";"),
    "a warp with another one's columns": (r"warp\(\) % kStrips \* 32", "(warp() + 1) % kStrips * 32"),
    "a warp that has no rows": (r"row\(\) < rows;", "row() < rows && row() == 0;"),
}
# The same of the device library: only what the kernel uses of it is in its code.
LIBRARY = ["reduce.cuh", "fragments.cuh", "dot.cuh", "gemm.cuh", "attention.cuh", "sample.cuh"]
LIBRARY_MISTAKES = {
    "no barrier": (r"\bblock_barrier\(\);", ";"),
    "half a warp of a block's sum": (r"  x = (.*)shuffle_xor\(x, 16\)(.*);", r"  x = \1x\2;"),
    "a shuffle of other lanes": (r"mask = 8; mask > 0; mask /= 2", "mask = 4; mask > 0; mask /= 2"),
    "swapped operands of mma": (r"\{lower\.word\[2 \* step\], upper\.word\[2 \* step\],", "{upper.word[2 * step], lower.word[2 * step],"),
    "swapped registers of mma": (r"\{x\[t\]\.word\[2 \* step\], x\[t\]\.word\[2 \* step \+ 1\]\}", "{x[t].word[2 * step + 1], x[t].word[2 * step]}"),
    "other lanes of a result": (r"warp_lane\(\) % 4 \* 2 \+ i % 2", "warp_lane() % 4 * 2 + 1 - i % 2"),
    "halves of a result changed": (r"i / 2 \* 8 \+ warp_lane\(\) / 4", "8 - i / 2 * 8 + warp_lane() / 4"),
    "other lanes of an operand": (r"\bwarp_lane\(\) / 4(?! \*)", "(warp_lane() / 4 ^ 1)"),
    "other columns of an operand": (r"\bwarp_lane\(\) % 4 \* 8", "(warp_lane() % 4 ^ 1) * 8"),
    "rows that are not there": (r"if \(row \+ 8 \* t < rows\)", "if (true)"),
    "queries that are not there": (r"if \(query < count\)(?=\n *x\[t\])", "if (true)"),
    "a query that is left out": (r"if \(query < count\)(?=\n *(?:scores|outputs)\()", "if (query + 1 < count)"),
    "positions that are not there": (r"if \(valid < 8\)", "if (false)"),
    "halves of codes changed": (r"widen_half\((key\[half\]|value\[s\]), 0\), detail::widen_half\((?:key\[half\]|value\[s\]), 1\)",
                                r"widen_half(\1, 1), detail::widen_half(\1, 0)"),
    "scales of other positions": (r"keyScale\.word\[half \* 2 \+ i / 2\]", "keyScale.word[half + i / 2 * 2]"),
    "a block too many": (r"if \(block >= end\)", "if (block > end)"),
    "a block too few": (r"if \(block \+ s >= end\)", "if (block + s + 1 >= end)"),
    "a span that is not added": (r"int span = 0; span < spans; \+\+span\)", "int span = 1; span < spans; ++span)"),
    "a page too few": (r"begin \+ s < endPage", "begin + s + 1 < endPage"),
    "a digit that is not counted": (r"place >= kDigits\)", "place >= kDigits - 1)"),
    "one of equal logits too few": (r"id > cut_id", "id >= cut_id"),
    "a warp too many is passed": (r"scratch\.partial\(owner, 0\) <= target", "scratch.partial(owner, 0) / 2 <= target"),
    "a lane too few": (r"up_to - x <= target", "up_to - x < target"),
    "three logits of four": (r"min\(end, four \+ 4\)", "min(end, four + 3)"),
}


def stored(quant):
    """The flags of weights of a kind, perhaps with keys and values of int8."""
    name, _, kv = quant.partition("+")
    return ("--quant", name, *(("--kv", "int8") if kv else ()))


class Texts:
    """A model's kernels as they are printed, and the device library as text that may stand in them."""

    def __init__(self, lathe, model, quant):
        folder = scratch(lathe.work) / f"mutants-{model}-{quant}"
        lathe.run("compile", referenceModel(model), *stored(quant), "--target", "cuda-host:sm_80", "--stop-after", "30", "--dump",
                  folder).expect(0)
        self.kernels = {path.name: path.read_text() for path in sorted((folder / "kernels").glob("*.cu"))}
        self.include = lathe.bin.parent / "device"
        self.library = {name: (self.include / "lathe" / name).read_text() for name in LIBRARY}

    def inlined(self, kernel, library):
        """The kernel with these files of the library in its text."""
        parts = ["#include \"lathe/batch.cuh\"\n"]
        texts = {name: re.sub(r"^#pragma once$|^#include \"lathe/(?:reduce|fragments|dot|gemm|attention)\.cuh\"$", "", library[name], flags=re.M) for name in LIBRARY}
        sample = texts.pop("sample.cuh") # of the kernels that include it
        parts += [*texts.values(), "#include \"lathe/functions.cuh\"\n", "#include \"lathe/host/entry.h\"\n"]
        text = self.kernels[kernel].replace("#include \"lathe/kernel.cuh\"\n", "".join(parts))
        return text.replace("#include \"lathe/sample.cuh\"\n", sample)

    def mutants(self, many=False):
        """(what is wrong, the kernels that may have it, the text of one with it, the text of one without it)"""
        kernels = {name: text for name, text in self.kernels.items() if name.endswith("_many.cu") == many}
        library = {"gemm.cuh": self.library["gemm.cuh"]} if many else {name: text for name, text in self.library.items() if name != "gemm.cuh"}
        for name, text in kernels.items():
            for what, (pattern, instead) in (MANY_MISTAKES if many else MISTAKES).items():
                for place in re.finditer(pattern, text, re.M):
                    # Codes of a slot that nobody wrote are multiplied by a weight of 0: no bound is asked for.
                    if saidBefore(text, place) or what == "a position that nobody wrote" and "value_scales" in text:
                        continue
                    wrong = replaced(text, place, instead)
                    yield f"{what}: {place[0].splitlines()[0].strip()}", [name], lambda _, wrong=wrong: wrong, self.kernels.get
        names, right, turn = list(kernels), functools.cache(lambda name: self.inlined(name, self.library)), 0
        for file, text in library.items():
            for what, (pattern, instead) in (MANY_LIBRARY_MISTAKES if many else LIBRARY_MISTAKES).items():
                for place in re.finditer(pattern, text, re.M):
                    wrong = {**self.library, file: replaced(text, place, instead)}
                    line = text.count("\n", 0, place.start()) + 1
                    turn = (turn + 3) % len(names) # another kernel each time
                    yield (f"{what} ({file}:{line}): {place[0].strip()}", names[turn:] + names[:turn],
                           functools.partial(self.inlined, library=wrong), right)

    def settle(self, mutant):
        """(what, kernel, text) of the first kernel that has the mistake in its code; None: it makes no difference to any."""
        what, names, wrong, right = mutant
        for name in names:
            if self.code(name, wrong(name)) != self.code(name, right(name)):
                return what, name, wrong(name)
        return None

    @functools.cache
    def code(self, name, text):
        """What clang makes of a kernel for the host."""
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "kernel.cpp").write_text(f"{text}\nLATHE_HOST_KERNEL({name.removesuffix('.cu')})\n")
            clang = os.environ.get("LATHE_CLANG", "clang++-22")
            made = run([clang, "-S", "-std=c++20", "-O1", "-fPIC", "-DLATHE_HOST", "-march=x86-64-v3", "-ffp-contract=off", "-w",
                        f"-I{self.include}", "-o", "-", "kernel.cpp"], cwd=folder)
            expectEqual(made.status, 0, f"{name}: exit status of {clang}: {made.stderr[-500:]}")
            return made.stdout


def saidBefore(text, place):
    """A mask within an `if` of the very same condition says nothing."""
    before = text[:place.start()].splitlines()
    return place[0].endswith(" ?") and len(before) > 1 and before[-2].strip() == f"if ({place[0].removesuffix(' ?')})"


def replaced(text, place, instead):
    return text[:place.start()] + place.expand(instead) + text[place.end():]


def compileWith(lathe, model, quant, name, text):
    with tempfile.TemporaryDirectory(dir=scratch(lathe.work)) as folder:
        (Path(folder) / name).write_text(text)
        output = Path(folder) / "out.lathe"
        result = lathe.run("compile", referenceModel(model), *stored(quant), "--target", "cuda-host:sm_80", "--use-kernels", folder, "-o",
                           output, timeout=1800)
        expectEqual(output.exists(), result.status == 0, f"{output.name} is there after exit status {result.status}")
        return result


def sampled(mutants, count):
    """So many of them, the same each time: mistakes in turn, of each another place each time."""
    of = defaultdict(list)
    for mutant in mutants:
        of[re.split(r": | \(", mutant[0])[0]].append(mutant)
    picked, turn = [], 0
    while len(picked) < count and any(of.values()):
        for what in sorted(of):
            if of[what] and len(picked) < count:
                picked.append(of[what].pop((7 * turn + len(picked)) % len(of[what])))
        turn += 1
    return picked


def refused(lathe, model, quant, everything, many=False):
    texts = Texts(lathe, model, quant)
    every = list(texts.mutants(many))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        settled = list(pool.map(texts.settle, every if everything else sampled(every, SAMPLE)))
        tried = [mutant for mutant in settled if mutant]
        results = list(pool.map(lambda mutant: compileWith(lathe, model, quant, mutant[1], mutant[2]), tried))
    survivors = []
    for (what, name, _), result in zip(tried, results):
        expect(result.status in (0, 6), f"{name}, {what}: exit status {result.status}: {result.stderr[-500:]}")
        if result.status == 0:
            survivors.append(f"{name}: {what}")
    expect(len(tried) >= (20 if everything else SAMPLE // 2), f"only {len(tried)} mutants")
    expect(len(survivors) <= (1 - CAUGHT) * len(tried), f"{len(survivors)} of {len(tried)} mutants live: {'; '.join(survivors)}")
    return (f"{len(tried) - len(survivors)} of {len(tried)} caught, {len(settled) - len(tried)} are in no code" +
            "".join(f"; lives: {one}" for one in survivors))


def readsOtherwise(lathe):
    """An edit that computes the same is taken, and so is the library as part of the text."""
    texts = Texts(lathe, *MODELS[0])
    name = "norm_gate_up_gated.cu"
    text = texts.inlined(name, texts.library).replace("memory.tile(", "memory.tile (").replace("{\n  Memory", "{\n  // by hand\n  Memory")
    expect(text != texts.kernels[name], "nothing was edited")
    compileWith(lathe, *MODELS[0], name, text).expect(0)


def roundsOtherwise(lathe):
    """What is less than rounding may do is taken, of numbers near 0 too; more is not."""
    name = "o_residual.cu"
    text = Texts(lathe, *MODELS[0]).kernels[name]
    for more, status in (("1e-5f", 0), ("0.05f", 6)):
        edited = re.sub(r"(\bx_2\(.*\) = x\(.*);", rf"\1 + {more};", text)
        expect(edited != text, "nothing was edited")
        compileWith(lathe, *MODELS[0], name, edited).expect(status)


def unknownKernel(lathe):
    result = compileWith(lathe, *MODELS[0], "no_such_kernel.cu", "")
    expectEqual(result.status, 3, "exit status")
    expect("no_such_kernel.cu" in result.stderr and "attention.cu" in result.stderr, f"says {result.stderr!r}")


def fill(suite, lathe, args):
    suite.add("an edit that computes the same", readsOtherwise, lathe)
    suite.add("an edit that rounds otherwise", roundsOtherwise, lathe)
    suite.add("a kernel that the model has not", unknownKernel, lathe)
    for model, quant in MODELS:
        suite.add(f"{model}/{quant}/mistakes are refused", refused, lathe, model, quant, args.all)
        if quant != "f32":
            suite.add(f"{model}/{quant}/mistakes with many rows are refused", refused, lathe, model, quant, args.all, True)


if __name__ == "__main__":
    main(__doc__, fill)

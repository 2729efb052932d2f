#!/usr/bin/env python3
"""Kernels with one mistake in their text: `lathe compile --use-kernels` must refuse nearly all of them, and take what only reads otherwise.

Run by hand: it takes some twenty minutes on two busy cores. The mistakes are a barrier left out, a bound left out or moved by one, and arguments of a product changed. Swapped lanes of mma
are test/device's (ExecutorTest), since they are in the device library and not in a kernel's text.
"""
import os
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness import expect, expectEqual, main, referenceModel, scratch

MODELS = [("qwen3", "bf16"), ("mistral-window", "f32")]
CAUGHT = 0.95
# A pattern of a text and what stands there instead; each place is a mutant.
MISTAKES = [
    (r"^ *(?:block|group)_barrier\(\);\n", ""),                                # nobody waits
    (r"min\((first \+ \d+), batch\.\w+\(\)\)", r"\1"),                          # rows that are not there
    (r"thread\(\) < \d+ \?", "thread() < kThreads ?"),                         # columns that are not there
    (r"if \(thread\(\) < (\d+)\)", r"if (thread() < \1 - 1)"),                  # one is left out
    (r"(score_chunk\(.*), (\w+), product, ", r"\1, \2 - 1, product, "),         # a page too few
    (r"row_position \+ 1, product, ", "row_position + 2, product, "),           # a position that nobody wrote
    (r"<= row_position", "< row_position"),                                    # a position too few
    (r"dot\(last - first, ", "dot(last - first - 1, "),                        # a row too few
    (r"(dot\(.*weight, )(\w+) \* (\d+)", r"\1\2 * \3 + 1"),                     # another panel
    (r"\+ group\(\); (\w+) < last; \1 \+= 16", r"+ group() + 1; \1 < last; \1 += 16"),  # a row nobody takes
    (r"memory\.maxima\((\w+), lane\(\)\) = -1e\+30f;", r"memory.maxima(\1, lane()) = 0.0f;"),
]


def kernels(lathe, model, quant):
    folder = scratch(lathe.work) / f"mutants-{model}-{quant}"
    lathe.run("compile", referenceModel(model), "--quant", quant, "--target", "cuda-host:sm_80", "--stop-after", "30", "--dump",
              folder).expect(0)
    return {path.name: path.read_text() for path in sorted((folder / "kernels").glob("*.cu"))}


def mutants(texts):
    for name, text in texts.items():
        for pattern, instead in MISTAKES:
            for place in re.finditer(pattern, text, re.M):
                yield name, text[:place.start()] + place.expand(instead) + text[place.end():], place[0].strip()


def compileWith(lathe, model, quant, name, text):
    with tempfile.TemporaryDirectory(dir=scratch(lathe.work)) as folder:
        (Path(folder) / name).write_text(text)
        output = Path(folder) / "out.lathe"
        result = lathe.run("compile", referenceModel(model), "--quant", quant, "--target", "cuda-host:sm_80", "--use-kernels", folder, "-o",
                           output, timeout=600)
        expectEqual(output.exists(), result.status == 0, f"{output.name} is there after exit status {result.status}")
        return result


def refused(lathe, model, quant):
    all = list(mutants(kernels(lathe, model, quant)))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(lambda mutant: compileWith(lathe, model, quant, *mutant[:2]), all))
    survivors, count = [], len(all)
    for (name, _, what), result in zip(all, results):
        expect(result.status in (0, 6), f"{name}, {what}: exit status {result.status}: {result.stderr[-500:]}")
        if result.status == 0:
            survivors.append(f"{name}: {what}")
    expect(count >= 20, f"only {count} mutants")
    expect(len(survivors) <= (1 - CAUGHT) * count, f"{len(survivors)} of {count} mutants live: {'; '.join(survivors)}")
    return f"{count - len(survivors)} of {count} caught" + "".join(f"; lives: {one}" for one in survivors)


def readsOtherwise(lathe):
    """An edit that computes the same is taken, and the artifact runs it."""
    texts = kernels(lathe, *MODELS[0])
    name = "norm_gate_up_gated.cu"
    text = texts[name].replace("memory.tile(", "memory.tile (").replace("{\n  Memory", "{\n  // by hand\n  Memory")
    expect(text != texts[name], "nothing was edited")
    compileWith(lathe, *MODELS[0], name, text).expect(0)


def unknownKernel(lathe):
    result = compileWith(lathe, *MODELS[0], "no_such_kernel.cu", "")
    expectEqual(result.status, 3, "exit status")
    expect("no_such_kernel.cu" in result.stderr and "attention.cu" in result.stderr, f"says {result.stderr!r}")


def fill(suite, lathe, args):
    suite.add("an edit that computes the same", readsOtherwise, lathe)
    suite.add("a kernel that the model has not", unknownKernel, lathe)
    for model, quant in MODELS:
        suite.add(f"{model}/{quant}/mistakes are refused", refused, lathe, model, quant, slow=True)


if __name__ == "__main__":
    main(__doc__, fill)

#!/usr/bin/env python3
"""Compiled decoders against the answers of Hugging Face transformers: logits within 2e-4, greedy ids equal, every tier."""
import numpy as np

from harness import expect, expectEqual, expected, idList, main, referenceModel

MODELS = ["llama", "llama3-rope-scaled", "mistral-window", "qwen2", "qwen3"]
TOLERANCE = 2e-4


def logits(lathe, folder, tier):
    truth = expected(folder)
    actual = lathe.logits(lathe.artifact(folder, "--quant", "f32"), truth["input_ids"], "--cpu", tier)
    want = truth["logits"][0]
    expectEqual(actual.shape, want.shape, "shape of logits")
    expect(np.isfinite(actual).all(), f"{np.count_nonzero(~np.isfinite(actual))} logits are not finite")
    error = np.abs(actual - want)
    row, column = np.unravel_index(error.argmax(), error.shape)
    expect(error.max() <= TOLERANCE,
           f"logit [{row}, {column}] is {actual[row, column]:.6f}, expected {want[row, column]:.6f}: off by {error.max():.2e}, "
           f"allowed {TOLERANCE:g}; {np.count_nonzero(error.max(axis=1) > TOLERANCE)} of {len(error)} rows are off")
    return f"largest error {error.max():.1e}"


def greedy(lathe, folder, tier):
    truth = expected(folder)
    prompt, want = truth["input_ids"][0, :16], truth["greedy_from_16"][0]
    answer = lathe.generate(lathe.artifact(folder, "--quant", "f32"), "--ids", idList(prompt), "-n", len(want), "--ignore-eos",
                            "--cpu", tier)
    expectEqual(answer["prompt_ids"], prompt.tolist(), "prompt_ids")
    expectEqual(answer["ids"], want.tolist(), "ids")
    expectEqual(answer["finish_reason"], "length", "finish_reason")


def fill(suite, lathe, args):
    for name in MODELS:
        folder = referenceModel(name)
        expect(folder is not None, f"no reference model {name} in test/data/reference")
        for tier in lathe.tiers:
            suite.add(f"{name}/{tier}/logits", logits, lathe, folder, tier)
            suite.add(f"{name}/{tier}/greedy", greedy, lathe, folder, tier)


if __name__ == "__main__":
    main(__doc__, fill)

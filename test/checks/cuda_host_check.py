#!/usr/bin/env python3
"""Kernels of the CUDA target, run on the CPU under all checks: against transformers, and bit for bit in any batch."""
import json
import tempfile
from pathlib import Path

import numpy as np

from harness import expect, expectEqual, expected, idList, main, referenceModel, scratch

MODELS = ["llama", "llama3-rope-scaled", "mistral-window", "qwen2", "qwen3"]
TARGET = "cuda-host:sm_80"
TOLERANCE = {"f32": 2e-4}
DIVERGENCE = {"bf16": 2e-3}


def artifact(lathe, folder, quant):
    return lathe.artifact(folder, "--quant", quant, "--target", TARGET)


def divergence(actual, want):
    """Mean KL(want || actual) over the rows."""
    def log_softmax(x):
        x = x.astype(np.float64) - x.max(axis=-1, keepdims=True)
        return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))
    p, q = log_softmax(want), log_softmax(actual)
    return (np.exp(p) * (p - q)).sum(axis=-1).mean()


def logits(lathe, folder, quant):
    truth = expected(folder)
    actual, want = lathe.logits(artifact(lathe, folder, quant), truth["input_ids"], "--host-seed", "1"), truth["logits"][0]
    expectEqual(actual.shape, want.shape, "shape of logits")
    expect(np.isfinite(actual).all(), f"{np.count_nonzero(~np.isfinite(actual))} logits are not finite")
    if quant in TOLERANCE:
        error = np.abs(actual - want).max()
        expect(error <= TOLERANCE[quant], f"a logit is off by {error:.2e}, allowed {TOLERANCE[quant]:g}")
        return f"largest error {error:.1e}"
    kl = divergence(actual, want)
    expect(kl <= DIVERGENCE[quant], f"mean KL {kl:.2e}, allowed {DIVERGENCE[quant]:g}")
    return f"mean KL {kl:.1e}"


def greedy(lathe, folder, quant):
    truth = expected(folder)
    prompt, want = truth["input_ids"][0, :16], truth["greedy_from_16"][0]
    answer = lathe.generate(artifact(lathe, folder, quant), "--ids", idList(prompt), "-n", len(want), "--ignore-eos",
                            "--host-seed", "2")
    expectEqual(answer["ids"], want.tolist(), "ids")


def sameBits(lathe, folder, quant):
    """All at once, in chunks (1: decode), and in other orders of blocks and threads: the same logits."""
    ids = expected(folder)["input_ids"]
    model = artifact(lathe, folder, quant)
    whole = lathe.logits(model, ids)
    for chunk, seed in ((1, 3), (5, 4), (17, 0)):
        part = lathe.logits(model, ids, "--chunk", str(chunk), "--host-seed", str(seed))
        different = np.count_nonzero(whole.view(np.uint32) != part.view(np.uint32))
        expect(different == 0, f"in chunks of {chunk}, {different} of {whole.size} logits have other bits")


def batch(lathe, model, requests, *options):
    with tempfile.TemporaryDirectory(dir=scratch(lathe.work)) as folder:
        lines, answers = Path(folder) / "in.jsonl", Path(folder) / "out.jsonl"
        lines.write_text("".join(json.dumps({"ids": ids, "n": 6, "ignore_eos": True, "logprobs": 2}) + "\n" for ids in requests))
        lathe.run("batch", model, lines, "-o", answers, *options).expect(0)
        return [json.loads(line) for line in answers.read_text().splitlines()]


def raggedBatch(lathe, folder, quant):
    """Five requests of different lengths together, each as if it were alone."""
    ids = expected(folder)["input_ids"][0]
    model = artifact(lathe, folder, quant)
    requests = [ids[i:i + length].tolist() for i, length in enumerate((1, 7, 16, 33, 40))]
    for request, answer in zip(requests, batch(lathe, model, requests, "--host-seed", "5")):
        alone = batch(lathe, model, [request])[0]
        expectEqual(answer["ids"], alone["ids"], f"ids behind {len(request)} tokens")
        expectEqual(answer["logprobs"], alone["logprobs"], f"logprobs behind {len(request)} tokens")


def fill(suite, lathe, args):
    for name in MODELS:
        folder = referenceModel(name)
        expect(folder is not None, f"no reference model {name} in test/data/reference")
        for quant in ("f32", "bf16"):
            suite.add(f"{name}/{quant}/logits", logits, lathe, folder, quant)
            if quant == "f32":
                suite.add(f"{name}/{quant}/greedy", greedy, lathe, folder, quant)
            suite.add(f"{name}/{quant}/the same bits", sameBits, lathe, folder, quant)
            suite.add(f"{name}/{quant}/ragged batch", raggedBatch, lathe, folder, quant)


if __name__ == "__main__":
    main(__doc__, fill)

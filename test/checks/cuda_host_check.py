#!/usr/bin/env python3
"""Kernels of the CUDA target, run on the CPU under all checks: against transformers, and bit for bit in any batch."""
import json
import re
import shutil
import tempfile
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
from models import llamaConfig, roundedWeights, writeGguf
from oracle import Oracle
from safetensors.numpy import load_file, save_file

from harness import expect, expectEqual, expected, idList, main, referenceModel, scratch

MODELS = ["llama", "llama3-rope-scaled", "mistral-window", "qwen2", "qwen3"]
TARGET = "cuda-host:sm_80"
TOLERANCE = {"f32": 2e-4}
DIVERGENCE = 2e-3
# Quantised weights cost as much time as bf16: the two smallest models have all that differs, a group each.
CODED = {"qwen2": "int8:32", "llama": "int8:64"}
# Error of logits by their spread. f32: sums in another order; the others round inputs of linears to bf16: 0.003 was seen.
SPREAD = {"f32": 1e-5, "bf16": 0.02, "keep": 0.02}


def artifact(lathe, folder, quant):
    """`quant`: bf16, int8 in groups (int8:32), or of these with keys and values of int8 (f32+kv)."""
    name, _, kv = quant.partition("+")
    name, _, group = name.partition(":")
    return lathe.artifact(folder, "--quant", name, *(["--group", group] if group else []), *(["--kv", "int8"] if kv else []), "--target", TARGET)


def coded(weight, group):
    """The values that codes of 8 bits stand for: lm.quant's method absmax, a group's scale rounded up to bf16."""
    result = np.empty(weight.shape, np.float32)
    for begin in range(0, weight.shape[1], group):
        part = weight[:, begin:begin + group]
        exact = np.abs(part).max(axis=1, keepdims=True) / np.float32(127)
        scale = exact.astype(ml_dtypes.bfloat16)
        scale = np.where(scale.astype(np.float32) < exact, np.nextafter(scale, ml_dtypes.bfloat16(np.inf)), scale).astype(np.float32)
        codes = np.rint(np.divide(part, scale, out=np.zeros_like(part), where=scale > 0)).clip(-127, 127)
        result[:, begin:begin + group] = codes * scale
    return result


def ofCodedWeights(lathe, folder, group):
    """Logits in f32, on the CPU, of the model whose matrices are what numpy makes of their codes."""
    with tempfile.TemporaryDirectory(dir=scratch(lathe.work)) as work:
        copy, model = Path(work) / "model", Path(work) / "coded.lathe"
        shutil.copytree(folder, copy)
        tensors = load_file(folder / "model.safetensors")
        save_file({name: coded(value.astype(np.float32), group) if value.ndim == 2 else value for name, value in tensors.items()},
                  copy / "model.safetensors")
        lathe.compile(copy, model, "--quant", "f32", "--cpu", lathe.tiers[0]).expect(0)
        return lathe.logits(model, expected(folder)["input_ids"])


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
    if quant.startswith("int8:"):
        want = ofCodedWeights(lathe, folder, int(quant.removeprefix("int8:")))
    kl = divergence(actual, want)
    expect(kl <= DIVERGENCE, f"mean KL {kl:.2e}, allowed {DIVERGENCE:g}")
    return f"mean KL {kl:.1e}"


def byteKv(lathe, folder, quant):
    """Keys and values of int8 beside those of f32, by this target's kernels and by the CPU target's."""
    ids = expected(folder)["input_ids"]
    exact, cpu = (lathe.logits(lathe.artifact(folder, "--quant", "f32", "--kv", kv, "--cpu", lathe.tiers[0]), ids) for kv in ("f32", "int8"))
    kl, cpu = divergence(lathe.logits(artifact(lathe, folder, quant), ids, "--host-seed", "1"), exact), divergence(cpu, exact)
    expect(0 < kl <= DIVERGENCE, f"mean KL {kl:.2e}, allowed {DIVERGENCE:g}")
    return f"mean KL {kl:.1e}, of the CPU target {cpu:.1e}"


def greedy(lathe, folder, quant):
    truth = expected(folder)
    prompt, want = truth["input_ids"][0, :16], truth["greedy_from_16"][0]
    answer = lathe.generate(artifact(lathe, folder, quant), "--ids", idList(prompt), "-n", len(want), "--ignore-eos",
                            "--host-seed", "2")
    expectEqual(answer["ids"], want.tolist(), "ids")


def sameBits(lathe, folder, quant):
    expectSameBits(lathe, artifact(lathe, folder, quant), expected(folder)["input_ids"], ((1, 3), (5, 4), (17, 0)))


def expectSameBits(lathe, model, ids, cuts):
    """All at once, in chunks (1: decode), and in other orders of blocks and threads: the same logits, which are returned."""
    whole = lathe.logits(model, ids)
    for chunk, seed in cuts:
        part = lathe.logits(model, ids, "--chunk", str(chunk), "--host-seed", str(seed))
        different = np.count_nonzero(whole.view(np.uint32) != part.view(np.uint32))
        expect(different == 0, f"in chunks of {chunk}, {different} of {whole.size} logits have other bits")
    return whole


def wide(lathe, quant):
    """Rows of a linear that shared memory has no room for are read where they are. Kept: the blocks of a GGUF file, whose scales are f16."""
    config = llamaConfig(intermediate_size=4160, num_hidden_layers=1, tie_word_embeddings=True)
    element = "Q8_0" if quant == "keep" else "BF16"
    source = scratch(lathe.work) / f"wide-{element}.gguf"
    writeGguf(source, config, 350, element=element)
    model = lathe.artifact(source, "--quant", quant, "--kv", "f32", "--target", TARGET)
    text = lathe.run("inspect", model, "kernel", "down_residual").expect(0).text
    expect("dot(last - first, gated, first, " in text, "down_residual does not read its rows from global memory")
    ids = np.random.default_rng(350).integers(0, config["vocab_size"], 11)
    logits = expectSameBits(lathe, model, ids, ((1, 6), (9, 7)))
    want = Oracle(config=config, weights=roundedWeights(config, 350, element)).logits(ids)
    error = np.sqrt(((logits - want) ** 2).mean()) / want.std()
    expect(error < SPREAD[quant], f"logits are off by {error:.1e} of their spread, allowed {SPREAD[quant]:g}")
    return f"error {error:.1e} of the spread"


def manyRows(lathe, quant):
    """More rows in a step than a block of the kernels for many rows has, widths that fill no piece of k, no warp and no
    block of column tiles, heads of 80: the bits of few rows."""
    config = llamaConfig(hidden_size=168, head_dim=80, num_attention_heads=2, num_key_value_heads=1, intermediate_size=800,
                         num_hidden_layers=1, vocab_size=328)
    source = scratch(lathe.work) / "many.gguf"
    writeGguf(source, config, 352, element="BF16")
    model = lathe.artifact(source, "--quant", quant, "--target", TARGET)
    text = lathe.run("inspect", model, "kernel", "norm_gate_up_gated_many").expect(0).text
    for part in ("64 rows by 3 of 50 column tiles", "for 97 rows and more", "add_piece(", "piece % 2"):
        expect(part in text, f"norm_gate_up_gated_many does not show {part!r}")
    with zipfile.ZipFile(model) as archive:
        plan = json.loads(archive.read("plan.json"))
    forms = {kernel["symbol"]: [(form["symbol"], form["mostUnits"]) for form in kernel["variants"]["sm_80"]["forms"]] for kernel in plan["kernels"]}
    for name, of in forms.items():
        linear = name not in ("embed", "attention", "sample")
        expectEqual(of, [(name, 96), (f"{name}_many", 0)] if linear else [(name, 0)], f"forms of {name}")
    ids = np.random.default_rng(352).integers(0, config["vocab_size"], 103)
    logits = expectSameBits(lathe, model, ids, ((40, 3), (9, 4)))
    if quant == "bf16":
        want = Oracle(config=config, weights=roundedWeights(config, 352, "BF16")).logits(ids)
        error = np.sqrt(((logits - want) ** 2).mean()) / want.std()
        expect(error < SPREAD[quant], f"logits are off by {error:.1e} of their spread, allowed {SPREAD[quant]:g}")
        return f"error {error:.1e} of the spread"
    return ""


def refused(lathe, folder):
    """Codes that GPUs have no product with: said before anything is made, with the weight's name."""
    source = scratch(lathe.work) / "cuda-Q4_0.gguf"
    writeGguf(source, llamaConfig(), 351, element="Q4_0")
    for model, quant in ((folder, "int4"), (source, "keep")):
        result = lathe.run("compile", model, "--quant", quant, "--target", TARGET, "-o", "/dev/null")
        expectEqual(result.status, 2, f"exit status of --quant {quant}")
        for part in (f"--quant {quant}", "weight 'model.", "xi4", "take --quant int8 or bf16"):
            expect(part in result.stderr, f"--quant {quant} says {result.stderr.strip()!r}, without {part!r}")


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


def overlaps(lathe):
    """Every kernel waits by itself and lets the next one start, so every launch overlaps with the one before it."""
    with zipfile.ZipFile(artifact(lathe, referenceModel("qwen3"), "bf16")) as archive:
        plan = json.loads(archive.read("plan.json"))
    for kernel in plan["kernels"]:
        for form in kernel["variants"]["sm_80"]["forms"]:
            expect(form["waits"] and form["triggers"], f"{form['symbol']} waits: {form['waits']}, triggers: {form['triggers']}")
    edges = [(edge["from"], edge["to"], edge["programmatic"]) for edge in plan["edges"]]
    expectEqual(edges, [(i, i + 1, True) for i in range(len(plan["launches"]) - 1)], "edges")


def wrongPlan(lathe):
    """A stage 20 by hand, in which two buffers that live at a time have one slot: refused before anything is compiled."""
    model = referenceModel("qwen3")
    with tempfile.TemporaryDirectory(dir=scratch(lathe.work)) as folder:
        lathe.run("compile", model, "--quant", "bf16", "--target", TARGET, "--stop-after", "20", "--dump", folder).expect(0)
        file, output = next(Path(folder).glob("20-*")), Path(folder) / "out.lathe"
        file.write_text(re.sub(r"rows slot \d+", "rows slot 0", file.read_text()))
        result = lathe.run("compile", model, "--quant", "bf16", "--target", TARGET, "--from", file, "-o", output)
        expectEqual(result.status, 3, f"exit status ({result.stderr[-300:]})")
        expect(re.search(r"plan.json: launches\[\d+\] \(", result.stderr) and not output.exists(), f"says {result.stderr!r}")


def fill(suite, lathe, args):
    suite.add("launches overlap", overlaps, lathe)
    suite.add("a wrong plan is refused", wrongPlan, lathe)
    for name in MODELS:
        folder = referenceModel(name)
        expect(folder is not None, f"no reference model {name} in test/data/reference")
        for quant in ("f32", "bf16", *([CODED[name]] if name in CODED else [])):
            suite.add(f"{name}/{quant}/logits", logits, lathe, folder, quant)
            if quant == "f32":
                suite.add(f"{name}/{quant}/greedy", greedy, lathe, folder, quant)
            suite.add(f"{name}/{quant}/the same bits", sameBits, lathe, folder, quant)
            suite.add(f"{name}/{quant}/ragged batch", raggedBatch, lathe, folder, quant)
    # Codes in groups are quick, and a window opens in the middle of a page.
    for name in MODELS:
        suite.add(f"{name}/f32+kv/logits", byteKv, lathe, referenceModel(name), "f32+kv")
    for name, quant in (("qwen2", "int8:32+kv"), ("mistral-window", "f32+kv")):
        suite.add(f"{name}/{quant}/the same bits", sameBits, lathe, referenceModel(name), quant)
        suite.add(f"{name}/{quant}/ragged batch", raggedBatch, lathe, referenceModel(name), quant)
    for quant in SPREAD:
        suite.add(f"wide/{quant}", wide, lathe, quant)
    for quant in ("bf16", "int8"):
        suite.add(f"many rows/{quant}", manyRows, lathe, quant)
    suite.add("refused codes", refused, lathe, referenceModel("qwen2"))
    # A scale of 128 elements stands for both blocks of 64.
    suite.add("qwen2/int8:128/logits", logits, lathe, referenceModel("qwen2"), "int8:128")


if __name__ == "__main__":
    main(__doc__, fill)

#!/usr/bin/env python3
"""Output does not depend on how the work was cut: chunking, threads and batch leave every bit of the logits alone."""
import json
import tempfile
from pathlib import Path

import numpy as np

from models import drawWeights, llamaConfig, writeHuggingFace
from oracle import Oracle

from harness import expect, expectEqual, expected, idList, main, referenceModel, scratch, smollm2

MODELS = ["llama", "llama3-rope-scaled", "mistral-window", "qwen2", "qwen3"]
# Lengths around the chunk of 5, the row variants of 16 and the page; the longest takes most of the reference's 48 ids.
LENGTHS = [1, 5, 16, 17, 31, 33, 47]
NEW_TOKENS = 12
# How numbers are stored, as options of compile.
NUMBERS = {"f32": ["--quant", "f32"], "bf16": ["--quant", "bf16"], "int8": ["--quant", "int8"], "int8 with int8 KV": ["--quant", "int8", "--kv", "int8"]}
# Some chunks of 256 positions and a part of one; a window that opens within a chunk; one KV head for more workers.
LONG = 777
LONG_CONFIGS = {
    "grouped": llamaConfig(max_position_embeddings=1024, head_dim=24, num_attention_heads=6, num_key_value_heads=2),
    "window": llamaConfig(model_type="mistral", architectures=["MistralForCausalLM"], max_position_embeddings=1024,
                          sliding_window=300, num_attention_heads=4, num_key_value_heads=4),
    "one head": llamaConfig(max_position_embeddings=1024, num_attention_heads=7, num_key_value_heads=1),
}


TWIN = "the code of a tier before it"


def sameBits(lathe, artifact, ids, tier):
    """Of a tier that is emulated fewer cuts: how work is cut among threads is no matter of the tier."""
    cuts = [(chunk, threads) for threads in (1, 2) for chunk in (len(ids), 5, 1)]
    if tier in lathe.emulatedTiers:
        cuts = [(len(ids), 1), (5, 2), (1, 2)]
    first = None
    for chunk, threads in cuts:
        logits = lathe.logits(artifact, ids, "--cpu", tier, "--chunk", chunk, "-t", threads)
        expect(np.isfinite(logits).all(), f"--chunk {chunk} -t {threads}: logits are not finite")
        if first is None:
            first = logits
            expect(np.ptp(first, axis=1).min() > 0, "a row of logits is constant")
            continue
        different = (logits.view(np.uint32) != first.view(np.uint32)).any(axis=1)
        expect(not different.any(),
               f"--chunk {chunk} -t {threads} differs from --chunk {cuts[0][0]} -t {cuts[0][1]} in {different.sum()} of "
               f"{len(ids)} rows, first in row {different.argmax()}, by at most {np.abs(logits - first).max():.2e}")
    # On another tier, where the artifact has more than this one: all give the same bits.
    other = next(iter(lathe.distinctTiers(artifact)), tier) if tier in lathe.tiers else tier
    whole = lathe.logits(artifact, ids, "--cpu", other)
    expect(np.array_equal(whole.view(np.uint32), first.view(np.uint32)), f"eval without --chunk and -t differs on {other}")
    return f"{len(cuts) + 1} cuts"


def raggedBatch(lathe, artifact, ids, tier):
    prompts = [ids[-length:].tolist() for length in LENGTHS]
    with tempfile.TemporaryDirectory(dir=scratch(lathe.work)) as folder:
        requests, answers = Path(folder) / "in.jsonl", Path(folder) / "out.jsonl"
        requests.write_text("".join(json.dumps({"ids": p, "n": NEW_TOKENS, "ignore_eos": True}) + "\n" for p in prompts))
        lathe.run("batch", artifact, requests, "-o", answers, "--cpu", tier).expect(0)
        together = [json.loads(line) for line in answers.read_text().splitlines()]
    expectEqual(len(together), len(prompts), "lines written by batch")
    for prompt, answer in zip(prompts, together):
        expectEqual(answer["prompt_ids"], prompt, "prompt_ids of a line")
        alone = lathe.generate(artifact, "--ids", idList(prompt), "-n", NEW_TOKENS, "--ignore-eos", "--cpu", tier)
        expectEqual(len(alone["ids"]), NEW_TOKENS, "number of new ids")
        expectEqual(answer["ids"], alone["ids"], f"ids after a prompt of {len(prompt)} in a batch of {len(prompts)}")


def longContext(lathe, name, config, numbers, tier):
    """Positions of several attention chunks: with two threads and few rows they are split among workers."""
    seed = len(name)
    ids = np.random.default_rng(seed).integers(0, config["vocab_size"], LONG)
    folder = scratch(lathe.work) / f"long-{name}"
    if not folder.exists():
        writeHuggingFace(folder, config, seed)
    artifact = lathe.artifact(folder, *NUMBERS[numbers])
    if tier not in lathe.distinctTiers(artifact):
        return TWIN
    cuts = sameBits(lathe, artifact, ids, tier)
    if numbers == "f32":
        want = Oracle(config=config, weights=drawWeights(config, seed)).logits(ids)
        error = np.abs(lathe.logits(artifact, ids, "--cpu", tier, "--chunk", 3, "-t", 2) - want).max()
        expect(error < 2e-4, f"logits are off by {error:.2e}")
    return cuts


def everyRowCount(lathe, artifact, ids, tier):
    """Steps of 1 to 33 rows: every row variant of the register tiles, every way that rows are spread over tiles."""
    first = lathe.logits(artifact, ids, "--cpu", tier, "--chunk", len(ids))
    for rows in range(1, 34):
        logits = lathe.logits(artifact, ids, "--cpu", tier, "--chunk", rows)
        expect(np.array_equal(first.view(np.uint32), logits.view(np.uint32)), f"steps of {rows} rows give other bits")
    return "33 row counts"


def sameAsTheMachine(lathe, artifact, ids, tier):
    """An emulated tier, on a real model: too slow for all cuts."""
    own, emulated = (lathe.logits(artifact, ids, "--cpu", name, "-t", 2) for name in (lathe.machineTiers[-1], tier))
    expect(np.array_equal(own.view(np.uint32), emulated.view(np.uint32)), f"{tier} differs from {lathe.machineTiers[-1]}")


def ofItsOwn(check):
    """The same check for tiers whose code no other one has; of a twin there is nothing more to see."""
    def checked(lathe, artifact, ids, tier):
        return check(lathe, artifact, ids, tier) if tier in lathe.distinctTiers(artifact) else TWIN
    return checked


def addAll(suite, lathe, name, model, ids, numbers, tiers):
    for tier in tiers:
        # The artifact is compiled inside the first check that needs it, so that its failure is that check's.
        suite.add(f"{name}/{numbers}/{tier}/chunks and threads",
                  lambda tier=tier: ofItsOwn(sameBits)(lathe, lathe.artifact(model, *NUMBERS[numbers]), ids, tier))
        suite.add(f"{name}/{numbers}/{tier}/ragged batch",
                  lambda tier=tier: ofItsOwn(raggedBatch)(lathe, lathe.artifact(model, *NUMBERS[numbers]), ids, tier))


def fill(suite, lathe, args):
    for name in MODELS:
        folder = referenceModel(name)
        expect(folder is not None, f"no reference model {name} in test/data/reference")
        for numbers in NUMBERS:
            addAll(suite, lathe, name, folder, expected(folder)["input_ids"][0], numbers, lathe.tiers)
    folder = referenceModel("qwen3")
    for quant in ("f32", "bf16", "int8", "int4"):
        for tier in lathe.tiers:
            suite.add(f"qwen3/{quant}/{tier}/1 to 33 rows", lambda quant=quant, tier=tier: ofItsOwn(everyRowCount)(
                lathe, lathe.artifact(folder, "--quant", quant), np.resize(expected(folder)["input_ids"][0], 67), tier))
    for name, config in LONG_CONFIGS.items():
        for numbers in NUMBERS:
            for tier in lathe.tiers:
                suite.add(f"{name}/{numbers}/{tier}/{LONG} positions", longContext, lathe, name, config, numbers, tier)
    if not args.fast:
        ids = expected(referenceModel("smollm2-135m"))["text_ids"]
        for numbers in NUMBERS:
            addAll(suite, lathe, "smollm2", smollm2(), ids[:101], numbers, lathe.machineTiers)
        for tier in lathe.emulatedTiers:
            suite.add(f"smollm2/int8/{tier}/as {lathe.machineTiers[-1]}", lambda tier=tier: sameAsTheMachine(
                lathe, lathe.artifact(smollm2(), *NUMBERS["int8"]), ids[:29], tier))


if __name__ == "__main__":
    main(__doc__, fill)

#!/usr/bin/env python3
"""Decoders of odd sizes, drawn from seeds, against an independent float64 implementation (oracle.py)."""
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from harness import expect, expectEqual, expected, idList, main, referenceModel, scratch
from models import ELEMENTS, drawWeights, llamaConfig, roundedWeights, writeGguf, writeHuggingFace
from oracle import Oracle

TOLERANCE = 2e-4  # logits have a standard deviation near 1
TOKENS = 45
DRAWS = 6  # random configs of each family
# In f32 the other tiers have the code of these, which is checked: no model is compiled for them too.
TIERS = ["--cpu", "x86-64-v3", "--cpu", "avx512vnni"]
TWINS = {"avxvnni": "x86-64-v3", "amx": "avx512vnni"}

ROPES = {
    "default": {"rope_type": "default"},
    "linear": {"rope_type": "linear", "factor": 2.5},
    "llama3": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 32},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
    "yarn mscale": {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 16, "mscale": 0.9,
                    "mscale_all_dim": 0.6},
    "yarn attention": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 24, "attention_factor": 1.3,
                       "beta_fast": 24, "beta_slow": 2},
    "yarn exact": {"rope_type": "yarn", "factor": 6.0, "original_max_position_embeddings": 40, "truncate": False},
}


def rope(kind, theta=10000.0):
    return {"rope_parameters": {"rope_theta": theta, **ROPES[kind]}}


def named():
    """Configs that each stress one thing."""
    yield "one of everything", llamaConfig(hidden_size=24, intermediate_size=1, num_attention_heads=1, num_key_value_heads=1,
                                           head_dim=24, num_hidden_layers=1, vocab_size=3)
    yield "attention and mlp biases", llamaConfig(attention_bias=True, mlp_bias=True)
    yield "attention biases, tied", llamaConfig(attention_bias=True, tie_word_embeddings=True)
    yield "group of 7", llamaConfig(num_attention_heads=7, num_key_value_heads=1, hidden_size=112)
    yield "group of 3, head_dim 40", llamaConfig(num_attention_heads=9, num_key_value_heads=3, head_dim=40, hidden_size=100)
    yield "no groups, head_dim 80", llamaConfig(num_attention_heads=3, num_key_value_heads=3, head_dim=80, hidden_size=72)
    yield "head_dim 128", llamaConfig(num_attention_heads=2, num_key_value_heads=1, head_dim=128, hidden_size=192)
    yield "head_dim 2", llamaConfig(num_attention_heads=5, num_key_value_heads=5, head_dim=2, hidden_size=30)
    yield "head_dim absent", llamaConfig(head_dim=None, num_attention_heads=4, num_key_value_heads=2, hidden_size=72)
    yield "widths of primes", llamaConfig(hidden_size=97, intermediate_size=211, vocab_size=331)
    yield "wide mlp", llamaConfig(intermediate_size=1037, hidden_size=48)
    for kind in ROPES:
        yield f"rope {kind}", llamaConfig(**rope(kind), head_dim=32)
    older = llamaConfig(rope_parameters=None, dtype=None, torch_dtype="float32", rope_theta=5000.0, eos_token_id=[2, 5],
                        rope_scaling={"type": "linear", "factor": 3.0})
    yield "older config, linear", older
    yield "older config, llama3", {**older, "rope_scaling": ROPES["llama3"]}
    yield "older config, none", {**older, "rope_scaling": None}
    mistral = dict(model_type="mistral", architectures=["MistralForCausalLM"], attention_bias=None, mlp_bias=None)
    for window in (1, 5, 16, 31):
        yield f"window of {window}", llamaConfig(**mistral, sliding_window=window)
    yield "window beyond the text", llamaConfig(**mistral, sliding_window=100)
    qwen2 = dict(model_type="qwen2", architectures=["Qwen2ForCausalLM"], attention_bias=None, mlp_bias=None)
    yield "qwen2 windows by layer_types", llamaConfig(
        **qwen2, num_hidden_layers=3, use_sliding_window=True, sliding_window=7, max_window_layers=1,
        layer_types=["full_attention", "sliding_attention", "full_attention"])
    yield "qwen2 windows by max_window_layers", llamaConfig(
        **qwen2, num_hidden_layers=3, use_sliding_window=True, sliding_window=9, max_window_layers=1)
    yield "qwen2 window not used", llamaConfig(**qwen2, use_sliding_window=False, sliding_window=4, max_window_layers=0)
    qwen3 = dict(model_type="qwen3", architectures=["Qwen3ForCausalLM"], mlp_bias=None)
    yield "qwen3 with biases", llamaConfig(**{**qwen3, "attention_bias": True}, head_dim=24)


def drawn(family, seed):
    """A config of a family with sizes drawn from a seed."""
    generator = np.random.default_rng(seed)

    def pick(*values):
        return values[generator.integers(len(values))]

    kvHeads = int(generator.integers(1, 4))
    headDim = int(pick(8, 16, 18, 24, 32, 40, 48, 64, 72))
    config = llamaConfig(
        model_type=family, architectures=[family.capitalize() + "ForCausalLM"],
        hidden_size=int(generator.integers(17, 180)), intermediate_size=int(generator.integers(9, 400)),
        num_attention_heads=kvHeads * int(generator.integers(1, 6)), num_key_value_heads=kvHeads, head_dim=headDim,
        num_hidden_layers=int(generator.integers(1, 4)), vocab_size=int(generator.integers(40, 700)),
        rms_norm_eps=float(pick(1e-6, 1e-5, 1e-2)), tie_word_embeddings=bool(pick(True, False)),
        attention_bias=None if family in ("qwen2", "mistral") else bool(pick(True, False)),
        mlp_bias=bool(pick(True, False)) if family == "llama" else None,
        **rope(str(pick(*ROPES)), theta=float(pick(500.0, 10000.0, 1e6))))
    if family == "mistral":
        config["sliding_window"] = int(generator.integers(1, 50))
    return config


def closeTo(actual, want):
    expectEqual(actual.shape, want.shape, "shape of logits")
    expect(np.isfinite(actual).all(), f"{np.count_nonzero(~np.isfinite(actual))} logits are not finite")
    error = np.abs(actual - want)
    rows = np.flatnonzero(error.max(axis=1) > TOLERANCE)
    expect(not len(rows), f"largest error {error.max():.2e}, allowed {TOLERANCE:g}; {len(rows)} of {len(error)} rows are off, "
                          f"first row {rows[0] if len(rows) else '-'}")
    return f"largest error {error.max():.1e}, deviation of logits {want.std():.2f}"


def trusted(name):
    folder = referenceModel(name)
    expect(folder is not None, f"no reference model {name} in test/data/reference")
    truth, oracle = expected(folder), Oracle(folder)
    expectEqual(oracle.greedy(truth["input_ids"][0, :16], 24), truth["greedy_from_16"][0].tolist(), "greedy ids of the oracle")
    return closeTo(oracle.logits(truth["input_ids"]), truth["logits"][0].astype(np.float64))


def twins(lathe, name):
    with zipfile.ZipFile(lathe.artifact(referenceModel(name), "--quant", "f32")) as file:
        for tier, twin in TWINS.items():
            expect(file.read(f"kernels/{tier}.so") == file.read(f"kernels/{twin}.so"), f"in f32 {tier} has other code than {twin}: take all tiers")


def compare(lathe, config, write, weights, seed):
    ids = np.random.default_rng(seed).integers(0, config["vocab_size"], TOKENS)
    want = Oracle(config=config, weights=weights).logits(ids)
    with tempfile.TemporaryDirectory(dir=scratch(lathe.work)) as folder:
        model, artifact = write(Path(folder)), Path(folder) / "model.lathe"
        lathe.compile(model, artifact, "--quant", "f32", *TIERS).expect(0)
        figures = [closeTo(lathe.logits(artifact, ids, "--cpu", tier), want) for tier in lathe.distinctTiers(artifact)]
        # Decoding takes other kernels than a whole prompt: the ids after a short prompt must follow the same logits.
        answer = lathe.generate(artifact, "--ids", idList(ids[:7]), "-n", 6, "--ignore-eos")
    oracle, context = Oracle(config=config, weights=weights), list(ids[:7])
    for token in answer["ids"]:
        row = oracle.logits(context)[-1]
        expect(row[token] >= row.max() - 2 * TOLERANCE, f"after {len(context)} ids: chose {token} with logit {row[token]:.5f}, the "
                                                        f"best is {row.argmax()} with {row.max():.5f}")
        context.append(token)
    expectEqual(len(context), 13, "ids after generating")
    return "; ".join(figures)


def fromFolder(lathe, config, seed, element="float32", files=1):
    weights = {key: values.astype(ELEMENTS[element]).astype(np.float64) for key, values in drawWeights(config, seed).items()}
    return compare(lathe, config,
                   lambda folder: writeHuggingFace(folder / "model", config, seed, element=element, files=files), weights, seed)


def fromGguf(lathe, element, seed):
    config = llamaConfig(hidden_size=96, num_attention_heads=6, intermediate_size=160, tie_word_embeddings=True)
    return compare(lathe, config, lambda folder: writeGguf(folder / "model.gguf", config, seed, element=element),
                   roundedWeights(config, seed, element), seed)


def fill(suite, lathe, args):
    for name in ("llama", "llama3-rope-scaled", "mistral-window", "qwen2", "qwen3"):
        suite.add(f"oracle/{name}", trusted, name)
        suite.add(f"f32 of two tiers/{name}", twins, lathe, name)
    for seed, (name, config) in enumerate(named()):
        suite.add(f"config/{name}", fromFolder, lathe, config, seed)
    for element in ("float16", "bfloat16"):
        suite.add(f"folder/{element}, 3 files", fromFolder, lathe, llamaConfig(dtype=element), 50, element, 3)
    for element in ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1"):
        suite.add(f"gguf/{element}", fromGguf, lathe, element, 60)
    for number, family in enumerate(("llama", "qwen2", "qwen3", "mistral")):
        for draw in range(DRAWS):
            seed = 1000 * (number + 1) + draw
            suite.add(f"drawn/{family}/{seed}", fromFolder, lathe, drawn(family, seed), seed, slow=draw > 1)


if __name__ == "__main__":
    main(__doc__, fill)

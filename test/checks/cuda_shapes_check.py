#!/usr/bin/env python3
"""What configs may say and the reference models do not: drawn decoders by the CUDA target's kernels, run on the CPU, against the CPU target.

Sums of products have the same order on both in f32; those of a norm, which a block makes together, have not.
"""
import tempfile
from pathlib import Path

import numpy as np

from harness import expect, expectEqual, main, scratch

TARGET = "cuda-host:sm_80"
TOKENS = 41  # a page and a part of one
SPREAD = 1e-5  # the largest error of a logit, by the spread of all
KV_SPREAD = 0.01  # mean error that keys and values of int8 may cost, by the spread


def toml(rope, **keys):
    """A decoder of one layer, or more where `layer_types` says so; `rope` is its table."""
    config = {"name": "drawn", "model_type": "llama", "vocab_size": 61, "hidden_size": 48, "intermediate_size": 40,
              "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32,
              "max_position_embeddings": 512, "bos_token_id": 0, "eos_token_id": 0, **keys}
    if "norm_type" not in keys:
        config["rms_norm_eps"] = 1e-5

    def text(value):
        return {True: "true", False: "false"}.get(value) if isinstance(value, bool) else repr(value).replace("'", '"')
    tables = "".join(f"\n[{name}]\n" + "".join(f"{key} = {text(value)}\n" for key, value in table.items())
                     for name, table in (("rope_parameters", rope),))
    return "".join(f"{key} = {text(value)}\n" for key, value in config.items()) + tables


HALF = {"rope_type": "default", "rope_theta": 100.0}
PAIRS = {**HALF, "rope_layout": "interleaved"}
# A pair of 16 lanes is whole (32), broken (24, 80), one of one (2); heads alone, in groups, one group; each mask.
MODELS = {
    "interleaved pairs": toml(PAIRS, attention_bias=True),
    "interleaved pairs, head_dim 24, a window": toml(PAIRS, head_dim=24, sliding_window=5, num_attention_heads=3, num_key_value_heads=1),
    "interleaved pairs, head_dim 80": toml(PAIRS, head_dim=80, num_attention_heads=2, qk_norm="rms", qk_norm_eps=1e-5),
    "interleaved pairs, head_dim 2": toml(PAIRS, head_dim=2, num_attention_heads=5, num_key_value_heads=5, hidden_size=30),
    "half pairs, head_dim 40, groups of 7": toml(HALF, head_dim=40, num_attention_heads=7, num_key_value_heads=1, mlp_bias=True),
    "layer norms, of heads too": toml({"rope_type": "none"}, head_dim=17, norm_type="layer", layer_norm_eps=1e-5, qk_norm="layer",
                                      qk_norm_eps=1e-5, head_bias=True),
    "windows in some layers": toml({**HALF, "rope_type": "linear", "factor": 2.5}, num_hidden_layers=2, sliding_window=7,
                                   layer_types=["sliding_attention", "full_attention"]),
    "head_dim 256": toml(HALF, head_dim=256, hidden_size=32, num_attention_heads=2, num_key_value_heads=1),
}


def errorOf(lathe, folder, source, *options):
    """Logits of the CUDA target and of the CPU target in f32; decode and prefill of the former agree in every bit."""
    ids = np.random.default_rng(7).integers(0, 61, TOKENS)
    models = {}
    for name, target in (("device", ("--target", TARGET, *options)), ("cpu", ("--cpu", lathe.tiers[0], "--kv", "f32"))):
        models[name] = folder / f"{name}.lathe"
        lathe.compile(source, models[name], "--weights", "random:0", "--quant", "f32", *target).expect(0)
    got, want = lathe.logits(models["device"], ids, "--host-seed", "1"), lathe.logits(models["cpu"], ids)
    expectEqual(got.shape, want.shape, "shape of logits")
    expect(np.isfinite(got).all(), f"{np.count_nonzero(~np.isfinite(got))} logits are not finite")
    parts = lathe.logits(models["device"], ids, "--chunk", "7", "--host-seed", "2")
    different = np.count_nonzero(got.view(np.uint32) != parts.view(np.uint32))
    expect(different == 0, f"in chunks of 7, {different} of {got.size} logits have other bits")
    return np.abs(got - want) / want.std()


def sameAsCpu(lathe, text):
    with tempfile.TemporaryDirectory(dir=scratch(lathe.work)) as folder:
        source = Path(folder) / "drawn.toml"
        source.write_text(text)
        error = errorOf(lathe, Path(folder), source, "--kv", "f32").max()
        expect(error <= SPREAD, f"a logit is off by {error:.1e} of the spread, allowed {SPREAD:g}")
        return f"largest error {error:.1e} of the spread"


def byteKv(lathe, text):
    with tempfile.TemporaryDirectory(dir=scratch(lathe.work)) as folder:
        source = Path(folder) / "drawn.toml"
        source.write_text(text)
        error = errorOf(lathe, Path(folder), source, "--kv", "int8").mean()
        expect(error <= KV_SPREAD, f"logits are off by {error:.1e} of the spread, allowed {KV_SPREAD:g}")
        expect(error > 0, "rounding keys and values changed nothing")
        return f"mean error {error:.1e} of the spread"


def threeChunks(lathe):
    """A context of three chunks and a part of a page, in one prompt, in two and behind a short one."""
    with tempfile.TemporaryDirectory(dir=scratch(lathe.work)) as folder:
        source, model = Path(folder) / "long.toml", Path(folder) / "long.lathe"
        source.write_text(toml(HALF, head_dim=32, num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=1024))
        lathe.compile(source, model, "--weights", "random:0", "--quant", "bf16", "--kv", "int8", "--target", TARGET).expect(0)
        ids = np.random.default_rng(8).integers(0, 61, 530)
        whole = lathe.logits(model, ids)
        expect(np.isfinite(whole).all(), f"{np.count_nonzero(~np.isfinite(whole))} logits are not finite")
        for chunk, seed in ((300, 3), (97, 4)):
            part = lathe.logits(model, ids, "--chunk", str(chunk), "--host-seed", str(seed))
            different = np.count_nonzero(whole.view(np.uint32) != part.view(np.uint32))
            expect(different == 0, f"in chunks of {chunk}, {different} of {whole.size} logits have other bits")


def fill(suite, lathe, args):
    for name, text in MODELS.items():
        suite.add(f"f32/{name}", sameAsCpu, lathe, text)
    suite.add("int8 pages/three chunks", threeChunks, lathe)
    # Pages are padded to 32 columns: heads of 17, and the widest.
    for name in ("layer norms, of heads too", "head_dim 256"):
        suite.add(f"int8 pages/{name}", byteKv, lathe, MODELS[name])


if __name__ == "__main__":
    main(__doc__, fill)

#!/usr/bin/env python3
"""`--quant keep` computes with the blocks of a GGUF file: logits near those of the dequantised weights, the same bits in every tier and cut."""
import numpy as np
from models import llamaConfig, roundedWeights, writeGguf
from oracle import Oracle

from harness import expect, main, scratch
from invariance_check import sameBits

TOKENS = 41
# Inputs of linears are rounded to 8 bits in groups of 32: 0.001 to 0.05 of the logits' spread was seen. A wrong bias, scale or order
# of codes changes logits by as much as they spread.
TOLERANCE = 0.1
SIMPLE = ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1")
SUPER = ("Q4_K", "Q5_K", "Q6_K")


def mixed(name):
    """As llama.cpp's Q4_K_M has it: more bits for values and what leads out of the MLP, in some layers."""
    if "embed_tokens" in name or "v_proj" in name or ("down_proj" in name and "layers.0" in name):
        return "Q6_K"
    return "Q4_K"


def mixedSmall(name):
    return "Q5_0" if "v_proj" in name or "up_proj" in name else "Q4_1" if "k_proj" in name else "Q8_0"


def check(lathe, name, element, config, seed):
    folder = scratch(lathe.work)
    model = folder / f"keep-{name}.gguf"
    writeGguf(model, config, seed, element=element)
    artifact = lathe.artifact(model, "--quant", "keep")
    ids = np.random.default_rng(seed).integers(0, config["vocab_size"], TOKENS)
    want = Oracle(config=config, weights=roundedWeights(config, seed, element)).logits(ids)
    first = None
    for tier in lathe.tiers:
        sameBits(lathe, artifact, ids, tier)
        logits = lathe.logits(artifact, ids, "--cpu", tier)
        error = np.sqrt(((logits - want) ** 2).mean()) / want.std()
        expect(error < TOLERANCE, f"{tier}: logits are off by {error:.4f} of their spread")
        expect(error > 1e-6, f"{tier}: logits are those of float inputs: is this the quantised kernel?")
        first = logits if first is None else first
        expect(np.array_equal(first.view(np.uint32), logits.view(np.uint32)), f"{tier} differs from {lathe.tiers[0]}")
    return f"error {error:.4f} of the spread"


def fill(suite, lathe, args):
    # Widths that are no multiple of a panel, and of an odd number of blocks.
    small = llamaConfig(hidden_size=96, num_attention_heads=6, intermediate_size=160, tie_word_embeddings=True, head_dim=16)
    large = llamaConfig(hidden_size=256, num_attention_heads=6, num_key_value_heads=3, intermediate_size=768, head_dim=128,
                        vocab_size=333, tie_word_embeddings=True)
    for seed, element in enumerate(SIMPLE):
        suite.add(f"keep/{element}", check, lathe, element, element, small, 300 + seed)
    for seed, element in enumerate(SUPER):
        suite.add(f"keep/{element}", check, lathe, element, element, large, 310 + seed)
    suite.add("keep/Q4_K and Q6_K", check, lathe, "mixed", mixed, large, 320)
    suite.add("keep/Q8_0, Q5_0 and Q4_1", check, lathe, "mixed-small", mixedSmall, small, 321)


if __name__ == "__main__":
    main(__doc__, fill)

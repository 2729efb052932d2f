"""An independent decoder in numpy float64, written from the formulas and not from Lathe's code.

Computes llama, qwen2, qwen3 and mistral models from a Hugging Face folder. Formulas: Hugging Face transformers,
modeling_{llama,qwen2,qwen3,mistral}.py and modeling_rope_utils.py. random_models_check.py first holds it against the
answers of transformers itself, then uses it on configs that transformers was not asked about.
"""
import json
import math
from pathlib import Path

import numpy as np
from safetensors import safe_open


def ropeParameters(config):
    """Both generations of config.json: rope_parameters, or rope_theta with rope_scaling."""
    parameters = dict(config.get("rope_parameters") or {})
    if not parameters:
        parameters = dict(config.get("rope_scaling") or {})
        parameters["rope_theta"] = config.get("rope_theta", 10000.0)
    parameters["rope_type"] = parameters.get("rope_type") or parameters.get("type") or "default"
    return parameters


def inverseFrequencies(config, headDim):
    """(inverse frequencies [headDim / 2], factor on cos and sin)."""
    rope = ropeParameters(config)
    theta = float(rope["rope_theta"])
    plain = 1.0 / theta ** (np.arange(0, headDim, 2) / headDim)
    kind = rope["rope_type"]
    if kind == "default":
        return plain, 1.0
    factor = float(rope["factor"])
    if kind == "linear":
        return plain / factor, 1.0
    if kind == "llama3":
        original = rope["original_max_position_embeddings"]
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        wavelength = 2 * math.pi / plain
        smooth = (original / wavelength - low) / (high - low)
        blended = (1 - smooth) * plain / factor + smooth * plain
        result = np.where(wavelength > original / low, plain / factor, blended)
        return np.where(wavelength < original / high, plain, result), 1.0
    if kind == "yarn":
        return yarn(rope, theta, factor, headDim, plain)
    raise ValueError(f"rope_type {kind}")


def yarn(rope, theta, factor, dim, plain):
    original = rope["original_max_position_embeddings"]

    def scale(by, weight=1.0):
        return 1.0 if by <= 1 else 0.1 * weight * math.log(by) + 1.0

    attention = rope.get("attention_factor")
    if attention is None:
        if rope.get("mscale") and rope.get("mscale_all_dim"):
            attention = scale(factor, rope["mscale"]) / scale(factor, rope["mscale_all_dim"])
        else:
            attention = scale(factor)

    def dimensionOf(rotations):
        return dim * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low, high = dimensionOf(rope.get("beta_fast") or 32), dimensionOf(rope.get("beta_slow") or 1)
    if rope.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    if low == high:
        high += 0.001
    ramp = np.clip((np.arange(dim // 2) - low) / (high - low), 0, 1)
    return plain / factor * ramp + plain * (1 - ramp), attention


def loadWeights(folder):
    """Every tensor of every safetensors file in the folder, as float64."""
    weights = {}
    for path in sorted(Path(folder).glob("*.safetensors")):
        if path.name == "expected.safetensors":
            continue
        with safe_open(path, "np") as file:
            for name in file.keys():
                weights[name] = file.get_tensor(name).astype(np.float64)
    return weights


class Oracle:
    """A model from a Hugging Face folder, or from a config and weights given."""

    def __init__(self, folder=None, config=None, weights=None):
        self.config = config = config or json.loads((Path(folder) / "config.json").read_text())
        self.weights = weights or loadWeights(folder)
        self.heads = config["num_attention_heads"]
        self.kvHeads = config.get("num_key_value_heads") or self.heads
        self.headDim = config.get("head_dim") or config["hidden_size"] // self.heads
        self.eps = config["rms_norm_eps"]

    def norm(self, x, name):
        return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self.eps) * self.weights[name + ".weight"]

    def linear(self, x, name):
        y = x @ self.weights[name + ".weight"].T
        return y + self.weights[name + ".bias"] if name + ".bias" in self.weights else y

    def window(self, layer):
        """Positions a row sees, itself included; None: all before it."""
        config = self.config
        size = config.get("sliding_window")
        if config["model_type"] in ("qwen2", "qwen3"):
            if not config.get("use_sliding_window"):
                return None
            kinds = config.get("layer_types")
            if kinds:
                return size if kinds[layer] == "sliding_attention" else None
            return size if layer >= config["max_window_layers"] else None
        return size if config["model_type"] == "mistral" else None

    def attention(self, x, layer):
        prefix = f"model.layers.{layer}.self_attn."
        tokens = x.shape[0]

        def heads(name, count):
            return self.linear(x, prefix + name).reshape(tokens, count, self.headDim)

        q, k, v = heads("q_proj", self.heads), heads("k_proj", self.kvHeads), heads("v_proj", self.kvHeads)
        if prefix + "q_norm.weight" in self.weights:
            q, k = self.norm(q, prefix + "q_norm"), self.norm(k, prefix + "k_norm")
        inverse, factor = inverseFrequencies(self.config, self.headDim)
        angle = np.arange(tokens)[:, None] * inverse[None, :]
        cos, sin = np.cos(angle)[:, None, :] * factor, np.sin(angle)[:, None, :] * factor

        def rotate(y):
            a, b = np.split(y, 2, axis=-1)
            return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)

        q, k = rotate(q), rotate(k)
        group = self.heads // self.kvHeads
        k, v = np.repeat(k, group, axis=1), np.repeat(v, group, axis=1)
        scores = np.einsum("qhd,khd->hqk", q, k) / math.sqrt(self.headDim)
        row, column = np.arange(tokens)[:, None], np.arange(tokens)[None, :]
        seen = column <= row
        if (size := self.window(layer)) is not None:
            seen &= column > row - size
        scores = np.where(seen, scores, -np.inf)
        scores -= scores.max(axis=-1, keepdims=True)
        weights = np.exp(scores)
        weights /= weights.sum(axis=-1, keepdims=True)
        mixed = np.einsum("hqk,khd->qhd", weights, v).reshape(tokens, -1)
        return self.linear(mixed, prefix + "o_proj")

    def mlp(self, x, layer):
        prefix = f"model.layers.{layer}.mlp."
        gate = self.linear(x, prefix + "gate_proj")
        return self.linear(gate / (1 + np.exp(-gate)) * self.linear(x, prefix + "up_proj"), prefix + "down_proj")

    def logits(self, ids):
        """float64 [tokens, vocab]."""
        x = self.weights["model.embed_tokens.weight"][np.ravel(ids)]
        for layer in range(self.config["num_hidden_layers"]):
            prefix = f"model.layers.{layer}."
            x = x + self.attention(self.norm(x, prefix + "input_layernorm"), layer)
            x = x + self.mlp(self.norm(x, prefix + "post_attention_layernorm"), layer)
        head = "model.embed_tokens" if self.config.get("tie_word_embeddings") else "lm_head"
        return self.linear(self.norm(x, "model.norm"), head)

    def greedy(self, ids, count):
        ids = list(np.ravel(ids))
        for _ in range(count):
            ids.append(int(np.argmax(self.logits(ids)[-1])))
        return ids[-count:]

#!/usr/bin/env python3
"""Writes test/data/front with the PyPI packages gguf, safetensors and tokenizers, so that the importers are held against
what others write and read. The files are kept in git; run it again only to change them."""
import math
import sys
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test" / "checks"))
from models import smallTokenizer  # noqa: E402

OUT = ROOT / "test" / "data" / "front"
Kind = gguf.GGMLQuantizationType


def elements():
    """One tensor of each element type, as bytes drawn at random, and what gguf makes of them."""
    generator = np.random.default_rng(7)
    writer = gguf.GGUFWriter(str(OUT / "elements.gguf"), "llama")
    expected = {}
    for name in ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q6_K", "Q5_0", "Q5_1", "Q4_K", "Q5_K"):
        kind = Kind[name]
        block, size = gguf.GGML_QUANT_SIZES[kind]
        rows, blocks = 3, 2 if block > 1 else 37
        data = generator.integers(0, 256, (rows, blocks, size), dtype=np.uint8)
        # Scales are halves: keep them finite, with subnormals, zeros and both signs among them.
        halves = {"F16": [0], "Q8_0": [0], "Q4_0": [0], "Q5_0": [0], "Q6_K": [208]}.get(name, [])
        if name in ("Q4_1", "Q5_1", "Q4_K", "Q5_K"):
            halves = [0, 2]
        for at in halves:
            scales = (generator.standard_normal((rows, blocks)) * 0.02).astype(np.float16)
            scales.reshape(-1)[:6] = [0.0, -0.0, 6e-8, -3e-5, 65504, 6.1e-5]
            data[..., at:at + 2] = scales.view(np.uint8).reshape(rows, blocks, 2)
        data = data.reshape(rows, blocks * size)
        if name == "F32":
            data = generator.standard_normal((rows, blocks)).astype(np.float32)
        elif name == "BF16":
            values = generator.standard_normal((rows, blocks)).astype(np.float32)
            data = (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
        stored = data.view(np.float16) if name == "F16" else data
        writer.add_tensor(name, stored, raw_dtype=kind)
        raw = data if name != "F16" else stored
        expected[name] = np.ascontiguousarray(gguf.quants.dequantize(raw, kind).astype(np.float32))
    close(writer)
    save_file(expected, OUT / "elements.safetensors")


def close(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def model(name, arch, *, headDim, biases=(), qkNorm=False, tied=True, factors=None, pre="gpt-2", extra=lambda writer: None):
    """A model of one layer, its linears in Q8_0, with a tokenizer."""
    generator = np.random.default_rng(11)
    hidden, inner, heads, kvHeads = 32, 64, 2, 1
    tokenizer = smallTokenizer(290)
    vocab = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    writer = gguf.GGUFWriter(str(OUT / f"{name}.gguf"), arch)
    writer.add_name(f"Tiny {name}")
    writer.add_context_length(256)
    writer.add_embedding_length(hidden)
    writer.add_block_count(1)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kvHeads)
    writer.add_key_length(headDim)
    writer.add_value_length(headDim)
    writer.add_rope_freq_base(500000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(vocab)
    control = ("<unk>", "<s>", "</s>")
    writer.add_token_types([gguf.TokenType.CONTROL if token in control else gguf.TokenType.NORMAL for token in vocab])
    import json
    writer.add_token_merges([" ".join(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    extra(writer)

    def linear(stem, out, into, bias=False):
        values = generator.standard_normal((out, into)).astype(np.float32)
        writer.add_tensor(stem + ".weight", gguf.quants.quantize(values, Kind.Q8_0), raw_dtype=Kind.Q8_0)
        if bias:
            writer.add_tensor(stem + ".bias", generator.standard_normal(out).astype(np.float32))

    def gain(stem, width):
        writer.add_tensor(stem + ".weight", np.ones(width, np.float32))

    linear("token_embd", len(vocab), hidden)
    gain("output_norm", hidden)
    if not tied:
        linear("output", len(vocab), hidden)
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", np.array(factors, np.float32))
    gain("blk.0.attn_norm", hidden)
    gain("blk.0.ffn_norm", hidden)
    linear("blk.0.attn_q", heads * headDim, hidden, "q" in biases)
    linear("blk.0.attn_k", kvHeads * headDim, hidden, "k" in biases)
    linear("blk.0.attn_v", kvHeads * headDim, hidden, "v" in biases)
    linear("blk.0.attn_output", hidden, heads * headDim)
    if qkNorm:
        gain("blk.0.attn_q_norm", headDim)
        gain("blk.0.attn_k_norm", headDim)
    linear("blk.0.ffn_gate", inner, hidden)
    linear("blk.0.ffn_up", inner, hidden)
    linear("blk.0.ffn_down", hidden, inner)
    close(writer)


def llama3Factors(headDim, theta, factor, low, high, original):
    """As llama.cpp's convert_hf_to_gguf.py makes rope_freqs.weight."""
    factors = []
    for index in range(0, headDim, 2):
        wavelength = 2 * math.pi * theta ** (index / headDim)
        if wavelength < original / high:
            factors.append(1.0)
        elif wavelength > original / low:
            factors.append(factor)
        else:
            smooth = (original / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return factors


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    elements()
    model("llama", "llama", headDim=16, tied=False, pre="smollm", extra=lambda writer: writer.add_add_bos_token(False))
    model("llama3", "llama", headDim=64, factors=llama3Factors(64, 5e5, 32.0, 1.0, 4.0, 8192), pre="llama-bpe")
    model("llama3-short", "llama", headDim=32, factors=llama3Factors(32, 5e5, 8.0, 1.0, 4.0, 64))
    model("llama3-odd", "llama", headDim=64, factors=llama3Factors(64, 5e5, 16.0, 1.0, 6.0, 1000))
    model("other-factors", "llama", headDim=16, factors=[1, 2, 1, 2, 1, 2, 1, 2])

    def window(writer):
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(4.0)
        writer.add_rope_scaling_orig_ctx_len(64)
        writer.add_sliding_window(12)

    model("qwen2", "qwen2", headDim=16, biases=("q", "k", "v"), pre="qwen2", extra=window)
    model("qwen3", "qwen3", headDim=32, qkNorm=True, pre="qwen2",
          extra=lambda writer: (writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR), writer.add_rope_scaling_factor(2.5)))

#!/usr/bin/env python3
"""CTranslate2: converts a llama GGUF file, weight by weight and without transformers, and times the result.

`convert GGUF FOLDER` writes the model with int8 weights, as CTranslate2's own converter would from the Hugging Face
folder; `serve` and `once` are those of engine_server.py.
"""
import json
import sys
import time
from pathlib import Path

import ctranslate2
import numpy as np

import engine_server


def convert(source, folder):
    from ctranslate2.specs import TransformerDecoderModelSpec, common_spec
    from gguf import GGUFReader, dequantize

    reader = GGUFReader(source)
    weights = {tensor.name: dequantize(tensor.data, tensor.tensor_type).astype(np.float32) for tensor in reader.tensors}

    def value(key):
        return reader.fields[key].contents()

    if value("general.architecture") != "llama":
        sys.exit(f"{source}: expected a llama, found {value('general.architecture')}")
    heads, kvHeads = value("llama.attention.head_count"), value("llama.attention.head_count_kv")

    def halves(weight, count):
        """llama.cpp pairs neighbouring rows for RoPE, Hugging Face and CTranslate2 the halves of a head."""
        rows, width = weight.shape
        return weight.reshape(count, rows // count // 2, 2, width).swapaxes(1, 2).reshape(rows, width)

    spec = TransformerDecoderModelSpec.from_config(
        value("llama.block_count"), heads, activation=common_spec.Activation.SWISH, pre_norm=True, ffn_glu=True, rms_norm=True,
        rotary_dim=0, rotary_interleave=False, rotary_base=value("llama.rope.freq_base"), num_heads_kv=kvHeads)
    decoder = spec.decoder
    decoder.scale_embeddings = False
    decoder.embeddings.weight = weights["token_embd.weight"]
    decoder.projection.weight = weights.get("output.weight", weights["token_embd.weight"])
    decoder.layer_norm.gamma = weights["output_norm.weight"]
    for index, layer in enumerate(decoder.layer):
        block = {name.split(".")[2]: weight for name, weight in weights.items() if name.startswith(f"blk.{index}.")}
        layer.self_attention.layer_norm.gamma, layer.ffn.layer_norm.gamma = block["attn_norm"], block["ffn_norm"]
        layer.self_attention.linear[0].weight = np.concatenate(
            [halves(block["attn_q"], heads), halves(block["attn_k"], kvHeads), block["attn_v"]])
        layer.self_attention.linear[1].weight = block["attn_output"]
        layer.ffn.linear_0.weight, layer.ffn.linear_0_noact.weight = block["ffn_gate"], block["ffn_up"]
        layer.ffn.linear_1.weight = block["ffn_down"]
    tokens = value("tokenizer.ggml.tokens")
    spec.register_vocabulary(tokens)
    spec.config.bos_token, spec.config.eos_token = tokens[value("tokenizer.ggml.bos_token_id")], tokens[value("tokenizer.ggml.eos_token_id")]
    spec.config.unk_token = tokens[0]
    spec.config.layer_norm_epsilon = value("llama.attention.layer_norm_rms_epsilon")
    spec.validate()
    spec.optimize(quantization="int8")
    Path(folder).mkdir(parents=True)
    spec.save(str(folder))


class Engine:
    """A callback sees every new token: the first ends the prompt."""

    def __init__(self, path, threads):
        self.generator = ctranslate2.Generator(path, device="cpu", compute_type="int8", intra_threads=threads, inter_threads=1)
        self.tokens = json.loads((Path(path) / "vocabulary.json").read_text())
        self.random = np.random.default_rng(0)

    def describe(self):
        return f"ctranslate2 {ctranslate2.__version__}, compute type {self.generator.compute_type}"

    def run(self, prompts, count):
        """The first sequence's new ids, and the seconds after which the first and the last token of all were there."""
        ids, first, last = [], 0.0, 0.0

        def seen(result):
            nonlocal first, last
            last = time.perf_counter()
            first = first or last
            if result.batch_id == 0:
                ids.append(result.token_id)
            return False

        begin = time.perf_counter()
        self.generator.generate_batch([[self.tokens[id] for id in prompt] for prompt in prompts], max_length=count,
                                      min_length=count, sampling_topk=1, include_prompt_in_result=False, callback=seen)
        return ids, first - begin, last - begin

    def prefill(self, count):
        return self.run([self.random.integers(0, len(self.tokens), count).tolist()], 1)[2]

    def decode(self, count, depth, batch):
        """From the first new token, which ends the prompt, to `count` more."""
        prompts = self.random.integers(0, len(self.tokens), (batch, max(1, depth))).tolist()
        _, first, last = self.run(prompts, count + 1)
        return last - first

    def greedy(self, ids, count):
        return self.run([ids], count)[0]


if __name__ == "__main__":
    engine_server.main(__doc__, Engine, {"convert": convert})

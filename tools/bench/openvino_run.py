#!/usr/bin/env python3
"""OpenVINO GenAI on a GGUF file, which it reads itself: times prefill and decode by its own performance metrics.

Precisions and the KV type are left at OpenVINO's defaults; `serve` and `once` are those of engine_server.py.
"""
import time

import numpy as np
import openvino as ov
import openvino_genai as genai

import engine_server

VOCAB = 49152  # tokens are drawn below it


class Engine:
    def __init__(self, path, threads):
        self.pipeline = genai.LLMPipeline(path, "CPU", INFERENCE_NUM_THREADS=threads)
        self.random = np.random.default_rng(0)

    def describe(self):
        return f"openvino-genai {genai.__version__}, openvino {ov.__version__}"

    def run(self, ids, count):
        options = genai.GenerationConfig()
        options.max_new_tokens = options.min_new_tokens = count
        options.ignore_eos, options.do_sample, options.apply_chat_template = True, False, False
        inputs = genai.TokenizedInputs(ov.Tensor(ids.astype(np.int64)), ov.Tensor(np.ones(ids.shape, np.int64)))
        return self.pipeline.generate(inputs, options)

    def prefill(self, count):
        ids = self.random.integers(0, VOCAB, (1, count))
        begin = time.perf_counter()
        self.run(ids, 1)
        return time.perf_counter() - begin

    def decode(self, count, depth, batch):
        """From the first new token, which ends the prompt, to `count` more."""
        metrics = self.run(self.random.integers(0, VOCAB, (batch, max(1, depth))), count + 1).perf_metrics
        return (metrics.get_generate_duration().mean - metrics.get_ttft().mean) * 1e-3

    def greedy(self, ids, count):
        return [int(token) for token in self.run(np.array([ids]), count).tokens[0]]


if __name__ == "__main__":
    engine_server.main(__doc__, Engine)

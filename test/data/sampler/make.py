#!/usr/bin/env python3
"""Writes expected.json: what llama.cpp's samplers leave of seeded logits, for test/runtime/SamplerTest.cpp.

    pip install llama-cpp-python==0.3.36 numpy && python3 make.py > expected.json

A case has options (names of SamplerOptions), logits, the ids generated before, and [id, probability] of what is left. A
case of Mirostat is a list of such steps: llama.cpp draws a token in each, which moves its bound.
"""
import ctypes
import json
import sys

import llama_cpp as ll
import numpy as np


def tokenArray(logits):
    data = (ll.llama_token_data * len(logits))(*[ll.llama_token_data(i, float(x), 0.0) for i, x in enumerate(logits)])
    return data, ll.llama_token_data_array(ctypes.cast(data, ctypes.POINTER(ll.llama_token_data)), len(logits), -1, False)


def left(array):
    """Ids and probabilities of what an array still has, most likely first."""
    ids = [array.data[i].id for i in range(array.size)]
    logits = np.array([array.data[i].logit for i in range(array.size)], np.float64)
    chances = np.exp(logits - logits.max())
    chances /= chances.sum()
    order = sorted((-round(float(p), 8), i) for i, p in zip(ids, chances) if p > 0)
    return [[i, -p] for p, i in order]


def samplers(options, vocabulary, history):
    """llama.cpp's samplers for the options, in Lathe's order."""
    chain = []
    biases = options.get("logitBias", {})
    if biases:
        entries = (ll.llama_logit_bias * len(biases))(*[ll.llama_logit_bias(int(i), b) for i, b in biases.items()])
        chain.append(ll.llama_sampler_init_logit_bias(vocabulary, len(biases), entries))
    penalties = [options.get(key, otherwise) for key, otherwise in
                 (("repetitionPenalty", 1.0), ("frequencyPenalty", 0.0), ("presencePenalty", 0.0))]
    penalty = ll.llama_sampler_init_penalties(vocabulary, 1 << 16, *penalties)
    for token in history:
        ll.llama_sampler_accept(penalty, token)
    chain += [penalty, ll.llama_sampler_init_temp(options["temperature"])]
    if "topK" in options:
        chain.append(ll.llama_sampler_init_top_k(options["topK"]))
    for key, make in (("topP", ll.llama_sampler_init_top_p), ("minP", ll.llama_sampler_init_min_p),
                      ("typicalP", ll.llama_sampler_init_typical)):
        if key in options:
            chain.append(make(options[key], 1))
    return chain


def case(options, logits, history):
    data, array = tokenArray(logits)
    for sampler in samplers(options, len(logits), history):
        ll.llama_sampler_apply(sampler, ctypes.byref(array))
    return {"options": options, "logits": [round(float(x), 3) for x in logits], "history": history, "left": left(array)}


def mirostat(options, steps):
    sampler = ll.llama_sampler_init_mirostat_v2(7, options["mirostatTau"], options["mirostatEta"])
    temperature = ll.llama_sampler_init_temp(options["temperature"])
    result = []
    for logits in steps:
        data, array = tokenArray(logits)
        ll.llama_sampler_apply(temperature, ctypes.byref(array))
        ll.llama_sampler_apply(sampler, ctypes.byref(array))
        drawn = array.data[array.selected].id
        result.append({"logits": [round(float(x), 3) for x in logits], "left": left(array), "drawn": drawn})
    return {"options": options, "steps": result}


def main():
    random = np.random.default_rng(20)

    def draw(count, spread):
        return random.normal(0, spread, count).astype(np.float32).round(3)

    cases = []
    for options in (
            {"temperature": 0.7}, {"temperature": 1.3, "topK": 7}, {"temperature": 1.0, "topP": 0.8},
            {"temperature": 0.9, "minP": 0.1}, {"temperature": 1.0, "typicalP": 0.3}, {"temperature": 1.5, "typicalP": 0.9},
            {"temperature": 0.8, "topK": 20, "topP": 0.9, "minP": 0.05}, {"temperature": 1.2, "topP": 0.95, "typicalP": 0.5},
            {"temperature": 1.0, "repetitionPenalty": 1.3}, {"temperature": 1.0, "presencePenalty": 0.7},
            {"temperature": 1.0, "frequencyPenalty": 0.4}, {"temperature": 1.0, "presencePenalty": -0.5, "frequencyPenalty": 0.25},
            {"temperature": 0.6, "repetitionPenalty": 1.1, "presencePenalty": 0.3, "frequencyPenalty": 0.2, "topK": 12},
            {"temperature": 1.0, "logitBias": {"3": 2.5, "11": -4.0}},
            {"temperature": 0.9, "logitBias": {"0": -100.0, "5": 1.0}, "repetitionPenalty": 1.2, "topP": 0.7},
            {"temperature": 1.1, "topK": 30, "topP": 0.97, "minP": 0.02, "typicalP": 0.8}):
        for spread in (1.0, 3.0):
            history = [int(x) for x in random.integers(0, 40, 25)]
            cases.append(case(options, draw(40, spread), history))
    adaptive = [mirostat({"temperature": t, "mirostatTau": tau, "mirostatEta": eta}, [draw(60, 2.0) for _ in range(12)])
                for t, tau, eta in ((1.0, 3.0, 0.1), (0.8, 1.5, 0.4), (1.3, 5.0, 1.0))]
    json.dump({"cases": cases, "mirostat": adaptive}, sys.stdout, separators=(",", ":"))
    print()


if __name__ == "__main__":
    main()

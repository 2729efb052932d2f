#!/usr/bin/env python3
"""SmolLM2-135M-Instruct, the real model: f32 against Hugging Face transformers, int8 against f32, text in and text out."""
import json
from functools import cache

import numpy as np
from safetensors import safe_open

from harness import Failed, expect, expectEqual, expected, idList, main, referenceModel, smollm2

GAP = 0.01  # below this distance of the two best logits the next greedy token is not determined by f32 arithmetic

END_OF_TURN = 2  # <|im_end|>


class Model:
    """The model's artifacts and logits, each made once and only when a check asks."""

    def __init__(self, lathe):
        self.lathe = lathe
        self.folder = referenceModel("smollm2-135m")
        expect(self.folder is not None, "no smollm2-135m in test/data/reference")
        self.truth = expected(self.folder)
        with safe_open(self.folder / "expected.safetensors", "np") as file:
            self.texts = file.metadata()

    @cache
    def artifact(self, quant, *options):
        return self.lathe.artifact(smollm2(), "--quant", quant, *options)

    @cache
    def logits(self, quant, tier, *options):
        return self.lathe.logits(self.artifact(quant, *options), self.truth["text_ids"], "--cpu", tier).astype(np.float64)


def logSoftmax(logits):
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def argmax(model, tier):
    best = model.logits("f32", tier).argmax(axis=1)
    wrong = np.flatnonzero(best != model.truth["text_argmax"])
    gaps = model.truth["text_top2_gap"][wrong]
    expect(not len(wrong), f"{len(wrong)} of {len(best)} differ, at {wrong[:8].tolist()} with gaps {gaps[:8].round(4).tolist()}")
    return f"all {len(best)} equal"


def likelihood(model, tier):
    ids, logs = model.truth["text_ids"], logSoftmax(model.logits("f32", tier))
    mean, want = -logs[np.arange(len(ids) - 1), ids[1:]].mean(), model.truth["text_nll"].astype(np.float64).mean()
    expect(abs(mean - want) <= 1e-4 * want, f"mean NLL is {mean:.6f}, expected {want:.6f} within 1e-4 relative")
    return f"mean NLL {mean:.6f}, expected {want:.6f}"


def compareGreedy(actual, want, gaps, what):
    """Equal up to the first step that the reference itself barely decided."""
    unsure = np.flatnonzero(gaps < GAP)
    length = int(unsure[0]) if len(unsure) else len(want)
    expectEqual(actual[:length], want[:length].tolist(), f"first {length} ids of {what}")
    return length


def continuations(model, tier, fromText):
    compared = []
    for index in range(5):
        prompt, want = model.truth[f"prompt{index}"], model.truth[f"greedy{index}"]
        source = ["-p", model.texts[f"prompt{index}"]] if fromText else ["--ids", idList(prompt)]
        answer = model.lathe.generate(model.artifact("f32"), *source, "-n", len(want), "--ignore-eos", "--cpu", tier)
        expectEqual(answer["prompt_ids"], prompt.tolist(), f"prompt_ids of {model.texts[f'prompt{index}']!r}")
        compared.append(compareGreedy(answer["ids"], want, model.truth[f"gap{index}"], f"prompt {index}"))
    return f"{compared} steps compared"


def chat(model, tier):
    prompt, want = model.truth["chat_prompt"], model.truth["chat_greedy"]
    answer = model.lathe.generate(model.artifact("f32"), "-p", model.texts["chat"], "-n", len(want), "--cpu", tier)
    expectEqual(answer["prompt_ids"], prompt.tolist(), "prompt_ids of the chat turn")
    end = want.tolist().index(END_OF_TURN)
    expectEqual(answer["ids"][:end], want[:end].tolist(), "ids of the chat answer up to its end of turn")
    expect(answer["ids"][end:] in ([], [END_OF_TURN]), f"ids after the end of turn: {answer['ids'][end:]}")
    expectEqual(answer["finish_reason"], "stop", "finish_reason")
    expect(answer["text"].strip(), "the text of the answer is empty")
    return json.dumps(answer["text"][:60])


def textIds(model, tier):
    answer = model.lathe.generate(model.artifact("f32"), "-p", model.texts["text"], "-n", 1, "--cpu", tier)
    expectEqual(answer["prompt_ids"], model.truth["text_ids"].tolist(), "prompt_ids of the long text")
    expectEqual(answer["ids"], [int(model.truth["text_argmax"][-1])], "the id after the long text")


def quantised(model, tier, *options):
    exact, actual = model.logits("f32", tier), model.logits("int8", tier, *options)
    expectEqual(actual.shape, exact.shape, "shape of logits")
    p, q = logSoftmax(exact), logSoftmax(actual)
    divergence = (np.exp(p) * (p - q)).sum(axis=1).mean()
    agreement = np.mean(actual.argmax(axis=1) == model.truth["text_argmax"])
    figures = f"mean KL {divergence:.5f} (at most 0.008), agreement {agreement:.1%} (at least 92 %)"
    if not divergence <= 0.008 or not agreement >= 0.92:
        raise Failed(figures)
    return figures


def fill(suite, lathe, args):
    model = Model(lathe)
    for tier in lathe.machineTiers:
        suite.add(f"f32/{tier}/argmax of the text", argmax, model, tier)
        suite.add(f"f32/{tier}/likelihood of the text", likelihood, model, tier)
        suite.add(f"f32/{tier}/continuations of ids", continuations, model, tier, False)
        suite.add(f"f32/{tier}/continuations of texts", continuations, model, tier, True)
        suite.add(f"f32/{tier}/chat turn", chat, model, tier)
        suite.add(f"f32/{tier}/ids of the text", textIds, model, tier)
        suite.add(f"int8/{tier}/divergence from f32", quantised, model, tier)
        for kv in ("f32", "int8"):
            suite.add(f"int8/{tier}/divergence from f32 with a KV of {kv}", quantised, model, tier, "--kv", kv)


if __name__ == "__main__":
    main(__doc__, fill)

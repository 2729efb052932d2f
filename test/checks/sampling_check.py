#!/usr/bin/env python3
"""Sampling from outside: defaults of the model's makers, penalties, biases, log-probabilities, samples of one prompt."""
import json
import tempfile
from pathlib import Path

import gguf
import numpy as np

from harness import expect, expectEqual, main, scratch
from models import llamaConfig, smallTokenizer, writeGguf, writeHuggingFace
from small import oneLineError

GENERATION = {"do_sample": True, "temperature": 1.7, "top_k": 30, "top_p": 0.9, "repetition_penalty": 1.2, "eos_token_id": 2}


class Models:
    """The same small model three times: without a word about sampling, with generation_config.json, and as a GGUF."""

    def __init__(self, lathe):
        self.lathe = lathe
        self.keep = tempfile.TemporaryDirectory(dir=scratch(lathe.work))
        self.folder = Path(self.keep.name)
        self.tokenizer = smallTokenizer()
        self.config = llamaConfig(vocab_size=self.tokenizer.get_vocab_size())
        self.plain = self.compile(writeHuggingFace(self.folder / "plain", self.config, 3, tokenizer=self.tokenizer))
        self.model = writeHuggingFace(self.folder / "sampled", self.config, 3, tokenizer=self.tokenizer)
        (self.model / "generation_config.json").write_text(json.dumps(GENERATION))
        self.sampled = self.compile(self.model)

    def compile(self, model):
        output = self.folder / f"{Path(model).name}.lathe"
        self.lathe.compile(model, output, "--quant", "f32").expect(0)
        return output

    def ids(self, artifact, *options):
        return self.lathe.generate(artifact, "--ids", "5,6,7", "-n", 30, "--ignore-eos", *options)["ids"]


def defaults(models):
    """generation_config.json holds where no flag says otherwise, and generate says so."""
    flags = ["--temp", 1.7, "--top-k", 30, "--top-p", 0.9, "--repeat-penalty", 1.2]
    greedy, given = models.ids(models.plain), models.ids(models.plain, *flags)
    expect(given != greedy, "the options do not change the text")
    expectEqual(models.ids(models.sampled), given, "ids by generation_config.json")
    expectEqual(models.ids(models.sampled, "--top-k", 5), models.ids(models.plain, *flags[:2], "--top-k", 5, *flags[4:]), "ids with one flag beside it")
    expectEqual(models.ids(models.sampled, "--temp", 0, "--repeat-penalty", 1), greedy, "greedy ids")
    expectEqual(models.ids(models.sampled, "--temp", 0), models.ids(models.plain, "--repeat-penalty", 1.2), "ids with --temp 0")

    def said(*options, artifact=models.sampled):
        return models.lathe.run("generate", artifact, "--ids", "5", "-n", 1, *options).expect(0).stderr.splitlines()[0]

    expectEqual(said(), "sampling: temperature 1.7, top-k 30, top-p 0.9, repetition-penalty 1.2 (generation_config.json)", "what generate says")
    expectEqual(said("--temp", 0, "--top-k", 0), "sampling: top-p 0.9, repetition-penalty 1.2 (generation_config.json)", "what is left of it")
    expect(not said(*flags).startswith("sampling"), "something is said where flags say all")
    expect(not said(artifact=models.plain).startswith("sampling"), "something is said of a model without defaults")
    source = models.folder / "in.jsonl"
    source.write_text('{"ids": [5, 6, 7], "n": 30, "ignore_eos": true, "seed": 0}\n{"ids": [5, 6, 7], "n": 30, "ignore_eos": true, "temp": 0, "repeat_penalty": 1}\n')
    models.lathe.run("batch", models.sampled, source, "-o", models.folder / "out.jsonl").expect(0)
    answers = [json.loads(line)["ids"] for line in (models.folder / "out.jsonl").read_text().splitlines()]
    expectEqual(answers, [given, greedy], "ids of a batch")
    toml = models.lathe.run("import", models.model).expect(0).text
    expect("[generation_config]\ntemperature = 1.7\ntop_k = 30\ntop_p = 0.9\nrepetition_penalty = 1.2\n" in toml, f"import prints:\n{toml}")


def ggufDefaults(models):
    """general.sampling.* as the package gguf writes them."""
    path = models.folder / "m.gguf"
    original = gguf.GGUFWriter.write_header_to_file

    def withSampling(writer, *arguments, **options):
        writer.add_sampling_temp(0.95)
        writer.add_sampling_top_k(17)
        writer.add_sampling_penalty_repeat(1.05)
        return original(writer, *arguments, **options)

    gguf.GGUFWriter.write_header_to_file = withSampling
    try:
        writeGguf(path, models.config, 3, element="F32", tokenizer=models.tokenizer)
    finally:
        gguf.GGUFWriter.write_header_to_file = original
    artifact = models.compile(path)
    expectEqual(models.ids(artifact), models.ids(models.plain, "--temp", 0.95, "--top-k", 17, "--repeat-penalty", 1.05), "ids by general.sampling")
    line = models.lathe.run("generate", artifact, "--ids", "5", "-n", 1).expect(0).stderr.splitlines()[0]
    expectEqual(line, "sampling: temperature 0.95, top-k 17, repetition-penalty 1.05 (general.sampling of m.gguf)", "what generate says")


def penalties(models):
    """Presence and frequency penalties and biases against greedy search over the logits of eval."""
    for options, adjust in (
            (["--presence-penalty", 1.5], lambda logits, counts: logits - 1.5 * (counts > 0)),
            (["--frequency-penalty", 0.7], lambda logits, counts: logits - 0.7 * counts),
            (["--presence-penalty", -0.4, "--frequency-penalty", 0.3], lambda logits, counts: logits + 0.4 * (counts > 0) - 0.3 * counts),
            (["--logit-bias", "9+3.5,12-inf", "--logit-bias", "40+1"],
             lambda logits, counts: logits + np.bincount([9, 40], [3.5, 1], len(logits)) - np.where(np.arange(len(logits)) == 12, np.inf, 0))):
        prompt, ids = [5, 6, 7], []
        for _ in range(8):
            logits = models.lathe.logits(models.plain, prompt + ids)[-1].astype(np.float64)
            ids.append(int(np.argmax(adjust(logits, np.bincount(ids or [0], minlength=len(logits)) * bool(ids)))))
        got = models.lathe.generate(models.plain, "--ids", "5,6,7", "-n", 8, "--ignore-eos", *options)["ids"]
        expectEqual(got, ids, f"ids with {options}")
    best = models.ids(models.plain)[0]
    banned = models.ids(models.plain, "--logit-bias", f"{best}-inf")
    expect(best not in banned, f"a banned token was drawn: {banned}")
    source = models.folder / "bias.jsonl"
    source.write_text(json.dumps({"ids": [5, 6, 7], "n": 30, "ignore_eos": True, "logit_bias": {str(best): -100}}) + "\n")
    models.lathe.run("batch", models.plain, source, "-o", models.folder / "bias.out").expect(0)
    expectEqual(json.loads((models.folder / "bias.out").read_text())["ids"], banned, "ids with logit_bias in a batch")


def mistakes(models):
    for text in ("5", "x+1", "5+", "5+x", "+5", "5+inf", "5+nan"):
        oneLineError(models.lathe.run("generate", models.plain, "--ids", "1", "--logit-bias", text), 2, "--logit-bias", text)
    oneLineError(models.lathe.run("generate", models.plain, "--ids", "1", "--mirostat", 1), 2, "--mirostat")
    oneLineError(models.lathe.run("generate", models.plain, "--ids", "1", "--typical-p", 2), 2, "--typical-p")
    oneLineError(models.lathe.run("generate", models.plain, "--ids", "1", "--logprobs", 2), 2, "--json")
    oneLineError(models.lathe.run("generate", models.plain, "--ids", "1", "--samples", 0), 2, "--samples")
    for line, part in (('{"ids": [1], "logit_bias": [1]}', "logit_bias"), ('{"ids": [1], "logit_bias": {"x": 1}}', '"x"'), ('{"ids": [1], "mirostat": 1}', "mirostat"),
                       ('{"ids": [1], "samples": 0}', "samples"), ('{"ids": [1], "presence_penalty": "x"}', "presence_penalty")):
        (models.folder / "bad.jsonl").write_text(line + "\n")
        oneLineError(models.lathe.run("batch", models.plain, models.folder / "bad.jsonl", "-o", models.folder / "bad.out"), 3, "bad.jsonl:1", part)


def logprobs(models):
    """Of the model, before sampling, with the tokens' text: against the softmax of eval's logits."""
    answer = models.lathe.generate(models.plain, "--ids", "5,6,7", "-n", 5, "--ignore-eos", "--temp", 2, "--seed", 4, "--logprobs", 3)
    ids = answer["ids"]
    logits = models.lathe.logits(models.plain, [5, 6, 7] + ids)[2:-1].astype(np.float64)
    expected = logits - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True)) - logits.max(1, keepdims=True)
    expectEqual(len(answer["logprobs"]), 5, "tokens with log-probabilities")
    for row, entry, token in zip(expected, answer["logprobs"], ids):
        expectEqual(entry["id"], token, "id")
        expect(abs(entry["logprob"] - row[token]) < 1e-5, f"logprob {entry['logprob']}, expected {row[token]}")
        expectEqual([top["id"] for top in entry["top_logprobs"]], [int(i) for i in np.argsort(-row, kind="stable")[:3]], "likeliest tokens")
        for item in [entry, *entry["top_logprobs"]]:
            expectEqual(bytes(item["bytes"]).decode(errors="replace"), models.tokenizer.decode([item["id"]], skip_special_tokens=False), f"bytes of {item}")
            expectEqual(item["token"], bytes(item["bytes"]).decode(errors="replace"), f"text of {item}")
    none = models.lathe.generate(models.plain, "--ids", "5", "-n", 2, "--ignore-eos", "--logprobs", 0)
    expectEqual([entry["top_logprobs"] for entry in none["logprobs"]], [[], []], "no alternatives")


def samples(models):
    """Samples of one prompt are what requests of their own are, whatever runs beside them, and the prompt is read once."""
    options = ["--temp", 1.5, "--seed", 9]
    whole = models.lathe.generate(models.plain, "--ids", "5,6,7,8,9", "-n", 20, "--ignore-eos", "--samples", 5, "--logprobs", 1, *options)
    expectEqual(len(whole["samples"]), 5, "samples")
    alone = models.lathe.generate(models.plain, "--ids", "5,6,7,8,9", "-n", 20, "--ignore-eos", *options)
    expectEqual(whole["ids"], alone["ids"], "the first sample")
    expectEqual([whole["samples"][0][key] for key in ("ids", "text")], [alone[key] for key in ("ids", "text")], "the first of `samples`")
    texts = {sample["text"] for sample in whole["samples"]}
    expectEqual(len(texts), 5, "different samples")
    expectEqual(whole["timings"]["prompt_n"], 5, "tokens of the prompt that were computed")
    expectEqual(whole["timings"]["predicted_n"], 100, "new tokens")
    for sample in whole["samples"]:
        expectEqual(len(sample["logprobs"]), 20, "log-probabilities of a sample")
    lines = [{"ids": [5, 6, 7, 8, 9], "n": 20, "ignore_eos": True, "temp": 1.5, "seed": 9, "samples": 5}, {"ids": [7], "n": 40, "temp": 1.0}]
    source = models.folder / "samples.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    models.lathe.run("batch", models.plain, source, "-o", models.folder / "samples.out").expect(0)
    answer = json.loads((models.folder / "samples.out").read_text().splitlines()[0])
    expectEqual([sample["ids"] for sample in answer["samples"]], [sample["ids"] for sample in whole["samples"]], "samples in a batch")
    text = models.lathe.run("generate", models.plain, "--ids", "5,6,7,8,9", "-n", 20, "--ignore-eos", "--samples", 3, *options).expect(0).text
    expectEqual(text, "".join((f"--- sample {i + 1} of 3\n" if i else "") + whole["samples"][i]["text"] + "\n" for i in range(3)), "text of three samples")


CHECKS = {"defaults": defaults, "defaults of a GGUF": ggufDefaults, "penalties": penalties, "mistakes": mistakes, "logprobs": logprobs, "samples": samples}


def fill(suite, lathe, args):
    models = Models(lathe)
    for name, function in CHECKS.items():
        suite.add(name, function, models)


if __name__ == "__main__":
    main(__doc__, fill)

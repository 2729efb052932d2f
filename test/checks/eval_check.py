#!/usr/bin/env python3
"""`lathe eval --ppl` and `--against`: every figure against numpy on what `--logits` writes, in windows and over two artifacts."""
import tempfile
from pathlib import Path

import numpy as np

from harness import expect, expectEqual, idList, main, scratch
from models import TEXT, llamaConfig, smallTokenizer, writeHuggingFace

CONTEXT = 128


class Pair:
    """A small model in f32 and in int8, and the ids of a text that is longer than its context."""

    def __init__(self, lathe):
        self.lathe = lathe
        self.keep = tempfile.TemporaryDirectory(dir=scratch(lathe.work))
        self.folder = Path(self.keep.name)
        self.tokenizer = smallTokenizer()
        config = llamaConfig(vocab_size=self.tokenizer.get_vocab_size(), max_position_embeddings=CONTEXT)
        model = writeHuggingFace(self.folder / "model", config, 5, tokenizer=self.tokenizer)
        other = writeHuggingFace(self.folder / "other", llamaConfig(vocab_size=64), 5)
        self.exact, self.rounded = self.folder / "exact.lathe", self.folder / "rounded.lathe"
        self.other = self.folder / "other.lathe"
        lathe.compile(model, self.exact, "--quant", "f32").expect(0)
        lathe.compile(model, self.rounded, "--quant", "int8").expect(0)
        lathe.compile(other, self.other, "--quant", "f32").expect(0)
        self.text = self.folder / "text.txt"
        self.text.write_text(TEXT)
        self.ids = self.tokenizer.encode(TEXT).ids
        expect(len(self.ids) > CONTEXT, f"the text has {len(self.ids)} tokens, expected more than {CONTEXT}")

    def eval(self, artifact, *options):
        return self.lathe.run("eval", artifact, *options, "--json").expect(0).json()

    def windowed(self, artifact, length, stride):
        """Logits of every position from the first window that has it, as llama.cpp and transformers cut long texts."""
        rows, scored = [], 0
        for begin in range(0, len(self.ids), stride):
            end = min(begin + length, len(self.ids))
            rows.append(self.lathe.logits(artifact, self.ids[begin:end])[scored - begin :])
            scored = end
            if end == len(self.ids):
                break
        logits = np.concatenate(rows).astype(np.float64)
        expectEqual(len(logits), len(self.ids), "positions in windows")
        return logits


def logSoftmax(logits):
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def near(actual, want, what, tolerance=1e-9):
    expect(abs(actual - want) <= tolerance * max(1, abs(want)), f"{what}: expected {want!r}, got {actual!r}")


def expectPerplexity(found, logits, ids, what):
    nll = -logSoftmax(logits)[np.arange(len(ids) - 1), ids[1:]]
    error = nll.std(ddof=1) / np.sqrt(len(nll))
    near(found["nll"], nll.mean(), f"{what}: nll")
    near(found["nll_stderr"], error, f"{what}: nll_stderr")
    near(found["perplexity"], np.exp(nll.mean()), f"{what}: perplexity")
    near(found["perplexity_stderr"], np.exp(nll.mean()) * error, f"{what}: perplexity_stderr")


def expectDistance(found, logits, reference, what):
    p, q = logSoftmax(reference), logSoftmax(logits)
    divergence = (np.exp(p) * (p - q)).sum(axis=1)
    near(found["mean_kl"], divergence.mean(), f"{what}: mean_kl", 1e-8)
    near(found["mean_kl_stderr"], divergence.std(ddof=1) / np.sqrt(len(divergence)), f"{what}: mean_kl_stderr", 1e-8)
    near(found["max_kl"], divergence.max(), f"{what}: max_kl", 1e-8)
    expectEqual(found["max_kl_position"], int(divergence.argmax()), f"{what}: max_kl_position")
    near(found["top1_agreement"], np.mean(logits.argmax(axis=1) == reference.argmax(axis=1)), f"{what}: top1_agreement")


def perplexity(pair):
    """Windows of the context and shorter, at strides that divide the text and that do not; ids and text alike."""
    for length, stride in ((CONTEXT, CONTEXT // 2), (CONTEXT, CONTEXT), (48, 7), (16, 1)):
        found = pair.eval(pair.exact, "--ids", idList(pair.ids), "--ppl", "-c", length, "--stride", stride)
        expectEqual((found["tokens"], found["predicted"]), (len(pair.ids), len(pair.ids) - 1), "tokens and predicted")
        expectEqual((found["window"], found["stride"]), (length, stride), "window and stride")
        expectPerplexity(found, pair.windowed(pair.exact, length, stride), pair.ids, f"windows of {length} every {stride}")
    byDefault = pair.eval(pair.exact, "--ids", idList(pair.ids), "--ppl")
    expectEqual(pair.eval(pair.exact, "--ppl", pair.text), byDefault, "--ppl TEXT and the text's ids")
    expectEqual(byDefault["stride"], CONTEXT // 2, "stride by default")
    for options in (("--chunk", 1), ("--chunk", 33), ("-t", 1), ("-t", 3)):
        expectEqual(pair.eval(pair.exact, "--ppl", pair.text, *options), byDefault, f"figures with {options}")


def against(pair):
    figures = []
    for length, stride in ((CONTEXT, CONTEXT // 2), (40, 24)):
        found = pair.eval(pair.rounded, "--ppl", pair.text, "--against", pair.exact, "-c", length, "--stride", stride)
        logits, reference = (pair.windowed(artifact, length, stride) for artifact in (pair.rounded, pair.exact))
        what = f"windows of {length} every {stride}"
        expectPerplexity(found, logits, pair.ids, what)
        expectPerplexity(found["against"], reference, pair.ids, f"{what}, the reference")
        expectDistance(found["against"], logits, reference, what)
        expectEqual(found["against"]["artifact"], str(pair.exact), "the reference's artifact")
        figures.append(f"mean KL {found['against']['mean_kl']:.5f}")
    expect(found["against"]["mean_kl"] > 1e-6, "int8 and f32 are no different: which artifact ran twice?")
    itself = pair.eval(pair.exact, "--ppl", pair.text, "--against", pair.exact)["against"]
    expectEqual((itself["mean_kl"], itself["max_kl"], itself["top1_agreement"]), (0, 0, 1), "distance from itself")
    return ", ".join(figures)


def together(pair):
    """--logits with the rest: the file and the figures are those of separate runs."""
    ids, output = pair.ids[:100], pair.folder / "logits.safetensors"
    found = pair.eval(pair.rounded, "--ids", idList(ids), "--ppl", "--against", pair.exact, "--logits", output)
    expectEqual(found, pair.eval(pair.rounded, "--ids", idList(ids), "--ppl", "--against", pair.exact), "figures with --logits")
    alone = pair.folder / "alone.safetensors"
    pair.lathe.run("eval", pair.rounded, "--ids", idList(ids), "--logits", alone).expect(0)
    expectEqual(output.read_bytes(), alone.read_bytes(), "logits with --against")


def specialTokens(pair):
    """A text that spells a special token has its characters, not the token."""
    text = pair.folder / "special.txt"
    text.write_text("a </s> b")
    plain = pair.tokenizer.encode("a </s> b").ids
    expect(2 in plain, "the tokenizer does not read </s> as a token")
    expect(pair.eval(pair.exact, "--ppl", text)["tokens"] > len(plain), "</s> of the text became one token")


def refusals(pair):
    empty = pair.folder / "empty.txt"
    empty.write_text("")
    for options, status, part in (
            (("--ppl", empty), 3, "empty.txt"),
            (("--ppl", pair.folder / "absent.txt"), 3, "absent.txt"),
            (("--ids", "1,2", "--against", pair.other), 3, "64"),
            (("--ids", "1,2", "--against", pair.text), 3, "text.txt"),
            (("--ids", "1,2", "--ppl", "--stride", CONTEXT + 1), 3, str(CONTEXT)),
            (("--ids", idList(pair.ids), "--logits", pair.folder / "long.safetensors", "--ppl"), 3, str(CONTEXT)),
            (("--ids", "1,2"), 2, "--ppl"),
            (("--ppl",), 2, "--ids"),
            (("--ids", "1,2", "--ppl", pair.text), 2, "--ids")):
        done = pair.lathe.run("eval", pair.exact, *options).expect(status)
        expectEqual(done.stdout, b"", f"stdout with {options}")
        expect(part in done.stderr, f"the error does not say {part!r}: {done.stderr.strip()}")
    done = pair.lathe.run("eval", pair.other, "--ppl", pair.text).expect(3)
    expect("tokenizer" in done.stderr, f"the error does not say tokenizer: {done.stderr.strip()}")


def fill(suite, lathe, args):
    pair = Pair(lathe)
    for name, function in (("perplexity", perplexity), ("against another artifact", against), ("all at once", together),
                           ("special tokens in a text", specialTokens), ("refusals", refusals)):
        suite.add(name, function, pair)


if __name__ == "__main__":
    main(__doc__, fill)

#!/usr/bin/env python3
"""Writes the four fixtures of this folder: small vocabularies with the pre-tokenizers of real models, trained on scripts.txt.

The files are committed; this says where they come from. Needs the PyPI package `tokenizers`.
"""
import json
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = Path(__file__).resolve().parent
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def splitThenBytes(expression):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(expression), "isolated", invert=False),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def build(size, preTokenizer, special, *, ignoreMerges=False, normalizer=None):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignoreMerges))
    tokenizer.pre_tokenizer = preTokenizer
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.train_from_iterator((HERE / "scripts.txt").read_text().splitlines(), trainers.BpeTrainer(
        vocab_size=size, min_frequency=1, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in special]))
    return tokenizer


def fixtures():
    gpt2 = build(1000, pre_tokenizers.ByteLevel(add_prefix_space=False), ["<|endoftext|>"])
    gpt2.post_processor = processors.ByteLevel(trim_offsets=False)
    yield "gpt2", gpt2

    llama3 = build(1400, splitThenBytes(LLAMA3), ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"],
                   ignoreMerges=True)
    begin = llama3.token_to_id("<|begin_of_text|>")
    llama3.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|> $B",
                                      special_tokens=[("<|begin_of_text|>", begin)])])
    yield "llama3", llama3

    qwen2 = build(1200, splitThenBytes(QWEN2), ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], normalizer=normalizers.NFC())
    qwen2.add_tokens([AddedToken("<tool_call>", normalized=False, special=False), AddedToken("café", normalized=True, special=False)])
    yield "qwen2", qwen2

    smollm = build(1200, pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                  pre_tokenizers.ByteLevel(add_prefix_space=False)]),
                   ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    yield "smollm", smollm


for name, tokenizer in fixtures():
    content = json.loads(tokenizer.to_str())
    if name == "gpt2":  # the older spelling of merges, and no type, as in the file of GPT-2 itself
        content["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"]]
        del content["model"]["type"]
    (HERE / f"{name}.json").write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n")
    print(name, tokenizer.get_vocab_size())

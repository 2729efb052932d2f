#!/usr/bin/env python3
"""Models of the PyPI package `sentencepiece`, trained here with random options, give the ids and texts that it gives.

The same pieces as GGUF metadata give what llama.cpp gives, where llama-cpp-python is installed for the benchmarks (build/venv-peers).
"""
import atexit
import io
import json
import random
import re
import shutil
import subprocess
import tempfile
import unicodedata
from pathlib import Path

import gguf
import sentencepiece

from harness import Failed, expect, main, run, scratch
from tokenizer_check import Texts, programOf, tokenize
from tokenizer_pipeline_check import corpus

SEED = 80_01
MODELS = 60
LINES = 400
UNKNOWN, CONTROL, USER_DEFINED, BYTE = 2, 3, 4, 6
LLAMA = """
import json, sys
from llama_cpp import Llama
model = Llama(sys.argv[1], vocab_only=True, verbose=False)
for line in sys.stdin:
    print(json.dumps(model.tokenize(bytes.fromhex(line.strip()), add_bos=False, special=False)))
"""


def options(choose):
    """Options of the trainer, drawn."""
    kind = choose(["unigram", "unigram", "bpe", "bpe", "char"])
    return {
        "model_type": kind, "vocab_size": choose([300, 500, 900, 1600]), "byte_fallback": choose([True, False]),
        "normalization_rule_name": choose(["identity", "nfkc", "nmt_nfkc", "nmt_nfkc_cf"]),
        "add_dummy_prefix": choose([True, True, False]), "remove_extra_whitespaces": choose([True, False]),
        "split_by_whitespace": choose([True, True, False]), "split_digits": choose([True, False]),
        "split_by_unicode_script": choose([True, False]), "character_coverage": choose([0.98, 0.995, 1.0]),
        "user_defined_symbols": choose([[], [], ["<sep>", "ing", "0"], ["<a>", "<ab>", "…"]]),
        "control_symbols": choose([[], ["<ctl>"]]), "max_sentencepiece_length": choose([4, 16]),
        "hard_vocab_limit": False, "minloglevel": 2, "pad_id": choose([-1, 3]),
    }


def train(lines, chosen):
    """A model; where the vocabulary is too small for the characters or too large for the text, one of another size."""
    for _ in range(4):
        out = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=out, **chosen)
            return out.getvalue()
        except RuntimeError as error:
            if needed := re.search(r"required_chars. \d+ vs (\d+)", str(error)):
                chosen["vocab_size"] = int(needed[1]) + chosen["vocab_size"] // 3
            elif most := re.search(r"value <= (\d+)", str(error)):
                chosen["vocab_size"] = int(most[1])
            else:
                raise
    raise Failed(f"no vocabulary size fits {describe(chosen)}")


def kindOf(reference, piece):
    return (UNKNOWN if reference.IsUnknown(piece) else CONTROL if reference.IsControl(piece) else BYTE if reference.IsByte(piece)
            else 1)


def imported(probe, model, path):
    done = run([probe, "--tokenizer", model]).expect(0)
    path.write_bytes(done.stdout)
    return json.loads(path.read_text())["lathe"]


def describe(chosen):
    return " ".join(f"{key}={value}" for key, value in chosen.items() if key not in ("minloglevel", "hard_vocab_limit"))


def compare(program, path, wanted, lines, who):
    """Ids of every line, without special tokens."""
    for line, actual, ids in zip(lines, tokenize(program, path, lines, "--plain"), wanted):
        if actual != ids:
            at = next((i for i, pair in enumerate(zip(actual, ids)) if pair[0] != pair[1]), min(len(actual), len(ids)))
            raise Failed(f"{line!r}: ids differ from position {at}: {actual[at:at + 8]}, {who} has {ids[at:at + 8]}")
    return sum(map(len, wanted))


def fileModel(program, probe, folder, seed):
    choose = random.Random(seed).choice
    chosen = options(choose)
    folder = folder / str(seed)
    folder.mkdir()
    texts = Texts(seed, ["<s>", "<sep>", "<ctl>", "<a>", "<abc>", "<0x41>", "<unk>", "▁", "▁▁"])
    data = train(corpus() + [texts.line() for _ in range(60)], chosen)
    (folder / "tokenizer.model").write_bytes(data)
    reference = sentencepiece.SentencePieceProcessor(model_proto=data)
    rules = imported(probe, folder, folder / "imported.json")
    expect(rules["sentencepiece"] is not None, "the rules of sentencepiece are not asked for")
    lines = texts.lines[:30] + ["", " ", "   ", " a  b ", "▁", "\n"] + [texts.line() for _ in range(LINES)] + [texts.brokenBytes() for _ in range(LINES // 8)]
    lines = [line for line in lines if isinstance(line, bytes) or "\0" not in line]
    try:
        wanted = [reference.encode(line) for line in lines]
        count = compare(program, folder / "imported.json", wanted, lines, "sentencepiece")
        decode(program, folder / "imported.json", reference, wanted, texts)
    except Failed as failed:
        raise Failed(f"{describe(chosen)}: {failed}") from None
    return f"{describe(chosen)}: {len(lines)} lines, {count} ids"


def decode(program, path, reference, encoded, texts):
    """Texts of what lines became and of any ids; what is unknown has no text."""
    size = reference.get_piece_size()
    inputs = encoded[:150] + [[texts.random.randrange(size) for _ in range(texts.random.randrange(20))] for _ in range(150)]
    # A byte that is a space stands for no word's start: the library shows it at the start of a text, too.
    inputs = [[item for item in ids if not reference.IsUnknown(item) and reference.id_to_piece(item) != "<0x20>"] for ids in inputs]
    for ids, result in zip(inputs, tokenize(program, path, inputs)):
        wanted = reference.decode(ids)
        expect(result["text"] == wanted, f"{[reference.id_to_piece(item) for item in ids]}: text {result['text']!r}, sentencepiece has {wanted!r}")
        expect(result["stream"] == wanted, f"{ids}: streamed {result['stream']!r}, decoded {wanted!r}")


def writeGguf(path, model, tokens, scores, types, **values):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(model)
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    for key, value in values.items():
        key = "tokenizer.ggml." + key
        writer.add_bool(key, value) if isinstance(value, bool) else writer.add_uint32(key, value) if isinstance(value, int) else writer.add_array(key, value)
    for key, value in (("context_length", 64), ("embedding_length", 64), ("block_count", 1), ("feed_forward_length", 64), ("attention.head_count", 2)):
        writer.add_uint32(f"llama.{key}", value)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def llamaIds(python, path, lines):
    stdin = "".join((line if isinstance(line, bytes) else line.encode()).hex() + "\n" for line in lines)
    done = subprocess.run([python, "-c", LLAMA, path], input=stdin, text=True, capture_output=True, timeout=600)
    expect(done.returncode == 0, f"llama.cpp ended with {done.returncode}: {done.stderr[-300:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def ggufModel(program, probe, python, folder, seed, kind):
    rng = random.Random(seed)
    texts = Texts(seed, ["<s>", "<sep>"])
    path = folder / f"{seed}.gguf"
    lines = [line for line in texts.lines[:30] + [texts.line() for _ in range(LINES)] if "\0" not in line and line.isprintable()]
    if kind == "bert":
        # llama.cpp takes accents from letters that carry them, but leaves those that stand alone, and knows other symbols.
        lines = [line for line in lines if all(unicodedata.category(c)[0] in "LNP" or c.isspace() or c in "€$" for c in line)
                 and unicodedata.normalize("NFC", line) == line]
        words = sorted({word.lower() for line in corpus() for word in line.split()})
        tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + ["▁" + word for word in rng.sample(words, 400)]
        letters = sorted({letter for word in words for letter in word})
        tokens = list(dict.fromkeys(tokens + letters + ["▁" + letter for letter in letters] + [word[1:4] for word in rng.sample(words, 200) if len(word) > 4]))
        types = [UNKNOWN if token == "[UNK]" else CONTROL if token.startswith("[") and token.endswith("]") and len(token) > 2 else 1 for token in tokens]
        writeGguf(path, kind, tokens, [0.0] * len(tokens), types, bos_token_id=2, eos_token_id=3, unknown_token_id=1, seperator_token_id=3,
                  padding_token_id=0, mask_token_id=4, cls_token_id=2)
    else:
        chosen = options(rng.choice) | {"model_type": "unigram" if kind == "t5" else "bpe", "byte_fallback": kind == "llama", "user_defined_symbols": ["<sep>"]}
        if kind == "llama":
            chosen |= {"normalization_rule_name": "identity", "remove_extra_whitespaces": False, "split_by_whitespace": True}
        else:  # as T5 itself; llama.cpp mixes up the two where they differ
            chosen |= {"add_dummy_prefix": True, "remove_extra_whitespaces": True}
        data = train(corpus(), chosen)
        from sentencepiece import sentencepiece_model_pb2

        proto = sentencepiece_model_pb2.ModelProto()
        proto.ParseFromString(data)
        extra = {}
        if proto.normalizer_spec.precompiled_charsmap:
            extra["precompiled_charsmap"] = proto.normalizer_spec.precompiled_charsmap
        writeGguf(path, kind, [piece.piece for piece in proto.pieces], [piece.score for piece in proto.pieces], [piece.type for piece in proto.pieces],
                  bos_token_id=1, eos_token_id=2, unknown_token_id=0, add_space_prefix=proto.normalizer_spec.add_dummy_prefix,
                  remove_extra_whitespaces=proto.normalizer_spec.remove_extra_whitespaces, **extra)
    imported(probe, path, folder / f"{seed}.json")
    count = compare(program, folder / f"{seed}.json", llamaIds(python, path, lines), lines, "llama.cpp")
    return f"{len(lines)} lines, {count} ids"


def fill(suite, lathe, args):
    program, probe = programOf(lathe), lathe.bin / "lathe_import_probe"
    folder = scratch(Path(tempfile.mkdtemp(dir=scratch(lathe.work))))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for index in range(MODELS // 4 if args.fast else MODELS):
        suite.add(f"model {index}", fileModel, program, probe, folder, SEED + index)
    python = lathe.bin.parent / "venv-peers" / "bin" / "python3"
    if not python.exists():
        print("llama-cpp-python is not installed (tools/bench-peers does it): GGUF is not compared with llama.cpp")
        return
    for kind in ("llama", "t5", "bert"):
        for index in range(2 if args.fast else 6):
            suite.add(f"GGUF {kind} {index}", ggufModel, program, probe, python, folder, SEED + 1000 + index, kind)


if __name__ == "__main__":
    main("sentencepiece", fill)

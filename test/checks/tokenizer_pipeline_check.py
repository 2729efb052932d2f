#!/usr/bin/env python3
"""Every component of tokenizer.json against the PyPI package `tokenizers`, which trains the tokenizers compared.

From a seed come model, normalizers, pre-tokenizers, decoders, post-processor and added tokens in random combinations, with
small vocabularies trained on texts that stay as they are. The same ids for the same text, and the same text for the same ids, as
a whole and as a stream; where bytes of a byte fallback are no UTF-8, what the package `sentencepiece` says holds.
"""
import atexit
import json
import os
import random
import shutil
import tempfile
from pathlib import Path

os.environ["RUST_BACKTRACE"] = "0"
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from harness import Failed, expect, main, run, scratch
from tokenizer_check import FOLDER, Texts, compareIds, programOf, tokenize

SEED = 70_01
COMBINATIONS = int(os.environ.get("LATHE_COMBINATIONS", "160"))
LINES = 140
REPLACEMENTS = [("String", " ", "▁"), ("String", "e", ""), ("String", "ab", "ba"), ("Regex", r"\s+", " "), ("Regex", r"\d", "0"),
                ("Regex", r" {2,}", "▁"), ("Regex", r"\p{P}+", " . ")]
PATTERNS = [r"\s|\p{P}", r"\w+|[^\w\s]+", r"\p{Lu}?\p{Ll}+", r"[aeiou]", r"'s|'t| ?\p{L}+| ?\p{N}+"]
MODELS = ("BPE", "Unigram", "WordPiece", "WordLevel")


def corpus():
    """Many scripts, then prose, tables and code as they once stood in this tree: what is edited there draws no other case."""
    return [line for name in ("scripts.txt", "corpus.txt") for line in (FOLDER / name).read_text().splitlines()]


class Combination:
    """A tokenizer drawn from a seed."""

    def __init__(self, seed, kind):
        self.random = random.Random(seed)
        self.kind = kind
        self.names = [kind]
        self.charsmap = None

    def pick(self, options):
        return self.random.choice(options)

    def flag(self, probability=0.5):
        return self.random.random() < probability

    def normalizer(self):
        make = {
            "NFC": normalizers.NFC, "NFD": normalizers.NFD, "NFKC": normalizers.NFKC, "NFKD": normalizers.NFKD,
            "Lowercase": normalizers.Lowercase, "StripAccents": normalizers.StripAccents, "Nmt": normalizers.Nmt,
            "Strip": lambda: normalizers.Strip(left=self.flag(), right=self.flag()),
            "Prepend": lambda: normalizers.Prepend(self.pick(["▁", " ", "ab"])),
            "Replace": self.replace, "ByteLevel": normalizers.ByteLevel,
            "BertNormalizer": lambda: normalizers.BertNormalizer(clean_text=self.flag(), handle_chinese_chars=self.flag(),
                                                                strip_accents=self.pick([None, True, False]), lowercase=self.flag()),
            "Precompiled": lambda: normalizers.Precompiled(charsmap(self.pick(["nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf"]))),
        }
        steps = [self.pick(list(make)) for _ in range(self.pick([0, 1, 1, 1, 2, 3]))]
        self.names += steps
        made = [make[step]() for step in steps]
        return None if not made else made[0] if len(made) == 1 else normalizers.Sequence(made)

    def replace(self):
        kind, pattern, content = self.pick(REPLACEMENTS)
        return normalizers.Replace(Regex(pattern) if kind == "Regex" else pattern, content)

    def metaspace(self):
        return dict(replacement=self.pick(["▁", "▁", "_"]), prepend_scheme=self.pick(["always", "first", "never"]))

    def preTokenizer(self):
        behaviors = ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]
        make = {
            "ByteLevel": lambda: pre_tokenizers.ByteLevel(add_prefix_space=self.flag(), use_regex=self.flag(0.8)),
            "Metaspace": lambda: pre_tokenizers.Metaspace(split=self.flag(0.7), **self.metaspace()),
            "Whitespace": pre_tokenizers.Whitespace, "WhitespaceSplit": pre_tokenizers.WhitespaceSplit,
            "BertPreTokenizer": pre_tokenizers.BertPreTokenizer,
            "Punctuation": lambda: pre_tokenizers.Punctuation(self.pick(behaviors)),
            "Digits": lambda: pre_tokenizers.Digits(individual_digits=self.flag()),
            "CharDelimiterSplit": lambda: pre_tokenizers.CharDelimiterSplit(self.pick([" ", "e", "é", "—"])),
            "Split": lambda: pre_tokenizers.Split(*self.pick([(Regex(self.pick(PATTERNS)),), (self.pick([" ", "e", "an"]),)]),
                                                  self.pick(behaviors), invert=self.flag(0.3)),
            "UnicodeScripts": pre_tokenizers.UnicodeScripts,
            "FixedLength": lambda: pre_tokenizers.FixedLength(length=self.pick([1, 3, 5, 40])),
        }
        steps = [self.pick(list(make)) for _ in range(self.pick([0, 1, 1, 1, 2, 3]))]
        self.names += steps
        made = [make[step]() for step in steps]
        return None if not made else made[0] if len(made) == 1 else pre_tokenizers.Sequence(made)

    def decoder(self):
        make = {
            "ByteLevel": decoders.ByteLevel, "ByteFallback": decoders.ByteFallback, "Fuse": decoders.Fuse,
            "Metaspace": lambda: decoders.Metaspace(**self.metaspace()),
            "WordPiece": lambda: decoders.WordPiece(prefix=self.pick(["##", "@"]), cleanup=self.flag()),
            "Strip": lambda: decoders.Strip(self.pick([" ", "e"]), self.random.randrange(3), self.random.randrange(3)),
            "Replace": lambda: decoders.Replace(*self.pick([("▁", " "), ("e", "EE"), (" t", ""), (Regex(r"\s+"), " ")])),
            "BPEDecoder": lambda: decoders.BPEDecoder(suffix=self.pick(["</w>", "e"])),
        }
        steps = [self.pick(list(make)) for _ in range(self.pick([0, 1, 1, 2, 3, 4]))]
        self.names += ["/"] + steps
        made = [make[step]() for step in steps]
        return None if not made else made[0] if len(made) == 1 else decoders.Sequence(made)

    def model(self):
        """The model, empty, and its trainer."""
        size = self.random.randrange(150, 1500)
        common = dict(vocab_size=size, show_progress=False, special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)])
        if self.kind == "BPE":
            affixes = self.pick([{}, {}, {}, {"continuing_subword_prefix": "##"}, {"end_of_word_suffix": "</w>"},
                                 {"continuing_subword_prefix": "@", "end_of_word_suffix": "</w>"}])
            model = models.BPE(unk_token=self.pick(["<unk>", None]), fuse_unk=self.flag(), byte_fallback=self.flag(),
                               ignore_merges=self.flag(0.2), **affixes)
            return model, trainers.BpeTrainer(limit_alphabet=self.pick([60, 200, 1000]), **common, **affixes)
        if self.kind == "Unigram":
            return models.Unigram(), trainers.UnigramTrainer(unk_token="<unk>", max_piece_length=self.pick([4, 16]), **common)
        if self.kind == "WordPiece":
            prefix = self.pick(["##", "##", "@"])
            return (models.WordPiece(unk_token="<unk>", max_input_chars_per_word=self.pick([5, 100])),
                    trainers.WordPieceTrainer(limit_alphabet=self.pick([60, 1000]), continuing_subword_prefix=prefix, **common))
        return models.WordLevel(unk_token="<unk>"), trainers.WordLevelTrainer(**common)

    def tokenizer(self):
        model, trainer = self.model()
        tokenizer = Tokenizer(model)
        if (normalizer := self.normalizer()) is not None:
            tokenizer.normalizer = normalizer
        if (preTokenizer := self.preTokenizer()) is not None:
            tokenizer.pre_tokenizer = preTokenizer
        lines = corpus()
        tokenizer.train_from_iterator(self.random.sample(lines, min(len(lines), 250)), trainer)
        if (decoder := self.decoder()) is not None:
            tokenizer.decoder = decoder
        for _ in range(self.pick([0, 0, 1, 3])):
            tokenizer.add_tokens([AddedToken(self.pick(["<x>", "word", "von", "É", "the", "▁▁", "<|im_end|>", " a"]), single_word=self.flag(0.3),
                                             lstrip=self.flag(0.3), rstrip=self.flag(0.3), normalized=self.flag(), special=self.flag(0.3))])
        self.names.append(kind := self.pick(["none", "Bert", "Roberta", "Template", "Sequence"]))
        template = processors.TemplateProcessing(single="<s> $A </s> </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
        made = {"Bert": lambda: processors.BertProcessing(("</s>", 2), ("<s>", 1)),
                "Roberta": lambda: processors.RobertaProcessing(("</s>", 2), ("<s>", 1)), "Template": lambda: template,
                "Sequence": lambda: processors.Sequence([processors.ByteLevel(), template])}
        if kind in made:
            tokenizer.post_processor = made[kind]()
        return tokenizer


CHARSMAPS = {}


def charsmap(name):
    """The precompiled map of a normalization of sentencepiece, out of a model trained for it."""
    if name not in CHARSMAPS:
        CHARSMAPS[name] = trainedModel(corpus(), normalization_rule_name=name).normalizer_spec.precompiled_charsmap
    return CHARSMAPS[name]


def trainedModel(lines, **options):
    """A sentencepiece model as its protocol buffer."""
    import io

    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=out, minloglevel=2,
                                             **({"vocab_size": 400, "hard_vocab_limit": False} | options))
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(out.getvalue())
    return proto


def asked(function, *arguments, **options):
    """What `tokenizers` says, or None where it panics: some of its components do not get on with each other."""
    try:
        return function(*arguments, **options)
    except BaseException as error:
        if type(error).__name__ == "PanicException":
            return None
        raise


def compareLines(program, path, reference, lines):
    """As compareIds, line by line where one makes `tokenizers` panic."""
    if (count := asked(compareIds, program, path, reference, lines)) is not None:
        return count
    decode = lambda line: line.decode("utf-8", errors="replace") if isinstance(line, bytes) else line
    return compareIds(program, path, reference, [line for line in lines if asked(reference.encode, decode(line)) is not None])


def byteRow(tokens):
    """Whether bytes of a fallback in a row are no UTF-8: there `tokenizers` gives up the whole row."""
    row = b""
    for token in [*tokens, ""]:
        if len(token) == 6 and token.startswith("<0x"):
            row += bytes([int(token[3:5], 16)])
            continue
        try:
            row.decode()
        except UnicodeDecodeError:
            return True
        row = b""
    return False


def compareTexts(program, path, reference, texts):
    size = reference.get_vocab_size()
    added = reference.get_added_tokens_decoder()
    # `tokenizers` shows such an added token in its normalized form, and does not find it among the special ones then.
    respelled = {item for item, token in added.items() if reference.id_to_token(item) != token.content}
    encoded = [asked(reference.encode, line) for line in texts.lines[:30] + [texts.line() for _ in range(40)]]
    inputs = [encoding.ids for encoding in encoded if encoding is not None]
    inputs += [[texts.random.randrange(size) for _ in range(texts.random.randrange(20))] for _ in range(40)]
    inputs = [ids for ids in inputs if respelled.isdisjoint(ids)]
    for ids, result in zip(inputs, tokenize(program, path, inputs)):
        expect(result["stream"] == result["text"], f"{ids}: streamed {result['stream']!r}, decoded {result['text']!r}")
        for key, skip in (("text", True), ("all", False)):
            tokens = [reference.id_to_token(item) for item in ids]
            if byteRow([token for token in tokens if not (skip and token in ("<unk>", "<s>", "</s>"))]):
                continue
            wanted = asked(reference.decode, ids, skip_special_tokens=skip)
            expect(wanted is None or result[key] == wanted, f"{[reference.id_to_token(item) for item in ids]}: text {result[key]!r}, tokenizers has {wanted!r}")


def vocabulary(content):
    tokens = content["model"]["vocab"]
    return {token: index for index, (token, _) in enumerate(tokens)} if isinstance(tokens, list) else tokens


def combination(program, folder, seed, kind, lines):
    drawn = Combination(seed, kind)
    try:
        reference = drawn.tokenizer()
    except Exception as error:  # some combinations leave nothing to train on
        if "empty" in str(error) or "vocab" in str(error).lower():
            return f"{' '.join(drawn.names)}: nothing to train on ({error})"
        raise
    path = folder / f"{seed}.json"
    reference.save(str(path))
    content = json.loads(path.read_text())
    if len({token["id"] for token in content["added_tokens"]} | set(vocabulary(content).values())) != len(
            {token["content"] for token in content["added_tokens"]} | set(vocabulary(content))):
        return f"{' '.join(drawn.names)}: an id twice"
    reference = Tokenizer.from_file(str(path))
    texts = Texts(seed, [token.content for token in reference.get_added_tokens_decoder().values()])
    inputs = texts.lines[:20] + [texts.line() for _ in range(lines)] + [texts.brokenBytes() for _ in range(lines // 10)]
    try:
        count = compareLines(program, path, reference, inputs)
        compareTexts(program, path, reference, texts)
    except Failed as failed:
        raise Failed(f"{' '.join(drawn.names)}: {failed}") from None
    return f"{' '.join(drawn.names)}: {len(inputs)} lines, {count} ids"


def speed(program, folder, kind):
    """Figures only: a busy machine is no defect."""
    makers = {
        "BPE": (models.BPE(), None, pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel(), trainers.BpeTrainer),
        "Unigram": (models.Unigram(), normalizers.NFKC(), pre_tokenizers.Metaspace(), decoders.Metaspace(), trainers.UnigramTrainer),
        "WordPiece": (models.WordPiece(unk_token="<unk>"), normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer(), decoders.WordPiece(),
                      trainers.WordPieceTrainer),
        "WordLevel": (models.WordLevel(unk_token="<unk>"), None, pre_tokenizers.Whitespace(), None, trainers.WordLevelTrainer),
    }
    model, normalizer, preTokenizer, decoder, trainer = makers[kind]
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = preTokenizer
    if normalizer:
        tokenizer.normalizer = normalizer
    if decoder:
        tokenizer.decoder = decoder
    rng, words = random.Random(SEED), [word for line in corpus() for word in line.split()]
    lines = corpus() + [" ".join(rng.choices(words, k=rng.randrange(4, 20))) for _ in range(8000)]
    unknown = {"unk_token": "<unk>"} if kind == "Unigram" else {}
    tokenizer.train_from_iterator(lines, trainer(vocab_size=8000, show_progress=False, special_tokens=["<unk>"], **unknown))
    path, text = folder / f"speed-{kind}.json", folder / "speed.txt"
    tokenizer.save(str(path))
    text.write_text(("\n".join(lines) + "\n") * max(1, 4_000_000 // sum(map(len, lines))))
    done = run([program, path, "--speed", text], timeout=600).expect(0)
    encoding, decoding = done.text.split()
    return f"{encoding} MB/s to ids, {decoding} MB/s back"


def fill(suite, lathe, args):
    program = programOf(lathe)
    folder = scratch(Path(tempfile.mkdtemp(dir=scratch(lathe.work))))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    count = COMBINATIONS // 4 if args.fast else COMBINATIONS
    for index in range(count):
        kind = MODELS[index % len(MODELS)]
        suite.add(f"{kind} {index}", combination, program, folder, SEED + index, kind, LINES)
    for kind in MODELS:
        suite.add(f"{kind}: speed", speed, program, folder, kind)


if __name__ == "__main__":
    main("tokenizer_pipeline", fill)

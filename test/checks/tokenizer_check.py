#!/usr/bin/env python3
"""The tokenizer against the PyPI package `tokenizers`: the same ids for the same text, the same text for the same ids.

Texts are drawn from one seed: many scripts, marks, emoji, code, whitespace, digits, control characters, special tokens
within text, bytes that are no UTF-8. Tokenizers are the fixtures of the four pre-tokenizer patterns, edited fixtures for
each option of each component, and the vocabulary of SmolLM2 where its GGUF is at hand.
"""
import atexit
import copy
import json
import random
import shutil
import tempfile
import unicodedata
import zipfile
from pathlib import Path

from gguf import GGUFReader
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel

from harness import DATA, Failed, expect, main, run, scratch, smollm2

FOLDER = DATA / "tokenizer"
PATTERNS = ("gpt2", "llama3", "qwen2", "smollm")
SEED = 30_04
LINES = 5000
SECONDS = 120
SPACES = [" ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", " \n ", "\u00a0", "\u2003", "\u3000", "\u200b", "\u180e", "\u2028", "\u0085", "\v", "\f"]
BLOCKS = [(0x20, 0x7E), (0xA0, 0x24F), (0x250, 0x36F), (0x370, 0x52F), (0x590, 0x6FF), (0x900, 0xDFF), (0xE00, 0xFFF), (0x1000, 0x18AF),
          (0x1E00, 0x1FFF), (0x2000, 0x2BFF), (0x3000, 0x30FF), (0x3400, 0x9FFF), (0xAC00, 0xD7A3), (0xE000, 0xFFFD),
          (0x10000, 0x1FAFF), (0x20000, 0x323AF), (0xE0000, 0xE01EF)]


def programOf(lathe):
    program = lathe.bin / "tokenize"
    expect(program.exists(), f"{program} is missing")
    return program


class Texts:
    """Seeded lines. Each is a mixture of fragments, most of them from scripts.txt."""

    def __init__(self, seed, special):
        self.random = random.Random(seed)
        self.lines = (FOLDER / "scripts.txt").read_text().splitlines()
        self.words = [word for line in self.lines for word in line.split()]
        self.special = special

    def fragment(self):
        pick, choice = self.random.random(), self.random.choice
        if pick < 0.30:
            return choice(self.words) + choice(["", " "])
        if pick < 0.40:
            line = choice(self.lines)
            start = self.random.randrange(len(line))
            return line[start : start + self.random.randrange(1, 30)]
        if pick < 0.50:
            return choice(SPACES) * self.random.choice([1, 1, 2, 5, 17])
        if pick < 0.58:
            return "".join(chr(self.random.randint(*choice(BLOCKS))) for _ in range(self.random.randrange(1, 6)))
        if pick < 0.64:
            low, high = choice(BLOCKS)
            return "".join(chr(self.random.randint(low, high)) for _ in range(self.random.randrange(1, 12)))
        if pick < 0.70:
            return choice(["0", "7", "٣", "৫", "๑", "²", "Ⅻ", "½"]) * self.random.choice([1, 2, 3, 4, 9]) + choice(["", ".", ",", "e"])
        if pick < 0.76:
            return choice(["'", "’", "x'", " '"]) + choice(["s", "S", "ſ", "t", "T", "re", "RE", "Re", "ve", "m", "ll", "LL", "d", "K", "n"])
        if pick < 0.80:
            return chr(self.random.randrange(0x20)) * self.random.choice([1, 2, 3])
        if pick < 0.86 and self.special:
            return choice(["", " ", "  ", "\n"]) + choice(self.special) + choice(["", " ", "  ", "a", "."])
        if pick < 0.88 and self.special:
            token = choice(self.special)
            return token[: self.random.randrange(1, len(token) + 1)]
        if pick < 0.92:
            return unicodedata.normalize(choice(["NFD", "NFC", "NFKD"]), choice(self.words))
        if pick < 0.95:
            return choice("aeioun") + "".join(chr(self.random.randint(0x300, 0x36F)) for _ in range(self.random.randrange(1, 6)))
        if pick < 0.97:
            return self.random.choice("abZ.=-_ é") * self.random.randrange(2, 200)
        return choice(["->", "!=", "();", "{\n\t", "//", "/*", "\\n", "::", "...", "—", "“”", "…", "http://", "_x_", "#", "$$", "\ufeff", "\ufffd"])

    def line(self):
        return "".join(self.fragment() for _ in range(self.random.randrange(1, 12)))

    def brokenBytes(self):
        """UTF-8 with bytes changed, dropped or put in."""
        data = bytearray(self.line().encode())
        for _ in range(self.random.randrange(1, 5)):
            at = self.random.randrange(len(data) + 1)
            action = self.random.random()
            if action < 0.4:
                data[at:at] = bytes(self.random.choice([0x80, 0xBF, 0xC0, 0xC3, 0xE0, 0xED, 0xEF, 0xF0, 0xF4, 0xF5, 0xFF])
                                    for _ in range(self.random.randrange(1, 4)))
            elif action < 0.7:
                del data[at : at + 1]
            else:
                data[at : at + 1] = bytes([self.random.randrange(256)])
        return bytes(data)


def tokenize(program, path, inputs, *options):
    """Runs all inputs through the program, one JSON line each."""
    stdin = "".join(json.dumps({"hex": item.hex()} if isinstance(item, bytes) else item) + "\n" for item in inputs)
    done = run([program, path, *options], stdin=stdin, timeout=SECONDS)
    done.expect(0)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    expect(len(results) == len(inputs), f"{len(results)} results for {len(inputs)} lines")
    return results


def compareIds(program, path, reference, texts, *options):
    """Ids of every text; malformed UTF-8 is what Python's lossy decoding makes of it."""
    decoded = [text.decode("utf-8", errors="replace") if isinstance(text, bytes) else text for text in texts]
    wanted = [encoding.ids for encoding in reference.encode_batch(decoded, add_special_tokens=not options)]
    for text, actual, ids in zip(texts, tokenize(program, path, texts, *options), wanted):
        if actual != ids:
            at = next((i for i, pair in enumerate(zip(actual, ids)) if pair[0] != pair[1]), min(len(actual), len(ids)))
            raise Failed(f"{text!r}: ids differ from position {at}: {actual[at:at + 8]}, tokenizers has {ids[at:at + 8]} "
                         f"after {reference.decode(ids[:at][-8:])!r}")
    return sum(map(len, wanted))


def encode(program, path, fast):
    reference = Tokenizer.from_file(str(path))
    special = [token.content for token in reference.get_added_tokens_decoder().values()]
    texts = Texts(SEED, special)
    lines = texts.lines + ["", " ", "\n"] + [texts.line() for _ in range(LINES // 5 if fast else LINES)]
    lines += [texts.brokenBytes() for _ in range(len(lines) // 10)]
    count = compareIds(program, path, reference, lines)
    return f"{len(lines)} lines, {count} ids"


def encodePlain(program, path):
    """No special token is added or recognised."""
    reference = Tokenizer.from_file(str(path))
    special = [token.content for token in reference.get_added_tokens_decoder().values()]
    reference.encode_special_tokens = True
    texts = Texts(SEED + 1, special)
    compareIds(program, path, reference, [texts.line() for _ in range(500)], "--plain")


def decode(program, path):
    """Any ids, among them pieces of characters, and text as a stream shows it."""
    reference = Tokenizer.from_file(str(path))
    texts = Texts(SEED + 2, [token.content for token in reference.get_added_tokens_decoder().values()])
    size = reference.get_vocab_size()
    inputs = [reference.encode(texts.line()).ids for _ in range(500)]
    inputs += [[texts.random.randrange(size) for _ in range(texts.random.randrange(40))] for _ in range(500)]
    inputs += [[texts.random.randrange(min(size, 300)) for _ in range(20)] for _ in range(500)]
    for ids, actual in zip(inputs, tokenize(program, path, inputs)):
        wanted = {"text": reference.decode(ids), "all": reference.decode(ids, skip_special_tokens=False), "stream": reference.decode(ids)}
        expect(actual == wanted, f"ids {ids}: {actual}, tokenizers has {wanted}")
    return f"{len(inputs)} lists"


def longRuns(program, path):
    """Words and whitespace of 30,000 characters: no limit of the matcher is in the way of real patterns."""
    units = ["a", "A", "aB", " ", "\n", " \n", "\t\n ", "   \n\n", "7", "!", "é", "中", "a ", " a", "'s", "'", "\u0316\u0300", "a\u0316\u0300", "<|im_"]
    compareIds(program, path, Tokenizer.from_file(str(path)), [unit * (30_000 // len(unit)) + end for unit in units for end in ("", "x")])


def bytesOnly(content):
    """The same components over 256 byte tokens and nothing merged."""
    content["model"] |= {"vocab": {token: index for index, token in enumerate(sorted(ByteLevel.alphabet()))}, "merges": [], "unk_token": None}
    content["added_tokens"], content["post_processor"] = [], None


def everyCharacter(program, steps, name, folder, fast):
    """Where a pattern splits around each code point. A space before every word makes the splits visible in ids."""
    content = json.loads((FOLDER / "gpt2.json").read_text())
    bytesOnly(content)
    content["pre_tokenizer"] = sequence(*steps, byteLevel(add_prefix_space=True, use_regex=False))
    path = write(folder, f"{name}-characters", content)
    points = [*range(0xD800), *range(0xE000, 0x33480), *range(0xE0000, 0xE0200)]
    points = points[:: 7 if fast else 1]
    lines = ["".join(f"a{chr(point)}1{chr(point)}!{chr(point)}'{chr(point)}" for point in points[start : start + 64])
             for start in range(0, len(points), 64)]
    compareIds(program, path, Tokenizer.from_file(str(path)), lines)
    return f"{len(points)} code points"


def characterSteps():
    """The splits of the four patterns, and of classes that other patterns use."""
    gpt2 = split({"Regex": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"}, "Isolated")
    yield "gpt2", [gpt2]
    yield "smollm", [{"type": "Digits", "individual_digits": True}, gpt2]
    for name in ("llama3", "qwen2"):
        yield name, json.loads((FOLDER / f"{name}.json").read_text())["pre_tokenizer"]["pretokenizers"][:-1]
    yield "word", [split({"Regex": r"\w+|\d"}, "Isolated")]
    yield "categories", [split({"Regex": r"\p{Lu}+|\p{Ll}+|\p{M}+|\p{P}+|\p{S}+|\p{Nd}+|\p{Z}+"}, "Isolated")]


def write(folder, name, content):
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content, ensure_ascii=False))
    return path


def byteLevel(**changes):
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True} | changes


def split(pattern, behavior, invert=False):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def added(content, identifier, **flags):
    return {"id": identifier, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
            "special": False} | flags


def variants():
    """(name, pre-tokenizer or a function that edits a fixture) of components that the four patterns leave out."""
    plain = byteLevel(use_regex=False)
    yield "prefix space", byteLevel(add_prefix_space=True)
    yield "prefix space after digits", sequence({"type": "Digits", "individual_digits": False}, byteLevel(add_prefix_space=True))
    for behavior in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        for invert in (False, True):
            yield f"{behavior}{' inverted' if invert else ''}", sequence(split({"Regex": r"\s|\p{P}"}, behavior, invert), plain)
            yield f"{behavior} of a string{' inverted' if invert else ''}", sequence(split({"String": "e"}, behavior, invert), plain)
    yield "empty matches", sequence(split({"Regex": r"a*|(?=\p{Lu})"}, "Isolated"), plain)
    yield "o200k", sequence(split({"Regex": "|".join([
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])}, "Removed", True), plain)
    yield "cl100k", sequence(split({"Regex": r"(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"},
                                   "Isolated"), plain)
    yield "syntax of Oniguruma", sequence(split({"Regex": r"(?m:^.{,3}$)|\h{2}|\w+|\W|\u00e9|[\S&x-z]\D"}, "Isolated"), plain)
    yield "word classes", sequence(split({"Regex": r"[\w-]+|\W+"}, "Isolated"), plain)
    yield "lookbehind", sequence(split({"Regex": r"(?<=\p{Ll})(?=\p{Lu})|(?<!\d)\d{2}(?!\d)"}, "Isolated"), plain)

    def unknown(fuse):
        def edit(content):
            vocabulary = content["model"]["vocab"]
            for token in "Ãàt":
                vocabulary.pop(token)
            content["model"]["merges"] = [pair for pair in content["model"]["merges"]
                                          if not set("".join(pair)) & set("Ãàt") and pair[0] in vocabulary and pair[1] in vocabulary]
            keep = {part for pair in content["model"]["merges"] for part in (pair[0], pair[1], "".join(pair))}
            content["model"]["vocab"] = {token: index for token, index in vocabulary.items() if len(token) < 2 or token in keep or token[0] == "<"}
            content["model"] |= {"unk_token": {0: None}.get(fuse, "<|im_end|>"), "fuse_unk": fuse == 2}
            content["added_tokens"] = [token for token in content["added_tokens"] if token["id"] < 3]
        return edit

    yield "bytes without a token", unknown(0)
    yield "unknown token", unknown(1)
    yield "fused unknown token", unknown(2)

    def addedTokens(content):
        first = len(content["model"]["vocab"])
        tokens = [("<l>", {"lstrip": True}), ("<r>", {"rstrip": True, "special": True}), ("<b>", {"lstrip": True, "rstrip": True}),
                  ("word", {"single_word": True}), ("von", {"single_word": True, "normalized": True}), ("<lon", {}), ("<longer>", {}),
                  ("Åse", {"normalized": True}), ("  ", {}), ("ñu", {}), ("free", {"normalized": True, "lstrip": True, "special": True})]
        content["added_tokens"] = content["added_tokens"][:3] + [added(text, first + i, **flags) for i, (text, flags) in enumerate(tokens)]

    yield "added tokens", addedTokens

    def template(content):
        content["post_processor"] = {"type": "TemplateProcessing", "pair": [
            {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}], "single": [
            {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "<|im_end|>", "type_id": 0}}, {"SpecialToken": {"id": "<|im_end|>", "type_id": 0}}],
            "special_tokens": {name: {"id": name, "ids": [number], "tokens": [name]} for name, number in (("<|im_start|>", 1), ("<|im_end|>", 2))}}

    yield "template", template


def variant(program, folder, name, edit):
    content = json.loads((FOLDER / "qwen2.json").read_text())
    if callable(edit):
        edit(content)
    else:
        content["pre_tokenizer"] = copy.deepcopy(edit)
    path = write(folder, name.replace(" ", "-"), content)
    reference = Tokenizer.from_file(str(path))
    texts = Texts(SEED + 3, [token["content"] for token in content["added_tokens"]])
    compareIds(program, path, reference, texts.lines + [texts.line() for _ in range(400)])
    reference.encode_special_tokens = True
    compareIds(program, path, reference, [texts.line() for _ in range(200)], "--plain")


def smollmContent():
    """tokenizer.json as Hugging Face has it for SmolLM2, from the metadata of its GGUF."""
    fields = GGUFReader(str(smollm2())).fields
    tokens, types, merges = (fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "token_type", "merges"))
    content = json.loads((FOLDER / "smollm.json").read_text())
    content["added_tokens"] = [added(token, index, special=True) for index, (token, kind) in enumerate(zip(tokens, types)) if kind == 3]
    content["model"] |= {"vocab": {token: index for index, token in enumerate(tokens)}, "merges": merges}
    return content


def importedTokenizer(lathe, program, folder):
    """What the GGUF importer writes into the artifact gives the ids of the metadata's tokenizer."""
    with zipfile.ZipFile(lathe.artifact(smollm2(), "--quant", "f32")) as artifact:
        path = folder / "imported.json"
        path.write_bytes(artifact.read("tokenizer.json"))
    content = json.loads(path.read_text())
    expect(content.pop("lathe")["eos_token_ids"], "the importer's tokenizer.json names no end")
    texts = Texts(SEED + 4, ["<|im_start|>", "<|im_end|>"])
    for wanted in (smollmContent(), content):  # `tokenizers` reads no file with a key that it does not know
        compareIds(program, path, Tokenizer.from_str(json.dumps(wanted)), texts.lines + [texts.line() for _ in range(1000)])


def smollm(check, program, folder, *arguments):
    path = folder / "smollm2.json"
    if not path.exists():
        write(folder, "smollm2", smollmContent())
    return check(program, path, *arguments)


def fill(suite, lathe, args):
    program = programOf(lathe)
    folder = scratch(Path(tempfile.mkdtemp(dir=scratch(lathe.work))))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in PATTERNS:
        path = FOLDER / f"{name}.json"
        suite.add(f"{name}: ids", encode, program, path, args.fast)
        suite.add(f"{name}: ids without special tokens", encodePlain, program, path)
        suite.add(f"{name}: text", decode, program, path)
        suite.add(f"{name}: long runs", longRuns, program, path)
    for name, steps in characterSteps():
        suite.add(f"{name}: every code point", everyCharacter, program, steps, name, folder, args.fast)
    for name, edit in variants():
        suite.add(f"variant: {name}", variant, program, folder, name, edit)
    suite.add("SmolLM2: ids", smollm, encode, program, folder, args.fast)
    suite.add("SmolLM2: ids without special tokens", smollm, encodePlain, program, folder)
    suite.add("SmolLM2: text", smollm, decode, program, folder)
    if lathe.program.exists():
        suite.add("SmolLM2: the importer's tokenizer.json", importedTokenizer, lathe, program, folder)
    else:
        print("this build has no lathe program: the importer's tokenizer.json is not compared")


if __name__ == "__main__":
    main("tokenizer", fill)

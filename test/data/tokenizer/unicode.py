#!/usr/bin/env python3
"""Writes runtime/tokenizer/UnicodeTables.cpp and UnicodeScripts.cpp: what the PyPI package `tokenizers` knows of each character.

Its parts know different versions of Unicode, so each property is asked of the part that decides it, for every code point.
"""
import textwrap
import unicodedata
from pathlib import Path

from tokenizers import normalizers, pre_tokenizers

FOLDER = Path(__file__).resolve().parents[3] / "runtime" / "tokenizer"
CHARACTERS = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
CHUNK = 4096


def chosen(isChosen):
    """Ranges of the code points that a function of many characters chooses."""
    ranges = []
    for start in range(0, len(CHARACTERS), CHUNK):
        chunk = CHARACTERS[start : start + CHUNK]
        for character, yes in zip(chunk, isChosen(chunk)):
            code = ord(character)
            if code < 0x80 or not yes:
                continue
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return ranges



def byPreTokenizer(preTokenizer):
    split = preTokenizer.pre_tokenize_str
    return lambda chunk: [len(split("\x01" + c + "\x01")) == 3 for c in chunk]


def words():
    split = pre_tokenizers.Whitespace().pre_tokenize_str
    return lambda chunk: [len(split("a" + c + "a")) == 1 for c in chunk]


def removed(normalizer):
    apply = normalizer.normalize_str
    return lambda chunk: [apply("a" + c) == "a" for c in chunk]


def scripts():
    split = pre_tokenizers.UnicodeScripts().pre_tokenize_str
    together = lambda a, b: len(split(a + b)) == 1
    samples = ["a", "α"]  # one character of each script
    ranges = []
    last = None
    for character in CHARACTERS:
        if together("a", character) and together("α", character):
            script = None
        elif last is not None and together(samples[last], character):
            script = last
        else:
            script = next((index for index, sample in enumerate(samples) if together(sample, character)), None)
            if script is None:
                script = len(samples)
                samples.append(character)
        last = script
        code = ord(character)
        if script is None:
            continue
        if ranges and ranges[-1][1] == code - 1 and ranges[-1][2] == script + 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code, script + 1])
    return ranges


def lowercase():
    apply = normalizers.Lowercase().normalize_str
    pairs = [(ord(c), apply(c)) for c in CHARACTERS if ord(c) >= 0x80]
    return [(code, ord(lower)) for code, lower in pairs if len(lower) == 1 and code != ord(lower)]


def unnormalized():
    """Characters that this Python normalizes or orders and `tokenizers` does not, and all that are younger than Python."""
    nfkd = normalizers.NFKD().normalize_str

    def isUnknown(c):
        if unicodedata.category(c) == "Cn":
            return True
        if unicodedata.normalize("NFKD", c) != c:
            return nfkd(c) == c
        if unicodedata.combining(c) == 0:
            return False
        # A mark that is known goes in front of one of a higher class, or behind one of a lower.
        low, high = "a\u0334" + c, "a" + c + "\u0345"
        return nfkd("a" + c + "\u0334") != nfkd(low) and nfkd("a\u0345" + c) != nfkd(high)

    return lambda chunk: [isUnknown(c) for c in chunk]


def printed(name, kind, rows):
    items = ["{" + ",".join(f"0x{value:X}" if index < 2 else str(value) for index, value in enumerate(row)) + "}," for row in rows]
    lines = textwrap.wrap(" ".join(items), 118, initial_indent="  ", subsequent_indent="  ")
    return "\n".join([f"constexpr {kind} {name}Table[] = {{", *lines, "};", f"const std::span<const {kind}> {name} = {name}Table;", ""])


def write(name, tables):
    text = f"//===- {name}.cpp - written by test/data/tokenizer/unicode.py -".ljust(74, "-") + "===//\n"
    text += '#include "runtime/tokenizer/Unicode.h"\n\n// clang-format off\nnamespace lathe::unicode {\n\n'
    (FOLDER / f"{name}.cpp").write_text(text + "\n".join(tables) + "\n} // namespace lathe::unicode\n")


def main():
    bert = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    tables = {
        "numeric": chosen(byPreTokenizer(pre_tokenizers.Digits(individual_digits=True))),
        "word": chosen(words()),
        "punctuation": chosen(byPreTokenizer(pre_tokenizers.Punctuation())),
        "other": chosen(removed(normalizers.BertNormalizer(**(bert | {"clean_text": True})))),
        "nonspacingMark": chosen(removed(normalizers.BertNormalizer(**(bert | {"strip_accents": True})))),
        "combiningMark": chosen(removed(normalizers.StripAccents())),
        "unnormalized": chosen(unnormalized()),
    }
    tables["other"] = [row for row in tables["other"] if row != [0xFFFD, 0xFFFD]]  # removed for its own sake
    write("UnicodeTables", [printed(name, "CodePointRange", rows) for name, rows in tables.items()] + [printed("lowercase", "CasePair", lowercase())])
    write("UnicodeScripts", [printed("scripts", "ScriptRange", scripts())])
    print(", ".join(f"{name} {len(rows)}" for name, rows in tables.items()))


main()

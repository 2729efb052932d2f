"""Artifacts without their large weights, for machines that a model of a gigabyte cannot be sent to.

A husk is an artifact's bytes but those of its matrices (names that end in `.values`, or `.codes` and `.scales`), in front of them one
line of JSON that says where they were; all of it by gzip. `grow` writes the artifact again and draws the matrices from a seed: normal,
standard deviation 0.02, as `--weights random:SEED` has them, but not the same numbers. Norms, rope tables and biases are kept.
Needs no package.
"""
import array
import gzip
import json
import random
import struct
import zipfile

BLOCK = 1 << 19  # values that are drawn; matrices repeat them from different places on
CHUNK = 1 << 24
DEVIATION = 0.02
CODE_DEVIATION = 40  # of int8 codes, which reach from -127 to 127; a scale is what makes the two one
ELEMENTS = {".values": ("bf16", "f32"), ".codes": ("i8",), ".scales": ("bf16", "f32")}


def memberPlace(file, info):
    """Where the data of a stored member begin."""
    file.seek(info.header_offset)
    header = file.read(30)
    if header[:4] != b"PK\x03\x04" or info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{info.filename}: expected a stored member")
    return info.header_offset + 30 + sum(struct.unpack("<HH", header[26:30]))


def kindOf(weight):
    """What is drawn for it: an element of ELEMENTS, "scale" in front of those of scales; None: it is kept."""
    element = weight["layout"].split(" ")[0]
    for suffix, elements in ELEMENTS.items():
        if weight["name"].endswith(suffix) and element in elements:
            return f"scale {element}" if suffix == ".scales" else element
    return None


def strip(source, husk):
    """Returns the bytes that were left out."""
    with open(source, "rb") as file, zipfile.ZipFile(source) as archive:
        weights = json.loads(archive.read("manifest.json"))["weights"]
        begin = memberPlace(file, archive.getinfo("weights.bin"))
        gaps = sorted([begin + w["offset"], w["bytes"], kindOf(w)] for w in weights if kindOf(w))
        file.seek(0, 2)
        size = file.tell()
        with gzip.GzipFile(husk, "wb", mtime=0) as out:
            out.write(json.dumps({"size": size, "gaps": gaps}).encode() + b"\n")
            at = 0
            for offset, length, _ in [*gaps, [size, 0, ""]]:
                file.seek(at)
                out.write(file.read(offset - at))
                at = offset + length
    return sum(gap[1] for gap in gaps)


def packed(floats, element):
    """Floats as bytes of an element, rounded to nearest even."""
    if element == "f32":
        return floats.tobytes()
    bits = array.array("I", floats.tobytes())
    return array.array("H", [(b + 0x7fff + (b >> 16 & 1)) >> 16 for b in bits]).tobytes()


def drawn(kind, seed):
    """A block of values, as bytes. Codes times scales have the matrices' deviation."""
    generator = random.Random(f"{seed} {kind}")
    gauss = generator.gauss
    if kind == "i8":
        return array.array("b", [max(-127, min(127, round(gauss(0, CODE_DEVIATION)))) for _ in range(BLOCK)]).tobytes()
    element = kind.split(" ")[-1]
    if kind.startswith("scale"):
        scale = DEVIATION / CODE_DEVIATION
        return packed(array.array("f", [scale * generator.uniform(0.9, 1.1) for _ in range(BLOCK)]), element)
    return packed(array.array("f", [gauss(0, DEVIATION) for _ in range(BLOCK)]), element)


def grow(husk, path, seed=0):
    """Writes the artifact that the husk was made of, with drawn matrices."""
    blocks = {}
    with gzip.open(husk, "rb") as file, open(path, "wb") as out:
        head = json.loads(file.readline())
        at = 0
        for number, (offset, length, kind) in enumerate([*head["gaps"], [head["size"], 0, ""]]):
            out.write(file.read(offset - at))
            at = offset + length
            if not length:
                continue
            if kind not in blocks:
                blocks[kind] = drawn(kind, seed)
            block = blocks[kind]
            first = number * 7919 * 64 % len(block)  # no two matrices begin alike
            turned = block[first:] + block[:first]
            turned *= max(1, min(CHUNK, length) // len(turned))
            for done in range(0, length, len(turned)):
                out.write(turned[:length - done])

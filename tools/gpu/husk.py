"""Artifacts without their large weights, for machines that a model of a gigabyte cannot be sent to.

A husk is an artifact's bytes but those of its matrices (names that end in `.values`), in front of them one line of JSON that says
where they were. `grow` writes the artifact again and draws the matrices from a seed: normal, standard deviation 0.02, as
`--weights random:SEED` has them, but not the same numbers. Norms, rope tables and biases are kept. Needs no package.
"""
import array
import json
import random
import struct
import zipfile

BLOCK = 1 << 19  # values that are drawn; matrices repeat them from different places on
CHUNK = 1 << 24


def memberPlace(file, info):
    """Where the data of a stored member begin."""
    file.seek(info.header_offset)
    header = file.read(30)
    if header[:4] != b"PK\x03\x04" or info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{info.filename}: expected a stored member")
    return info.header_offset + 30 + sum(struct.unpack("<HH", header[26:30]))


def strip(source, husk):
    """Returns the bytes that were left out."""
    with open(source, "rb") as file, zipfile.ZipFile(source) as archive:
        weights = json.loads(archive.read("manifest.json"))["weights"]
        begin = memberPlace(file, archive.getinfo("weights.bin"))
        gaps = [[begin + w["offset"], w["bytes"], w["layout"].split(" ")[0]] for w in weights
                if w["name"].endswith(".values") and w["layout"].split(" ")[0] in ("bf16", "f32")]
        gaps.sort()
        file.seek(0, 2)
        size = file.tell()
        with open(husk, "wb") as out:
            out.write(json.dumps({"size": size, "gaps": gaps}).encode() + b"\n")
            at = 0
            for offset, length, _ in [*gaps, [size, 0, ""]]:
                file.seek(at)
                out.write(file.read(offset - at))
                at = offset + length
    return sum(gap[1] for gap in gaps)


def drawn(element, seed):
    """A block of values, as bytes."""
    generator = random.Random(seed)
    floats = array.array("f", [generator.gauss(0, 0.02) for _ in range(BLOCK)])
    if element == "f32":
        return floats.tobytes()
    bits = array.array("I", floats.tobytes())
    return array.array("H", [(b + 0x7fff + (b >> 16 & 1)) >> 16 for b in bits]).tobytes()  # to nearest even


def grow(husk, path, seed=0):
    """Writes the artifact that the husk was made of, with drawn matrices."""
    blocks = {}
    with open(husk, "rb") as file, open(path, "wb") as out:
        head = json.loads(file.readline())
        at = 0
        for number, (offset, length, element) in enumerate([*head["gaps"], [head["size"], 0, ""]]):
            out.write(file.read(offset - at))
            at = offset + length
            if not length:
                continue
            block = blocks.setdefault(element, drawn(element, seed))
            first = number * 7919 * 64 % len(block)  # no two matrices begin alike
            turned = block[first:] + block[:first]
            turned *= max(1, CHUNK // len(turned))
            for done in range(0, length, len(turned)):
                out.write(turned[:length - done])

"""What must hold on the GPU: numbers, and the same bits however work is cut."""
import array
import math
import random

from gpu.session import MISMATCH, Failed, LeftOut, Unusable, readTensors

TOLERANCE = {"f32": 2e-4, "bf16": 2e-3, "int8": 2e-2}  # f32: of a logit; else of the mean divergence from transformers' distribution
DEVICE_TOLERANCE = {"f32": 1e-3, "bf16": 2e-3, "int8": 2e-3}  # between GPU and CPU: other orders of rounding in the tensor cores' sums


def divergence(want, actual, vocab):
    """Mean KL(want || actual) over rows of `vocab` logits."""
    total, rows = 0.0, len(want) // vocab
    for row in range(rows):
        p, q = (values[row * vocab:(row + 1) * vocab] for values in (want, actual))
        mostP, mostQ = max(p), max(q)
        sumP, sumQ = (math.fsum(math.exp(x - most) for x in values) for values, most in ((p, mostP), (q, mostQ)))
        shift = mostQ + math.log(sumQ) - mostP - math.log(sumP)
        total += math.fsum(math.exp(x - mostP) / sumP * (x - y + shift) for x, y in zip(p, q))
    return total / rows


def distance(quant, want, actual, vocab, tolerance):
    """How far logits are off, as what is found; Failed where that is more than allowed, or no number."""
    if len(want) != len(actual):
        raise Failed(f"expected {len(want)} logits, got {len(actual)}")
    if quant == "f32":
        name, error = "error", max((abs(a - b) for a, b in zip(actual, want)), default=math.nan)
        error = error if all(map(math.isfinite, actual)) else math.nan
    else:
        name, error = "mean_kl", divergence(want, actual, vocab)
    if not error <= tolerance[quant]:  # NaN fails too
        raise Failed(f"{name} {error:.2e}, allowed {tolerance[quant]:g}")
    return {name: error}


class Reference:
    """A small model of the pack in one form of weights."""

    def __init__(self, session, name, quant):
        self.name, self.quant = name, quant
        self.artifact = session.work / f"{name}.{quant}.lathe"
        self.folder = session.root / "references" / name

    def expected(self):
        return readTensors(self.folder / "expected.safetensors")

    def vocab(self):
        return self.expected()["logits"][0][-1]


# Each check: (session, …) -> what it found, as a dictionary.

def usable(session, reference):
    """A token on the GPU. Without it nothing else is tried."""
    try:
        session.run("generate", reference.artifact, "--ids", "1,2,3", "-n", 1, "--device", session.device)
    except Failed as failure:
        if failure.status == MISMATCH:
            raise Unusable(str(failure)) from None
        raise
    return {}


def againstTransformers(session, reference):
    """What transformers computed when the models were made."""
    expected = reference.expected()
    shape, want = expected["logits"]
    return distance(reference.quant, want, session.onDevice(reference.artifact, expected["input_ids"][1]), shape[-1], TOLERANCE)


def againstHost(session, reference):
    """The same kernels on the CPU; more rows than decode's and the smaller tiles take."""
    ids = session.drawn(24 if session.small else 150, reference.vocab(), 1)
    host = session.onHost(reference.artifact, ids)
    actual = session.onDevice(reference.artifact, ids)
    found = distance(reference.quant, host, actual, reference.vocab(), DEVICE_TOLERANCE)
    return {**found, "same_bits": actual.tobytes() == host.tobytes()}


def againstLive(session, reference):
    """transformers here and now, in float32."""
    if not session.hasModules():
        raise LeftOut(f"{session.python} has no torch with transformers (--python names another)")
    seed = random.randrange(1 << 30)  # ids that nobody has seen before
    ids = session.drawn(60, reference.vocab(), seed)
    output = session.work / "live.f32"
    done = session.execute([session.python, session.root / "gpu" / "live.py", reference.folder, ",".join(map(str, ids)), output])
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise Failed(f"transformers: {said[-1][-300:] if said else 'no message'} (exit status {done.returncode})")
    want = array.array("f", output.read_bytes())
    try:
        found = distance(reference.quant, want, session.onDevice(reference.artifact, ids), reference.vocab(), TOLERANCE)
    except Failed as failure:
        raise Failed(f"{failure}; ids of seed {seed}") from None
    return {**found, "by": done.stdout.strip()}


def sameBits(session, reference):
    """Whole, in chunks, and token by token."""
    ids = session.drawn(40 if session.small else 150, reference.vocab(), 2)
    whole = session.onDevice(reference.artifact, ids)
    vocab = len(whole) // len(ids)
    for chunk, count in ((17, len(ids)), (70, len(ids)), (1, 12)):
        if session.onDevice(reference.artifact, ids[:count], "--chunk", chunk).tobytes() != whole[:count * vocab].tobytes():
            raise Failed(f"in chunks of {chunk} logits have other bits")
    return {"chunks": [17, 70, 1]}


def raggedBatch(session, reference):
    """Five prompts together and each alone."""
    ids = session.drawn(40, reference.vocab(), 3)
    lines = [{"ids": ids[i:i + n], "n": 8, "ignore_eos": True, "logprobs": 2, "temp": 0} for i, n in enumerate((1, 7, 16, 33, 36))]
    together, _ = session.batch(reference.artifact, lines)
    for line, answer in zip(lines, together):
        (alone,), _ = session.batch(reference.artifact, [line])
        if (alone["ids"], alone["logprobs"]) != (answer["ids"], answer["logprobs"]):
            raise Failed(f"behind {len(line['ids'])} tokens: other answers in a batch than alone")
    return {"requests": len(lines)}


def largeAgainstHost(session, model):
    """A model of real size: 12 rows."""
    ids = range(5, 17)
    host = session.onHost(model.artifact(), ids)
    return distance(model.quant, host, session.onDevice(model.artifact(), ids), len(host) // len(ids), DEVICE_TOLERANCE)

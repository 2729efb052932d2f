"""How fast the GPU is, and how near to it the kernels and whole models get."""
import json
import random
import re
import statistics
import zipfile

from gpu import husk
from gpu.session import Failed, LeftOut

JOB = {"sequences": 64, "shortest": 100, "longest": 1024, "tokens": 1024}  # that of OSC-Transformers' bench
SMALL_JOB = {"sequences": 4, "shortest": 5, "longest": 20, "tokens": 4}
SPOKEN = re.compile(r"requests of (\d+) tokens, (\d+) new tokens in ([0-9.]+) s")


class Model:
    """A model of real size; its matrices are drawn from a seed when it is first needed."""

    def __init__(self, session, packed):
        self.session, self.packed = session, packed
        self.name, self.quant = packed.name[:-len(".husk.gz")].rsplit(".", 1)
        self.made = self.whyNot = None

    def make(self):
        path = self.session.work / f"{self.name}.{self.quant}.lathe"
        try:
            husk.grow(self.packed, path, 1)
        except OSError as error:
            path.unlink(missing_ok=True)
            self.whyNot = f"{path.name} could not be made: {error}; TMPDIR names another folder"
            raise Failed(self.whyNot) from None
        self.made = path
        return {"bytes": path.stat().st_size}

    def artifact(self):
        if self.made is None and self.whyNot is None:  # with --only
            self.make()
        if self.made is None:
            raise LeftOut(self.whyNot)
        return self.made

    def plan(self):
        return json.loads(zipfile.ZipFile(self.artifact()).read("plan.json"))

    def kernels(self):
        """Their names, there before the model is."""
        return self.session.pack["kernels"][f"{self.name}.{self.quant}"]


def promptFlops(plan, tokens):
    """Operations that a prompt takes: all its rows, the head for one, and attention to what stands before each."""
    flops = 0
    for launch in plan["launches"]:
        kernel = plan["kernels"][launch["kernel"]]
        units = {"rows": tokens, "logitRows": 1, "items": tokens * (tokens + 1) / 2}[kernel["unit"]]
        flops += units * kernel["flopsPerUnit"]
    return flops


def bench(session, model, *words):
    repetitions = 1 if session.small else 5
    return json.loads(session.run("bench", model, *words, "-r", repetitions, "--json", "--device", session.device).stdout)


def bandwidth(session, reference):
    """The probes of five processes; each is the best of its passes."""
    rates = [bench(session, reference.artifact, "-p", 0, "-n", 1)[0]["probe_gbs"] for _ in range(2 if session.small else 5)]
    return {"best_gbs": max(rates), "median_gbs": statistics.median(rates)}


def generation(session, model, batch):
    tokens = 4 if session.small else 128
    return {"rows": bench(session, model.artifact(), "-p", 0, "-n", tokens, "-b", batch)}


def prompt(session, model, tokens):
    rows = bench(session, model.artifact(), "-p", tokens, "-n", 0)
    flops = promptFlops(model.plan(), tokens)
    for row in rows:
        row["tflops"] = flops * row["avg_ts"] / tokens * 1e-12
    return {"rows": rows}


def kernel(session, model, name):
    rows = (1, 8) if session.small else (1, 8, 64, 512, 2048)
    return {"rows": bench(session, model.artifact(), "--kernel", name, "-m", ",".join(map(str, rows)))}


def jobLines(sequences, shortest, longest, tokens):
    """Prompts of uniform random length and uniform random ids up to 10000, as that bench draws them; the seed is ours."""
    draw = random.Random(0)
    return [{"ids": [draw.randint(0, 10000) for _ in range(draw.randint(shortest, longest))], "n": tokens, "ignore_eos": True, "temp": 0}
            for _ in range(sequences)]


def job(session, model):
    """New tokens a second, prompts included in the time and loading not."""
    size = SMALL_JOB if session.small else JOB
    lines = jobLines(**size)
    if session.small:
        lines = [{**line, "ids": [token % 500 for token in line["ids"]]} for line in lines]
    answers, said = session.batch(model.artifact(), lines)
    made, wanted = sum(len(answer["ids"]) for answer in answers), size["sequences"] * size["tokens"]
    if made != wanted:
        raise Failed(f"expected {wanted} new tokens, got {made}")
    found = SPOKEN.search(said)
    if not found:
        raise Failed(f"batch does not say how long it took: {said[-200:]!r}")
    seconds = float(found[3])
    return {"prompt_tokens": int(found[1]), "new_tokens": made, "seconds": seconds, "tokens_per_second": made / max(1e-9, seconds)}

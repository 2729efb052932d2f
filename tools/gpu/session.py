"""Running the program of the pack within the time that there is."""
import array
import json
import os
import random
import subprocess
import time
from pathlib import Path

MISMATCH = 4  # the program's exit status for a machine that cannot run this: no driver, an old one, no code for the GPU


class Failed(Exception):
    """A check that did not hold, or a program that did not do its work; `status` is the program's."""

    def __init__(self, message, status=None):
        super().__init__(message)
        self.status = status


class Unusable(Exception):
    """No GPU that this pack can run on: what needs one is left out."""


class LeftOut(Exception):
    """A check that cannot be made here, which is no failure."""


def readTensors(path):
    """A safetensors file: name -> (shape, values)."""
    data = Path(path).read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    tensors = {}
    for name, entry in json.loads(data[8:end]).items():
        if name != "__metadata__":
            begin, stop = (end + offset for offset in entry["data_offsets"])
            code = {"F32": "f", "I32": "i", "I64": "q"}[entry["dtype"]]
            tensors[name] = (entry["shape"], array.array(code, data[begin:stop]))
    return tensors


def glibcOf(text):
    """(2, 36) of "2.36"."""
    return tuple(int(part) for part in text.split(".")[:2])


def hostGlibc():
    """The C library of this machine; (0, 0) where it is another one."""
    try:
        return glibcOf(os.confstr("CS_GNU_LIBC_VERSION").split()[1])
    except (ValueError, OSError, AttributeError, IndexError):
        return (0, 0)


class Session:
    """`root`: the pack's folder. `work`: a folder for what is made. The clock runs from when this is made."""

    def __init__(self, root, work, device, seconds, small, python):
        self.root, self.work, self.device, self.small, self.python = root, work, device, small, python
        self.seconds, self.begin = seconds, time.monotonic()
        self.end = self.begin + seconds  # of the part that runs
        self.pack = json.loads((root / "pack.json").read_text())
        self.env = {**os.environ, "LATHE_CONFIG": ""}
        self.program, self.commands = self.start(), []

    def start(self):
        """The program's first words: by the pack's own C library where this machine's is older than the program asks for."""
        lib, program = self.root / "lib", self.root / "bin" / "lathe"
        paths = os.pathsep.join(filter(None, [str(lib), self.env.get("LD_LIBRARY_PATH", "")]))
        if hostGlibc() >= glibcOf(self.pack["glibc"]):
            self.env["LD_LIBRARY_PATH"] = paths
            return [str(program)]
        return [str(lib / "glibc" / "ld-linux-x86-64.so.2"), "--library-path", f"{lib / 'glibc'}{os.pathsep}{paths}", str(program)]

    def elapsed(self):
        return time.monotonic() - self.begin

    def left(self):
        return self.end - time.monotonic()

    def enter(self, share):
        """The part that ends when this share of all the time is over; it has what those before it left, too."""
        self.end = self.begin + self.seconds * share

    def execute(self, words):
        try:
            done = subprocess.run([str(word) for word in words], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                  timeout=max(1, self.left()))
        except subprocess.TimeoutExpired:
            raise Failed("no end in the time there was") from None
        except OSError as error:
            raise Failed(f"{words[0]}: {error}") from None
        return done

    def run(self, *words):
        """What the program prints. A failure's text is the last line that it said."""
        self.commands.append("lathe " + " ".join(str(word) if len(str(word)) < 80 else "…" for word in words))
        done = self.execute([*self.program, *words])
        if done.returncode != 0:
            said = done.stderr.strip().splitlines()
            ended = f"exit status {done.returncode}" if done.returncode > 0 else f"ended by signal {-done.returncode}"
            raise Failed(f"{words[0]}: {said[-1][-400:] if said else 'no message'} ({ended})", done.returncode)
        return done

    def logits(self, artifact, ids, *options):
        output = self.work / "logits.safetensors"
        self.run("eval", artifact, "--ids", ",".join(map(str, ids)), "--logits", output, *options)
        return readTensors(output)["logits"][1]

    def onDevice(self, artifact, ids, *options):
        return self.logits(artifact, ids, "--device", self.device, *options)

    def onHost(self, artifact, ids):
        return self.logits(artifact, ids, "--device", "cuda-host", "--no-host-check")

    def batch(self, artifact, lines):
        """The answers, and what the program says of its speed."""
        source, output = self.work / "in.jsonl", self.work / "out.jsonl"
        source.write_text("".join(json.dumps(line) + "\n" for line in lines))
        said = self.run("batch", artifact, source, "-o", output, "--device", self.device).stderr
        return [json.loads(line) for line in output.read_text().splitlines()], said

    @staticmethod
    def drawn(count, vocab, seed):
        """Ids, the same for a seed."""
        draw = random.Random(seed)
        return [draw.randrange(3, vocab) for _ in range(count)]

    def hasModules(self):
        """Whether torch and transformers are there for the interpreter that would use them."""
        try:
            return self.execute([self.python, "-c", "import torch, transformers"]).returncode == 0
        except Failed:
            return False

"""A small model with a tokenizer and one without, and the form that errors have: for checks of the command line."""
import tempfile
from pathlib import Path

from harness import Run, expect, expectEqual, scratch
from models import llamaConfig, smallTokenizer, writeHuggingFace

PROMPT = "Once upon a time, in Größe 東京 🦙"


class Small:
    """A model with a tokenizer and one without, made once."""

    def __init__(self, lathe):
        self.lathe = lathe
        self.keep = tempfile.TemporaryDirectory(dir=scratch(lathe.work))
        self.folder = Path(self.keep.name)
        self.tokenizer = smallTokenizer()
        config = llamaConfig(vocab_size=self.tokenizer.get_vocab_size())
        self.model = writeHuggingFace(self.folder / "model", config, 3, tokenizer=self.tokenizer)
        self.bare = writeHuggingFace(self.folder / "bare", config, 3)
        self.artifact, self.bareArtifact = self.folder / "small.lathe", self.folder / "bare.lathe"
        for model, artifact in ((self.model, self.artifact), (self.bare, self.bareArtifact)):
            lathe.compile(model, artifact, "--quant", "f32").expect(0)

    def file(self, name, text):
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path


def oneLineError(done: Run, status, *parts):
    allowed = status if isinstance(status, tuple) else (status,)
    expect(done.status in allowed, f"exit status {done.status}, expected {status}: {done.stderr.strip()[-400:]}")
    expectEqual(done.stdout, b"", "stdout of a failing command")
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    expect(len(lines) >= 1, "no message on stderr")
    if done.status != 2:  # a usage error may be followed by the usage
        expectEqual(len(lines), 1, f"lines of the error {done.stderr!r}")
    for part in parts:
        expect(part in done.stderr, f"the error does not say {part!r}: {done.stderr.strip()}")

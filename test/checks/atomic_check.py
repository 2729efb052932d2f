#!/usr/bin/env python3
"""`lathe compile` killed at any moment, or on a full disk: nothing half-written under the final name, an old artifact intact."""
import os
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from harness import expect, expectEqual, main, run, scratch, start
from models import llamaConfig, writeHuggingFace

MOMENTS = 40
# Few, equal layers compile fast; a large vocabulary makes the weights take a good part of the time.
CONFIG = llamaConfig(hidden_size=256, num_attention_heads=4, num_key_value_heads=2, head_dim=64, intermediate_size=512,
                     num_hidden_layers=2, vocab_size=30000)
OLD = b"an older artifact\n" * 1000


class Compilation:
    """One model, and the bytes its artifact has when nothing disturbs the compiler."""

    def __init__(self, lathe):
        self.lathe = lathe
        self.folder = tempfile.TemporaryDirectory(dir=scratch(lathe.work))
        self.model = writeHuggingFace(Path(self.folder.name) / "model", CONFIG, 7)
        self.whole = None

    def command(self, output):
        return [self.lathe.program, "compile", self.model, "-o", output, "--quant", "int8", "--cpu", self.lathe.tiers[0]]

    def measure(self):
        """(bytes of the artifact, seconds) of an undisturbed run."""
        if self.whole is None:
            output = Path(self.folder.name) / "whole.lathe"
            done = run(self.command(output)).expect(0)
            self.whole, self.seconds = output.read_bytes(), done.seconds
        return self.whole, self.seconds


def state(output, whole, old):
    """What stands under the final name: absent, old, new; anything else fails."""
    if not output.exists():
        expect(old is None, "the old artifact is gone")
        return "absent"
    data = output.read_bytes()
    if data == whole:
        return "new"
    expect(old is not None and data == old, f"{len(data)} bytes that are neither the old artifact nor the new one ({len(whole)} bytes)")
    return "old"


def killed(compilation, old):
    whole, seconds = compilation.measure()
    seen = {}
    with tempfile.TemporaryDirectory(dir=compilation.lathe.work) as folder:
        output = Path(folder) / "out.lathe"
        for moment in range(MOMENTS):
            output.unlink(missing_ok=True)
            if old is not None:
                output.write_bytes(old)
            process = start(compilation.command(output), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(seconds * 1.1 * moment / MOMENTS)
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
            found = state(output, whole, old)
            seen[found] = seen.get(found, 0) + 1
        left = sum(1 for path in Path(folder).iterdir() if path != output)
        run(compilation.command(output)).expect(0)
        expect(output.read_bytes() == whole, "a compilation beside what the killed ones left gives other bytes")
    expect(seen.get("old" if old else "absent", 0) > MOMENTS // 3, f"the kills came too late to say anything: {seen}")
    return f"{MOMENTS} kills in {seconds:.1f} s: {seen}, {left} temporary files left"


@contextmanager
def smallDisk(size):
    """A tmpfs of `size` bytes, or None where this user may not mount."""
    with tempfile.TemporaryDirectory() as folder:
        mounted = run(["mount", "-t", "tmpfs", "-o", f"size={size}", "lathe-check", folder]).status == 0
        try:
            yield Path(folder) if mounted else None
        finally:
            if mounted:
                run(["umount", "-l", folder])


def checkFull(done, output, whole, old, others):
    expectEqual(done.status, 5, f"exit status on a full disk (stderr: {done.stderr.strip()[-300:]})")
    expect(output.name in done.stderr, f"the error does not name {output.name}: {done.stderr.strip()[-300:]}")
    expectEqual(state(output, whole, old), "old" if old else "absent", "what stands under the final name")
    expect(not others, f"temporary files were left: {others}")


def fullDisk(compilation, part, old):
    whole, _ = compilation.measure()
    room = int(len(whole) * part) + (len(old) if old else 0)
    with smallDisk(max(room, 1 << 16)) as disk:
        if disk is None:
            return "not allowed to mount a tmpfs here: the file size limit stands in"
        output = disk / "out.lathe"
        if old:
            output.write_bytes(old)
        done = run(compilation.command(output))
        checkFull(done, output, whole, old, [p.name for p in disk.iterdir() if p != output])


def fileSizeLimit(compilation, part, old):
    whole, _ = compilation.measure()
    with tempfile.TemporaryDirectory(dir=compilation.lathe.work) as folder:
        output = Path(folder) / "out.lathe"
        if old:
            output.write_bytes(old)
        done = run(compilation.command(output), fileSize=int(len(whole) * part))
        checkFull(done, output, whole, old, [p.name for p in Path(folder).iterdir() if p != output])


def unwritable(compilation):
    compilation.measure()
    done = run(compilation.command(Path(compilation.folder.name) / "no such folder" / "out.lathe"))
    expect(done.status in (2, 3, 5), f"exit status {done.status} where the output's folder does not exist")
    expect("no such folder" in done.stderr, f"the error does not name the folder: {done.stderr}")


def fill(suite, lathe, args):
    compilation = Compilation(lathe)
    for title, old in (("no artifact before", None), ("old artifact", OLD)):
        suite.add(f"killed/{title}", killed, compilation, old)
        for part in (0.02, 0.5, 0.97):
            suite.add(f"full disk/{title}/room for {part:.0%}", fullDisk, compilation, part, old)
        for part in (0.3, 0.99):
            suite.add(f"file size limit/{title}/{part:.0%}", fileSizeLimit, compilation, part, old)
    suite.add("folder that does not exist", unwritable, compilation)


if __name__ == "__main__":
    main(__doc__, fill)

#!/usr/bin/env python3
"""Equal input gives equal bytes: two compilations, other folders, other surroundings, and resuming from a dumped stage."""
import atexit
import hashlib
import re
import shutil
import tempfile
from functools import cache
from pathlib import Path

from harness import Failed, expect, expectEqual, main, referenceModel, scratch, smollm2

STAGES = {"00": "model", "10": "fused", "20": "kern"}


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def firstDifference(a, b):
    a, b = Path(a).read_bytes(), Path(b).read_bytes()
    if len(a) != len(b):
        return f"{len(a)} and {len(b)} bytes"
    return f"byte {next(i for i, (x, y) in enumerate(zip(a, b)) if x != y)} of {len(a)}"


def same(a, b, what):
    if digest(a) != digest(b):
        raise Failed(f"{what}: files differ: {firstDifference(a, b)}")


def stageFile(folder, number):
    files = sorted(folder.glob(f"{number}*.mlir"))
    expectEqual([f.name for f in files], [f"{number}-{STAGES[number]}.mlir"], f"files of stage {number} in the dump")
    return files[0]


@cache
def dumped(lathe, model, quant):
    """An artifact and the stages of the compilation that made it."""
    folder = Path(tempfile.mkdtemp(dir=scratch(lathe.work)))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    lathe.compile(model, folder / "whole.lathe", "--quant", quant, "--dump", folder / "dump").expect(0)
    return folder / "whole.lathe", folder / "dump"


def twice(lathe, model, quant):
    first = lathe.artifact(model, "--quant", quant)
    with tempfile.TemporaryDirectory(dir=scratch(lathe.work)) as folder:
        folder = Path(folder)
        moved = folder / "elsewhere" / Path(model).name
        moved.parent.mkdir()
        (shutil.copytree if Path(model).is_dir() else shutil.copy)(model, moved)
        lathe.compile(moved, folder / "another-name.lathe", "--quant", quant,
                      env={"TZ": "Asia/Tokyo", "LC_ALL": "C", "HOME": str(folder), "MALLOC_PERTURB_": "85"}).expect(0)
        same(first, folder / "another-name.lathe", "the same model compiled from another folder")
        return f"{first.stat().st_size} bytes"


def resumed(lathe, model, quant):
    """From stage 20 to the same artifact; from those before it to the same stage 20, and in f32 to the same artifact too."""
    whole, dump = dumped(lathe, model, quant)
    same(whole, lathe.artifact(model, "--quant", quant), "with and without --dump")
    with tempfile.TemporaryDirectory(dir=scratch(lathe.work)) as folder:
        for number in STAGES:
            output, again = Path(folder) / f"from-{number}.lathe", Path(folder) / f"dump-{number}"
            if number == "20" or quant == "f32":
                lathe.compile(model, output, "--quant", quant, "--from", stageFile(dump, number)).expect(0)
                same(output, whole, f"--from {number}")
                continue
            lathe.compile(model, output, "--quant", quant, "--from", stageFile(dump, number), "--stop-after", "20", "--dump", again).expect(0)
            for stage in STAGES:
                same(stageFile(again, stage), stageFile(dump, stage), f"stage {stage} of --from {number}")
    return f"{len(list(dump.iterdir()))} files dumped"


def stopped(lathe, model):
    with tempfile.TemporaryDirectory(dir=scratch(lathe.work)) as folder:
        folder = Path(folder)
        _, whole = dumped(lathe, model, "int8")
        for index, (number, stage) in enumerate(STAGES.items()):
            dump, output = folder / f"stop-{stage}", folder / f"{stage}.lathe"
            lathe.compile(model, output, "--dump", dump, "--stop-after", number).expect(0)
            expect(not output.exists(), f"--stop-after {number} wrote an artifact")
            expectEqual(sorted(f.name[:2] for f in dump.glob("*.mlir")), list(STAGES)[: index + 1],
                        f"stages dumped by --stop-after {number}")
            same(stageFile(dump, number), stageFile(whole, number), f"stage {number} of a stopped and of a whole run")


def edited(lathe, model):
    """A stage that was changed must change the artifact: resuming reads the file it is given."""
    with tempfile.TemporaryDirectory(dir=scratch(lathe.work)) as folder:
        folder = Path(folder)
        whole, dump = dumped(lathe, model, "f32")
        text, file = stageFile(dump, "00").read_text(), folder / "00-model.mlir"
        changed = re.sub(r"\beps [0-9.eE+-]+", "eps 1.0e-01", text)
        expect(changed != text, "stage 00 has no eps to change")
        file.write_text(changed)
        lathe.compile(model, folder / "edited.lathe", "--quant", "f32", "--from", file).expect(0)
        expect(digest(folder / "edited.lathe") != digest(whole), "the edited stage gave the same artifact")


def fill(suite, lathe, args):
    for name in ("llama", "qwen3"):
        folder = referenceModel(name)
        expect(folder is not None, f"no reference model {name} in test/data/reference")
        for quant in ("f32", "int8"):
            suite.add(f"twice/{name}/{quant}", twice, lathe, folder, quant)
            suite.add(f"resumed/{name}/{quant}", resumed, lathe, folder, quant)
    suite.add("stopped/llama", stopped, lathe, referenceModel("llama"))
    suite.add("edited/llama", edited, lathe, referenceModel("llama"))
    suite.add("twice/smollm2/int8", lambda: twice(lathe, smollm2(), "int8"), slow=True)


if __name__ == "__main__":
    main(__doc__, fill)

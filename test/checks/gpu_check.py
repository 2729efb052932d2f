#!/usr/bin/env python3
"""tools/gpu-check, packed here and run on the stand-in for a GPU (test/cuda/EmulatedLibcuda).

Skips, with a line, where NVRTC is not there.
"""
import json
import sys
import tempfile
from pathlib import Path

from harness import ROOT, expect, expectEqual, main, referenceModel, run, scratch

sys.path.insert(0, str(ROOT / "tools"))
from gpu import husk  # noqa: E402

# In the place of bin/lathe: gives the stand-in the kernels of the artifact that is run.
WRAPPER = """#!{python}
import os, sys, zipfile
artifact = sys.argv[2] if len(sys.argv) > 2 else ""
if artifact.endswith(".lathe"):
    kernels = {folder!r} + "/" + os.path.basename(artifact) + ".so"
    if not os.path.exists(kernels):
        with open(kernels, "wb") as file:
            file.write(zipfile.ZipFile(artifact).read("kernels/cuda-host-sm_80.so"))
    os.environ["FAKE_CUDA_KERNELS"] = kernels
os.execv({program!r}, [{program!r}, *sys.argv[1:]])
"""


class Packed:
    """The folder, made once, of one reference model and a small one to measure."""

    def __init__(self, lathe):
        self.lathe, self.folder = lathe, None

    def make(self):
        if self.folder:
            return self
        self.kept = tempfile.TemporaryDirectory(dir=scratch(self.lathe.work))
        self.folder = Path(self.kept.name)
        model = self.folder / "small.toml"
        model.write_text(self.lathe.run("import", referenceModel("qwen3")).expect(0).text)
        self.root = self.folder / "packed"
        self.said = run([ROOT / "tools" / "gpu-check", "--pack", self.root, "--build", self.lathe.bin.parent, "--model", model,
                         "--references", "llama", "--targets", "sm_80"]).expect(0).text
        return self

    def check(self, *options, **settings):
        """Runs the packed script; the stand-in is there unless LATHE_CUDA says otherwise."""
        real = self.root / "bin" / "lathe-itself"
        if not real.exists():
            (self.root / "bin" / "lathe").rename(real)
            wrapper = self.root / "bin" / "lathe"
            wrapper.write_text(WRAPPER.format(python=sys.executable, folder=str(self.folder), program=str(real)))
            wrapper.chmod(0o755)
        standIn = self.lathe.bin.parent / "test" / "cuda" / "liblathe_emulated_libcuda.so"
        env = {"LATHE_CUDA": str(standIn), "FAKE_CUDA_CAPABILITY": "80", "FAKE_CUDA_MEMORY": str(1 << 28), **settings}
        return run([self.root / "gpu-check", "--small", "-o", self.folder / "out", *options], env=env, timeout=900)

    def results(self):
        return {entry["name"]: entry for entry in json.loads((self.folder / "out" / "gpu-check.json").read_text())["results"]}


def packs(packed):
    packed.make()
    expect("MiB, needs glibc 2." in packed.said, f"says {packed.said!r}")
    files = {str(path.relative_to(packed.root)) for path in packed.root.rglob("*") if path.is_file()}
    for name in ("gpu-check", "bin/lathe", "gpu/husk.py", "artifacts/llama.f32.lathe", "artifacts/llama.bf16.lathe", "artifacts/small.husk"):
        expect(name in files or name == "bin/lathe" and "bin/lathe-itself" in files, f"no {name} in {sorted(files)}")
    expect(any(name.startswith("lib/libstdc++") for name in files), f"no C++ library in {sorted(files)}")


def dryRun(packed):
    names = packed.make().check("--dry-run").expect(0).text.split("\n")
    for name in ("againstTransformers/llama.f32", "sameBits/llama.bf16", "largeAgainstHost", "generation/batch 64", "kernel/attention", "job"):
        expect(name in names, f"no {name} in {names}")


def runs(packed):
    """All checks hold on the stand-in; JSON and table say what was found."""
    said = packed.make().check().expect(0).text
    expect(said.splitlines()[-1].endswith(" passed, 0 failed"), f"says {said[-300:]!r}")
    results = packed.results()
    expect(all(entry["status"] == "ok" for entry in results.values()), f"{results}")
    expectEqual(results["againstHost/llama.f32"]["found"]["same_bits"], True, "the stand-in's bits")
    expectEqual(results["job"]["found"]["tokens"], 16, "tokens of the job")
    table = (packed.folder / "out" / "gpu-check.md").read_text()
    for part in ("| againstTransformers/llama.f32 | ok | error ", "| generation/batch 8 | 8 |", "| kernel | rows | µs |", "| attention | 8 |"):
        expect(part in table, f"no {part!r} in {table}")


def finds(packed):
    """A GPU that computes something else, and one that is not there, are failures and not results."""
    packed.make()
    done = packed.check("--only", "againstTransformers", LATHE_CUDA="/nowhere/libcuda.so.1")
    expectEqual(done.status, 6, "exit status without a driver")
    expect("no NVIDIA driver" in packed.results()["againstTransformers/llama.f32"]["why"], f"{packed.results()}")
    path = packed.root / "artifacts" / "llama.expected.safetensors"
    whole = path.read_bytes()
    header = int.from_bytes(whole[:8], "little")
    begin = 8 + header + json.loads(whole[8:8 + header])["logits"]["data_offsets"][0]
    path.write_bytes(whole[:begin] + b"\0\0\x80\x3f" + whole[begin + 4:])
    try:
        expectEqual(packed.check("--only", "againstTransformers/llama.f32").status, 6, "exit status with another logit")
    finally:
        path.write_bytes(whole)
    packed.check("--only", "doctor", "--seconds", "1").expect(0)
    expectEqual(packed.results()["doctor"]["status"], "left out", "a check for which there is no time")


def husks(packed):
    """A husk grows into an artifact of the same size that differs in its matrices alone."""
    source = packed.make().root / "artifacts" / "llama.bf16.lathe"
    stripped, grown = packed.folder / "a.husk", packed.folder / "a.lathe"
    left = husk.strip(source, stripped)
    expect(left > 0 and stripped.stat().st_size < source.stat().st_size - left + (1 << 14), f"{left} bytes were left out")
    husk.grow(stripped, grown, 1)
    old, new = source.read_bytes(), grown.read_bytes()
    expectEqual(len(new), len(old), "bytes")
    gaps = json.loads(stripped.read_bytes().split(b"\n", 1)[0])["gaps"]
    for offset, length, _ in gaps:
        expect(old[offset:offset + length] != new[offset:offset + length], f"the matrix at {offset} is what it was")
        new = new[:offset] + old[offset:offset + length] + new[offset + length:]
    expect(new == old, "bytes besides the matrices differ")
    husk.grow(stripped, grown, 2)
    expect(new != grown.read_bytes(), "another seed drew the same")


def fill(suite, lathe, args):
    probed = run([lathe.bin / "lathe_nvrtc_probe", "sm_80"])
    if probed.status != 0:
        print(f"skip NVRTC: {probed.stderr.strip()}")
        return
    packed = Packed(lathe)
    for name, check in (("packs", packs), ("a dry run", dryRun), ("runs", runs), ("finds", finds), ("husks", husks)):
        suite.add(name, check, packed)


if __name__ == "__main__":
    main(__doc__, fill)

#!/usr/bin/env python3
"""tools/gpu-check, packed here and run on the stand-in for a GPU (test/cuda/EmulatedLibcuda).

Skips, with a line, where NVRTC is not there; the comparison with transformers where build/venv has none runs by a stand-in, too.
"""
import gzip
import json
import shutil
import sys
import tempfile
from pathlib import Path

from harness import ROOT, expect, expectEqual, main, referenceModel, run, scratch

sys.path.insert(0, str(ROOT / "tools"))
from gpu import husk, live, report, timings  # noqa: E402

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


# In the place of an interpreter with torch and transformers: has the logits of the program itself, one of them changed on demand.
PYTHON = """#!{python}
import os, subprocess, sys
if sys.argv[1] == "-c":
    sys.exit(int(os.environ.get("NO_TORCH", "0")))
folder, ids, output = sys.argv[2:]
name = os.path.basename(folder)
subprocess.run([{program!r}, "eval", {folder!r} + "/" + name + ".f32.lathe", "--ids", ids, "--logits", output + ".st", "--device", "cuda-host", "--no-host-check"], check=True)
data = open(output + ".st", "rb").read()
values = bytearray(data[8 + int.from_bytes(data[:8], "little"):])
if os.environ.get("OTHER_LOGITS"):
    values[:4] = b"\\0\\0\\x80\\x3f"
open(output, "wb").write(values)
print("a stand-in")
"""
SMI = """#!/bin/sh
case "$*" in
*compute-apps*) printf '%s' "$SMI_APPS" ;;
*clocks.max.sm*) echo "NVIDIA H100 80GB HBM3, 580.82.07, 81559, $SMI_USED, 3, 345, 2619, 1980, 2619, 112.31, 700.00, 31, $SMI_MIG, Enabled, Default" ;;
*) echo "1755, 2619, 431.20, 55" ;;
esac
"""


class Packed:
    """The folder, made once, of one reference model and a small one to measure."""

    def __init__(self, lathe):
        self.lathe, self.folder = lathe, None

    def make(self):
        if self.folder:
            return self
        self.kept = tempfile.TemporaryDirectory(dir=scratch(self.lathe.work))
        folder = Path(self.kept.name)
        model, self.root = folder / "small.toml", folder / "packed"
        model.write_text(self.lathe.run("import", referenceModel("qwen3")).expect(0).text)
        self.said = run([ROOT / "tools" / "gpu-check", "--pack", self.root, "--build", self.lathe.bin.parent, "--model", model,
                         "--job-model", model, "--references", "llama", "--targets", "sm_80"]).expect(0).text
        self.program, tools = self.root / "bin" / "lathe-itself", folder / "tools"
        (self.root / "bin" / "lathe").rename(self.program)
        tools.mkdir()
        for path, text in ((self.root / "bin" / "lathe", WRAPPER), (tools / "python", PYTHON), (tools / "nvidia-smi", SMI)):
            path.write_text(text if text is SMI else text.format(python=sys.executable, folder=str(folder), program=str(self.program)))
            path.chmod(0o755)
        (folder / "llama.f32.lathe").write_bytes(gzip.decompress((self.root / "artifacts" / "llama.f32.lathe.gz").read_bytes()))
        self.folder, self.tools = folder, tools
        return self

    def check(self, *options, **settings):
        """Runs the packed script; the stand-ins are there unless the settings say otherwise."""
        standIn = self.lathe.bin.parent / "test" / "cuda" / "liblathe_emulated_libcuda.so"
        env = {"LATHE_CUDA": str(standIn), "FAKE_CUDA_CAPABILITY": "80", "FAKE_CUDA_MEMORY": str(24 << 20), "SMI_APPS": "", "SMI_USED": "4", "SMI_MIG": "Disabled",
               "PATH": f"{self.tools}:/usr/bin:/bin", **settings}
        return run([sys.executable, self.root / "gpu-check", "--small", "-o", self.folder / "out", "--python", self.tools / "python", *options], env=env, timeout=900)

    def document(self):
        return json.loads((self.folder / "out" / "gpu-check.json").read_text())

    def results(self):
        return {entry["name"]: entry for entry in self.document()["results"]}

    def table(self):
        return (self.folder / "out" / "gpu-check.md").read_text()


def packs(packed):
    packed.make()
    expect("MiB, needs glibc 2." in packed.said, f"says {packed.said!r}")
    files = {str(path.relative_to(packed.root)) for path in packed.root.rglob("*") if path.is_file()}
    for name in ("gpu-check", "pack.json", "gpu/husk.py", "gpu/live.py", "references/llama/config.json", "lib/glibc/libc.so.6", "artifacts/small.bf16.husk.gz",
                 "artifacts/small.int8.husk.gz", *(f"artifacts/llama.{quant}.lathe.gz" for quant in ("f32", "bf16", "int8"))):
        expect(name in files, f"no {name} in {sorted(files)}")
    expect(any(name.startswith("lib/libstdc++") for name in files), f"no C++ library in {sorted(files)}")
    expect(not any(name.startswith("lib/libc.so") for name in files), "a C library in the way of the machine's own")


def dryRun(packed):
    names = packed.make().check("--dry-run").expect(0).text.split("\n")
    for name in ("againstTransformers/llama.f32", "againstHost/llama.int8", "sameBits/llama.bf16", "againstLive/llama.f32", "largeAgainstHost/small.int8", "bandwidth",
                 "generation/small.bf16/batch 8", "prompt/small.bf16/16 tokens", "kernel/small.int8/attention", "job/small.bf16"):
        expect(name in names, f"no {name} in {names}")
    packed.check("--only", "job/small.bf16").expect(0)
    expectEqual({name: entry["status"] for name, entry in packed.results().items()}, {"usable": "ok", "job/small.bf16": "ok"}, "one check alone")


def runs(packed):
    """All checks hold on the stand-in; JSON and table say what was found."""
    said = packed.make().check().expect(0).text
    expect(" passed, 0 failed, 0 left out; " in said.splitlines()[-1], f"says {said[-600:]!r}")
    results = packed.results()
    expect(all(entry["status"] == "ok" for entry in results.values()), f"{results}")
    expectEqual(results["againstHost/llama.f32"]["found"]["same_bits"], True, "the stand-in's bits")
    expectEqual(results["againstLive/llama.f32"]["found"], {"error": 0.0, "by": "a stand-in"}, "the comparison with transformers")
    expectEqual(results["job/small.bf16"]["found"]["new_tokens"], 16, "tokens of the job")
    probe = results["bandwidth"]["found"]
    expect(0 < probe["median_gbs"] <= probe["best_gbs"], f"{probe}")
    # 38.4 kFLOP a row and layer and 768 for each position before it; 1.6 for the head: by hand from the model's shapes.
    rows = results["prompt/small.bf16/16 tokens"]["found"]["rows"]
    flops = 16 * 3 * 2 * 96 * (10 * 32 + 6 * 32 + 3 * 160) + 3 * 768 * 16 * 17 / 2 + 2 * 96 * 512
    expect(abs(rows[0]["tflops"] / (flops * rows[0]["avg_ts"] / 16 * 1e-12) - 1) < 1e-9, f"{rows[0]['tflops']} TFLOP/s")
    document, table = packed.document(), packed.table()
    expectEqual([demand["verdict"] for demand in document["demands"]][0], "met", "the first demand")
    expect(any(command.startswith("lathe bench ") for command in document["commands"]), f"{document['commands']}")
    for part in ("# GPU check: NVIDIA H100 80GB HBM3", "| driver | 580.82.07 ", "SM 1980 MHz", "| commit | ", "| every check of numbers and bits holds | 13 of 13 | met |",
                 "| batch job on small bf16, bf16 KV: at least 10,000 tokens/s | ", " | not met |", "| againstTransformers/llama.f32 | ok | error ",
                 "| generation/small.bf16/batch 8 | 8 |", "| model | kernel | rows | µs |", "| small.int8 | attention | 8 |", "    lathe bench "):
        expect(part in table, f"no {part!r} in {table}")


def conditions(packed):
    """Who else is on the GPU, and that it is a part of one, stands in the table."""
    packed.make().check("--only", "bandwidth", SMI_APPS="4242, /usr/bin/python3, 20480\n", SMI_USED="20500", SMI_MIG="Enabled").expect(0)
    for part in ("other processes compute on this GPU (pid, name, MiB): 4242 /usr/bin/python3 20480", "MIG is on", "20500 in use before"):
        expect(part in packed.table(), f"no {part!r} in {packed.table()}")
    packed.check("--only", "bandwidth", SMI_USED="9000").expect(0)
    expect("9000 MiB are in use by somebody" in packed.table(), packed.table())
    packed.check("--only", "usable", PATH="/usr/bin:/bin").expect(0)
    expect("no nvidia-smi: clocks, other processes and MIG are not known" in packed.table(), packed.table())


def unusable(packed):
    """No driver, one that is too old for the pack's code, a GPU that it has no code for: said once, and nothing is tried in vain."""
    packed.make()
    for said, settings in (("no NVIDIA driver", {"LATHE_CUDA": "/nowhere/libcuda.so.1"}), ("has compute capability 7.5", {"FAKE_CUDA_CAPABILITY": "75"}),
                           ("update the driver", {"FAKE_CUDA_FAIL": "cuLibraryLoadData:0:222"})):
        expectEqual(packed.check("--only", "sameBits", **settings).status, 4, f"exit status where {said}")
        results = packed.results()
        expect(said in results["usable"]["why"], f"{results}")
        expectEqual(results["sameBits/llama.f32"]["status"], "left out", f"a check where {said}")
        expect(said in packed.table() and "| not measured |" in packed.table(), packed.table())


def finds(packed):
    """What is wrong is a failure and no result, and stops nothing else."""
    packed.make()
    path = packed.root / "references" / "llama" / "expected.safetensors"
    whole = path.read_bytes()
    header = int.from_bytes(whole[:8], "little")
    begin = 8 + header + json.loads(whole[8:8 + header])["logits"]["data_offsets"][0]
    path.write_bytes(whole[:begin] + b"\0\0\x80\x3f" + whole[begin + 4:])
    try:
        expectEqual(packed.check("--only", "llama.f32", OTHER_LOGITS="1").status, 6, "exit status with another logit")
    finally:
        path.write_bytes(whole)
    statuses = {name: entry["status"] for name, entry in packed.results().items()}
    expectEqual({name for name, status in statuses.items() if status == "FAILED"}, {"againstTransformers/llama.f32", "againstLive/llama.f32"}, "what failed")
    expect("| every check of numbers and bits holds | 3 of 5 | not met |" in packed.table(), packed.table())
    expectEqual(packed.check("--only", "bandwidth", FAKE_CUDA_MEMORY=str(1 << 10)).status, 6, "exit status without free memory")
    expect("free memory of the GPU" in packed.results()["usable"]["why"], f"{packed.results()}")
    packed.check("--only", "againstLive", NO_TORCH="1").expect(0)
    expect("has no torch with transformers" in packed.results()["againstLive/llama.f32"]["why"], f"{packed.results()}")


def tooLittleTime(packed):
    """What has no time is listed; what takes too long is ended, and the next part has its time."""
    packed.make().check("--seconds", "0").expect(0)
    results = packed.results()
    expectEqual({entry["status"] for entry in results.values()}, {"left out"}, "checks for which there is no time")
    expect("| all of it within 0 s | " in packed.table() and "left out | not met |" in packed.table(), packed.table())


def olderLibrary(packed):
    """Where the machine's C library is older than the program asks for, the pack's own runs it."""
    packed.make()
    with tempfile.TemporaryDirectory(dir=scratch(packed.lathe.work)) as folder:
        copy = Path(folder) / "packed"
        shutil.copytree(packed.root, copy)
        shutil.move(copy / "bin" / "lathe-itself", copy / "bin" / "lathe")
        about = json.loads((copy / "pack.json").read_text())
        (copy / "pack.json").write_text(json.dumps({**about, "glibc": "9.99"}))
        done = run([sys.executable, copy / "gpu-check", "--only", "nothing", "-o", folder], env={"LATHE_CUDA": "/nowhere/libcuda.so.1"})
        expectEqual(done.status, 4, f"exit status ({done.stderr})")
        expect("no NVIDIA driver" in done.text, done.text)  # in the program's own words
        (copy / "lib" / "glibc" / "libc.so.6").unlink()
        shutil.copy(copy / "lib" / "libz.so.1", copy / "lib" / "glibc" / "libc.so.6")
        done = run([sys.executable, copy / "gpu-check", "--only", "nothing", "-o", folder])
        expect(done.status == 1 and done.stderr.startswith("gpu-check: "), f"runs without the pack's C library: {done.status} {done.stderr}")


def husks(packed):
    """A husk grows into an artifact of the same size that differs in its matrices alone."""
    packed.make()
    for quant, kinds in (("bf16", {"bf16"}), ("int8", {"i8", "scale bf16"})):
        source, stripped, grown = (packed.folder / f"a.{suffix}" for suffix in ("source", "husk.gz", "lathe"))
        source.write_bytes(gzip.decompress((packed.root / "artifacts" / f"llama.{quant}.lathe.gz").read_bytes()))
        left = husk.strip(source, stripped)
        whole = gzip.decompress(stripped.read_bytes())
        head = whole.split(b"\n", 1)[0]
        expect(left > 0 and len(whole) == source.stat().st_size - left + len(head) + 1, f"{quant}: {left} bytes were left out")
        husk.grow(stripped, grown, 1)
        old, new = source.read_bytes(), grown.read_bytes()
        expectEqual(len(new), len(old), "bytes")
        gaps = json.loads(head)["gaps"]
        expectEqual({kind for _, _, kind in gaps}, kinds, f"what is drawn in {quant}")
        for offset, length, _ in gaps:
            expect(old[offset:offset + length] != new[offset:offset + length], f"the matrix at {offset} is what it was")
            new = new[:offset] + old[offset:offset + length] + new[offset + length:]
        expect(new == old, "bytes besides the matrices differ")
        first = grown.read_bytes()
        husk.grow(stripped, grown, 2)
        expect(first != grown.read_bytes(), "another seed drew the same")
        packed.lathe.run("eval", grown, "--ids", "1,2,3", "--logits", packed.folder / "x.safetensors", "--device", "cuda-host", "--no-host-check").expect(0)


def jobs(_):
    """The batch job is the one that is asked for: how many, how long, how much, the same every time."""
    lines = timings.jobLines(**timings.JOB)
    lengths = [len(line["ids"]) for line in lines]
    expectEqual(len(lines), 64, "sequences")
    expect(100 <= min(lengths) < 150 and 970 < max(lengths) <= 1024, f"lengths from {min(lengths)} to {max(lengths)}")
    expect(480 < sum(lengths) / 64 < 650, f"mean length {sum(lengths) / 64}")
    expectEqual({(line["n"], line["ignore_eos"], line["temp"]) for line in lines}, {(1024, True, 0)}, "how they are continued")
    expectEqual(timings.jobLines(**timings.JOB), lines, "drawn again")


def olderConfigs(_):
    """What transformers 4 finds of a rope that is scaled, where a config of transformers 5 has it elsewhere."""
    scaled = live.configOf((referenceModel("llama3-rope-scaled") / "config.json").read_text())
    expect(scaled["rope_theta"] > 0 and scaled["rope_scaling"]["rope_type"] == "llama3" and "rope_theta" not in scaled["rope_scaling"], f"{scaled}")
    expect("rope_scaling" not in live.configOf((referenceModel("qwen3") / "config.json").read_text()), "a rope that is not scaled")


def verdicts(_):
    for value, word in ((None, "not measured"), (0.5, "met"), (0.4999, "not met"), (float("nan"), "not met")):
        expectEqual(report.verdict(value, 0.5), word, f"{value} of 0.5")


def fill(suite, lathe, args):
    suite.add("job", jobs, None)
    suite.add("verdicts", verdicts, None)
    suite.add("configs of transformers 4", olderConfigs, None)
    probed = run([lathe.bin / "lathe_nvrtc_probe", "sm_80"])
    if probed.status != 0:
        print(f"skip NVRTC: {probed.stderr.strip()}")
        return
    packed = Packed(lathe)
    for name, check in (("packs", packs), ("a dry run", dryRun), ("runs", runs), ("conditions", conditions), ("unusable", unusable), ("finds", finds),
                        ("too little time", tooLittleTime), ("an older C library", olderLibrary), ("husks", husks)):
        suite.add(name, check, packed)


if __name__ == "__main__":
    main(__doc__, fill)

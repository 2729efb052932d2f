"""The folder that tools/gpu-check --pack makes: what a machine with a GPU needs, and nothing of this one."""
import datetime
import gzip
import json
import re
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

from gpu import husk

ROOT = Path(__file__).resolve().parents[2]
MOST_BYTES = 64 << 20
TARGETS = ["sm_80", "sm_86", "sm_89", "sm_90a", "sm_100a", "sm_120a"]
REFERENCES = ["llama", "llama3-rope-scaled", "mistral-window", "qwen2", "qwen3"]
QUANTS = ["f32", "bf16", "int8"]
# Models of real size: what is measured in two forms of weights, and that of the batch job.
MODEL, JOB_MODEL = ROOT / "configs" / "models" / "Qwen3-0.6B.toml", ROOT / "test" / "data" / "osc" / "decoder.cfg"
MODEL_QUANTS, JOB_QUANTS = ["bf16", "int8"], ["bf16"]
# The C library and the loader are the machine's own, or where that one is older, these, which lie apart.
SYSTEM = re.compile(r"^(linux-vdso|ld-linux|libc\.|libm\.|libdl\.|libpthread\.|librt\.)")
GLIBC = ["ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1"]


def libraries(program):
    """Paths of the shared libraries that a program loads, by name."""
    text = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    return {name: Path(path) for name, path in re.findall(r"^\s*(\S+) => (\S+)", text, re.M)}


def leastGlibc(files):
    """The newest version of the C library that any of the files asks for."""
    versions = {(2, 0)}
    for file in files:
        text = subprocess.run(["objdump", "-T", file], check=True, capture_output=True, text=True).stdout
        versions |= {tuple(map(int, version.split("."))) for version in re.findall(r"\(?GLIBC_([0-9.]+)\)?", text)}
    return ".".join(map(str, max(versions)))


def commit():
    """Of this tree; "+" behind it where files differ; "unknown" without git."""
    def git(*words):
        return subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True)
    name = git("rev-parse", "--short=10", "HEAD")
    if name.returncode != 0:
        return "unknown"
    return name.stdout.strip() + ("+" if git("status", "--porcelain", "-uno").stdout.strip() else "")


def compileTo(lathe, model, output, quant, targets, *options):
    words = [word for target in targets for word in ("--target", target)]
    subprocess.run([lathe, "compile", model, "-o", output, "--quant", quant, *words, *options], check=True)


def kernelsOf(artifact):
    return [kernel["symbol"] for kernel in json.loads(zipfile.ZipFile(artifact).read("plan.json"))["kernels"]]


def addPrograms(folder, lathe):
    """Returns the version of glibc that they need."""
    subprocess.run(["strip", "-o", folder / "bin" / "lathe", lathe], check=True)
    found = libraries(lathe)
    for name, path in found.items():
        if not SYSTEM.match(name):
            shutil.copy(path.resolve(), folder / "lib" / name)
    beside = found["libc.so.6"].parent
    for name in GLIBC:
        shutil.copy((beside / name).resolve(), folder / "lib" / "glibc" / name)
    return leastGlibc([folder / "bin" / "lathe", *(path for path in (folder / "lib").iterdir() if path.is_file())])


def pack(folder, build, model=MODEL, jobModel=JOB_MODEL, references=REFERENCES, targets=TARGETS):
    """Fills the folder. Returns its bytes and the C library that it needs."""
    lathe = build / "bin" / "lathe"
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("bin", "lib/glibc", "artifacts", "references", "gpu"):
        (folder / name).mkdir(parents=True)
    shutil.copy(ROOT / "tools" / "gpu-check", folder)
    for script in (ROOT / "tools" / "gpu").glob("*.py"):
        shutil.copy(script, folder / "gpu")
    glibc = addPrograms(folder, lathe)
    everything = [*(f"cuda:{target}" for target in targets), f"cuda-host:{targets[0]}"]
    kernels = {}
    with tempfile.TemporaryDirectory(dir=folder) as work:
        whole = Path(work) / "whole.lathe"
        for name in references:
            reference = ROOT / "test" / "data" / "reference" / name
            shutil.copytree(reference, folder / "references" / name)
            for quant in QUANTS:
                compileTo(lathe, reference, whole, quant, everything)
                with gzip.GzipFile(folder / "artifacts" / f"{name}.{quant}.lathe.gz", "wb", mtime=0) as out:
                    out.write(whole.read_bytes())
        for path, quants in ((model, MODEL_QUANTS), (jobModel, JOB_QUANTS)):
            for quant in quants:
                name = f"{Path(path).stem}.{quant}"
                compileTo(lathe, path, whole, quant, everything, "--weights", "random:0")
                husk.strip(whole, folder / "artifacts" / f"{name}.husk.gz")
                kernels[name] = kernelsOf(whole)
    about = {"commit": commit(), "date": datetime.date.today().isoformat(), "glibc": glibc, "targets": list(targets), "model": Path(model).stem,
             "job_model": Path(jobModel).stem, "kernels": kernels}
    (folder / "pack.json").write_text(json.dumps(about, indent=1) + "\n")
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()), glibc

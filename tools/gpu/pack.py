"""The folder that tools/gpu-check --pack makes: what a machine with a GPU needs, and nothing of this one."""
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from gpu import husk

ROOT = Path(__file__).resolve().parents[2]
MOST_BYTES = 64 << 20
TARGETS = ["sm_80", "sm_86", "sm_89", "sm_90a", "sm_100a", "sm_120a"]
REFERENCES = ["llama", "llama3-rope-scaled", "mistral-window", "qwen2", "qwen3"]
# The C library and the loader are the machine's own: an older one cannot run what was linked to a newer.
SYSTEM = re.compile(r"^(linux-vdso|ld-linux|libc\.|libm\.|libdl\.|libpthread\.|librt\.)")


def libraries(program):
    """Paths of the shared libraries that a program loads and that other machines may lack."""
    text = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    found = re.findall(r"^\s*(\S+) => (\S+)", text, re.M)
    return [Path(path) for name, path in found if not SYSTEM.match(name)]


def leastGlibc(files):
    """The newest version of the C library that any of the files asks for."""
    versions = {(2, 0)}
    for file in files:
        text = subprocess.run(["objdump", "-T", file], check=True, capture_output=True, text=True).stdout
        versions |= {tuple(map(int, version.split("."))) for version in re.findall(r"\(?GLIBC_([0-9.]+)\)?", text)}
    return ".".join(map(str, max(versions)))


def compileTo(lathe, model, output, quant, targets, *options):
    words = [word for target in targets for word in ("--target", target)]
    subprocess.run([lathe, "compile", model, "-o", output, "--quant", quant, *words, *options], check=True)


def pack(folder, build, model, references=REFERENCES, targets=TARGETS):
    """Fills the folder. Returns its bytes and the C library that it needs."""
    lathe = build / "bin" / "lathe"
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("bin", "lib", "artifacts", "gpu"):
        (folder / name).mkdir(parents=True)
    shutil.copy(ROOT / "tools" / "gpu-check", folder)
    for script in (ROOT / "tools" / "gpu").glob("*.py"):
        shutil.copy(script, folder / "gpu")
    subprocess.run(["strip", "-o", folder / "bin" / "lathe", lathe], check=True)
    for library in libraries(lathe):
        shutil.copy(library.resolve(), folder / "lib" / library.name)
    devices, host = [f"cuda:{target}" for target in targets], [f"cuda-host:{targets[0]}"]
    for name in references:
        reference = ROOT / "test" / "data" / "reference" / name
        for quant in ("f32", "bf16"):
            compileTo(lathe, reference, folder / "artifacts" / f"{name}.{quant}.lathe", quant, devices + host)
        shutil.copy(reference / "expected.safetensors", folder / "artifacts" / f"{name}.expected.safetensors")
    with tempfile.TemporaryDirectory(dir=folder) as work:
        whole = Path(work) / "whole.lathe"
        compileTo(lathe, model, whole, "bf16", devices + host, "--weights", "random:0")
        husk.strip(whole, folder / "artifacts" / f"{Path(model).stem}.husk")
    files = [path for path in folder.rglob("*") if path.is_file()]
    glibc = leastGlibc([path for path in files if path.parent.name in ("bin", "lib")])
    return sum(path.stat().st_size for path in files), glibc

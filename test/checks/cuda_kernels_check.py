#!/usr/bin/env python3
"""Kernels that the compiler prints for every model of configs/: by NVRTC for every architecture, without a spill.

Skips, with a line, where NVRTC is not there (CUDA toolkit, or nvidia-cuda-nvrtc of PyPI: tools/quickstart --cuda).
"""
import re
import tempfile
from pathlib import Path

from harness import ROOT, expect, expectEqual, main, run, scratch

# Bytes of shared memory that a block may have (CUDA C++ Programming Guide, "Technical Specifications per Compute Capability").
ARCHITECTURES = {"sm_80": 163 << 10, "sm_86": 99 << 10, "sm_89": 99 << 10, "sm_90a": 227 << 10, "sm_100a": 227 << 10, "sm_120a": 99 << 10}
CONFIGS = ["SmolLM2-135M", "Qwen3-0.6B", "Llama-3.2-1B", "Mistral-7B"]
# f32 is there to check others by: no tensor cores, and nothing that one architecture has and another lacks.
# +kv: keys and values of int8, which only attention and what appends know.
QUANTS = {"f32": ["sm_80", "sm_120a"], "bf16": list(ARCHITECTURES), "int8": list(ARCHITECTURES), "bf16+kv": list(ARCHITECTURES)}
CODED = CONFIGS[:3]
PAGED = ["SmolLM2-135M", "Qwen3-0.6B", "head_dim 256"]
# Wide heads, whose queries have to fit into every architecture's shared memory.
WIDE = """name = "wide"
model_type = "llama"
vocab_size = 320
hidden_size = 512
intermediate_size = 512
num_hidden_layers = 1
num_attention_heads = 4
num_key_value_heads = 2
head_dim = 256
max_position_embeddings = 8192
rms_norm_eps = 1e-5
bos_token_id = 0
eos_token_id = 0

[rope_parameters]
rope_type = "default"
rope_theta = 10000.0
"""
FAST = ["sm_80", "sm_90a"]
LINES = 150
MOST_REGISTERS = 255
# Two blocks of 256 threads of attention a multiprocessor; f32 is no measure.
ATTENTION_REGISTERS = 128
USED = re.compile(r"^(\w+): \d+ bytes, (\d+) registers, (\d+) bytes of stack, (\d+) \+ (\d+) of spills", re.M)


def texts(lathe, config, quant):
    folder = scratch(lathe.work) / f"cuda-{config}-{quant}"
    source = ROOT / "configs" / "models" / f"{config}.toml"
    if config == "head_dim 256":
        source = scratch(lathe.work) / "wide.toml"
        source.write_text(WIDE)
    name, _, kv = quant.partition("+")
    lathe.run("compile", source, "--weights", "random:0", "--quant", name, *(["--kv", "int8"] if kv else []), "--target", "cuda-host:sm_80",
              "--stop-after", "30", "--dump", folder).expect(0)
    kernels = sorted((folder / "kernels").glob("*.cu"))
    expect(len(kernels) >= 7, f"{len(kernels)} kernels")
    return kernels


def readable(lathe, config, quant):
    for kernel in texts(lathe, config, quant):
        text = kernel.read_text()
        lines = text.splitlines()
        expect(len(lines) <= LINES, f"{kernel.name} has {len(lines)} lines, more than {LINES}")
        expect(lines[0] == f"// {kernel.stem}", f"{kernel.name} begins with {lines[0]!r}")
        for word in ("asm", "threadIdx", "blockIdx", "<<<", "__shared__", "#pragma"):
            expect(word not in text, f"{kernel.name} has {word!r}, which belongs into runtime/device/")


def compiles(lathe, probe, config, quant, architecture):
    kernels = texts(lathe, config, quant)
    headers = [path for path in sorted((ROOT / "runtime" / "device").glob("*")) if path.suffix == ".cuh" or path.name == "batch.h"]
    includes = [word for path in headers for word in ("--header", f"lathe/{path.name}={path}")]
    result = run([probe, architecture, *kernels, *includes], timeout=600).expect(0)
    used = USED.findall(result.text)
    expectEqual(sorted(entry[0] for entry in used), sorted(kernel.stem for kernel in kernels), "kernels compiled")
    for kernel, registers, stack, stores, loads in used:
        expect(stack == stores == loads == "0", f"{kernel} spills: stack {stack}, stores {stores}, loads {loads} bytes")
        most = ATTENTION_REGISTERS if kernel.startswith("attention") and quant != "f32" else MOST_REGISTERS
        expect(int(registers) <= most, f"{kernel} needs {registers} registers, more than {most}")
    for kernel in kernels:
        shared = int(re.search(r"(\d+) bytes of shared memory", kernel.read_text())[1])
        expect(shared <= ARCHITECTURES[architecture],
               f"{kernel.stem} wants {shared} bytes of shared memory, {architecture} has {ARCHITECTURES[architecture]}")
    return f"{min(int(u[1]) for u in used)} to {max(int(u[1]) for u in used)} registers"


def artifact(lathe, _probe):
    """Cubins of two architectures in one artifact, with what ptxas says of them, on a machine without a GPU."""
    with tempfile.TemporaryDirectory(dir=scratch(lathe.work)) as folder:
        path = Path(folder) / "two.lathe"
        lathe.run("compile", ROOT / "test" / "data" / "reference" / "qwen3", "-o", path, "--quant", "bf16", "--target", "cuda:sm_90a",
                  "--target", "cuda:sm_80").expect(0)
        listing = lathe.run("inspect", path, "--json").expect(0).json()
        names = {member["name"] for member in listing["members"]}
        for architecture in ("sm_80", "sm_90a"):
            expect(f"kernels/{architecture}/attention.cubin" in names, f"no cubins of {architecture} in {sorted(names)}")
        expectEqual(listing["tiers"], ["cuda:sm_90a", "cuda:sm_80"], "targets")
        shown = lathe.run("inspect", path, "kernel", "attention").expect(0).text
        for part in ("sm_90a", "sm_80", " registers, 0 bytes of spills", "blocks of 256 threads a multiprocessor", "H100 SXM5: a row of 1024 positions takes at least ", "// on sm_90a: ", "score_chunk(", ".entry attention"):
            expect(part in shown, f"inspect kernel attention does not show {part!r}")
        parts = dict(re.findall(r"^// SASS of (\w+)\n((?:.|\n)*?)(?=^// SASS|\Z)", shown, re.M))
        if parts: # a kernel waits for those before it on sm_90 only, and what it streams it streams in 16 bytes
            expect("ACQBULK" in parts["sm_90a"] and "PREEXIT" in parts["sm_90a"], "the code for sm_90a does not wait for the launches before")
            expect("ACQBULK" not in parts["sm_80"] and "HMMA" in parts["sm_80"], "the code for sm_80 is not what it should be")
        else:
            print("skip SASS: no nvdisasm (tools/setup installs it)")
        kernels = lathe.run("inspect", path, "kernels", "--json").expect(0).json()
        expect(all(set(kernel["architectures"]) == {"sm_80", "sm_90a"} for kernel in kernels), f"architectures of kernels: {kernels}")
        for kernel in kernels:
            for architecture, bandwidth, peak in (("sm_90a", 3350e9, 989e12), ("sm_80", 2039e9, 312e12)):
                predicted = kernel["predicted"][architecture]
                rows = 512 if kernel["name"].endswith("_many") else 0 # of few, bytes are what takes time
                wanted = max(predicted["bytes"] / bandwidth, rows * kernel["flops_per_unit"] / peak) * 1e6
                expect(abs(predicted["us"] - wanted) <= 1e-9 + predicted["us"] * 1e-6, f"{kernel['name']}: {predicted}, expected {wanted} us")
                expect(0 <= predicted["bandwidth_share"] <= 1, f"{kernel['name']}: {predicted}")
        # Lines about an architecture are no part of what is compiled.
        dump = Path(folder) / "dump"
        target = ("--quant", "bf16", "--target", "cuda:sm_90a", "-o", path)
        lathe.run("compile", ROOT / "test" / "data" / "reference" / "qwen3", *target, "--dump", dump).expect(0)
        text = (dump / "kernels" / "o_residual.cu").read_text()
        expect(re.search(r"\n// on sm_90a: \d+ registers.*\n// on H100 SXM5: .*\n#include", text, re.S), f"no facts above\n{text}")
        lathe.run("compile", ROOT / "test" / "data" / "reference" / "qwen3", *target, "--use-kernels", dump / "kernels", "--dump", Path(folder) / "again").expect(0)
        expectEqual((Path(folder) / "again" / "kernels" / "o_residual.cu").read_text(), text, "text of a kernel that was dumped and taken back")
        for what in (["stages", "20"], ["memory"], ["explain"], ["--verify"]):
            lathe.run("inspect", path, *what).expect(0)
        refused = lathe.run("generate", path, "--ids", "1,2", "-n", "1")
        expectEqual(refused.status, 4, "exit status of running it without a GPU")


def unknownArchitecture(lathe, _probe):
    refused = lathe.run("compile", ROOT / "test" / "data" / "reference" / "qwen3", "-o", "/dev/null", "--target", "cuda:sm_70")
    expectEqual(refused.status, 2, "exit status")
    expect("sm_80" in refused.stderr, f"says {refused.stderr!r}")


def fill(suite, lathe, args):
    probe = lathe.bin / "lathe_nvrtc_probe"
    models = [(config, quant) for config in CONFIGS for quant in ("f32", "bf16", "int8") if quant != "int8" or config in CODED]
    models += [(config, "bf16+kv") for config in PAGED] + [("head_dim 256", "f32"), ("head_dim 256", "bf16")]
    for config, quant in models:
        suite.add(f"{config}/{quant}/readable", readable, lathe, config, quant)
    suite.add("unknown architecture", unknownArchitecture, lathe, probe)
    found = run([probe, "sm_80"])
    if found.status != 0:
        print(f"skip NVRTC: {found.stderr.strip()}")
        return
    suite.add("artifact", artifact, lathe, probe)
    for config, quant in models:
        for architecture in QUANTS[quant]:
            suite.add(f"{config}/{quant}/{architecture}", compiles, lathe, probe, config, quant, architecture, slow=architecture not in FAST)


if __name__ == "__main__":
    main(__doc__, fill)

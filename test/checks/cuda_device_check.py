#!/usr/bin/env python3
"""The engine on a GPU, with a stand-in for the driver that runs every launch on the CPU: the bits of --device cuda-host.

Skips, with a line, where NVRTC is not there: an artifact for a GPU has cubins.
"""
import json
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from harness import expect, expectEqual, expected, idList, main, referenceModel, run, scratch

TARGETS = ("--target", "cuda:sm_90a", "--target", "cuda:sm_80", "--target", "cuda-host:sm_80")
HOST = ("--device", "cuda-host", "--no-host-check")
# Calls that may fail at any time, with an error of the driver's and the exit status that it means.
FAILURES = {"cuInit:0:100": 4, "cuDevicePrimaryCtxRetain:0:2": 5, "cuMemAlloc:0:2": 5, "cuMemAlloc:2:2": 5, "cuMemHostAlloc:1:2": 5,
            "cuMemcpyHtoDAsync:0:700": 7, "cuMemcpyHtoDAsync:1:700": 7, "cuLibraryLoadData:1:209": 4, "cuLibraryGetKernel:2:500": 1,
            "cuGraphInstantiateWithParams:0:2": 5, "cuGraphLaunch:1:719": 7, "cuGraphLaunch:2:719": 7, "cuMemcpyDtoHAsync:1:700": 7,
            "cuMemHostAlloc:4:2": 5, "cuEventSynchronize:2:700": 7, "cuEventSynchronize:4:700": 7, "cuEventSynchronize:6:700": 7}


def artifact(lathe, name, quant):
    return lathe.artifact(referenceModel(name), "--quant", quant, *TARGETS)


class Device:
    """The stand-in with the host's code of an artifact."""

    def __init__(self, lathe, model, **settings):
        kernels = model.with_suffix(".kernels.so")
        if not kernels.exists():
            kernels.write_bytes(zipfile.ZipFile(model).read("kernels/cuda-host-sm_80.so"))
        self.folder = tempfile.TemporaryDirectory(dir=scratch(lathe.work))
        self.log = Path(self.folder.name) / "log"
        self.env = {"LATHE_CUDA": str(lathe.bin.parent / "test" / "cuda" / "liblathe_emulated_libcuda.so"), "FAKE_CUDA_KERNELS": str(kernels),
                    "FAKE_CUDA_LOG": str(self.log), "FAKE_CUDA_CAPABILITY": "80", **{f"FAKE_CUDA_{k.upper()}": str(v) for k, v in settings.items()}}

    def calls(self):
        """How often each function was called; what leaked or was misused is an error."""
        lines = self.log.read_text().splitlines()
        wrong = [line for line in lines if ":" in line]
        expect(not wrong, f"at the end: {wrong}")
        return {name: lines.count(name) for name in set(lines)}


def sameLogits(lathe, name, quant, capability):
    """Whole, decoded token by token, and in chunks."""
    model = artifact(lathe, name, quant)
    ids = expected(referenceModel(name))["input_ids"].reshape(-1)[:24]
    want = lathe.logits(model, ids, *HOST)
    for chunk in (64, 1, 7):
        device = Device(lathe, model, capability=capability)
        with tempfile.TemporaryDirectory(dir=scratch(lathe.work)) as folder:
            output = Path(folder) / "logits.safetensors"
            lathe.run("eval", model, "--ids", idList(ids), "--logits", output, "--device", "cuda:0", "--chunk", chunk, env=device.env).expect(0)
            actual = load_file(output)["logits"]
        different = np.count_nonzero(actual.view(np.uint32) != want.view(np.uint32))
        expect(different == 0, f"in chunks of {chunk}, {different} of {want.size} logits have other bits than cuda-host's")
        device.calls()


def portable(lathe):
    """PTX on a GPU that is newer than any code of the artifact."""
    model = lathe.artifact(referenceModel("qwen3"), "--quant", "f32", "--target", "cuda:compute_80", "--target", "cuda:sm_86", "--target", "cuda-host:sm_80")
    lathe.run("inspect", model, "kernel", "attention").expect(0)
    want = lathe.generate(model, "--ids", "1,2,3", "-n", 5, "--ignore-eos", *HOST)["ids"]
    for capability, member in ((120, "compute_80/attention.ptx"), (89, "sm_86/attention.cubin")):
        expect(f"kernels/{member}" in zipfile.ZipFile(model).namelist(), f"no {member}")
        device = Device(lathe, model, capability=capability)
        expectEqual(lathe.generate(model, "--ids", "1,2,3", "-n", 5, "--ignore-eos", "--device", "cuda", env=device.env)["ids"], want, "ids")
    rows = lathe.run("bench", model, "-p", 4, "-n", 0, "-r", 1, "--json", "--device", "cuda", env=Device(lathe, model, capability=120, memory=1 << 26).env)
    expectEqual(rows.expect(0).json()[0]["cpu_tier"], "cuda:compute_80", "code")


def batch(lathe, model, lines, *options, env=None):
    with tempfile.TemporaryDirectory(dir=scratch(lathe.work)) as folder:
        source, output = Path(folder) / "in.jsonl", Path(folder) / "out.jsonl"
        source.write_text("".join(json.dumps(line) + "\n" for line in lines))
        lathe.run("batch", model, source, "-o", output, *options, env=env).expect(0)
        answers = [json.loads(line) for line in output.read_text().splitlines()]
    for answer in answers:
        answer.pop("timings")
    return answers


def sameBatch(lathe, name, quant):
    """A ragged batch whose samples share pages that are copied when they part."""
    model = artifact(lathe, name, quant)
    ids = expected(referenceModel(name))["input_ids"].reshape(-1)
    lines = [{"ids": ids[i:i + length].tolist(), "n": 6, "ignore_eos": True, "temp": temp, "seed": i, **more}
             for i, (length, temp, more) in enumerate(((1, 0, {}), (7, 1.0, {"samples": 3}), (33, 0.7, {"top_k": 5}), (40, 0, {"logprobs": 2})))]
    device = Device(lathe, model)
    expectEqual(batch(lathe, model, lines, "--device", "cuda", env=device.env), batch(lathe, model, lines, *HOST), "answers")
    expect(device.calls().get("cuMemcpyDtoDAsync", 0) > 0, "no page was copied")


def drawnTokens(lathe, name, quant):
    """Tokens that are drawn where the logits are, and fed to a step that is started before they are known: those that the host samples."""
    model = artifact(lathe, name, quant)
    ids = expected(referenceModel(name))["input_ids"].reshape(-1)
    ways = ({}, {"temp": 1.0}, {"temp": 0.8, "top_k": 5}, {"temp": 1.5, "top_p": 0.7}, {"temp": 3.0, "top_k": 40, "top_p": 0.9, "min_p": 0.01}, {"temp": 1.0, "samples": 2})
    lines = [{"ids": ids[3 * i:3 * i + 2 + 7 * i].tolist(), "n": 3 + 2 * i, "ignore_eos": i % 2 == 0, "seed": i, **way} for i, way in enumerate(ways)]
    device = Device(lathe, model)
    drawn = batch(lathe, model, lines, "--device", "cuda", env=device.env)
    device.calls()
    sampled = batch(lathe, model, [{**line, "logprobs": 0} for line in lines], "--device", "cuda", env=Device(lathe, model).env)
    for answer in sampled:
        for of in [answer, *answer.get("samples", [])]:
            of.pop("logprobs", None)
    expectEqual(drawn, sampled, "answers of tokens drawn there, and sampled here")
    expectEqual(drawn, batch(lathe, model, lines, *HOST), "answers on cuda-host")

    # The second step is started before the tokens of the first are waited for, but not where the host samples.
    for more, waits in (((), 1), (("--repeat-penalty", "1.1"), 2)):
        device = Device(lathe, model)
        lathe.generate(model, "--ids", "1,2,3", "-n", 4, "--ignore-eos", *more, "--device", "cuda", env=device.env)
        first, second = [i for i, line in enumerate(device.log.read_text().splitlines()) if line == "cuGraphLaunch"][:2]
        between = device.log.read_text().splitlines()[first:second]
        expectEqual(between.count("cuEventSynchronize"), waits, f"waits between two launches in {between}")


def steadySteps(lathe):
    """More steps allocate nothing, load nothing, build nothing."""
    model = artifact(lathe, "qwen3", "f32")
    counts = []
    for tokens in (3, 9):
        device = Device(lathe, model)
        lathe.generate(model, "--ids", "1,2,3", "-n", tokens, "--ignore-eos", "--device", "cuda", env=device.env)
        counts.append(device.calls())
    few, many = counts
    expectEqual(many["cuGraphLaunch"] - few["cuGraphLaunch"], 6, "more launches for six more tokens")
    for name in ("cuMemAlloc", "cuMemHostAlloc", "cuGraphInstantiateWithParams", "cuLibraryLoadData", "cuEventCreate", "cuStreamCreate"):
        expectEqual(many[name], few[name], f"calls of {name}")


def bench(lathe):
    model = artifact(lathe, "qwen3", "f32")
    device = Device(lathe, model, memory=1 << 26)
    rows = lathe.run("bench", model, "-p", "8", "-n", "4", "-b", "2", "-r", "2", "--json", "--device", "cuda", env=device.env).expect(0).json()
    expectEqual([row["cpu_tier"] for row in rows], ["cuda:sm_80"] * 2, "code")
    expect(all(row["probe_gbs"] > 0 for row in rows), f"no bandwidth in {rows}")
    expectEqual(device.calls()["cuMemcpyDtoHAsync"], 1, "copies to the host: what the bandwidth's kernel found, and no logits, which nobody reads")
    for kernel in ("norm_gate_up_gated", "attention", "norm_logits"):
        device = Device(lathe, model, memory=1 << 26)
        rows = lathe.run("bench", model, "--kernel", kernel, "-m", "1,8", "-d", "16", "-r", "2", "--json", "--device", "cuda", env=device.env).expect(0).json()
        expectEqual([row["n_rows"] for row in rows], [1, 8], f"rows of {kernel}")
        expect(all(row["n_launches"] >= 64 and row["gbs"] > 0 for row in rows), f"{kernel}: {rows}")
        device.calls()


def refused(lathe, model, status, words, *options, env=None, command=("generate", "--ids", "1,2", "-n", "3", "--ignore-eos")):
    result = lathe.run(command[0], model, *command[1:], *options, env=env)
    expectEqual(result.status, status, f"exit status ({result.stderr.strip()[-300:]})")
    lines = [line for line in result.stderr.splitlines() if line.startswith("lathe: error: ")]
    expectEqual(len(lines), 1, f"lines of error in {result.stderr!r}")
    for word in words:
        expect(word in lines[0], f"no {word!r} in {lines[0]!r}")


def noDevice(lathe):
    model = artifact(lathe, "qwen3", "f32")
    nowhere = {"LATHE_CUDA": "/nowhere/libcuda.so.1"}
    refused(lathe, model, 4, ("no NVIDIA driver", "lathe doctor"), "--device", "cuda", env=nowhere)
    refused(lathe, model, 4, ("GPU 3", "nvidia-smi"), "--device", "cuda:3", env=Device(lathe, model).env)
    refused(lathe, model, 4, ("Fake GPU", "7.5", "sm_90a, sm_80", "--target cuda:sm_75"), "--device", "cuda",
            env=Device(lathe, model, capability=75).env)
    refused(lathe, model, 2, ("cuda:x", "cuda:N"), "--device", "cuda:x")
    refused(lathe, model, 5, ("cuMemAlloc", "the weights"), "--device", "cuda", env=Device(lathe, model, memory=1 << 20).env)
    # Nobody said which: the GPU where a driver answers, else the CPU.
    device = Device(lathe, model)
    lathe.generate(model, "--ids", "1", "-n", "2", env=device.env)
    expect(device.calls()["cuGraphLaunch"] > 0, "auto did not take the GPU")
    lathe.generate(model, "--ids", "1", "-n", "2", "--no-host-check", env=nowhere)


def failures(lathe):
    model = artifact(lathe, "qwen3", "f32")
    for failure, status in FAILURES.items():
        device = Device(lathe, model, fail=failure)
        refused(lathe, model, status, (failure.split(":")[0],), "--device", "cuda", env=device.env)
        device.calls()


def fill(suite, lathe, args):
    probed = run([lathe.bin / "lathe_nvrtc_probe", "sm_80"])
    if probed.status != 0:
        print(f"skip NVRTC: {probed.stderr.strip()}")
        return
    suite.add("errors/no device", noDevice, lathe)
    suite.add("errors/each call", failures, lathe)
    suite.add("PTX", portable, lathe)
    suite.add("no allocation in a step", steadySteps, lathe)
    suite.add("bench", bench, lathe)
    for name, quant, capability in (("qwen3", "f32", 80), ("llama3-rope-scaled", "bf16", 90), ("mistral-window", "bf16", 86)):
        suite.add(f"{name}/{quant}/logits", sameLogits, lathe, name, quant, capability)
    suite.add("qwen3/f32/batch", sameBatch, lathe, "qwen3", "f32")
    suite.add("qwen3/f32/drawn tokens", drawnTokens, lathe, "qwen3", "f32")
    suite.add("qwen2/bf16/batch", sameBatch, lathe, "qwen2", "bf16")


if __name__ == "__main__":
    main(__doc__, fill)

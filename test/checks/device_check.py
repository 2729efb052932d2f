#!/usr/bin/env python3
"""The device library and kernels in the compiler's form: by NVRTC and nvcc for every architecture, by clang++ for the host.

NVRTC gets the headers by name, as the compiler of models gives them to it. Asserted: everything compiles without a warning,
nothing spills, and every access to memory says which memory it means (a generic load is slower and a sign that an
address got lost). Skips, with a line, where the toolkit is not there.
"""
import ctypes
import re
import shutil
import tempfile
from pathlib import Path

from harness import ROOT, expect, expectEqual, main, run

ARCHITECTURES = ["80", "86", "89", "90a", "100a", "120a"]
ALIKE = ["86", "89", "120a"]  # hardly other code than that of the one before: not with --fast
HEADERS = ROOT / "runtime" / "device"
KERNELS = ROOT / "test" / "device" / "kernels"
CUDA = Path("/usr/local/cuda")
# Registers of 256 threads: with more, a block does not start at all.
MOST_REGISTERS = 255
USED = re.compile(r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads.*?Used (\d+) registers", re.S)


def kernels(name):
    return place(name).read_text()


def place(name):
    """A kernel of the tests, or one of the library's that no model has."""
    return next(path for path in (KERNELS / f"{name}.cu", HEADERS / f"{name}.cu") if path.exists())


class Nvrtc:
    """The few calls of NVRTC that it takes to compile a text."""

    def __init__(self, path):
        self.library = ctypes.CDLL(str(path))
        self.library.nvrtcGetErrorString.restype = ctypes.c_char_p
        names = [path for path in sorted(HEADERS.rglob("*")) if path.suffix == ".cuh" or path.name == "batch.h"]
        self.names = [f"lathe/{path.relative_to(HEADERS)}".encode() for path in names]
        self.texts = [path.read_bytes() for path in names]

    def text(self, kind, program):
        size = ctypes.c_size_t()
        getattr(self.library, f"nvrtcGet{kind}Size")(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        getattr(self.library, f"nvrtcGet{kind}")(program, buffer)
        return buffer.raw[:-1].decode(errors="replace")

    def compile(self, name, text, architecture):
        """The compiler's log and the PTX."""
        count = len(self.names)
        program = ctypes.c_void_p()
        array = ctypes.c_char_p * count
        self.library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), f"{name}.cu".encode(), count, array(*self.texts), array(*self.names))
        options = [f"--gpu-architecture=sm_{architecture}", "--std=c++17", "--fmad=false", "--ptxas-options=-v", "--no-cache"]
        status = self.library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*[o.encode() for o in options]))
        log = self.text("ProgramLog", program)
        expect(status == 0, f"{self.library.nvrtcGetErrorString(status).decode()}: {log[:2000]}")
        ptx = self.text("PTX", program)
        self.library.nvrtcDestroyProgram(ctypes.byref(program))
        return log, ptx


def findNvrtc():
    places = [*CUDA.glob("lib64/libnvrtc.so*"), *(ROOT / "build" / "venv").glob("lib/python3*/site-packages/nvidia/**/libnvrtc.so*")]
    return next(iter(sorted(places)), None)


def judge(name, log, ptx):
    """Registers of the kernels of a log, none of which may spill."""
    expect("warning" not in log.lower(), f"warnings: {log[:2000]}")
    used = USED.findall(log)
    names = re.findall(r"\.entry (\w+)", ptx)
    expectEqual(sorted(entry[0] for entry in used), sorted(names), "kernels in the log")
    expect(len(names) > 0, "no kernel")
    for kernel, stack, stores, loads, registers in used:
        expect(stack == stores == loads == "0", f"{kernel} spills: stack {stack}, stores {stores}, loads {loads} bytes")
        expect(int(registers) <= MOST_REGISTERS, f"{kernel} needs {registers} registers")
    generic = re.findall(r"^\s*(?:@%\w+ )?((?:ld|st)\.(?!global|shared|param|local|const)\S+)", ptx, re.M)
    expect(not generic, f"generic loads or stores: {sorted(set(generic))}")
    expect(".local" not in ptx, "local memory")
    return f"{len(names)} kernels, {min(int(u[4]) for u in used)} to {max(int(u[4]) for u in used)} registers"


def byNvrtc(nvrtc, name, architecture):
    return judge(name, *nvrtc.compile(name, kernels(name), architecture))


def byNvcc(nvcc, link, name):
    with tempfile.TemporaryDirectory() as folder:
        done = run([nvcc, "-std=c++17", "-arch=sm_80", "-fmad=false", f"-I{link}", "-Xptxas", "-v", "-Werror", "all-warnings", "--keep", "--keep-dir", folder,
                    "-cubin", "-o", f"{folder}/x.cubin", place(name)], timeout=900)
        done.expect(0)
        return judge(name, done.stderr.replace("warning #", ""), "\n".join(path.read_text() for path in Path(folder).glob("*.ptx")))


def byClang(clang, link, name):
    """As `--target cuda-host` compiles kernels."""
    done = run([clang, "-x", "c++", "-std=c++17", "-O1", "-DLATHE_HOST", "-march=x86-64-v3", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror",
                "-Wno-unused-parameter", f"-I{link}", "-c", "-o", "/dev/null", place(name)], timeout=900)
    done.expect(0)


def linksAlone(clang, link):
    """A kernel and what runs it make a shared object that needs libc, libm and libstdc++ at most and exports one function."""
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "norm_gated.cu"
        text.write_text(kernels("NormGated") + "\nLATHE_HOST_KERNEL(norm_gated)\n")
        library = Path(folder) / "kernels.so"
        options = ["-std=c++20", "-O1", "-DLATHE_HOST", "-march=x86-64-v3", "-ffp-contract=off", "-fPIC", "-fvisibility=hidden", f"-I{link}"]
        run([clang, *options, "-shared", "-x", "c++", text, *sorted((HEADERS / "host").glob("*.cpp")), "-o", library], timeout=900).expect(0)
        loaded = ctypes.CDLL(str(library))
        expect(hasattr(loaded, "lathe_host_launch"), "lathe_host_launch is not exported")
        if shutil.which("readelf"):
            needed = set(re.findall(r"NEEDED.*\[(\S+?)\.so", run(["readelf", "-d", library]).text))
            expect(needed <= {"libc", "libm", "libstdc++", "libgcc_s", "ld-linux-x86-64"}, f"needs {sorted(needed)}")
            symbols = run(["readelf", "--dyn-syms", "-W", library]).text
            own = [line.split()[-1] for line in symbols.splitlines() if re.search(r"GLOBAL +DEFAULT +\d+ ", line)]
            expectEqual(own, ["lathe_host_launch"], "exported functions")


def onlyPrimitivesHavePtx():
    for path in sorted(HEADERS.glob("*.cuh")):
        if path.name != "primitives.cuh":
            found = re.findall(r"\basm\b|threadIdx|blockIdx|blockDim|__shared__|__sync\w+|__shfl\w+|atomic\w+", path.read_text())
            expect(not found, f"{path.name} has {sorted(set(found))}")


def fill(suite, lathe, args):
    link = lathe.bin.parent / "device"
    names = sorted(path.stem for folder in (KERNELS, HEADERS) for path in folder.glob("*.cu"))
    suite.add("PTX stands in primitives.cuh alone", onlyPrimitivesHavePtx)
    if clang := shutil.which("clang++-22"):
        for name in names:
            suite.add(f"clang++/{name}", byClang, clang, link, name)
        suite.add("clang++/a shared object of its own", linksAlone, clang, link)
    else:
        print("skipped: clang++-22 is not there, the host's version of kernels is not compiled by it")
    if path := findNvrtc():
        nvrtc = Nvrtc(path)
        for architecture in ARCHITECTURES:
            for name in names:
                suite.add(f"nvrtc/sm_{architecture}/{name}", byNvrtc, nvrtc, name, architecture, slow=architecture in ALIKE)
    else:
        print(f"skipped: no NVRTC in {CUDA}/lib64 or in build/venv; kernels are not compiled for devices")
    if nvcc := shutil.which("nvcc") or shutil.which("nvcc", path=str(CUDA / "bin")):
        for name in names:
            suite.add(f"nvcc/{name}", byNvcc, nvcc, link, name)
    else:
        print(f"skipped: no nvcc on PATH or in {CUDA}/bin")


if __name__ == "__main__":
    main(__doc__, fill)

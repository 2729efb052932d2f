"""What tools/bench-peers needs before it measures: Python environments, model files, Lathe's artifacts, the roofline program.

Everything is made once and kept: environments and the program in the build folder, models in the cache folder.
"""
import os
import shutil
import subprocess
import sys
from pathlib import Path

from engines import HERE, LatheEngine, PeerEngine, Refused

ROOT = HERE.parents[1]
MODEL = "SmolLM2-135M-Instruct"
KEYS = ["lathe-int8", "lathe-keep", "llama.cpp-Q8_0", "llama.cpp-Q4_1", "openvino", "ctranslate2"]


def say(text):
    print(f"bench-peers: {text}", file=sys.stderr, flush=True)


def die(text):
    say(text)
    sys.exit(1)


def cacheFolder():
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lathe"


def environment(folder, name):
    """The Python of a peer's own environment: their pins need not agree with each other's."""
    requirements = HERE / "requirements" / f"{name}.txt"
    stamp, python = folder / ".requirements", folder / "bin" / "python3"
    if stamp.exists() and stamp.read_bytes() == requirements.read_bytes():
        return python
    if name == "llama_cpp" and not shutil.which("g++"):
        die("llama.cpp is compiled with g++ here: apt-get install g++")
    say(f"{name} into {folder}" + (" (it is compiled here: about five minutes on two cores)" if name == "llama_cpp" else ""))
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    options = {"CMAKE_ARGS": "-DGGML_NATIVE=ON", "CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count())}
    done = subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", requirements],
                          env={**os.environ, **options}, stdout=sys.stderr)
    if done.returncode:
        die(f"{requirements.name} could not be installed into {folder}: is PyPI reachable, is there a C++ compiler?")
    shutil.copy(requirements, stamp)
    return python


def made(path, make):
    """`path`, made by `make(unfinished)` if it is not there: an interrupted run leaves nothing half done."""
    if not path.exists():
        unfinished = path.with_name(path.name + ".part")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.unlink(missing_ok=True)
        make(unfinished)
        unfinished.rename(path)
    return path


def run(*command):
    subprocess.run([str(part) for part in command], check=True, stdout=sys.stderr)


def q8File(cache, python, source):
    def make(path):
        say(f"{MODEL}.Q8_0.gguf from the Q4_1 file")
        run(python, HERE / "llama_cpp_run.py", "quantize", source, path)

    return made(cache / f"{MODEL}.Q8_0.gguf", make)


def ctranslate2Model(cache, python, gguf):
    def make(path):
        say(f"CTranslate2's int8 model from {gguf.name}")
        run(python, HERE / "ctranslate2_run.py", "convert", gguf, path)

    return made(cache / f"{MODEL}.ctranslate2-int8", make)


def artifact(build, cache, gguf, quant):
    """Compiled again when the programs are newer; a compiler that refuses is no end of the run."""
    path = cache / f"{gguf.stem}.{quant}.lathe"
    programs = [program.stat().st_mtime for program in (build / "bin").glob("lathe*")]
    if not path.exists() or path.stat().st_mtime < max(programs):
        say(f"lathe compile {gguf.name} --quant {quant}")
        done = subprocess.run([build / "bin" / "lathe", "compile", gguf, "-o", path, "--quant", quant], stderr=subprocess.PIPE, text=True)
        if done.returncode:
            path.unlink(missing_ok=True)  # not an older compiler's
            raise Refused((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[0])
    return path


def roofline(build):
    source, program = HERE / "roofline.cpp", build / "bin" / "roofline"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        run("g++", "-std=c++20", "-O2", "-pthread", source, "-o", program)
    return program


def engines(args, wanted):
    """Those that `wanted(key)`, ready to be opened."""
    build, cache, threads = args.build, cacheFolder(), args.threads
    llamaPython = environment(build / "venv-peers", "llama_cpp")
    fetched = subprocess.run([ROOT / "tools" / "fetch-model", cache], stdout=subprocess.PIPE, text=True)
    if fetched.returncode:
        die(f"tools/fetch-model could not fetch {MODEL}")
    q4 = Path(fetched.stdout.strip())
    q8 = q8File(cache, llamaPython, q4)
    ready = []
    for key, name, gguf, quant in (("lathe-int8", "Lathe int8", q8, "int8"), ("lathe-keep", "Lathe keep (Q4_1 file)", q4, "keep")):
        if wanted(key):
            try:
                ready.append(LatheEngine(key, name, gguf.name, threads, build / "bin" / "lathe", artifact(build, cache, gguf, quant)))
            except Refused as refused:
                say(f"left out: {name}: {refused}")
    for text in args.artifact:
        label, _, path = text.rpartition("=")
        if not label or not Path(path).is_file():
            die(f"--artifact {text}: expected LABEL=FILE with a file that is there")
        ready.append(LatheEngine(f"lathe-{label}", label, q8.name, threads, build / "bin" / "lathe", Path(path)))
    if wanted("llama.cpp-Q8_0"):
        ready.append(PeerEngine("llama.cpp-Q8_0", "llama.cpp Q8_0", q8.name, threads, llamaPython, "llama_cpp_run.py", q8, True))
    if wanted("llama.cpp-Q4_1"):
        if any(engine.weights == q4.name for engine in ready):
            ready.append(PeerEngine("llama.cpp-Q4_1", "llama.cpp (Q4_1 file)", q4.name, threads, llamaPython, "llama_cpp_run.py", q4, True))
        else:
            say("left out: llama.cpp on the Q4_1 file: no artifact to compare it with")
    if wanted("openvino"):
        python = environment(build / "venv-peers-openvino", "openvino")
        ready.append(PeerEngine("openvino", "OpenVINO GenAI (Q8_0 file)", q8.name, threads, python, "openvino_run.py", q8))
    if wanted("ctranslate2"):
        python = environment(build / "venv-peers-ctranslate2", "ctranslate2")
        model = ctranslate2Model(cache, python, q8)
        ready.append(PeerEngine("ctranslate2", "CTranslate2 int8", q8.name, threads, python, "ctranslate2_run.py", model))
    return ready

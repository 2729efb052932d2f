#!/usr/bin/env python3
"""Conventions of the command line: help, settings, colours, completion, the written reference, exit codes, doctor."""
import copy
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time
import tomllib

from harness import MIB, ROOT, expect, expectEqual, main, run, start
from small import Small, oneLineError

VERBS = ("generate", "chat", "batch", "eval", "bench", "compile", "import", "inspect", "tune", "doctor", "completion")
CODES = "0 ok, 1 run-time failure, 2 usage, 3 bad input, 4 the artifact does not fit this machine or version"


def describe(small):
    return small.lathe.run("--describe").expect(0).json()


def onTerminal(command, until=None, env=None):
    """What a command writes to a terminal, and its exit status; interrupted when it has written `until`, or after minutes."""
    master, slave = pty.openpty()
    process = start(command, stdin=slave, stdout=slave, stderr=slave, env={"TERM": "xterm", **(env or {})})
    os.close(slave)
    text, begin, sent = b"", time.monotonic(), False
    while True:
        ready, _, _ = select.select([master], [], [], 0.1)
        if ready:
            try:
                piece = os.read(master, 65536)
            except OSError:
                break
            if not piece:
                break
            text += piece
        if not sent and (until and re.search(until, text.decode(errors="replace")) or time.monotonic() - begin > 200):
            os.killpg(process.pid, signal.SIGINT)
            sent = True
    os.close(master)
    return text.decode(errors="replace"), process.wait()


def helps(small):
    """Every command: flags by subject, two examples that name it, and a word for each flag."""
    description = describe(small)
    expectEqual({command["name"] for command in description["commands"]}, set(VERBS), "commands")
    for command in description["commands"]:
        name = command["name"]
        text = small.lathe.run(name, "--help").expect(0).text
        expect(len(command["examples"]) >= 2, f"{name} has {len(command['examples'])} examples")
        for example in command["examples"]:
            expect("lathe " in example and example in text, f"{name} --help lacks its example {example}")
        for flag in command["flags"] + [flag for flag in description["flags"] if flag["long"] != "version"]:
            word = f"--{flag['long']}" if flag["long"] else f"-{flag['short']}"
            expect(word in text, f"{name} --help does not name {word}")
            expect(flag["long"] and len(flag["help"]) > 5, f"{name}: {flag} has no long name or no help")
        expect(all(len(line) <= 120 for line in text.splitlines()), f"{name} --help has a line of more than 120 columns")
    flags = next(c for c in description["commands"] if c["name"] == "generate")["flags"]
    expect({"Sampling", "Machine", "Output"} <= {flag["subject"] for flag in flags}, "generate's flags have no subjects")
    top = small.lathe.run("--help").expect(0).text
    for part in ("Run a model", "Compile a model", "Measure", "Set up", *VERBS, CODES):
        expect(part in top, f"--help does not say {part}")


def reference(small):
    current = run([ROOT / "tools" / "reference", "--build", small.lathe.bin.parent]).expect(0).text
    written = (ROOT / "tools" / "REFERENCE.md").read_text()
    expect(written == current, "tools/REFERENCE.md is not what the parsers say: run tools/reference --write")


def printed(small, *arguments, env=None, config=None):
    """--print-config as {flag: (value, where from)}."""
    options = ["--config", config] if config else []
    text = small.lathe.run("generate", "--print-config", *options, *arguments, env=env).expect(0).text
    found = {}
    for line in text.splitlines():
        if match := re.match(r"([a-z-]+) = (.*) # (.*)$", line):
            found[match[1]] = (tomllib.loads(f"x = {match[2]}")["x"], match[3])
    return found, text


def settings(small):
    """A flag wins over a variable, that over the file; each is used and --print-config says which won."""
    config = small.file("config.toml", '[generate]\nn-predict = 3\ntemp = 0.25\nids = "5,6,7"\nignore-eos = true\nstop = ["a", "b"]\n')
    found, _ = printed(small, config=config)
    expectEqual(found["n-predict"], (3, f"{config}:2"), "n-predict of the file")
    expectEqual(found["stop"], (["a", "b"], f"{config}:6"), "a list of the file")
    expectEqual(found["ignore-eos"], (True, f"{config}:5"), "a flag of the file")
    expectEqual(found["samples"], (1, "default"), "a default")
    found, _ = printed(small, config=config, env={"LATHE_N_PREDICT": "4", "LATHE_TOP_K": "9"})
    expectEqual(found["n-predict"], (4, "LATHE_N_PREDICT"), "n-predict of the variable")
    expectEqual(found["top-k"], (9, "LATHE_TOP_K"), "top-k of the variable")
    found, text = printed(small, "-n", "5", config=config, env={"LATHE_N_PREDICT": "4", "LATHE_COLOR": "never"})
    expectEqual(found["n-predict"], (5, "--n-predict"), "n-predict of the flag")
    expectEqual(found["color"], ("never", "LATHE_COLOR"), "a flag of every command")
    again, _ = printed(small, config=small.file("again.toml", text))
    expectEqual({key: value for key, (value, _) in again.items()}, {key: value for key, (value, _) in found.items()}, "what was printed, read again")

    def count(*arguments, **options):
        return len(small.lathe.run("generate", small.artifact, "--json", *arguments, **options).expect(0).json()["ids"])

    plain = small.file("plain.toml", '[generate]\nn-predict = 3\nids = "5,6,7"\nignore-eos = true\n[bench]\nn-gen = [1, 2]\n')
    expectEqual(count("--config", plain), 3, "new tokens by the file")
    expectEqual(count(env={"LATHE_CONFIG": str(plain)}), 3, "new tokens by the file of LATHE_CONFIG")
    home = small.folder / "home"
    (home / "lathe").mkdir(parents=True, exist_ok=True)
    shutil.copy(plain, home / "lathe" / "config.toml")
    environment = {"XDG_CONFIG_HOME": str(home)}
    done = run(["env", "-u", "LATHE_CONFIG", small.lathe.program, "generate", small.artifact, "--json"], env=environment).expect(0)
    expectEqual(len(done.json()["ids"]), 3, "new tokens by the file of XDG_CONFIG_HOME")
    expectEqual(count("--config", plain, env={"LATHE_N_PREDICT": "4"}), 4, "new tokens by the variable")
    expectEqual(count("--config", plain, "-n", "5", env={"LATHE_N_PREDICT": "4"}), 5, "new tokens by the flag")
    expectEqual(count("--config", plain, "-n", 2, "-p", "x"), 2, "a prompt on the command line beside ids in the file")
    rows = small.lathe.run("bench", small.artifact, "-p", 0, "-r", 1, "-o", "json", "--config", plain).expect(0).json()
    expectEqual([row["n_gen"] for row in rows], [1, 2], "a list for bench")


def everyVariable(small):
    """Each flag of each command is read from its variable: with one that it cannot take the message names it."""
    description, seen = describe(small), 0
    for command in description["commands"]:
        for flag in command["flags"]:
            expectEqual(flag["variable"], "LATHE_" + flag["long"].upper().replace("-", "_"), f"variable of {command['name']} --{flag['long']}")
            value = "7" if flag["value"].startswith(("N", "X")) else flag["choices"][0] if flag["choices"] else "true"
            done = small.lathe.run(command["name"], "--print-config", env={flag["variable"]: value})
            read = f"# {flag['variable']}" in done.text if done.status == 0 else flag["variable"] in done.stderr
            expect(read, f"{command['name']} does not read {flag['variable']}: {done.stdout!r} {done.stderr}")
            seen += 1
    return f"{seen} variables"


def settingsErrors(small):
    def refused(text, status, *parts, env=None, arguments=("generate", small.artifact, "--ids", "1")):
        config = small.file("wrong.toml", text)
        done = small.lathe.run(*arguments, "--config", config, env=env)
        oneLineError(done, status, *parts)
        expectEqual(len(done.stderr.strip().splitlines()), 1, f"lines of {done.stderr!r}")

    refused("[generate]\ntmp = 1\n", 3, "wrong.toml:2:1", "'--tmp'", "did you mean 'temp'?")
    refused("[generat]\ntemp = 1\n", 3, "wrong.toml:1:", "no command 'generat'", "did you mean 'generate'?")
    refused("temp = 1\n", 3, "wrong.toml:1:1", "[generate]")
    refused("[bench]\nnonsense = 1\n", 3, "wrong.toml:2:1", "nonsense")
    refused("[generate\n", 3, "wrong.toml:", "not TOML")
    refused('[generate]\ntemp = "hot"\n', 3, "wrong.toml:2", "--temp", "hot")
    refused("[generate]\ntemp = {a = 1}\n", 3, "wrong.toml:2:", "found a table")
    refused("", 2, "LATHE_TEMP", "hot", env={"LATHE_TEMP": "hot"})
    refused("[compile]\nqant = 1\n", 3, "wrong.toml:2:1", "did you mean 'quant'?", arguments=("compile", small.model, "-o", small.folder / "x.lathe"))
    small.lathe.run("generate", small.artifact, "--ids", "1", "-n", 1, "--config", small.file("ok.toml", "[compile]\nqant = 1\n")).expect(0)
    oneLineError(small.lathe.run("generate", small.artifact, "--config", small.folder / "absent.toml"), 3, "absent.toml")
    for arguments in (["generate", small.artifact, "--ids", "1"], ["generate", "--print-config"]):
        oneLineError(small.lathe.run(*arguments, env={"LATHE_CONFIG": str(small.folder / "gone.toml")}), 3, "LATHE_CONFIG", "gone.toml")
    small.lathe.run("generate", "--help", "--config", small.file("broken.toml", "[")).expect(0)


def sizes(small):
    answer = small.lathe.generate(small.artifact, "--ids", "5,6,7", "-n", "1k", "--ignore-eos", "-c", "128")
    expectEqual(len(answer["ids"]), 125, "tokens up to the context")
    done = small.lathe.run("generate", small.artifact, "--ids", "1", "-c", "32k")
    oneLineError(done, 3, "32768")
    for wrong in ("3x", "k", "1.5k", "99999999999999g", "-1k"):
        oneLineError(small.lathe.run("generate", small.artifact, "--ids", "1", f"--n-predict={wrong}"), 2, wrong if wrong != "-1k" else "-1024")


def unknownFlags(small):
    for arguments, part in ((["generate", "x", "--temperature", "1"], "it is --temp here"), (["generate", "x", "--max-tokens=5"], "it is --n-predict here"),
                            (["generate", "x", "--samplse", "2"], "did you mean --samples?"), (["generat"], "did you mean 'generate'?"),
                            (["compile", "x", "--quantization", "int8"], "it is --quant here"), (["bench", "x", "--ctx-size", "5"], "it is --context here"),
                            (["generate", "x", "y", "--ids", "1"], 'does not take the argument "y"'), ([], "expected a command")):
        oneLineError(small.lathe.run(*arguments), 2, part)


def colours(small):
    """Colours on a terminal only, unless NO_COLOR or --color says otherwise."""
    command = [small.lathe.program, "generate", small.folder / "absent.lathe", "--ids", "1"]
    expect("\033[" in onTerminal(command)[0], "no colour on a terminal")
    expect("\033[" not in onTerminal(command, env={"NO_COLOR": "1"})[0], "NO_COLOR is not heeded")
    expect("\033[" not in onTerminal(command, env={"TERM": "dumb"})[0], "colours on a dumb terminal")
    expect("\033[" in onTerminal([*command, "--color", "always"], env={"NO_COLOR": "1"})[0], "--color always is not heeded")
    expect("\033[" not in onTerminal([*command, "--color", "never"])[0], "--color never is not heeded")
    expect("\033[" not in small.lathe.run(*command[1:]).stderr, "colours in a pipe")
    expect("\033[" in small.lathe.run(*command[1:], "--color=always").stderr, "no colours in a pipe with --color always")


def progress(small):
    """A bar on a terminal, once a second has gone by; nothing elsewhere."""
    command = [small.lathe.program, "bench", small.artifact, "-p", 64, "-n", 0, "-r", 1000000]
    bar = r"\r\033\[K\[[#.]{24}\] +\d+ % pp64"
    text, status = onTerminal(command, until=bar)
    expect(re.search(bar, text), f"no bar on a terminal: {text[-300:]!r}")
    expectEqual(status, 130, "exit status of an interrupted bench")
    done = small.lathe.run("bench", small.artifact, "-p", 64, "-n", 0, "-r", 3).expect(0)
    expectEqual(done.stderr, "", "stderr of bench in a pipe")
    bar = r"\r\033\[K\[[#.]{24}\] +\d+ % measuring "
    text, status = onTerminal([small.lathe.program, "tune", small.bareArtifact, "--seconds", 100, "-o", small.folder / "bar.toml"], until=bar)
    expect(re.search(bar, text), f"no bar of tune on a terminal: {text[-300:]!r}")
    expectEqual(status, 130, "exit status of an interrupted tune")


def completion(small):
    """The scripts parse, and bash completes commands, flags and values."""
    script = small.file("lathe.bash", small.lathe.run("completion", "bash").expect(0).text)

    def words(*line):
        quoted = " ".join(f"'{word}'" for word in line)
        code = f"source {script}; COMP_WORDS=({quoted}); COMP_CWORD={len(line) - 1}; _lathe; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        return set(run(["bash", "--norc", "-c", code], env={"PATH": os.environ["PATH"]}).expect(0).text.split())

    expect(words("lathe", "") >= set(VERBS), f"commands: {words('lathe', '')}")
    expectEqual(words("lathe", "gen"), {"generate"}, "lathe gen")
    expectEqual(words("lathe", "generate", "--te"), {"--temp"}, "lathe generate --te")
    expectEqual(words("lathe", "--color", "never", "generate", "--te"), {"--temp"}, "a flag before the command")
    expectEqual(words("lathe", "compile", "--quant", "int"), {"int8", "int4"}, "lathe compile --quant int")
    expectEqual(words("lathe", "bench", "x", "-o", ""), {"md", "json", "jsonl", "csv"}, "lathe bench x -o")
    expect("summary" in words("lathe", "inspect", "x", "s"), "lathe inspect x s")
    expectEqual(words("lathe", "completion", "z"), {"zsh"}, "lathe completion z")
    description = describe(small)
    for shell in ("bash", "zsh", "fish"):
        text = small.lathe.run("completion", shell).expect(0).text
        for command in description["commands"]:
            for flag in command["flags"]:
                expect((f"-l {flag['long']}" if shell == "fish" else f"--{flag['long']}") in text, f"the {shell} script lacks --{flag['long']}")
        program = shutil.which(shell)
        if program:
            run([program, "-n", small.file(f"script.{shell}", text)]).expect(0)
    oneLineError(small.lathe.run("completion", "tcsh"), 2, "tcsh")
    missing = [shell for shell in ("zsh", "fish") if not shutil.which(shell)]
    return f"{', '.join(missing)} not here: not parsed by them" if missing else "parsed by all three"


def pipes(small):
    """A reader that leaves ends every command without a word, the compiler's too."""
    for command in (["inspect", small.artifact, "stages", "20"], ["import", small.model], ["--help"], ["completion", "bash"], ["doctor", "--quick"]):
        read, write = os.pipe()
        os.close(read)
        process = start([small.lathe.program, *command], stdout=write, stderr=subprocess.PIPE)
        os.close(write)
        _, message = process.communicate()
        expect(process.returncode in (0, -signal.SIGPIPE), f"lathe {command[0]} on a closed pipe: {process.returncode}")
        expectEqual(message, b"", f"stderr of lathe {command[0]} on a closed pipe")


def exitCodes(small):
    """Codes that no other check produces. 2, 3, 4 and 6: cli_check; 130: signals_check."""
    alone = small.folder / "alone"
    alone.mkdir()
    shutil.copy(small.lathe.program, alone / "lathe")
    oneLineError(run([alone / "lathe", "compile", "x"]), 1, "lathe-compiler")
    expect("compile" in run([alone / "lathe", "--help"]).expect(0).text, "--help without the compiler")
    with open("/dev/full", "wb") as full, subprocess.Popen([small.lathe.program, "generate", small.artifact, "--ids", "1", "-n", "2"], stdout=full,
                                                          stderr=subprocess.PIPE) as process:
        message = process.stderr.read().decode()
        expectEqual(process.wait(), 5, f"exit status on a full disk: {message}")
    requests = small.file("many.jsonl", '{"ids": [5], "n": 100, "ignore_eos": true}\n' * 200)
    done = small.lathe.run("batch", small.artifact, requests, "-o", small.folder / "limited.jsonl", fileSize=50000)
    oneLineError(done, 5, "--resume")
    oneLineError(small.lathe.run("generate", small.artifact, "--ids", "1", "-t", 64, addressSpace=100 * MIB), 5, "thread", "--threads")
    full = small.folder / "full.lathe"
    oneLineError(small.lathe.compile(small.model, full, "--cpu", small.lathe.tiers[0], fileSize=50000), 5, "full.lathe")
    expect(not list(small.folder.glob("full.lathe*")), "a compilation on a full disk left a file")
    # A kernel's text that the C++ compiler refuses is a defect of lathe.
    clang = small.file("clang", "#!/bin/sh\necho 'kernels/embed.cu:1:1: error: expected a declaration'\nexit 1\n")
    clang.chmod(0o755)
    out = small.folder / "refused.lathe"
    done = small.lathe.compile(small.model, out, "--target", "cuda-host:sm_80", "--quant", "f32", env={"LATHE_CLANG": str(clang)})
    oneLineError(done, 7, "kernels/embed.cu:1:1: error: expected a declaration")
    expect(not out.exists(), "a compilation that failed left an artifact")


FAKE_DRIVER = r"""
#include <stddef.h>
#include <string.h>
int cuInit(unsigned flags) { return FAILS; }
int cuDriverGetVersion(int *version) { *version = 13020; return 0; }
int cuDeviceGetCount(int *count) { *count = 2; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceGetName(char *name, int length, int device) { strcpy(name, device ? "Old GPU" : "Test GPU"); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (size_t)80 << 30; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) { *value = attribute == 75 ? (device ? 7 : 9) : 0; return 0; }
"""


def doctor(small):
    answer = small.lathe.run("doctor", "--json").expect(0).json()
    expectEqual(answer["usable"], True, "usable")
    findings = {(f["subject"], f["name"]): f for f in answer["findings"]}
    for key in (("cpu", "tiers"), ("cpu", "features"), ("cores", "affinity"), ("cores", "SMT"), ("cores", "quota"), ("cores", "workers"),
                ("memory", "available"), ("huge pages", "transparent"), ("huge pages", "reserved"), ("measured", "read bandwidth"),
                ("measured", "INT8 peak"), ("cuda", "nvcc"), ("cuda", "nvrtc"), ("cuda", "nvdisasm"), ("cuda", "driver")):
        expect(key in findings, f"doctor says nothing of {key}: {sorted(findings)}")
    for finding in answer["findings"]:
        expect(finding["health"] in ("good", "notice") and finding["value"], f"a finding: {finding}")
        expect(finding["meaning"] or finding["name"] == "model", f"a finding without a meaning: {finding}")
    expectEqual(findings[("cpu", "tiers")]["value"].split(", ")[::-1], small.lathe.machineTiers, "tiers")
    expect(re.match(r"\d+\.\d GB/s", findings[("measured", "read bandwidth")]["value"]), "no bandwidth")
    one = run(["taskset", "-c", str(min(os.sched_getaffinity(0))), small.lathe.program, "doctor", "--json", "--quick"]).expect(0).json()
    affinity = next(f for f in one["findings"] if f["name"] == "affinity")
    expect(affinity["value"].startswith("1 of "), f"one CPU in the mask: {affinity}")
    expect(not any(f["subject"] == "measured" for f in one["findings"]), "--quick measured")
    text = small.lathe.run("doctor", "--quick").expect(0).text
    expect("tiers" in text and "workers" in text, text)
    nvdisasm = small.folder / "nvdisasm"
    for mode, said in ((0o755, str(nvdisasm)), (0o644, "not found")):
        nvdisasm.write_text("#!/bin/sh\n")
        nvdisasm.chmod(mode)
        found = small.lathe.run("doctor", "--quick", "--json", env={"LATHE_NVDISASM": str(nvdisasm)}).expect(0).json()
        expectEqual(next(f["value"] for f in found["findings"] if f["name"] == "nvdisasm"), said, f"nvdisasm of mode {mode:o}")
    for code, parts in ((0, ("CUDA 13.2", "Test GPU, sm_90, 80.0 GiB", "Old GPU, sm_70")), (999, ("cuInit gives 999",))):
        folder = small.folder / f"driver{code}"
        folder.mkdir()
        source = small.file("driver.c", FAKE_DRIVER)
        run(["cc", "-shared", "-fPIC", f"-DFAILS={code}", "-o", folder / "libcuda.so.1", source]).expect(0)
        text = small.lathe.run("doctor", "--quick", env={"LD_LIBRARY_PATH": str(folder)}).expect(0).text
        for part in parts:
            expect(part in text, f"doctor does not say {part}:\n{text}")


CHECKS = {
    "help": helps, "reference": reference, "settings": settings, "every variable": everyVariable, "errors in settings": settingsErrors,
    "sizes": sizes, "unknown flags": unknownFlags, "colours": colours, "progress": progress, "completion": completion, "pipes": pipes,
    "exit codes": exitCodes, "doctor": doctor,
}


def fill(suite, lathe, args):
    small = Small(lathe)
    for name, function in CHECKS.items():
        suite.add(name, function, small)
    if args.asan:
        other = copy.copy(small)
        other.lathe = lathe.sanitized(args.asan)
        for name in ("settings", "errors in settings", "sizes"):
            suite.add(f"{name}, sanitized", CHECKS[name], other)


if __name__ == "__main__":
    main(__doc__, fill)

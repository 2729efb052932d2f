#!/usr/bin/env python3
"""Tables of schedules from outside: `compile --schedules`, `lathe tune`, and `bench --kernel`, which times one kernel alone."""
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from harness import expect, expectEqual, main, start
from small import Small, oneLineError

SCHEDULE = """[[schedule]]
tier = "x86-64-v3"
kind = "linear"
quant = "f32"
n = 192
k = 64
rows = 3
columns = 32
unit_block = 12
"""


def schedules(small):
    """compile --schedules: the table's choice is printed by inspect, changes no logit, and equal tables give equal bytes."""
    lathe = small.lathe
    table, artifact, again = small.file("mine.toml", SCHEDULE), small.folder / "scheduled.lathe", small.folder / "again.lathe"
    for output in (artifact, again):
        lathe.compile(small.bare, output, "--quant", "f32", "--schedules", table).expect(0)
    expect(artifact.read_bytes() == again.read_bytes(), "the same table gave other bytes")
    expect(artifact.read_bytes() != small.bareArtifact.read_bytes(), "the table changed nothing")

    def chosen(path):
        kernels = lathe.run("inspect", path, "kernels", "--json").expect(0).json()
        return {kernel["name"]: kernel["tiers"]["x86-64-v3"] for kernel in kernels}

    before, after = chosen(small.bareArtifact), chosen(artifact)
    changed = [name for name in after if after[name] != before[name]]
    expectEqual(changed, ["norm_gate_up_gated"], "kernels with another schedule")
    got = {key: after[changed[0]][key] for key in ("rows", "columns", "unit_block", "schedule")}
    expectEqual(got, {"rows": 3, "columns": 32, "unit_block": 12, "schedule": "measured, mine.toml:1"}, "the schedule")
    expect(before[changed[0]]["schedule"].startswith("default, cpu.toml:"), f"the default is {before[changed[0]]['schedule']}")
    for arguments in (["kernels", "--cpu", "x86-64-v3"], ["kernel", changed[0], "--cpu", "x86-64-v3"]):
        text = lathe.run("inspect", artifact, *arguments).expect(0).text
        expect("3 x 32 of 12 (measured, mine.toml:1)" in text, f"inspect {arguments[0]} does not print the choice:\n{text[:500]}")
    ids = list(range(5, 25))
    expect(np.array_equal(lathe.logits(artifact, ids, "--cpu", "x86-64-v3"), lathe.logits(small.bareArtifact, ids)),
           "another schedule gave other logits")

    out = small.folder / "x.lathe"
    for change, place, part in ((("rows = 3", "rows = 99"), ":7:8:", "from 1 to 64"), (("columns", "colums"), ":8:1:", "did you mean 'columns'?"),
                                (("unit_block = 12", "unit_block = 13"), ":9:14:", "multiple of rows = 3"), (("k = 64\n", ""), ":1:1:", "together")):
        bad = small.file("bad.toml", SCHEDULE.replace(*change))
        oneLineError(lathe.compile(small.bare, out, "--schedules", bad), 3, "bad.toml" + place, part)
    oneLineError(lathe.compile(small.bare, out, "--schedules", small.folder / "absent.toml"), 3, "absent.toml")
    expect(not out.exists(), "a table with a mistake left an artifact")


def tune(small):
    """lathe tune: a table that compiles again, bad arguments, and Ctrl-C that leaves nothing but what was done."""
    lathe, table = small.lathe, small.folder / "tuned.toml"
    tier = lathe.machineTiers[-1]
    with tempfile.TemporaryDirectory(dir=small.folder) as temporary:
        def left():
            return [path.name for path in Path(temporary).iterdir()]

        done = lathe.run("tune", small.bareArtifact, "--kernel", "norm_logits", "--seconds", 3, "-o", table, "--cpu", tier,
                         env={"TMPDIR": temporary}).expect(0)
        expect("| norm_logits | 320 | 64 |" in done.text, f"no row of the kernel:\n{done.text}")
        expect(int(done.text.split("|")[-2]) >= 1, f"no candidate was measured:\n{done.text}{done.stderr}")
        expectEqual(left(), [], "files that tune left behind")
        lathe.compile(small.bare, small.folder / "tuned.lathe", "--quant", "f32", "--schedules", table).expect(0)
        oneLineError(lathe.run("tune", small.folder / "absent.lathe"), 3, "absent.lathe")
        oneLineError(lathe.run("tune", small.bare, "-o", small.folder / "absent" / "x.toml"), 3, "x.toml")
        unknown = lathe.run("tune", small.bare, "--kernel", "qkv", "-o", table, env={"TMPDIR": temporary})
        expect(unknown.status == 2 and "norm_logits" in unknown.stderr.splitlines()[-1], f"an unknown kernel: {unknown.stderr}")
        before = table.read_bytes()
        process = start([lathe.program, "tune", small.bareArtifact, "--seconds", 60, "-o", table], stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL, env={"TMPDIR": temporary})
        time.sleep(2.5)
        expect(process.poll() is None, f"lathe tune ended before it could be interrupted: {process.returncode}")
        os.killpg(process.pid, signal.SIGINT)
        expectEqual(process.wait(20), 130, "exit status after SIGINT")
        expectEqual([name for name in left() if name.startswith("lathe-tune")], [], "folders that an interrupted tune left")
        expect(table.read_bytes() == before or table.read_text().startswith("# "), "an interrupted tune broke the table")


def benchKernel(small):
    """bench --kernel: every kernel of a compiled model alone; a wrong name is told the right ones."""
    names = [kernel["name"] for kernel in small.lathe.run("inspect", small.artifact, "kernels", "--json").expect(0).json()]
    for name in (names[1], "attention", "norm_logits"):
        rows = small.lathe.run("bench", small.artifact, "--kernel", name, "-m", "1,5", "-d", 40, "-r", 1, "-o", "json").expect(0).json()
        expectEqual([row["n_rows"] for row in rows], [1, 5], f"rows of {name}")
        expect(all(row["median_us"] > 0 for row in rows), f"no time of {name}")
    done = small.lathe.run("bench", small.artifact, "--kernel", "qkv")
    oneLineError(done, 2, "small.lathe", "no kernel 'qkv'", *names)


CHECKS = {"schedules": schedules, "tune": tune, "bench --kernel": benchKernel}


def fill(suite, lathe, args):
    small = Small(lathe)
    for name, function in CHECKS.items():
        suite.add(name, function, small)


if __name__ == "__main__":
    main(__doc__, fill)

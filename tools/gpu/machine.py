"""What the machine is: the GPU, its driver and clocks, and who else is on it. Asks `nvidia-smi` where there is one."""
import json
import os
import platform
import re
import statistics
import subprocess
import threading
from pathlib import Path

FACTS = ["name", "driver_version", "memory.total", "memory.used", "utilization.gpu", "clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem",
         "power.draw", "power.limit", "temperature.gpu", "mig.mode.current", "ecc.mode.current", "compute_mode"]
WATCHED = ["clocks.sm", "clocks.mem", "power.draw", "temperature.gpu"]
WATCH_SECONDS = 4


def smi(*words):
    """Rows of nvidia-smi's answer; none where it is not there or does not answer."""
    try:
        done = subprocess.run(["nvidia-smi", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    if done.returncode != 0:
        return []
    return [[field.strip() for field in line.split(",")] for line in done.stdout.splitlines() if line.strip()]


def which(device):
    """Its number for nvidia-smi, which does not renumber as CUDA_VISIBLE_DEVICES does."""
    ordinal = int(device.split(":")[1]) if ":" in device else 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return visible[ordinal] if ordinal < len(visible) and visible[ordinal] else str(ordinal)


def query(device, facts):
    rows = smi(f"--query-gpu={','.join(facts)}", "--format=csv,noheader,nounits", "-i", which(device))
    return dict(zip(facts, rows[0])) if rows else {}


def driverFile():
    """The version that the kernel's module says, where nvidia-smi is missing."""
    try:
        found = re.search(r"Kernel Module\s+(?:for \S+\s+)?([0-9.]+)", Path("/proc/driver/nvidia/version").read_text())
        return found[1] if found else None
    except OSError:
        return None


def others(device):
    """Processes that compute on the GPU now, before anything of ours does."""
    rows = smi("--query-compute-apps=pid,process_name,used_memory", "--format=csv,noheader,nounits", "-i", which(device))
    return [" ".join(row) for row in rows]


def examine(session):
    """As a dictionary: facts of nvidia-smi by its own names, what the program says, and `remarks`, which readers of figures must know."""
    facts = query(session.device, FACTS)
    found = {"host": platform.platform(), "cpus": os.cpu_count(), "facts": facts, "remarks": []}
    found["doctor"] = {f["name"]: f["value"] for f in json.loads(session.run("doctor", "--quick", "--json").stdout)["findings"] if f["subject"] == "cuda"}
    if not facts:
        found["remarks"].append("no nvidia-smi: clocks, other processes and MIG are not known")
        if driverFile():
            facts["driver_version"] = driverFile()
    busy = others(session.device)
    if busy:
        found["remarks"].append(f"other processes compute on this GPU (pid, name, MiB): {'; '.join(busy)}; times may be worse than the GPU's own")
    elif facts.get("memory.used", "").isdigit() and int(facts["memory.used"]) > 2048:
        found["remarks"].append(f"{facts['memory.used']} MiB are in use by somebody whom nvidia-smi does not name (another container?)")
    if facts.get("mig.mode.current") == "Enabled":
        found["remarks"].append("MIG is on: this is a part of a GPU, with a part of its bandwidth")
    if facts.get("compute_mode", "Default") not in ("Default", "[N/A]"):
        found["remarks"].append(f"compute mode is {facts['compute_mode']}: only one process at a time may use this GPU")
    return found


class Watch:
    """Clocks while things are measured, asked for every few seconds beside them."""

    def __init__(self, device):
        self.device, self.seen, self.over = device, [], threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)

    def look(self):
        while not self.over.wait(WATCH_SECONDS):
            facts = query(self.device, WATCHED)
            if not facts:
                return
            self.seen.append(facts)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(timeout=30)

    def summary(self):
        """fact -> least, median, most."""
        found = {}
        for fact in WATCHED:
            values = []
            for facts in self.seen:
                try:
                    values.append(float(facts[fact]))
                except ValueError:  # "[N/A]"
                    continue
            if values:
                found[fact] = [min(values), statistics.median(values), max(values)]
        return found

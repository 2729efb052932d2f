"""What gpu-check writes: results as JSON, and a table for people, which tools/bench/ keeps."""
import json

# What issue and project ask of an H100 or H200: (what, of which check, field, at least, aimed at, how it is shown).
DEMANDED_GPUS = ("H100", "H200")


def rowOf(results, name):
    rows = results.get(name, {}).get("found", {}).get("rows", [])
    return rows[0] if rows else {}


def verdict(value, least):
    return "not measured" if value is None else "met" if value >= least else "not met"


def demands(entries, machine, session):
    """Lines of what must hold: what, what was measured, met or not."""
    results = {entry["name"]: entry for entry in entries}
    pack = session.pack
    failed = [entry["name"] for entry in entries if entry["status"] == "FAILED"]
    checked = [entry for entry in entries if entry["part"] == "correct"]
    right = sum(entry["status"] == "ok" for entry in checked)
    share = rowOf(results, f"generation/{pack['model']}.bf16/batch 1").get("share")
    speed = results.get(f"job/{pack['job_model']}.bf16", {}).get("found", {}).get("tokens_per_second")
    gpu = machine.get("facts", {}).get("name") or machine.get("doctor", {}).get("device 0", "")
    where = "" if any(name in gpu for name in DEMANDED_GPUS) else f" (asked of an {' or '.join(DEMANDED_GPUS)})"
    percent = "–" if share is None else f"{share:.0%} of the read bandwidth"
    rate = "–" if speed is None else f"{speed:,.0f} tokens/s"
    return [
        {"what": "every check of numbers and bits holds", "measured": f"{right} of {len(checked)}",
         "verdict": "not measured" if not checked or right == 0 and not failed else "met" if right == len(checked) else "not met"},
        {"what": f"decode of {pack['model']} bf16, batch 1: at least 50 %{where}", "measured": percent, "verdict": verdict(share, 0.5)},
        {"what": f"the same, aim 75 %{where}", "measured": percent, "verdict": verdict(share, 0.75)},
        {"what": f"batch job on {pack['job_model']} bf16, bf16 KV: at least 10,000 tokens/s{where}", "measured": rate, "verdict": verdict(speed, 10000)},
        {"what": f"the same, aim 19,000 tokens/s{where}", "measured": rate, "verdict": verdict(speed, 19000)},
        {"what": f"all of it within {session.seconds:.0f} s", "measured": f"{session.elapsed():.0f} s, {sum(e['status'] == 'left out' for e in entries)} left out",
         "verdict": "met" if session.elapsed() <= session.seconds and not any("time" in e.get("why", "") and e["status"] == "left out" for e in entries) else "not met"},
    ]


def cell(value):
    return str(value).replace("|", "/").replace("\n", " ")


def table(head, rows):
    """Markdown. A head that ends in ":" is a column of numbers."""
    lines = ["| " + " | ".join(name.rstrip(":") for name in head) + " |", "| " + " | ".join("---:" if name.endswith(":") else "---" for name in head) + " |"]
    return lines + ["| " + " | ".join(cell(value) for value in row) + " |" for row in rows] + [""]


def span(values, unit):
    least, middle, most = values
    return f"{middle:g} {unit}" if least == most else f"{middle:g} {unit} ({least:g} to {most:g})"


def machineRows(document):
    machine, clocks, pack = document["machine"], document["clocks"], document["pack"]
    facts, doctor = machine.get("facts", {}), machine.get("doctor", {})
    units = {"clocks.sm": ("SM clock while measuring", "MHz"), "clocks.mem": ("memory clock while measuring", "MHz"),
             "power.draw": ("power while measuring", "W"), "temperature.gpu": ("temperature while measuring", "°C")}
    rows = [("device", doctor.get("device 0") or facts.get("name", "unknown")),
            ("driver", " ".join(filter(None, [facts.get("driver_version"), doctor.get("driver")]))),
            ("memory", f"{facts.get('memory.total', '?')} MiB, {facts.get('memory.used', '?')} in use before"),
            ("most clocks", f"SM {facts.get('clocks.max.sm', '?')} MHz, memory {facts.get('clocks.max.mem', '?')} MHz; power limit {facts.get('power.limit', '?')} W")]
    rows += [(units[fact][0], span(values, units[fact][1])) for fact, values in clocks.items()]
    rows += [("host", f"{machine.get('host', 'unknown')}, {machine.get('cpus', '?')} CPUs"), ("date", document["date"]),
             ("commit", f"{pack['commit']}, packed {pack['date']} for {', '.join(pack['targets'])}"), ("command", f"`{document['command']}`")]
    return rows


def shown(found):
    values = (f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in found.items() if key != "rows")
    return ", ".join(values)


def markdown(document):
    entries = document["results"]
    lines = [f"# GPU check: {document['machine'].get('facts', {}).get('name') or document['device']}", ""]
    lines += table(["", ""], machineRows(document))
    lines += [f"* {remark}" for remark in document["machine"].get("remarks", [])] + [""] if document["machine"].get("remarks") else []
    lines += ["## What must hold", "", *table(["demand", "measured", ""], [(d["what"], d["measured"], d["verdict"]) for d in document["demands"]])]
    rows = [(entry, row) for entry in entries for row in entry.get("found", {}).get("rows", [])]
    whole = [(e["name"], r["n_batch"], f"{r['avg_ts']:.1f}", f"{r['stddev_ts']:.1f}", f"{r['probe_gbs']:.0f}", f"{r['share']:.0%}",
              f"{r['tflops']:.1f}" if "tflops" in r else "") for e, r in rows if "avg_ts" in r]
    if whole:
        lines += ["## Whole models", "", *table(["measured", "batch:", "tokens/s:", "±:", "read GB/s:", "share of it:", "TFLOP/s:"], whole)]
    kernels = [(e["name"].split("/")[1], r["kernel"], r["n_rows"], f"{r['median_us']:.2f}", f"{r['gbs']:.0f}", f"{r['share']:.0%}", f"{2e-3 * r['gmacs']:.1f}")
               for e, r in rows if "kernel" in r]
    if kernels:
        lines += ["## Kernels, each alone on cold weights", "",
                  *table(["model", "kernel", "rows:", "µs:", "GB/s:", "share of bandwidth:", "TFLOP/s:"], kernels)]
    lines += ["## Every check", "", *table(["check", "", "", "s:"], [(e["name"], e["status"], e.get("why") or shown(e.get("found", {})), f"{e['seconds']:.1f}") for e in entries])]
    lines += ["## Commands", "", "Each once, `…` for long lists of ids:", "", *(f"    {command}" for command in document["commands"])]
    return "\n".join(lines) + "\n"


def write(folder, document):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gpu-check.json").write_text(json.dumps(document, indent=1) + "\n")
    (folder / "gpu-check.md").write_text(markdown(document))

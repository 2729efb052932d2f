"""The results of tools/bench-peers as a Markdown table: medians, spread, and how often better Lathe is, round by round."""
import statistics

from engines import TESTS, UNITS

LESS_IS_BETTER = {"memory", "startup", "load"}


def pairs(samples, a, b):
    """Of the rounds in which both were measured."""
    return [(x, y) for x, y in zip(samples.get(a, []), samples.get(b, [])) if x is not None and y is not None]


def present(values):
    return [value for value in values if value is not None]


def median(values):
    return statistics.median(values) if values else None


def spread(values, digits=1):
    return f"{min(values):.{digits}f} .. {max(values):.{digits}f}" if values else "–"


def percent(values):
    return f"{median(values) * 100:.0f} %" if values else "–"


def counterpart(results, engine):
    """The first Lathe engine on the same weights."""
    return next((other for other in results["engines"] if other["lathe"] and other["weights"] == engine["weights"]), None)


def shares(results, test, key, kind):
    """Of Lathe, round by round: bytes read (`read`) or operations done (`int8`) a second by what roofline.cpp found just then."""
    found = []
    for row, limit in zip(results["details"].get(test, {}).get(key, []), results["roofline"]):
        if row and kind == "read":
            found.append(row["bytes_per_token"] * row["samples_ts"][0] / (limit["read_gbs"] * 1e9))
        elif row and row.get("int8_peak_gops"):
            found.append(row["share_of_peak"] * row["int8_peak_gops"] / (2 * int8Limit(limit)))
    return found


def int8Limit(limit):
    """Multiply-adds a second in units of 10^9: of the best instruction set."""
    return max(limit["int8"].values())


def table(results):
    lines = ["| test | engine | median | spread | Lathe is better by | spread of the rounds | of read bandwidth | of INT8 peak |",
             "|---|---|---:|---:|---:|---:|---:|---:|"]
    for test in TESTS:
        samples = results["samples"].get(test.name, {})
        for engine in results["engines"]:
            values = present(samples.get(engine["key"], []))
            if not values:
                continue
            cells = [test.name, engine["name"], f"{median(values):.1f} {UNITS[test.kind]}", spread(values), "–", "–", "–", "–"]
            ours = counterpart(results, engine)
            both = pairs(samples, ours["key"], engine["key"]) if ours and not engine["lathe"] else []
            if both:
                ratios = [b / a if test.kind in LESS_IS_BETTER else a / b for a, b in both]
                a, b = (statistics.median(side) for side in zip(*both))
                cells[4] = f"{b / a if test.kind in LESS_IS_BETTER else a / b:.2f} ×"
                cells[5] = spread(ratios, 2)
            if engine["lathe"] and test.kind == "tg":
                cells[6] = percent(shares(results, test.name, engine["key"], "read"))
            if engine["lathe"] and test.kind == "pp":
                cells[7] = percent(shares(results, test.name, engine["key"], "int8"))
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def rooflineLines(results):
    """The independent limits, and what `lathe bench` takes for them."""
    limits = results["roofline"]
    reads, peaks = [limit["read_gbs"] for limit in limits], [int8Limit(limit) for limit in limits]
    rows = [row for test in results["details"].values() for key in test.values() for row in key if row and "probe_gbs" in row]
    lines = [f"* roofline.cpp, {len(limits)} times in turn with the rest: reads {median(reads):.1f} GB/s ({spread(reads)}; {max(limits, key=lambda limit: limit['read_gbs'])['read_how']}), "
             f"{median(peaks):.0f} G INT8 multiply-adds/s ({spread(peaks, 0)})"]
    if rows:
        probes = [row["probe_gbs"] for row in rows]
        lines.append(f"* the probe of `lathe bench`, {len(rows)} times: {median(probes):.1f} GB/s ({spread(probes)}): "
                     f"{median(probes) / median(reads):.0%} of roofline.cpp by medians, {max(probes) / max(reads):.0%} by the bests")
    ops = [row["int8_peak_gops"] / 2 for row in rows if row.get("int8_peak_gops")]
    if ops:
        lines[-1] += (f"; {median(ops):.0f} G multiply-adds/s: {median(ops) / median(peaks):.0%} by medians, "
                      f"{max(ops) / max(peaks):.0%} by the bests")
    return lines


def markdown(results):
    lines = [f"{results['date']}, {results['cpu']}, {results['threads']} threads of {results['cpus']} CPUs, {results['rounds']} interleaved rounds, "
             f"load average {results['load']:.1f} before, `{results['command'].strip()}`", "", table(results), ""]
    lines += rooflineLines(results)
    for engine in results["engines"]:
        agreement = engine.get("greedy")
        above = present([row and row.get("above_mib") for row in results["details"].get("memory", {}).get(engine["key"], [])])
        lines.append(f"* {engine['name']}: {engine['description']}" + (f"; {agreement}" if agreement else "") +
                     (f"; peak memory above weights and KV {median(above):.1f} MiB" if above else ""))
    lines.append("* tok/s are totals over the batch (x2, x4, x8); @4096: behind 3968 tokens; busy: tg128 with one core loaded by another "
                 "process, as a share of the quiet speed of the same round; memory: peak of a process that loads, takes 512 tokens and "
                 "generates 128; startup: a whole process to its first token, from outside; load: the same behind Python's imports")
    return "\n".join(lines) + "\n"

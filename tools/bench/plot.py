#!/usr/bin/env python3
"""The results of tools/bench-peers as an SVG: prefill, decode and batches, each with the measured roofline as a line."""
import json
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

from report import counterpart, int8Limit, median, present

COLOURS = ["#1b6ca8", "#5aa9e6", "#c44536", "#e58e73", "#6a994e", "#8d6a9f", "#7f7f7f"]


def rate(results, test, key):
    return median(present(results["samples"].get(test, {}).get(key, [])))


def limit(results, test, engine):
    """Tokens a second that the machine allows: what it reads or multiplies a second by what a token takes, of the Lathe engine on
    the same weights."""
    ours = counterpart(results, engine)
    rows = present(results["details"].get(test, {}).get(ours["key"], [])) if ours else []
    if not rows:
        return None
    row, limits = rows[0], results["roofline"]
    bound = median([found["read_gbs"] for found in limits]) * 1e9 / row["bytes_per_token"]
    if row.get("int8_peak_gops") and row["share_of_peak"]:
        operations = row["share_of_peak"] * row["int8_peak_gops"] * 1e9 / row["avg_ts"]
        bound = min(bound, 2e9 * median([int8Limit(found) for found in limits]) / operations)
    return bound


def bars(axes, results, tests, title):
    """Groups of bars, one a test; over each bar the limit of its weights."""
    engines = results["engines"]
    width = 0.8 / len(engines)
    for number, engine in enumerate(engines):
        for place, test in enumerate(tests):
            value, bound = rate(results, test, engine["key"]), limit(results, test, engine)
            x = place + (number - (len(engines) - 1) / 2) * width
            if value is not None:
                values = present(results["samples"][test][engine["key"]])
                axes.bar(x, value, width * 0.9, color=COLOURS[number % len(COLOURS)], label=engine["name"] if place == 0 else None)
                axes.errorbar(x, value, [[value - min(values)], [max(values) - value]], color="black", linewidth=0.8, capsize=2)
                if bound:
                    axes.plot([x - width / 2, x + width / 2], [bound, bound], color="black", linewidth=1.5,
                              label="measured roofline" if (number, place) == (0, 0) else None)
    axes.set_xticks(range(len(tests)), tests)
    axes.set_ylabel("tokens per second")
    axes.set_title(title)


def batches(axes, results, tests):
    """Total tokens a second by the number of sequences."""
    sizes = {test: int(test.partition("x")[2] or 1) for test in tests}
    for number, engine in enumerate(results["engines"]):
        points = [(sizes[test], rate(results, test, engine["key"])) for test in tests]
        points = [point for point in points if point[1] is not None]
        bounds = [(sizes[test], limit(results, test, engine)) for test in tests]
        bounds = [point for point in bounds if point[1] is not None]
        if points:
            axes.plot(*zip(*points), marker="o", color=COLOURS[number % len(COLOURS)], label=engine["name"])
        if bounds and engine["lathe"]:
            axes.plot(*zip(*bounds), linestyle="--", color="black", linewidth=1.2 if number == 0 else 0.6)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(sorted(sizes.values()), [str(size) for size in sorted(sizes.values())])
    ticks = [2**power for power in range(16)]
    low, high = axes.get_ylim()
    axes.set_yticks([tick for tick in ticks if low <= tick <= high], [str(tick) for tick in ticks if low <= tick <= high])
    axes.set_xlabel("sequences together")
    axes.set_title("decode, total")


def main():
    source, output = sys.argv[1:]
    with open(source) as file:
        results = json.load(file)
    measured = set(results["samples"])
    panels = [(tests, title) for tests, title in (
        ([test for test in ("pp512",) if test in measured], "prefill"),
        ([test for test in ("tg128", "tg128@4096") if test in measured], "decode"),
        ([test for test in ("tg128", "tg128x2", "tg128x4", "tg128x8") if test in measured], "batches")) if tests]
    panels = [(tests, title) for tests, title in panels if title != "batches" or len(tests) > 1]
    if not panels:
        return
    figure, allAxes = plt.subplots(1, len(panels), figsize=(4.6 * len(panels), 4.6), squeeze=False)
    for axes, (tests, title) in zip(allAxes[0], panels):
        batches(axes, results, tests) if title == "batches" else bars(axes, results, tests, title)
        axes.spines[["top", "right"]].set_visible(False)
    handles = {label: handle for axes in allAxes[0] for handle, label in zip(*axes.get_legend_handles_labels())}
    figure.legend(handles.values(), handles.keys(), loc="lower center", ncols=3, frameon=False)
    figure.suptitle(f"{results['cpu']}, {results['threads']} threads, {results['date']}")
    figure.tight_layout(rect=(0, 0.14, 1, 1))
    figure.savefig(output, metadata={"Date": None})


if __name__ == "__main__":
    main()

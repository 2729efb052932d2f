#!/usr/bin/env python3
"""Chat templates against the PyPI package `jinja2` as transformers sets it up: families, drawn expressions and blocks, damaged ones."""
import json
import random

import jinja
from harness import DATA, Failed, expect, expectEqual, main, run

FAMILIES = sorted((DATA / "chat").glob("*.jinja"))


def renderAll(lathe, jobs):
    """What our engine makes of (template, variables) pairs."""
    lines = "".join(json.dumps({"template": template, "variables": variables, "now": jinja.NOW}) + "\n" for template, variables in jobs)
    results = run([lathe.bin / "render"], stdin=lines, env={"TZ": "UTC"}).expect(0).stdout.splitlines()
    expectEqual(len(results), len(jobs), "number of results")
    return [json.loads(line) for line in results]


def compare(lathe, jobs, optimized, leastRendered):
    """The same text, or an error on both sides; an int beyond 64 bits is one here only."""
    rendered = 0
    for (template, variables), ours in zip(jobs, renderAll(lathe, jobs)):
        text, error = jinja.render(template, variables, optimized)
        if "64 bits" in ours.get("error", ""):
            continue
        rendered += text is not None
        if ours.get("text") != text:
            raise Failed(f"{template[:400]!r} of {json.dumps(variables['messages'] if 'messages' in variables else '')[:800]}: "
                         f"expected {text if error is None else error!r}, got {ours.get('text', ours.get('error'))!r}")
    figures = f"{len(jobs)} templates, {rendered} of them render"
    expect(rendered >= leastRendered * len(jobs), figures)
    return figures


def family(lathe, path, count):
    draw = random.Random(f"family {path.stem}")
    return compare(lathe, [(path.read_text(), jinja.conversation(draw)) for _ in range(count)], True, 0.15)


def expressions(lathe, count):
    draw = random.Random("expressions")
    jobs = [("{% set r = " + jinja.expression(draw, draw.randrange(1, 4)) + " %}{{ r }}", jinja.VARIABLES) for _ in range(count)]
    return compare(lathe, jobs, False, 0.4)


def blocks(lathe, count):
    draw = random.Random("blocks")
    return compare(lathe, [(jinja.statements(draw, 2), jinja.VARIABLES) for _ in range(count)], False, 0.4)


def damaged(lathe, count):
    """Templates with bytes missing, doubled and swapped end in an error or a text, never otherwise; where jinja2 renders
    one, so do we, the same."""
    draw, jobs = random.Random("damaged"), []
    sources = [path.read_text() for path in FAMILIES]
    for _ in range(count):
        text = draw.choice(sources)
        for _ in range(draw.choice([1, 1, 2, 5])):
            a, b = sorted(draw.randrange(len(text) + 1) for _ in range(2))
            b = min(b, a + draw.choice([1, 2, 10, 200]))
            text = draw.choice([text[:a] + text[b:], text[:b] + text[a:b] + text[b:], text[:a] + draw.choice("{}%#'\"()[]|.-+") + text[a:]])
        jobs.append((text, jinja.conversation(draw)))
    results = renderAll(lathe, jobs)
    differing = []
    for (template, variables), ours in zip(jobs, results):
        text, error = jinja.render(template, variables)
        if error is None and ours.get("text") != text:
            differing.append(f"{template!r}: expected {text!r}, got {ours}")
    expect(not differing, "\n".join(differing[:2])[:3000])
    return f"{sum('text' in each for each in results)} of {len(jobs)} still render"


def fill(suite, lathe, args):
    fast = 4 if args.fast else 1
    for path in FAMILIES:
        suite.add(f"family/{path.stem}", family, lathe, path, 120 // fast)
    suite.add("expressions", expressions, lathe, 12_000 // fast)
    suite.add("blocks", blocks, lathe, 1500 // fast)
    suite.add("damaged", damaged, lathe, 1200 // fast)


if __name__ == "__main__":
    main(__doc__, fill)

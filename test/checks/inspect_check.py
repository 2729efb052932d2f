"""lathe inspect as a person reads it: explain by kernel, one kernel with its provenance and inner loop, the HTML page, and diff."""
import json
import re
import shutil
import tempfile
from html.parser import HTMLParser
from pathlib import Path

from harness import ROOT, expect, expectEqual, main, run, scratch
from models import llamaConfig, writeHuggingFace

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
SCHEDULE = """[[schedule]]
tier = "avx512vnni"
kind = "linear"
quant = "int8"
group = 32
n = 320
k = 96
rows = 4
columns = 32
unit_block = 16
"""
HOSTILE = """</title><script>alert("1")</script>&amp;<img src=x onerror='alert(2)'>"""


class Page(HTMLParser):
    """A page read strictly: what is opened is closed, in order, and attributes are given once."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.links, self.tags, self.marked, self.sources = [], [], [], {}, [], []
        self.text, self.inside = {}, []
        self.feed(text)
        self.close()
        expectEqual(self.open, [], "tags left open")

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        expect(len(names) == len(set(names)), f"<{tag}> has an attribute twice: {attributes}")
        self.tags[tag] = self.tags.get(tag, 0) + 1
        values = dict(attributes)
        expect(not any(name.startswith("on") for name in names), f"<{tag}> has a handler: {attributes}")
        if "id" in values:
            self.ids.append(values["id"])
        if "href" in values:
            self.links.append(values["href"])
        if "data-w" in values:
            self.marked.append(values["data-w"])
        self.sources += [values[name] for name in ("src", "action", "data") if name in values]
        if tag not in VOID:
            self.open.append((tag, values.get("id", "")))

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        expect(self.open and self.open[-1][0] == tag, f"</{tag}> at line {self.getpos()[0]} inside {self.open[-3:]}")
        self.open.pop()

    def handle_data(self, data):
        for tag, name in self.open:
            for key in {tag, name} - {""}:
                self.text.setdefault(key, []).append(data)

    def textOf(self, key):
        return "".join(self.text.get(key, []))


class Inspected:
    """A llama from Hugging Face, compiled for one tier in int8, and how to ask about it."""

    def __init__(self, lathe):
        self.lathe = lathe
        self.model = ROOT / "test" / "data" / "reference" / "llama"
        self.artifact = lathe.artifact(self.model, "--quant", "int8", "--cpu", "avx512vnni")
        self.kernels = [kernel["name"] for kernel in self("kernels", "--json").json()]
        self.folder = Path(tempfile.mkdtemp(dir=scratch(lathe.work)))

    def __call__(self, *arguments, status=0):
        return self.lathe.run("inspect", self.artifact, *arguments).expect(status)


def lineOf(path, key):
    """Where a key of a JSON file has its value, as path:line:column."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if match := re.match(rf'\s*"{key}": ', line):
            return f"{path.name}:{number}:{match.end() + 1}"
    raise AssertionError(key)


def explain(of):
    """Every kernel is there with its ops, the pass that fused each, its schedule, and what stands between it and its neighbours."""
    text = of("explain").text
    told = of("explain", "--json").json()
    expectEqual([kernel["name"] for kernel in told["kernels"]], of.kernels, "kernels explained")
    by = {kernel["name"]: kernel for kernel in told["kernels"]}
    expectEqual([(part["role"], part["op"], part["name"], part["pass"]) for part in by["norm_gate_up_gated"]["fused"]],
                [("prologue", "lm.norm", "mlp_norm", "lm-fuse-norm"), ("prologue", "lm.quantize", "mlp_norm_codes", "lm-fuse-norm"),
                 ("anchor", "lm.linear", "gate_up", "lm-fuse-gated"), ("epilogue", "lm.split", "gate_up_parts", "lm-fuse-gated"),
                 ("epilogue", "lm.gated", "gated", "lm-fuse-gated")], "what was fused into norm_gate_up_gated")
    refused = [(entry["pass"], entry["name"], entry["count"]) for entry in by["norm_gate_up_gated"]["refused"]]
    expectEqual(refused, [("lm-outline-kernels", "mlp_norm", 3)], "what was refused at norm_gate_up_gated")
    expect("mlp_norm: not in one kernel with o_residual: lm.norm needs a whole row, an epilogue sees a tile of columns" in text,
           f"no reason for the boundary of o_residual:\n{text}")
    for name in of.kernels:
        expect(re.search(rf"^{name}: \d+ of the step's regions$", text, re.M), f"no paragraph of {name}:\n{text}")
    regions = sum(kernel["regions"] for kernel in told["kernels"])
    expectEqual(regions, of("--json").json()["launches"], "regions and launches")
    origin = by["o_residual"]["schedule_reason"]
    expect(re.fullmatch(r"default, cpu\.toml:\d+: no table has an entry for avx512vnni linear int8, group 32, n 96, k 96", origin), origin)
    expect(any(line.startswith("lm-merge-linears: 6 formed") for line in told["passes"]), f"passes: {told['passes']}")


def kernel(of):
    """Provenance down to the line of the file that was compiled, bytes and flops, and the inner loop in the code."""
    text = of("kernel", "norm_gate_up_gated").text
    config = of.model / "config.json"
    expect(f'hidden_act = "silu" at config.toml:11, from {lineOf(config, "hidden_act")}' in text, f"no provenance of gated:\n{text[:1500]}")
    facts = of("kernel", "norm_gate_up_gated", "--json").json()
    expectEqual({key: facts[key] for key in ("tiles", "read_bytes_per_row", "written_bytes_per_row", "flops_per_unit", "flops_per_tile")},
                {"tiles": 10, "read_bytes_per_row": 96 * 4, "written_bytes_per_row": 160 * 4, "flops_per_unit": 2 * 96 * 320,
                 "flops_per_tile": 2 * 96 * 32}, "facts")
    attention = of("kernel", "attention", "--json").json()
    expectEqual(attention["kv_bytes_per_position"], 2 * 2 * 16 * 2, "bytes of a position: keys and values of 2 heads of 16 in bf16")
    append = of("kernel", "norm_qkv_rope_append", "--json").json()
    expectEqual(append["appended_kv_bytes_per_row"], 128, "bytes that a row appends")
    marked = [line for line in facts["code"].splitlines() if line.startswith("|")]
    products = [line for line in marked if "vpdpbusd" in line]
    jumps = [line.split() for line in marked if re.match(r"\| +[0-9a-f]+:  j", line)]
    offsets = [int(line[1:].split(":")[0], 16) for line in marked]
    expect(len(products) > 8, f"{len(products)} products in the marked loop")
    expect(any(int(jump[3], 16) == offsets[0] for jump in jumps), f"no jump back to {offsets[0]:x} among {jumps}")
    count = len(products) * 64
    stated = re.search(r"(\d+) multiply-adds a round", facts["code_notes"][0])
    expect(stated and int(stated[1]) >= count, f"{facts['code_notes']} for {count} products of vpdpbusd")
    of("kernel", "absent", status=2)


def page(of):
    """The page is well-formed, every link leads somewhere, every kernel and buffer is there, nothing is loaded from outside."""
    path = of.folder / "page.html"
    of("--html", path)
    text = path.read_text()
    shown = Page(text)
    expect(len(shown.ids) == len(set(shown.ids)), "an id is given twice")
    for link in shown.links:
        expect(link.startswith("#") and link[1:] in shown.ids, f"a link leads nowhere: {link}")
    expectEqual(shown.sources, [], "files that the page loads")
    expect(not re.search(r"@import|url\(|https?://|fetch\(|XMLHttp", text), "the page reaches outside")
    for name in of.kernels:
        expect(f"kernel-{name}" in shown.ids and f"#kernel-{name}" in shown.links, f"kernel {name} is not there or not linked")
    for part in ("model", "stages", "kernels", "launches", "memory", "explain", "stage-00", "stage-10", "stage-20"):
        expect(part in shown.ids, f"no part '{part}'")
    slots = of("memory", "--json").json()["slots"]
    names = [buffer["name"] for slot in slots for buffer in slot["buffers"]]
    expectEqual(shown.tags.get("rect", 0), len(names), "rectangles in the drawing of the memory")
    memory = shown.textOf("memory")
    for name in names:
        expect(f"{name}: launches" in memory, f"buffer {name} is not in the drawing")
    for member in of("--json").json()["members"]:
        expect(member["name"] in shown.textOf("model"), f"member {member['name']} is not listed")
    launches = of("--json").json()["launches"]
    expectEqual([name for name in shown.ids if name.startswith("launch-")], [f"launch-{i}" for i in range(launches)], "launches")
    shares = [float(share) for share in re.findall(r'<td class="n">([\d.]+) %</td>', text)]
    expectEqual(len(shares), launches, "shares of bytes")
    expect(abs(sum(shares) - 100) < 1, f"shares of bytes sum to {sum(shares)} %")
    expect("vpdpbusd" in shown.textOf("kernels") and "lm.gated" in shown.textOf("kernels"), "no code or no IR of kernels")
    expect(any(word in stage.split() for stage in shown.marked[-50:] for word in shown.marked[5].split()) or len(set(shown.marked)) > 10,
           "stages share no words")
    expect("leave out 'kernels'" in of("kernels", "--html", path, status=2).stderr, "--html beside kernels")
    expect("--full is for diff" in of("explain", "--full", status=2).stderr, "--full beside explain")
    return f"{len(text) >> 10} KiB"


def spaces(of):
    """The printed IR has one space between words."""
    cuda = of.lathe.artifact(of.model, "--quant", "f32", "--target", "cuda-host:sm_80")
    for artifact in (of.artifact, cuda):
        for stage in ("00", "10", "20"):
            text = of.lathe.run("inspect", artifact, "stages", stage).expect(0).text
            wide = [line.strip()[:100] for line in text.splitlines() if re.search(r"\S {2,}\S", line)]
            expect(not wide, f"stage {stage} has {len(wide)} lines with two spaces: {wide[:3]}")


def tier(of):
    """Of an artifact with several tiers the one is shown that `generate` would run here, and it is said why; --cpu asks for another."""
    lathe, every = of.lathe, of.lathe.artifact(of.model, "--quant", "int8")
    tiers = lathe.run("inspect", every, "--json").expect(0).json()["tiers"]

    def explained(artifact, *options):
        told = lathe.run("inspect", artifact, "explain", "--json", *options).expect(0).json()
        expect(all(f" {told['tier']} " in kernel["schedule_reason"] for kernel in told["kernels"]), f"another tier's schedules: {told['kernels'][0]}")
        return told["tier"], told["tier_reason"]

    runs = [name for name in tiers if name in lathe.machineTiers]
    best, nothing = "the best in the artifact; this machine runs none of them", [name for name in tiers if name not in lathe.machineTiers]
    expectEqual(explained(every), (runs[0], "what this machine runs") if runs else (tiers[0], best), "the tier of explain")
    expectEqual(explained(every, "--cpu", tiers[-1]), (tiers[-1], "asked for with --cpu"), "the tier of explain --cpu")
    text = lathe.run("inspect", every, "explain", "--cpu", tiers[-1]).expect(0).text
    expectEqual(text.splitlines()[0], f"schedules of {tiers[-1]}: asked for with --cpu", "first line of explain")
    if nothing:
        expectEqual(explained(of.lathe.artifact(of.model, "--quant", "int8", "--cpu", nothing[-1])), (nothing[-1], best), "the tier where none runs")
    expect("the artifact has code for" in lathe.run("inspect", every, "explain", "--cpu", "mmx").expect(2).stderr, "an unknown tier")
    cuda = lathe.artifact(of.model, "--quant", "f32", "--target", "cuda-host:sm_80")
    expectEqual(lathe.run("inspect", cuda, "explain", "--json").expect(0).json()["tier_reason"], "", "a reason where there are no tiers")
    lathe.run("inspect", cuda, "explain", "--cpu", "amx").expect(2)
    return f"{runs[0] if runs else 'none'} of {', '.join(tiers)}"


def layerRows(text):
    """By layer ("" of none): names of the launches, and lines of the stages' step."""
    launches, lines = {}, {}
    for layer, name in re.findall(r'<tr id="launch-\d+"(?: data-layer="(\d+)")?><td class="n">\d+</td><td>(.*?)</td>', text):
        launches.setdefault(layer, []).append(name)
    for layer, part in re.findall(r'<code data-layer="(\d+)">(.*?)</code>', text, re.S):
        lines.setdefault(layer, []).append(part)
    return launches, lines


def layers(of):
    """Every launch says its layer, or that it is the step's; a layer can be chosen, and the others' launches and lines are then hidden."""
    path = of.folder / "layers.html"
    of("--html", path)
    text = path.read_text()
    launches, lines = layerRows(text)
    count = json.loads((of.model / "config.json").read_text())["num_hidden_layers"]
    total = of("--json").json()["launches"]
    expectEqual({layer: set(names) for layer, names in launches.items()},
                {"": {"step"}, **{str(layer): {f"layer {layer}"} for layer in range(count)}}, "layers of launches")
    expectEqual({len(launches[str(layer)]) for layer in range(count)}, {(total - 2) // count}, "launches of a layer")
    expectEqual(re.findall(r"<option[^>]*>(\w+)</option>", text.split('class="layers"')[1].split("</select>")[0]),
                ["all", *map(str, range(count))], "layers to choose")
    for layer in range(count):
        one = "".join(lines[str(layer)])
        expectEqual(set(re.findall(r"model\.layers\.(\d+)\.", one)), {str(layer)}, f"weights in the lines of layer {layer}")
        for op in ("lm.attention", "lm.gated", "arith.addf", "@o_residual", "@attention"):
            expect(op in one, f"no {op} in the lines of layer {layer}")
    outside = re.sub(r'<code data-layer="\d+">.*?</code>', "", text, flags=re.S)
    expect("@embed(" in outside and "@norm_logits(" in outside and "lm.fused" in outside, "what belongs to no layer is in one")
    if not (chromium := shutil.which("chromium")):
        return "chromium is not installed: the script was not run"
    chosen = of.folder / "chosen.html"
    chosen.write_text(text.replace("</body>", '<script>{const at = document.querySelector(".layers select"); at.value = "1";'
                                   ' at.dispatchEvent(new Event("change"));}</script></body>'))
    done = run([chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={of.folder / 'chromium'}", "--dump-dom", chosen.as_uri()])
    hidden = [(layer, hides) for layer, hides in re.findall(r'<(?:tr|code)[^>]* data-layer="(\d+)"( hidden="")?', done.expect(0).text)]
    expectEqual({layer for layer, hides in hidden if not hides}, {"1"}, "layers shown when 1 is chosen")
    expectEqual({layer for layer, hides in hidden if hides}, {str(layer) for layer in range(count)} - {"1"}, "layers hidden when 1 is chosen")
    return f"{len(hidden)} parts of {count} layers"


def linkedStages(of):
    """What the script marks: the gated op of stage 00 shares its word with the kernels' lines in stages 10 and 20, and with no norm."""
    path = of.folder / "page.html"
    of("--html", path)
    panes = re.findall(r'<h3 id="stage-\d\d">.*?<pre>(.*?)</pre>', path.read_text(), re.S)
    expectEqual(len(panes), 3, "stages")
    lines = [[(set(words.split()), line) for words, line in re.findall(r'<span data-w="([\d ]+)">(.*?)</span>', pane)] for pane in panes]
    wanted = next(words for words, line in lines[0] if "lm.gated" in line)
    for stage, op in ((1, "lm.gated"), (2, "math.exp")):
        marked = [line for words, line in lines[stage] if words & wanted]
        expect(any(op in line for line in marked), f"nothing with {op} is marked in stage {stage}0: {marked[:5]}")
        expect(not any("lm.norm" in line for line in marked), "a norm is marked for a gated op")
    gate = next(words for words, line in lines[0] if re.search(r"%gate = ", line))
    expect(any("lm.linear" in line for words, line in lines[1] if words & gate), "the merged linear is not marked for its gate")


def hostileName(of):
    """A model's name is text, whatever it looks like."""
    config = llamaConfig(num_hidden_layers=1)
    folder = writeHuggingFace(of.folder / "model", config, 3)
    toml = of.lathe.run("import", folder).expect(0).text
    model = of.folder / "hostile.toml"
    name = HOSTILE.replace('"', '\\"')
    model.write_text(f'name = "{name}"\n' + re.sub(r"^name = .*\n", "", toml, flags=re.M))
    artifact, path = of.folder / "hostile.lathe", of.folder / "hostile.html"
    of.lathe.compile(model, artifact, "--weights", "random:1", "--quant", "f32", "--cpu", "x86-64-v3").expect(0)
    of.lathe.run("inspect", artifact, "--html", path.name, cwd=of.folder).expect(0)
    shown = Page(path.read_text())
    expectEqual(shown.tags.get("script"), 1, "scripts in the page")
    expectEqual(shown.tags.get("img", 0), 0, "images in the page")
    expect(HOSTILE in shown.textOf("h2") and HOSTILE in shown.textOf("title"), f"the name is not shown as it is: {shown.textOf('title')!r}")


def cudaPage(of):
    """The same page of an artifact for CUDA: the text of its kernels instead of assembly."""
    artifact = of.lathe.artifact(of.model, "--quant", "f32", "--target", "cuda-host:sm_80")
    path = of.folder / "cuda.html"
    of.lathe.run("inspect", artifact, "--html", path).expect(0)
    shown = Page(path.read_text())
    expect("score_chunk(" in shown.textOf("kernels"), "no text of the attention kernel")
    text = of.lathe.run("inspect", artifact, "kernel", "down_residual").expect(0).text
    for part in ("provenance\n  anchor", "// stage 20", "// kernels/down_residual.cu"):
        expect(part in text, f"inspect kernel of CUDA does not show {part!r}")


def diff(of):
    """Equal artifacts: 0. Others: 6, with what differs, down to the lines of IR and code."""
    again = of.folder / "again.lathe"
    of.lathe.compile(of.model, again, "--quant", "int8", "--cpu", "avx512vnni").expect(0)
    expectEqual(of("diff", again).text, "", "what differs between equal artifacts")
    expectEqual(of("diff", again, "--json").json(), {"equal": True, "changes": [], "texts": []}, "JSON of equal artifacts")
    folder = of.folder / "changed"
    folder.mkdir()
    for file in of.model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-3}, indent=2, sort_keys=True) + "\n")
    table, other = of.folder / "mine.toml", of.folder / "changed.lathe"
    table.write_text(SCHEDULE)
    of.lathe.compile(folder, other, "--quant", "int8", "--cpu", "avx512vnni", "--schedules", table).expect(0)
    done = of("diff", other, "--json", "--full", status=6)
    told = done.json()
    changes = {(change["section"], change["name"]): (change["before"], change["after"]) for change in told["changes"]}
    expectEqual(changes.pop(("model", "model"), None), ("llama", "changed"), "the model's name")
    changes.pop(("config", "name"), None)
    expectEqual(changes.pop(("config", "rms_norm_eps")), ("1e-06", "0.001"), "rms_norm_eps")
    schedule = changes.pop(("kernels", "norm_gate_up_gated: schedule of avx512vnni"))
    expectEqual(schedule[1], "4 x 32 of 16 (measured, mine.toml:1)", "the schedule")
    expectEqual(changes, {}, "other changes")
    texts = {(text["kernel"], text["text"]): text["diff"] for text in told["texts"]}
    expectEqual({kernel for kernel, _ in texts}, {"norm_qkv_rope_append", "norm_gate_up_gated", "norm_logits"}, "kernels whose text differs")
    expectEqual([kernel for kernel, text in texts if text.startswith("code")], ["norm_gate_up_gated"], "kernels whose code differs")
    stage = texts["norm_gate_up_gated", "stage 10"]
    expect(re.search(r"^-.* eps 9\.99", stage, re.M) and re.search(r"^\+.* eps 1\.0", stage, re.M), f"stage 10:\n{stage}")
    expect(re.fullmatch(r"lathe: error: .* differ: \d+ facts, \d+ texts of kernels\n", done.stderr), f"stderr: {done.stderr!r}")
    text = of("diff", other, status=6).text
    expect("rms_norm_eps: 1e-06 -> 0.001" in text, f"the text does not say it:\n{text}")

    # The diff is one that another program applies.
    before = of("kernel", "norm_gate_up_gated", "--json").json()["stage_10"]
    after = of.lathe.run("inspect", other, "kernel", "norm_gate_up_gated", "--json").expect(0).json()["stage_10"]
    file = of.folder / "stage.mlir"
    file.write_text(before)
    run(["patch", "-s", file], stdin=f"--- {file}\n+++ {file}\n{stage}").expect(0)
    expectEqual(file.read_text(), after, "the first text with the diff applied by patch(1)")

    smaller = of.lathe.artifact(of.model, "--quant", "f32", "--cpu", "avx512vnni")
    weights = [change for change in of("diff", smaller, "--json", status=6).json()["changes"] if change["section"] == "weights"]
    expect(any(change["after"] is None for change in weights) and any(change["before"] is None for change in weights), "weights gone and added")
    of("diff", status=2)
    of("diff", of.folder / "absent.lathe", status=3)


CHECKS = {"explain": explain, "kernel": kernel, "spaces": spaces, "tier": tier, "page": page, "layers": layers, "linked stages": linkedStages,
          "hostile name": hostileName, "page of CUDA": cudaPage, "diff": diff}


def fill(suite, lathe, args):
    of = Inspected(lathe)
    for name, function in CHECKS.items():
        suite.add(name, function, of)


if __name__ == "__main__":
    main(__doc__, fill)

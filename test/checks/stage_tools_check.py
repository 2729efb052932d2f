#!/usr/bin/env python3
"""The tools for stage files: a session with lathe-lsp-server as an editor has it, and lathe-reduce on a stage with a script."""
import json
import re
import subprocess
import tempfile
from pathlib import Path

from harness import expect, expectEqual, main, run, scratch, start
from models import llamaConfig, writeHuggingFace


class Stage:
    """Stage 10 of a small model."""

    def __init__(self, lathe):
        self.lathe = lathe
        self.keep = tempfile.TemporaryDirectory(dir=scratch(lathe.work))
        self.folder = Path(self.keep.name)
        model = writeHuggingFace(self.folder / "model", llamaConfig(), 3)
        lathe.compile(model, self.folder / "m.lathe", "--quant", "int8", "--dump", self.folder / "stages", "--stop-after", "10").expect(0)
        self.path = self.folder / "stages" / "10-fused.mlir"
        self.text = self.path.read_text()
        self.lines = self.text.splitlines()

    def place(self, pattern):
        """Line and column, from 0, of the first match."""
        for number, line in enumerate(self.lines):
            if match := re.search(pattern, line):
                return {"line": number, "character": match.start()}
        raise AssertionError(pattern)


class Editor:
    """The client's side of the protocol: messages of JSON behind a header with their length."""

    def __init__(self, program, log):
        self.process = start([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        self.number = 0

    def send(self, method, params, **more):
        body = json.dumps({"jsonrpc": "2.0", "method": method, "params": params, **more}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.process.stdin.flush()

    def read(self):
        length = 0
        while (line := self.process.stdout.readline().strip()) or not length:
            expect(line, "the server ended in the middle of a session")
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return json.loads(self.process.stdout.read(length))

    def ask(self, method, params):
        self.number += 1
        self.send(method, params, id=self.number)
        while (answer := self.read()).get("id") != self.number:
            pass
        expect("error" not in answer, f"{method}: {answer.get('error')}")
        return answer["result"]

    def diagnostics(self):
        while (message := self.read()).get("method") != "textDocument/publishDiagnostics":
            pass
        return message["params"]["diagnostics"]


def languageServer(stage):
    wrong = stage.text.replace("lm.gated", "lm.gaited", 1)
    expect(wrong != stage.text, "stage 10 has no lm.gated")
    document = {"uri": stage.path.as_uri()}
    with open(stage.folder / "lsp.log", "wb") as log:
        editor = Editor(stage.lathe.bin / "lathe-lsp-server", log)
        able = editor.ask("initialize", {"processId": None, "rootUri": None, "capabilities": {}})["capabilities"]
        expect(able.get("hoverProvider") and able.get("definitionProvider"), f"capabilities: {able}")
        editor.send("initialized", {})
        editor.send("textDocument/didOpen", {"textDocument": {**document, "languageId": "mlir", "version": 1, "text": wrong}})
        found = editor.diagnostics()
        expect(any("lm.gaited" in one["message"] for one in found), f"diagnostics of an unknown op: {found}")
        line = next(number for number, text in enumerate(wrong.splitlines()) if "lm.gaited" in text)
        expectEqual(found[0]["range"]["start"]["line"], line, "line of the diagnostic")

        # An op whose verifier refuses it: what the dialect itself says.
        odd = re.sub(r"(lm\.rope .* dim )\d+", r"\g<1>7", stage.text, count=1)
        editor.send("textDocument/didChange", {"textDocument": {**document, "version": 2}, "contentChanges": [{"text": odd}]})
        found = editor.diagnostics()
        expect(any("lm.rope" in one["message"] and "7" in one["message"] for one in found), f"diagnostics of heads of 7 columns: {found}")

        editor.send("textDocument/didChange", {"textDocument": {**document, "version": 3}, "contentChanges": [{"text": stage.text}]})
        expectEqual(editor.diagnostics(), [], "diagnostics of the file as it was printed")
        hover = editor.ask("textDocument/hover", {"textDocument": document, "position": stage.place(r"lm\.gated")})
        expect("lm.gated" in json.dumps(hover), f"hover over lm.gated: {hover}")
        use = stage.place(r"(?<=lm\.quantize )%")
        name = re.search(r"lm\.quantize (%\w+)", stage.lines[use["line"]])[1]
        definition = editor.ask("textDocument/definition", {"textDocument": document, "position": use})
        expectEqual(len(definition), 1, "definitions")
        made = stage.lines[definition[0]["range"]["start"]["line"]]
        expect(made.strip().startswith(f"{name} = ") or f"({name}:" in made, f"definition of {name}: {made}")
        editor.ask("shutdown", None)
        editor.send("exit", None)
        editor.process.stdin.close()
        expectEqual(editor.process.wait(), 0, "exit status after exit")


def script(stage, name, text):
    """A test of lathe-reduce: 1 while the file is interesting."""
    path = stage.folder / name
    path.write_text(f"#!/bin/sh\n{stage.lathe.bin}/lathe-opt \"$1\" 2>&1 | {text} && exit 1\nexit 0\n")
    path.chmod(0o755)
    return path


def reduced(stage, source, test, output):
    return run([stage.lathe.bin / "lathe-reduce", source, f"--reduction-tree=traversal-mode=0 test={test}", "-o", output])


def reduce(stage):
    test, output = script(stage, "gated.sh", "grep 'lm\\.gated' > /dev/null"), stage.folder / "reduced.mlir"
    done = reduced(stage, stage.path, test, output).expect(0)
    expectEqual(done.stderr, "", "talk of a reduction that went well")
    text = output.read_text()
    expect(len(text) < len(stage.text) / 4, f"{len(text)} bytes of {len(stage.text)} remain")
    expect(text.count("func.func") == 1 and "lm.gated" in text and "lm.attention" not in text, text)
    run([stage.lathe.bin / "lathe-opt", output]).expect(0)  # it still verifies
    expectEqual(run([test, output]).status, 1, "what the script says of the result")
    return f"{len(stage.text)} -> {len(text)} bytes"


def reduceErrors(stage):
    output = stage.folder / "none.mlir"
    done = reduced(stage, stage.path, script(stage, "never.sh", "grep nothing-has-this > /dev/null"), output).expect(1)
    expect("uninterested module will not be reduced" in done.stderr, f"a script that wants nothing: {done.stderr!r}")
    wrong = stage.folder / "wrong.mlir"
    wrong.write_text("module { lm.nonsense }\n")
    done = reduced(stage, wrong, script(stage, "always.sh", "cat > /dev/null"), output).expect(1)
    expect("wrong.mlir" in done.stderr and "lm.nonsense" in done.stderr, f"a file that does not parse: {done.stderr!r}")
    expect(not output.exists(), "a failed reduction left a file")


def fill(suite, lathe, args):
    stage = Stage(lathe)
    suite.add("lathe-lsp-server", languageServer, stage)
    suite.add("lathe-reduce", reduce, stage)
    suite.add("errors of lathe-reduce", reduceErrors, stage)


if __name__ == "__main__":
    main(__doc__, fill)

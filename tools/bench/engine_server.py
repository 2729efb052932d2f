"""What the peers' programs share: the two ways in which tools/bench-peers runs one.

`serve MODEL` keeps the model loaded and answers each line of JSON on stdin with one on stdout, so that its runs can be
interleaved with other programs': {"kind": "pp" | "tg", "count", "depth", "batch"} gives {"seconds"}, {"ids", "count"} gives
{"ids"} (greedy). The first line says what was loaded. `once MODEL` loads, takes a prompt, generates, and prints
{"seconds"} from behind the imports to the last token.

An engine is a class of (path, threads) with `describe()`, `prefill(count)` and `decode(count, depth, batch)` in seconds, and
`greedy(ids, count)`.
"""
import argparse
import json
import os
import sys
import time


def serve(engine, reply):
    engine.prefill(512)
    engine.decode(16, 0, 1)
    reply({"engine": engine.describe()})
    for line in sys.stdin:
        asked = json.loads(line)
        if "ids" in asked:
            reply({"ids": engine.greedy(asked["ids"], asked["count"])})
        elif asked["kind"] == "pp":
            reply({"seconds": engine.prefill(asked["count"])})
        else:
            reply({"seconds": engine.decode(asked["count"], asked["depth"], asked["batch"])})


def main(description, Engine, verbs=None):
    """`verbs`: further ones, functions of (source, output)."""
    begin = time.perf_counter()
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    commands = parser.add_subparsers(dest="verb", required=True)
    for verb in ("serve", "once"):
        command = commands.add_parser(verb)
        command.add_argument("model")
        command.add_argument("-t", type=int, default=2)
        if verb == "once":
            command.add_argument("-p", type=int, default=3, help="tokens of the prompt")
            command.add_argument("-n", type=int, default=1, help="tokens to generate")
    for verb in verbs or {}:
        command = commands.add_parser(verb)
        command.add_argument("source")
        command.add_argument("output")
    args = parser.parse_args()
    if args.verb in (verbs or {}):
        verbs[args.verb](args.source, args.output)
        return

    # Libraries print as they like: what they write to stdout goes to stderr.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def reply(value):
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    engine = Engine(args.model, args.t)
    if args.verb == "serve":
        serve(engine, reply)
    else:
        engine.greedy([1 + i % 1000 for i in range(args.p)], args.n)
        reply({"seconds": time.perf_counter() - begin})

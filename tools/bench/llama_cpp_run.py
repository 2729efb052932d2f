#!/usr/bin/env python3
"""llama.cpp through llama-cpp-python's low-level API: makes Q8_0 files and times prefill and decode as llama-bench does.

`quantize IN OUT` rewrites a GGUF file with all matrices in Q8_0. `serve MODEL` keeps the model loaded and answers each line
`pp N` or `tg N` on stdin with the tokens per second of one run, so that runs can be interleaved with another program's.
"""
import argparse
import ctypes
import sys
import time

import llama_cpp as llama
import numpy as np


@llama.llama_log_callback
def quiet(level, text, data):
    if level == 4:  # errors; 5 goes on with the line before
        sys.stderr.write(text.decode(errors="replace"))


def quantize(source, output):
    options = llama.llama_model_quantize_default_params()
    options.ftype = llama.LLAMA_FTYPE_MOSTLY_Q8_0
    options.allow_requantize = True
    options.nthread = 2
    if llama.llama_model_quantize(source.encode(), output.encode(), options):
        sys.exit(f"{source}: llama.cpp could not rewrite it as Q8_0")


class Model:
    def __init__(self, path, threads, flashAttention):
        options = llama.llama_model_default_params()
        options.use_mmap = False
        self.model = llama.llama_model_load_from_file(path.encode(), options)
        if not self.model:
            sys.exit(f"{path}: llama.cpp could not load it")
        options = llama.llama_context_default_params()
        options.n_ctx, options.n_batch, options.n_ubatch = 1024, 512, 512
        options.n_threads = options.n_threads_batch = threads
        options.flash_attn_type = (llama.LLAMA_FLASH_ATTN_TYPE_ENABLED if flashAttention else llama.LLAMA_FLASH_ATTN_TYPE_DISABLED)
        options.no_perf = True
        self.context = llama.llama_init_from_model(self.model, options)
        self.vocab = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self.model))
        self.random = np.random.default_rng(0)

    def decode(self, tokens):
        array = (llama.llama_token * len(tokens))(*tokens)
        if llama.llama_decode(self.context, llama.llama_batch_get_one(array, len(tokens))):
            sys.exit("llama_decode failed")
        llama.llama_synchronize(self.context)

    def best(self):
        logits = llama.llama_get_logits_ith(self.context, -1)
        return int(np.ctypeslib.as_array(logits, shape=(self.vocab,)).argmax())

    def prefill(self, count):
        tokens = self.random.integers(0, self.vocab, count).tolist()
        llama.llama_memory_clear(llama.llama_get_memory(self.context), True)
        begin = time.perf_counter()
        for start in range(0, count, 512):
            self.decode(tokens[start : start + 512])
        return count / (time.perf_counter() - begin)

    def generate(self, count):
        """One token at a time from an empty context, each the greedy choice after the one before."""
        token = int(self.random.integers(0, self.vocab))
        llama.llama_memory_clear(llama.llama_get_memory(self.context), True)
        begin = time.perf_counter()
        for _ in range(count):
            self.decode([token])
            token = self.best()
        return count / (time.perf_counter() - begin)


def serve(path, threads, flashAttention):
    model = Model(path, threads, flashAttention)
    model.prefill(512)
    model.generate(16)
    print(llama.llama_print_system_info().decode().strip(), flush=True)
    for line in sys.stdin:
        kind, count = line.split()
        print({"pp": model.prefill, "tg": model.generate}[kind](int(count)), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("quantize")
    verb.add_argument("source")
    verb.add_argument("output")
    verb = verbs.add_parser("serve")
    verb.add_argument("model")
    verb.add_argument("-t", type=int, default=2)
    verb.add_argument("--no-flash-attention", action="store_true")
    args = parser.parse_args()
    llama.llama_log_set(quiet, ctypes.c_void_p(0))
    llama.llama_backend_init()
    if args.verb == "quantize":
        quantize(args.source, args.output)
    else:
        serve(args.model, args.t, not args.no_flash_attention)


if __name__ == "__main__":
    main()

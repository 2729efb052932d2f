#!/usr/bin/env python3
"""llama.cpp through llama-cpp-python's low-level API: times prefill and decode as llama-bench does, and makes Q8_0 files.

`quantize IN OUT` rewrites a GGUF file with all matrices in Q8_0; `serve` and `once` are those of engine_server.py. Flash
attention and the KV type are left at llama.cpp's defaults.
"""
import ctypes
import sys
import time
from functools import cache

import llama_cpp as llama
import numpy as np

import engine_server

CHUNK = 512


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


class Engine:
    def __init__(self, path, threads):
        options = llama.llama_model_default_params()
        options.use_mmap = False
        self.model = llama.llama_model_load_from_file(path.encode(), options)
        if not self.model:
            sys.exit(f"{path}: llama.cpp could not load it")
        self.threads = threads
        self.vocab = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self.model))
        self.random = np.random.default_rng(0)
        self.batch = llama.llama_batch_init(CHUNK, 0, 1)
        self.filled = {}  # context by size and sequences: tokens that stand in each of its sequences

    def describe(self):
        return "llama-cpp-python 0.3.36, GGML_NATIVE, no mmap; " + llama.llama_print_system_info().decode().strip()

    @cache
    def context(self, tokens, sequences):
        options = llama.llama_context_default_params()
        options.n_ctx, options.n_seq_max = tokens * sequences, sequences
        options.n_batch = options.n_ubatch = CHUNK
        options.n_threads = options.n_threads_batch = self.threads
        options.no_perf = True
        context = llama.llama_init_from_model(self.model, options)
        if not context:
            sys.exit(f"llama.cpp could not make a context of {tokens} tokens for {sequences} sequences")
        return context

    def step(self, context, rows):
        """`rows`: (token, position, sequence); logits of the last of every sequence."""
        last = {sequence: index for index, (_, _, sequence) in enumerate(rows)}
        self.batch.n_tokens = len(rows)
        for index, (token, position, sequence) in enumerate(rows):
            self.batch.token[index], self.batch.pos[index] = token, position
            self.batch.n_seq_id[index], self.batch.seq_id[index][0] = 1, sequence
            self.batch.logits[index] = last[sequence] == index
        if llama.llama_decode(context, self.batch):
            sys.exit("llama_decode failed")
        llama.llama_synchronize(context)

    def append(self, context, tokens, begin=0):
        for start in range(0, len(tokens), CHUNK):
            self.step(context, [(token, begin + start + i, 0) for i, token in enumerate(tokens[start : start + CHUNK])])

    def draw(self, count):
        return self.random.integers(0, self.vocab, count).tolist()

    def prefill(self, count):
        context, tokens = self.context(1024, 1), self.draw(count)
        llama.llama_memory_clear(llama.llama_get_memory(context), True)
        begin = time.perf_counter()
        self.append(context, tokens)
        return time.perf_counter() - begin

    def decode(self, count, depth, batch):
        """Tokens are drawn, as llama-bench draws them: no sampling is measured. The fill of `depth` stays for the next run."""
        context = self.context(max(1024, depth + count), batch)
        memory = llama.llama_get_memory(context)
        if depth and self.filled.get(depth):
            llama.llama_memory_seq_rm(memory, 0, depth, -1)
        else:
            llama.llama_memory_clear(memory, True)
            self.append(context, self.draw(depth))
            self.filled[depth] = depth > 0
        tokens = self.draw(count * batch)
        begin = time.perf_counter()
        for i in range(count):
            self.step(context, [(tokens[i * batch + sequence], depth + i, sequence) for sequence in range(batch)])
        return time.perf_counter() - begin

    def greedy(self, ids, count):
        context, new = self.context(max(32, len(ids) + count), 1), []
        llama.llama_memory_clear(llama.llama_get_memory(context), True)
        self.append(context, ids)
        while True:
            logits = np.ctypeslib.as_array(llama.llama_get_logits_ith(context, -1), shape=(self.vocab,))
            new.append(int(logits.argmax()))
            if len(new) == count:
                return new
            self.append(context, new[-1:], len(ids) + len(new) - 1)


if __name__ == "__main__":
    llama.llama_log_set(quiet, ctypes.c_void_p(0))
    llama.llama_backend_init()
    engine_server.main(__doc__, Engine, {"quantize": quantize})

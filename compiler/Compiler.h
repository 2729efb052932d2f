//===- Compiler.h - from a model to an artifact ---------------------------===//
#pragma once

#include "runtime/support/Error.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace lathe {

struct CompileOptions {
  std::string model;   ///< TOML, Hugging Face folder, GGUF, .cfg
  std::string weights; ///< "" (the model's own), a path, or "random:SEED"
  std::string output;  ///< the .lathe file
  std::string quant =
      "int8";          ///< f32 | bf16 | int8 | int4 | keep (blocks, bf16 and f16 of the model's file stay as they are)
  std::string kv;      ///< f32 | bf16 | int8; "": f32 with quant f32, else bf16
  int64_t context = 0; ///< positions; 0: the model's, at most 8192
  std::vector<std::string> targets; ///< as compiler/Target.h says; empty: cpu
  std::vector<std::string> tiers;   ///< of the target cpu; empty: all, without features
  std::string schedules;            ///< a table of schedules that goes before the built-in one, or ""
  std::string useKernels;           ///< a folder of kernels' texts (NAME.cu) that go before the printed ones, or ""
  std::string dumpDir;              ///< writes every stage there
  std::string stopAfter;            ///< 00, 10, 20 or 30
  std::string from;                 ///< a stage file (00-…, 10-… or 20-…) to go on from
  int64_t group = 0;                ///< elements of a weight that share a scale in int8 and int4; 0: 32 and 64
                                    ///< (dialects/kern/README.md has the measurement)
};

struct CompileSummary {
  int64_t parameters = 0, kernels = 0, launches = 0, weightBytes = 0, kvBytesAtContext = 0, activationBytesPerRow = 0,
          context = 0, artifactBytes = 0;
  std::string warning; ///< one line for people, "" while all is well
};

/// Runs every stage. `progress(what, done, total)` is called as work goes on. Nothing appears under `output` unless all
/// of it is there.
Result<CompileSummary>
compileModel(const CompileOptions &options,
             const std::function<void(const std::string &what, int64_t done, int64_t total)> &progress);

} // namespace lathe

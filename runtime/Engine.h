//===- Engine.h - an artifact loaded and ready to step --------------------===//
#pragma once

#include "runtime/Artifact.h"
#include "runtime/CpuPool.h"
#include "runtime/HostLaunches.h"
#include "runtime/KvStore.h"
#include "runtime/Plan.h"
#include "runtime/StepArrays.h"
#include "runtime/StepTrace.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace lathe {

struct EngineOptions {
  /// "cpu"; "cuda" or "cuda:1", a GPU; "cuda-host", kernels of the CUDA target run on the CPU. "" or "auto": what the
  /// artifact has, a GPU where there is one.
  std::string device = {};
  HostCheck hostCheck = {};  ///< cuda-host
  std::string tier = {};     ///< "": the best that machine and artifact share
  int64_t threads = 0;       ///< 0: as many as run without disturbing each other
  int64_t context = 0;       ///< positions of one sequence; 0: the artifact's
  int64_t kvTokens = 0;      ///< positions that the KV pool holds over all sequences; 0: one context
  int64_t kvSequences = 1;   ///< sequences that kvTokens are spread over: each may leave a page partly empty
  bool kvMayShrink = false;  ///< a smaller pool will do where memory is short (sequences then wait for each other)
  int64_t maxRows = 512;     ///< rows of one step
  int64_t maxLogitRows = 0;  ///< rows of one step whose logits are wanted; 0: as many as take 64 MiB, at least 8
  bool reusePrefixes = true; ///< find pages of equal prefixes again
  bool mapWeights = false;   ///< use the weights where the file is mapped instead of reading them into huge pages
  std::string kernel = {};   ///< not "": a step runs this kernel's launches alone, in a KernelRing of `ringBytes`, over
                             ///< buffers that hold anything: for measuring
  uint64_t ringBytes = 0;
};

/// Logits of a step, in the order of its sequences and rows; of rows whose tokens are drawn by the device those tokens
/// alone. Valid until the next step is started, tokens until the next are collected.
struct StepLogits {
  const float *data = nullptr;
  int64_t rows = 0, stride = 0, vocab = 0;
  const int32_t *tokens = nullptr; ///< [rows]; null: none is drawn
  std::span<const float> row(int64_t index) const { return {data + index * stride, static_cast<size_t>(vocab)}; }
};

class Engine {
public:
  /// Resolves kernels, weights and buffers, and allocates all memory a step will use. Nothing but the artifact's small
  /// members is read; weights and KV pages are touched when they are used.
  static Result<std::unique_ptr<Engine>> load(std::shared_ptr<const Artifact> artifact, const EngineOptions &options);
  ~Engine();

  const Plan &plan() const;
  const std::string &tier() const;
  int64_t threads() const;
  int64_t context() const;
  int64_t maxRows() const;
  int64_t maxLogitRows() const;
  /// Launches of a step, and bytes of weights that they read.
  int64_t launches() const;
  uint64_t weightBytes() const;
  /// Bytes of the KV pool.
  uint64_t kvBytes() const;
  /// Sequences are opened, forked and closed here.
  KvStore &kv();
  CpuPool &pool();

  /// Room for `count` more tokens, page copies done; false when pages are short.
  bool reserve(KvStore::Sequence sequence, int64_t count);
  /// Whether the device draws tokens (SequenceRows::draw) and feeds them to the next step.
  bool draws() const;
  /// Starts the model over a ragged batch and appends the tokens to the KV store. Room must have been reserved. A token
  /// id out of range or a sequence past the context is ExitCode::badInput, and nothing is changed then.
  /// Two steps may be started and not yet collected, where the tokens of the first are all drawn by the device. Then a
  /// sequence may give the second `drawnToken(r)`, one alone: the token drawn for logit row r of the first. It is
  /// appended to the KV store when it is known, when the first is collected; until then the sequence must not be
  /// touched.
  Result<void> start(std::span<const SequenceRows> batch);
  static int32_t drawnToken(int64_t logitRow) { return static_cast<int32_t>(-1 - logitRow); }
  /// What came of the oldest step that was started and not collected.
  Result<StepLogits> collect();
  /// Both.
  Result<StepLogits> step(std::span<const SequenceRows> batch);
  /// A step for those who want nothing of it, with no other under way: on a GPU it may return before the step has
  /// ended, and what goes wrong in it comes to light later, in `wait` at the latest.
  Result<void> advance(std::span<const SequenceRows> batch);
  /// Returns when all steps have ended.
  Result<void> wait();
  /// Bytes a second that the device's memory is read with, as measured now.
  Result<double> readBandwidth();

  /// A trace for the steps from now on, of plan().launches and threads(); owned by the caller until another is set.
  void setTrace(StepTrace *trace);

private:
  struct Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl;
};

} // namespace lathe

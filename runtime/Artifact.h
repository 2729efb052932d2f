//===- Artifact.h - the .lathe file ---------------------------------------===//
//
// A zip with stored (uncompressed), aligned members, so that `unzip -l` shows what
// is inside and the runtime maps it:
//
//   manifest.json        versions, model facts, weight directory, hash of every member
//   config.toml          the canonical model config
//   plan.json            the launch table (runtime/Plan.h)
//   tokenizer.json       absent when the model has none (runtime/Tokenizer.h)
//   kernels/<tier>.so    position-independent code without undefined symbols, aligned to 4096
//   stages/NN-name.mlir  the IR after every stage
//   weights.bin          packed weights, aligned to 4096, tensors aligned to 64, last member
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/SamplingDefaults.h"
#include "runtime/support/Error.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lathe {

inline constexpr int kArtifactVersion = 1;

/// One packed tensor inside weights.bin.
struct PackedWeight {
  std::string name;
  uint64_t offset = 0; ///< from the start of weights.bin, a multiple of 64
  uint64_t bytes = 0;
  std::string layout; ///< for people and checks, e.g. "i8 [18][144][32][4] group 64"
};

struct Manifest {
  int artifactVersion = kArtifactVersion;
  int abiVersion = 0;
  std::string compiler;           ///< "lathe 0.1.0"
  std::string model;              ///< name shown to people
  std::string source;             ///< base name of the input
  std::string target;             ///< "cpu"
  std::string quant;              ///< "f32", "int8"
  std::vector<std::string> tiers; ///< best first
  int64_t parameters = 0;
  int64_t context = 0;
  std::optional<int64_t> bosTokenId;
  std::vector<int64_t> eosTokenIds;
  SamplingDefaults sampling;
  std::vector<PackedWeight> weights;
};

struct Member {
  std::string name;
  uint64_t offset = 0, bytes = 0; ///< of the data, from the start of the file
  uint64_t hash = 0;              ///< XXH3-64 of the data
};

/// An artifact mapped read-only. Opening checks sizes, offsets and the hash of every
/// member but weights.bin; `verifyWeights` checks that one too.
class Artifact {
public:
  static Result<std::shared_ptr<const Artifact>> open(const std::string &path);
  ~Artifact();

  const Manifest &manifest() const;
  const std::vector<Member> &members() const;
  /// The bytes of a member, empty optional when there is none of that name. Valid while the artifact lives.
  std::optional<std::span<const std::byte>> member(std::string_view name) const;
  /// The bytes of a packed weight, or an error that names it.
  Result<std::span<const std::byte>> weight(std::string_view name) const;
  Result<void> verifyWeights() const;

private:
  struct Impl;
  explicit Artifact(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl;
};

/// Writes an artifact to a temporary file beside `path` and renames it when `finish`
/// succeeds; without `finish` (or after SIGKILL) nothing appears under the final name and an
/// old file stays intact. Deterministic: equal input gives equal bytes (no times in the zip).
class ArtifactWriter {
public:
  static Result<std::unique_ptr<ArtifactWriter>> create(const std::string &path);
  ~ArtifactWriter(); ///< removes the temporary file when not finished

  Result<void> add(std::string_view name, std::string_view data, uint64_t align = 64);

  /// weights.bin is streamed: every tensor is produced straight into a window of the file's
  /// mapping (or a bounded buffer), so that memory does not grow with the model.
  Result<void> beginWeights();
  /// `fill` writes exactly `bytes` bytes. The tensor's place goes into the manifest.
  Result<void> addWeight(std::string_view name, uint64_t bytes, std::string_view layout,
                         const std::function<Result<void>(std::span<std::byte>)> &fill);
  /// Adds manifest.json (with the weight directory and hashes filled in) and the zip directory,
  /// syncs, and renames.
  Result<void> finish(Manifest manifest);

private:
  struct Impl;
  explicit ArtifactWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl;
};

} // namespace lathe

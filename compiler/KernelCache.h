//===- KernelCache.h - compiled kernels, kept between runs -----------------===//
//
// One file an entry, named after a hash of all that the code depends on: text, headers, options, version of NVRTC,
// architecture. Files appear whole or not at all and say their own hash, so any number of processes may read, write and
// clean up at a time, and a damaged one is as good as none.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Nvrtc.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace lathe {

class KernelCache {
public:
  static constexpr int64_t kDefaultBytes = int64_t(512) << 20;

  /// $LATHE_CACHE/kernels, $XDG_CACHE_HOME/lathe/kernels or $HOME/.cache/lathe/kernels; "": none of these is set.
  static std::string defaultFolder();

  /// Makes the folder, readable for its owner alone, where it is not there. A folder that cannot be used gives a cache
  /// that finds and keeps nothing, and says so in `warning()`.
  static KernelCache open(const std::string &folder, int64_t mostBytes = kDefaultBytes);

  /// 32 hexadecimal digits.
  static std::string key(const KernelSource &kernel, std::span<const KernelHeader> headers,
                         std::span<const std::string> options, std::string_view nvrtcVersion);

  /// Threads may call these at any time, with equal keys too. An entry that is found counts as used now.
  std::optional<DeviceCode> find(const std::string &key) const;
  /// What goes wrong (a full disk) becomes a warning, once.
  void store(const std::string &key, const DeviceCode &code);

  /// Removes the entries that were not used for longest until the others take at most `mostBytes`.
  void trim();

  /// One line for people, "" while all is well.
  const std::string &warning() const { return trouble; }
  const std::string &folder() const { return path; }

private:
  std::string path; ///< "": keeps nothing
  int64_t mostBytes = kDefaultBytes;
  std::string trouble;
};

} // namespace lathe

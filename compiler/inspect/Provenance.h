//===- Provenance.h - from an op back to the line of the config ------------===//
//
// ModelBuilder writes, and the passes carry, locations of the form
//
//   loc("gated"(fused<"hidden_act">["config.json":9:17]))
//
// a word of the model around the key of the config that decided the op, at its place in the file that was compiled.
// What is made of several ops has the locations of all of them inside ("gate_up" of "gate" and "up").
//
//===----------------------------------------------------------------------===//
#pragma once

#include "mlir/IR/Location.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lathe {

/// A key that decided an op. `file` is a base name; line and column count from 1 and are 0 where the source has none.
struct ConfigPlace {
  std::string key;
  std::string file;
  int64_t line = 0, column = 0;

  bool operator==(const ConfigPlace &) const = default;
  /// "config.json:9:17", or the file alone.
  std::string text() const;
};

/// A line of the canonical config that an artifact holds (config.toml).
struct ConfigLine {
  std::string key;   ///< with the table: "rope_parameters.rope_theta"
  std::string value; ///< as TOML
  int64_t line = 0;  ///< from 1
};

/// The keys that decided what stands at `location`, each once, in order.
std::vector<ConfigPlace> placesOf(mlir::Location location);

/// The model's words in a location, outermost first: "gate_up_parts", "gate", "up".
std::vector<std::string> wordsOf(mlir::Location location);

/// The keys and values of a canonical config, in order.
std::vector<ConfigLine> readConfigLines(std::string_view toml);

/// `hidden_act = "silu" at config.toml:9, from config.json:9:17`; of a key that the canonical config leaves out, the
/// key and where it came from.
std::string describe(const ConfigPlace &place, const std::vector<ConfigLine> &config);

} // namespace lathe

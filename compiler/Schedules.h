//===- Schedules.h - which schedule a kernel gets -------------------------===//
//
// A table of schedules is a TOML file: configs/targets/cpu.toml and cuda.toml, which are built in, say what their keys
// mean. A user's table lies over them. The passes look a kernel up; nothing here is needed at run time.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/support/Error.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lathe {

/// What a kernel is looked up by.
struct ScheduleKey {
  std::string tier;  ///< "avx512vnni"; "cuda"
  std::string kind;  ///< "linear", "gemm" (a linear of many rows, on a GPU), "attention", "embed"
  std::string quant; ///< linear, gemm: how the weight is stored, "f32", "bf16", "int8", …; else ""
  int64_t group = 0; ///< linear, gemm: weights that share a scale; 0: floats have none
  int64_t n = 0;     ///< linear, gemm: output features
  int64_t k = 0;     ///< linear, gemm: input features

  bool operator==(const ScheduleKey &) const = default;
  /// "avx512vnni linear int8", of a shape also ", group 32, n 1536, k 576".
  std::string text() const;
};

struct ScheduleEntry {
  ScheduleKey key;       ///< a default has no group, n and k
  int64_t rows = 1;      ///< of the register tile
  int64_t columns = 0;   ///< of the register tile
  int64_t unitBlock = 0; ///< 0: none was given (attention)
  int64_t amxRows = 0;   ///< products of at least so many rows are made in AMX tiles; 0: none
  std::string library;   ///< linear: "onednn" makes the products of calls of `libraryRows` rows or more; "": none
  int64_t libraryRows = 0;
  int64_t leastRows = 0; ///< gemm: for steps of so many rows and more
  int64_t depth = 0;     ///< gemm: columns of k that a block has of its rows at a time
  std::string origin;    ///< "cpu.toml:18": base name of the table and the entry's line

  bool measured() const { return key.n != 0; }
  /// "6 x 32 of 48", with a library also ", onednn from 16 rows".
  std::string tile() const;
};

class ScheduleTable {
public:
  /// configs/targets/*.toml as they were when the compiler was built.
  static const ScheduleTable &builtIn();
  /// A table whose entries are looked at before the built-in ones. `file` names it in errors.
  static Result<ScheduleTable> parse(std::string_view toml, const std::string &file);
  static Result<ScheduleTable> read(const std::string &file);

  /// The largest unit_block that a table may give a linear of `k` input features (but one of `rows` is always allowed).
  static int64_t mostUnitBlock(int64_t k);

  /// The entry for exactly this shape, else the default, whatever features the tier has; of the user's table, else of
  /// the built-in one. Null: none.
  const ScheduleEntry *find(const ScheduleKey &key) const;
  /// Tiers of CPUs that the built-in table names, in its order: best first.
  std::vector<std::string> tiers() const;
  const std::vector<std::vector<ScheduleEntry>> &layers() const { return tables; }

private:
  std::vector<std::vector<ScheduleEntry>> tables; ///< the first that has an answer gives it
};

/// Whether a library reads weights that are stored so as they are packed.
bool libraryReads(std::string_view quant);

/// An entry as TOML; each line of `comment` stands behind a '#' before it.
std::string printSchedule(const ScheduleEntry &entry, std::string_view comment);

} // namespace lathe

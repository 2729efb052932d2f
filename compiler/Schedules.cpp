#include "compiler/Schedules.h"

#include "compiler/ConfigDiagnostics.h"
#include "compiler/SchedulesBuiltIn.h"
#include "compiler/TomlFile.h"
#include "runtime/TierName.h"
#include "runtime/support/MappedFile.h"

#include <algorithm>
#include <array>
#include <optional>
#include <tuple>

namespace lathe {
namespace {

constexpr size_t kMaxBytes = size_t{1} << 20, kMaxEntries = 4096;
constexpr int64_t kMaxGemmRows = 256, kMaxGemmColumns = 256;
constexpr int64_t kMaxFeatures = int64_t{1} << 31, kMaxRows = 64, kMaxUnitBlock = 4096, kMaxAmxRows = 16;
/// Bytes that the rows of a call may take in a worker's scratch memory.
constexpr int64_t kMaxScratch = int64_t{64} << 20;

constexpr std::array<std::string_view, 6> kQuants{"f32", "bf16", "f16", "int8", "int6", "int4"};
constexpr std::array<std::string_view, 1> kLibraries{"onednn"};
/// Weights that a library multiplies: as f32, or as bytes.
constexpr std::array<std::string_view, 4> kLibraryQuants{"f32", "bf16", "f16", "int8"};

/// An integer key: which kinds of kernel have it, what it may be, and where it goes.
struct Field {
  std::string_view name;
  std::string_view kinds; ///< first letters
  int64_t least, most, multiple;
  int64_t &(*at)(ScheduleEntry &);
};
constexpr Field kFields[] = {
    {"group", "lg", 4, 1024, 4, [](ScheduleEntry &e) -> int64_t & { return e.key.group; }},
    {"n", "lg", 1, kMaxFeatures, 1, [](ScheduleEntry &e) -> int64_t & { return e.key.n; }},
    {"k", "lg", 1, kMaxFeatures, 1, [](ScheduleEntry &e) -> int64_t & { return e.key.k; }},
    {"rows", "la", 1, kMaxRows, 1, [](ScheduleEntry &e) -> int64_t & { return e.rows; }},
    {"columns", "lae", 16, 32, 16, [](ScheduleEntry &e) -> int64_t & { return e.columns; }},
    {"least_rows", "g", 2, kMaxUnitBlock, 1, [](ScheduleEntry &e) -> int64_t & { return e.leastRows; }},
    {"rows", "g", 8, kMaxGemmRows, 8, [](ScheduleEntry &e) -> int64_t & { return e.rows; }},
    {"columns", "g", 32, kMaxGemmColumns, 32, [](ScheduleEntry &e) -> int64_t & { return e.columns; }},
    {"depth", "g", 64, 1024, 64, [](ScheduleEntry &e) -> int64_t & { return e.depth; }},
    {"amx_rows", "l", 1, kMaxAmxRows, 1, [](ScheduleEntry &e) -> int64_t & { return e.amxRows; }},
    {"unit_block", "le", 1, kMaxUnitBlock, 1, [](ScheduleEntry &e) -> int64_t & { return e.unitBlock; }},
    {"library_rows", "l", 2, kMaxUnitBlock, 1, [](ScheduleEntry &e) -> int64_t & { return e.libraryRows; }},
};
constexpr std::array<std::string_view, 4> kKinds{"linear", "gemm", "attention", "embed"};
/// Weights that tensor cores multiply.
constexpr std::array<std::string_view, 2> kGemmQuants{"bf16", "int8"};
/// Bytes of shared memory for a block's sums and two stages of its rows (gemmSharedBytes of the kern dialect).
constexpr int64_t kGemmShared = int64_t{90} << 10;

/// Keys that an entry must have: all of its kind but those that make it a measured one, are one tier's, or are about a
/// library.
bool optionalKey(std::string_view name) {
  return name == "group" || name == "n" || name == "k" || name == "amx_rows" || name == "library_rows";
}

class Reader {
public:
  Reader(const std::string &file, const ScheduleTable *base) : file(file), base(base) {}

  Result<std::vector<ScheduleEntry>> read(std::string_view text) {
    auto parsed = parseToml(text, file, kMaxBytes);
    if (!parsed)
      return propagate(parsed);
    for (const auto &[key, node] : *parsed)
      if (key.str() != "schedule" && key.str() != "device") // devices of the built-in table: compiler/CudaFacts.cpp
        wrong(key.source().begin, fmt::format("unknown key '{}'; a table of schedules has [[schedule]] entries only",
                                              printable(key.str().substr(0, 80))));
    const toml::node *list = parsed->get("schedule");
    if (list && !list->is_array())
      wrong(list->source().begin, fmt::format("schedule: expected [[schedule]] entries, found {}", describe(*list)));
    if (list && list->is_array() && list->as_array()->size() > kMaxEntries)
      return fail(ExitCode::badInput, "{}: expected at most {} entries, found {}", file, kMaxEntries,
                  list->as_array()->size());
    if (list && list->is_array())
      for (const toml::node &node : *list->as_array()) {
        if (const toml::table *table = node.as_table())
          entry(*table);
        else
          wrong(node.source().begin, fmt::format("schedule: expected a table, found {}", describe(node)));
      }
    if (problem)
      return std::unexpected(Error{ExitCode::badInput, std::move(*problem)});
    return std::move(entries);
  }

private:
  using Place = toml::source_position;

  /// Keeps the problem nearest to the top of the file; a missing key only when nothing that is written is wrong, since
  /// a misspelt key is also a missing one.
  void wrong(Place place, const std::string &message, bool missing = false) {
    std::tuple order{missing, place.line, place.column};
    if (problem && worst <= order)
      return;
    worst = order;
    problem = fmt::format("{}:{}:{}: {}", file, place.line, place.column, message);
  }

  std::string name(const toml::table &table, std::string_view key, std::span<const std::string_view> allowed) {
    const toml::node *node = table.get(key);
    if (!node) {
      wrong(table.source().begin, fmt::format("missing key '{}': expected one of {}", key, listed(allowed)), true);
      return "";
    }
    auto found = node->value_exact<std::string>();
    if (!found) {
      wrong(node->source().begin,
            fmt::format("{}: expected one of {}, found {}", key, listed(allowed), describe(*node)));
      return "";
    }
    if (std::find(allowed.begin(), allowed.end(), *found) == allowed.end())
      wrong(node->source().begin,
            fmt::format("{}: unknown value {}{}", key, inQuotes(*found), suggestion(*found, allowed)));
    return *found;
  }

  void integer(const toml::table &table, const Field &field, ScheduleEntry &entry) {
    const toml::node *node = table.get(field.name);
    std::string what = fmt::format("{} from {} to {}",
                                   field.multiple == 1 ? "an integer" : fmt::format("a multiple of {}", field.multiple),
                                   field.least, field.most);
    if (!node) {
      if (!optionalKey(field.name))
        wrong(table.source().begin, fmt::format("missing key '{}': expected {}", field.name, what), true);
      return;
    }
    auto found = node->value_exact<int64_t>();
    if (!found || *found < field.least || *found > field.most || *found % field.multiple != 0)
      return wrong(node->source().begin, fmt::format("{}: expected {}, found {}", field.name, what, describe(*node)));
    field.at(entry) = *found;
  }

  void entry(const toml::table &table) {
    ScheduleEntry entry;
    Place place = table.source().begin;
    std::vector<std::string> tiers = base ? base->tiers() : std::vector<std::string>();
    if (base)
      tiers.push_back("cuda");
    std::vector<std::string_view> tierNames(tiers.begin(), tiers.end());
    if (!base) // the built-in table is what makes a tier known
      if (auto tier = table["tier"].value<std::string_view>())
        tierNames.push_back(*tier);
    entry.key.tier = name(table, "tier", tierNames);
    entry.key.kind = name(table, "kind", kKinds);
    if (std::find(kKinds.begin(), kKinds.end(), entry.key.kind) == kKinds.end())
      return;
    std::vector<std::string_view> known{"tier", "kind"};
    if (entry.key.kind == "linear") {
      known.push_back("quant");
      entry.key.quant = name(table, "quant", kQuants);
      known.push_back("library");
      if (table.contains("library"))
        entry.library = name(table, "library", kLibraries);
    } else if (entry.key.kind == "gemm") {
      known.push_back("quant");
      entry.key.quant = name(table, "quant", kGemmQuants);
    }
    for (const Field &field : kFields)
      if (field.kinds.find(entry.key.kind.front()) != std::string_view::npos) {
        known.push_back(field.name);
        integer(table, field, entry);
      }
    for (const auto &[key, node] : table)
      if (std::find(known.begin(), known.end(), key.str()) == known.end())
        wrong(key.source().begin, fmt::format("unknown key '{}' of kind {}{}", printable(key.str().substr(0, 80)),
                                              inQuotes(entry.key.kind), suggestion(key.str(), known)));
    if (!problem)
      check(table, entry, place);
    entry.origin = fmt::format("{}:{}", baseName(file), place.line);
    entries.push_back(std::move(entry));
  }

  /// What several keys say together.
  void check(const toml::table &table, const ScheduleEntry &entry, Place place) {
    const ScheduleKey &key = entry.key;
    bool grouped = key.quant.starts_with("int");
    if ((key.n != 0) != (key.k != 0) || (key.group != 0) != (grouped && key.n != 0))
      return wrong(place, fmt::format("expected {} together for a measured schedule, or none of them for a default",
                                      grouped     ? "group, n and k"
                                      : key.group ? fmt::format("n and k ({} has no group)", key.quant)
                                                  : "n and k"));
    if (key.kind == "gemm" && key.tier != "cuda")
      return wrong(table.get("tier")->source().begin,
                   fmt::format("tier: expected cuda for kind gemm, found {}", inQuotes(key.tier)));
    if (entry.rows * (4 * entry.columns + 4 * entry.depth) > kGemmShared && key.kind == "gemm")
      return wrong(table.get("rows")->source().begin,
                   fmt::format("rows: {} rows by {} columns and two stages of {} columns take more than {} bytes of "
                               "shared memory",
                               entry.rows, entry.columns, entry.depth, kGemmShared));
    if (entry.unitBlock % entry.rows != 0)
      return wrong(table.get("unit_block")->source().begin,
                   fmt::format("unit_block: expected a multiple of rows = {}, found {}", entry.rows, entry.unitBlock));
    if (entry.amxRows && (key.tier != "amx" || key.quant == "f32"))
      return wrong(table.get("amx_rows")->source().begin,
                   fmt::format("amx_rows: expected tier amx and weights of codes, found {}", key.text()));
    if (entry.amxRows && entry.rows > kMaxAmxRows)
      return wrong(table.get("rows")->source().begin,
                   fmt::format("rows: expected at most {} with amx_rows, found {}", kMaxAmxRows, entry.rows));
    if (entry.amxRows && !entry.library.empty())
      return wrong(table.get("library")->source().begin, "library: expected no amx_rows beside it");
    if (entry.library.empty() != (entry.libraryRows == 0))
      return wrong(place, "expected library and library_rows together, or neither");
    if (entry.libraryRows > entry.unitBlock && key.kind == "linear")
      return wrong(
          table.get("library_rows")->source().begin,
          fmt::format("library_rows: expected at most unit_block = {}, found {}", entry.unitBlock, entry.libraryRows));
    if (!entry.library.empty() && !libraryReads(key.quant))
      return wrong(table.get("library")->source().begin,
                   fmt::format("library: {} multiplies weights of {} only, found quant {}", entry.library,
                               listed(kLibraryQuants), inQuotes(key.quant)));
    if (key.k && entry.unitBlock > ScheduleTable::mostUnitBlock(key.k) && entry.unitBlock > entry.rows)
      return wrong(
          table.get("unit_block")->source().begin,
          fmt::format("unit_block: {} rows of {} features take more than {} bytes of a worker's scratch memory",
                      entry.unitBlock, key.k, kMaxScratch));
    for (const ScheduleEntry &other : entries)
      if (other.key == key)
        return wrong(place, fmt::format("{} has an entry already, at {}", key.text(), other.origin));
  }

  const std::string &file;
  const ScheduleTable *base;
  std::vector<ScheduleEntry> entries;
  std::optional<std::string> problem;
  std::tuple<bool, toml::source_index, toml::source_index> worst; ///< where `problem` is
};

} // namespace

std::string ScheduleKey::text() const {
  std::string result = fmt::format("{} {}{}{}", tier, kind, quant.empty() ? "" : " ", quant);
  if (group)
    result += fmt::format(", group {}", group);
  if (n)
    result += fmt::format(", n {}, k {}", n, k);
  return result;
}

std::string ScheduleEntry::tile() const {
  if (leastRows)
    return fmt::format("{} x {} by {}, from {} rows", rows, columns, depth, leastRows);
  std::string result = fmt::format("{} x {} of {}", rows, columns, unitBlock);
  if (amxRows)
    result += fmt::format(", AMX from {} rows", amxRows);
  if (!library.empty())
    result += fmt::format(", {} from {} rows", library, libraryRows);
  return result;
}

const ScheduleTable &ScheduleTable::builtIn() {
  static const ScheduleTable table = [] {
    ScheduleTable result;
    // A mistake in one leaves it out, which a test and every compilation would say.
    for (auto [file, text] : {std::pair<std::string, std::string_view>("cuda.toml", cudaSchedules),
                              std::pair<std::string, std::string_view>("cpu.toml", cpuSchedules)})
      if (auto entries = Reader(file, nullptr).read(text))
        result.tables.push_back(std::move(*entries));
    return result;
  }();
  return table;
}

Result<ScheduleTable> ScheduleTable::parse(std::string_view toml, const std::string &file) {
  ScheduleTable result = builtIn();
  auto entries = Reader(file, &builtIn()).read(toml);
  if (!entries)
    return propagate(entries);
  result.tables.insert(result.tables.begin(), std::move(*entries));
  return result;
}

Result<ScheduleTable> ScheduleTable::read(const std::string &file) {
  auto mapped = MappedFile::open(file);
  if (!mapped)
    return propagate(mapped);
  return parse((*mapped)->text(), file);
}

const ScheduleEntry *ScheduleTable::find(const ScheduleKey &key) const {
  ScheduleKey exact = key, general{.kind = key.kind, .quant = key.quant};
  exact.tier = general.tier = baseOfTier(key.tier);
  for (const std::vector<ScheduleEntry> &table : tables)
    for (const ScheduleKey *wanted : {&exact, &general})
      for (const ScheduleEntry &entry : table)
        if (entry.key == *wanted)
          return &entry;
  return nullptr;
}

int64_t ScheduleTable::mostUnitBlock(int64_t k) { return std::min(kMaxUnitBlock, kMaxScratch / 4 / k); }

std::vector<std::string> ScheduleTable::tiers() const {
  std::vector<std::string> names;
  if (!tables.empty())
    for (const ScheduleEntry &entry : tables.back())
      if (std::find(names.begin(), names.end(), entry.key.tier) == names.end())
        names.push_back(entry.key.tier);
  return names;
}

bool libraryReads(std::string_view quant) { return std::ranges::find(kLibraryQuants, quant) != kLibraryQuants.end(); }

std::string printSchedule(const ScheduleEntry &entry, std::string_view comment) {
  std::string text;
  while (!comment.empty()) {
    size_t end = std::min(comment.find('\n'), comment.size());
    text += fmt::format("# {}\n", comment.substr(0, end));
    comment.remove_prefix(std::min(end + 1, comment.size()));
  }
  text += fmt::format("[[schedule]]\ntier = \"{}\"\nkind = \"{}\"\n", entry.key.tier, entry.key.kind);
  if (!entry.key.quant.empty())
    text += fmt::format("quant = \"{}\"\n", entry.key.quant);
  if (!entry.library.empty())
    text += fmt::format("library = \"{}\"\n", entry.library);
  ScheduleEntry values = entry;
  for (const Field &field : kFields)
    if (field.kinds.find(entry.key.kind.front()) != std::string_view::npos && field.at(values) != 0)
      text += fmt::format("{} = {}\n", field.name, field.at(values));
  return text;
}

} // namespace lathe

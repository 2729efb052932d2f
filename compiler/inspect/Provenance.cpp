//===- Provenance.cpp - from an op back to the line of the config -------------===//
#include "compiler/inspect/Provenance.h"

#include "mlir/IR/BuiltinAttributes.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

#include <fmt/format.h>

using namespace mlir;

namespace lathe {

std::string ConfigPlace::text() const { return line ? fmt::format("{}:{}:{}", file, line, column) : file; }

std::vector<ConfigPlace> placesOf(Location location) {
  std::vector<ConfigPlace> places;
  location->walk([&](Location inner) {
    auto fused = dyn_cast<FusedLoc>(inner);
    auto key = fused ? dyn_cast_or_null<StringAttr>(fused.getMetadata()) : StringAttr();
    if (!key)
      return WalkResult::advance();
    ConfigPlace place{.key = key.str()};
    if (auto file = fused.findInstanceOf<FileLineColLoc>())
      place.file = file.getFilename().str(), place.line = file.getLine(), place.column = file.getColumn();
    if (!llvm::is_contained(places, place))
      places.push_back(std::move(place));
    return WalkResult::skip();
  });
  return places;
}

std::vector<std::string> wordsOf(Location location) {
  std::vector<std::string> words;
  location->walk([&](Location inner) {
    if (auto named = dyn_cast<NameLoc>(inner))
      if (std::string word = named.getName().str(); !llvm::is_contained(words, word))
        words.push_back(std::move(word));
    return WalkResult::advance();
  });
  return words;
}

std::vector<ConfigLine> readConfigLines(std::string_view toml) {
  std::vector<ConfigLine> lines;
  std::string table;
  int64_t number = 0;
  for (llvm::StringRef line : llvm::split(llvm::StringRef(toml.data(), toml.size()), '\n')) {
    ++number;
    line = line.trim();
    if (line.consume_front("[") && line.consume_back("]")) {
      table = line.str() + ".";
      continue;
    }
    auto [key, value] = line.split('=');
    if (!value.empty() && !key.starts_with("#"))
      lines.push_back({.key = table + key.trim().str(), .value = value.trim().str(), .line = number});
  }
  return lines;
}

std::string describe(const ConfigPlace &place, const std::vector<ConfigLine> &config) {
  std::string from = place.file.empty() ? "" : "from " + place.text();
  auto line = llvm::find_if(config, [&](const ConfigLine &entry) { return entry.key == place.key; });
  if (line == config.end())
    return place.key + (from.empty() ? "" : ", " + from);
  return fmt::format("{} = {} at config.toml:{}{}", line->key, line->value, line->line,
                     from.empty() ? "" : ", " + from);
}

} // namespace lathe

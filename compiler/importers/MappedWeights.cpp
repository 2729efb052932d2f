#include "compiler/importers/MappedWeights.h"

#include "compiler/importers/Dequantize.h"

#include <algorithm>

namespace lathe {

bool MappedWeights::add(Entry entry) {
  std::string name = entry.tensor.name;
  return entries.emplace(std::move(name), std::move(entry)).second;
}

const MappedWeights::Entry *MappedWeights::entry(const std::string &name) const {
  auto found = entries.find(name);
  return found == entries.end() ? nullptr : &found->second;
}

const SourceTensor *MappedWeights::find(const std::string &name) const {
  const Entry *found = entry(name);
  return found ? &found->tensor : nullptr;
}

std::vector<SourceTensor> MappedWeights::list() const {
  std::vector<SourceTensor> result;
  for (const auto &[name, entry] : entries)
    result.push_back(entry.tensor);
  std::sort(result.begin(), result.end(), [](const auto &a, const auto &b) { return a.name < b.name; });
  return result;
}

Result<void> MappedWeights::read(const std::string &name, int64_t row, int64_t rows, std::span<float> out) const {
  const Entry *found = entry(name);
  if (!found)
    return fail(ExitCode::badInput, "{}: there is no tensor '{}'", place, name);
  return readRows(found->tensor, found->data, found->file->path(), row, rows, out);
}

Result<void> MappedWeights::readBlocks(const std::string &name, int64_t row, int64_t rows, const BlockRows &out) const {
  const Entry *found = entry(name);
  if (!found)
    return fail(ExitCode::badInput, "{}: there is no tensor '{}'", place, name);
  return readBlockRows(found->tensor, found->data, found->file->path(), row, rows, out);
}

std::string MappedWeights::origin(const std::string &name) const {
  const Entry *found = entry(name);
  return found ? found->file->path() : place;
}

} // namespace lathe

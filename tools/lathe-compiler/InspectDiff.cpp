//===- InspectDiff.cpp - lathe inspect A diff B, and --html -------------------===//
#include "compiler/inspect/Difference.h"
#include "compiler/inspect/html/Page.h"
#include "runtime/support/AtomicFile.h"
#include "tools/lathe-compiler/Inspect.h"

#include <map>

namespace lathe {
namespace {

void printDifference(const Difference &difference, bool full) {
  std::string section;
  for (const Change &change : difference.changes) {
    if (change.section != section)
      fmt::print("{}\n", change.section);
    section = change.section;
    if (change.before.empty() || change.after.empty())
      fmt::print("  {} {}: {}\n", change.before.empty() ? "+" : "-", change.name,
                 change.before.empty() ? change.after : change.before);
    else
      fmt::print("  {}: {} -> {}\n", change.name, change.before, change.after);
  }
  std::map<std::string, std::string> changed;
  for (const TextChange &text : difference.texts)
    changed[text.kernel] += (changed[text.kernel].empty() ? "" : ", ") + text.text;
  if (!changed.empty())
    fmt::print("text of kernels\n");
  for (const auto &[kernel, texts] : changed)
    fmt::print("  {}: {}\n", kernel, texts);
  for (const TextChange &text : difference.texts)
    if (full)
      fmt::print("\n--- {0}, {1}\n+++ {0}, {1}\n{2}", text.kernel, text.text, text.diff);
}

} // namespace

Result<void> inspectDiff(Inspection &inspection, const InspectOptions &options) {
  if (options.name.empty())
    return fail(ExitCode::usage, "diff: the other artifact is missing: lathe inspect {} diff OTHER.lathe",
                options.artifact);
  auto other = Inspection::open(options.name);
  if (!other)
    return propagate(other);
  auto difference = compare(inspection, **other);
  if (!difference)
    return propagate(difference);
  if (options.json) {
    nlohmann::json changes = nlohmann::json::array(), texts = nlohmann::json::array();
    auto side = [](const std::string &text) { return text.empty() ? nlohmann::json() : nlohmann::json(text); };
    for (const Change &change : difference->changes)
      changes.push_back({{"section", change.section},
                         {"name", change.name},
                         {"before", side(change.before)},
                         {"after", side(change.after)}});
    for (const TextChange &text : difference->texts) {
      texts.push_back({{"kernel", text.kernel}, {"text", text.text}});
      if (options.full)
        texts.back()["diff"] = text.diff;
    }
    printTable({{"equal", difference->equal()}, {"changes", changes}, {"texts", texts}});
  } else {
    printDifference(*difference, options.full);
  }
  if (difference->equal())
    return {};
  return fail(ExitCode::checkFailed, "{} and {} differ: {} facts, {} texts of kernels{}", options.artifact,
              options.name, difference->changes.size(), difference->texts.size(),
              options.full || difference->texts.empty() ? "" : "; --full shows the texts");
}

Result<void> inspectHtml(Inspection &inspection, const InspectOptions &options) {
  auto tier = inspection.tier(options.tier);
  if (!tier)
    return propagate(tier);
  auto page = writePage(inspection, *tier);
  if (!page)
    return propagate(page);
  auto file = AtomicFile::create(options.html);
  if (!file)
    return propagate(file);
  auto written = (*file)->write(*page);
  if (written)
    written = (*file)->commit();
  if (!written)
    return written;
  fmt::print(stderr, "{}: {}\n", options.html, sizeText(page->size()));
  return {};
}

} // namespace lathe

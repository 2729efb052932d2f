//===- Parts.h - the sections of the page ---------------------------------===//
#pragma once

#include "compiler/inspect/Inspection.h"

#include <string>
#include <string_view>
#include <vector>

namespace lathe::html {

/// page.css and page.js, embedded by Embed.cmake.
extern const std::string_view css, js;

/// What the sections share.
struct Subject {
  Inspection &inspection;
  ShownTier tier;
  std::vector<KernelFacts> facts; ///< of each kernel of the plan
  Explanation explanation;

  const KernelExplanation *explained(const std::string &kernel) const;
};

/// Text as HTML, in quotes too. Bytes that no XML may hold, and that are no UTF-8, become U+FFFD.
std::string escape(std::string_view text);
/// A link to a place of the page.
std::string link(const std::string &anchor, std::string_view text);
/// A row of a table; cells are HTML. Those that begin with '#' are numbers. A row of a decoder layer is hidden while
/// the page shows another one; -1: of none.
std::string row(const std::vector<std::string> &cells, std::string_view anchor = "", int64_t layer = -1);
std::string head(const std::vector<std::string> &cells);
/// Where the ops of a list come from, each key with a link to its line of the config.
std::string places(const Subject &subject, const std::vector<ConfigPlace> &places);

std::string modelSection(const Subject &subject);
Result<std::string> stagesSection(const Subject &subject);
Result<std::string> kernelsSection(const Subject &subject);
std::string launchesSection(const Subject &subject);
std::string memorySection(const Subject &subject);
std::string explainSection(const Subject &subject);

} // namespace lathe::html

//===- Page.cpp - an artifact as one self-contained HTML page -----------------===//
#include "compiler/inspect/html/Page.h"

#include "compiler/inspect/html/Parts.h"

#include "llvm/Support/ConvertUTF.h"

namespace lathe {
namespace html {

/// The length of the UTF-8 sequence at `at`, 0 where there is none.
static size_t sequenceAt(std::string_view text, size_t at) {
  auto *bytes = reinterpret_cast<const llvm::UTF8 *>(text.data()) + at;
  size_t length = llvm::getNumBytesForUTF8(*bytes);
  return at + length <= text.size() && llvm::isLegalUTF8Sequence(bytes, bytes + length) ? length : 0;
}

std::string escape(std::string_view text) {
  std::string safe;
  safe.reserve(text.size() + text.size() / 8);
  for (size_t at = 0; at < text.size();) {
    size_t length = sequenceAt(text, at);
    unsigned char c = text[at];
    if (length == 0 || (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f)
      safe += "\xef\xbf\xbd";
    else if (c == '<')
      safe += "&lt;";
    else if (c == '>')
      safe += "&gt;";
    else if (c == '&')
      safe += "&amp;";
    else if (c == '"')
      safe += "&quot;";
    else if (c == '\'')
      safe += "&#39;";
    else
      safe += text.substr(at, length);
    at += std::max<size_t>(1, length);
  }
  return safe;
}

std::string link(const std::string &anchor, std::string_view text) {
  return fmt::format("<a href=\"#{}\">{}</a>", escape(anchor), escape(text));
}

static std::string cells(const std::vector<std::string> &cells, std::string_view tag) {
  std::string html;
  for (const std::string &cell : cells)
    html += cell.starts_with('#') ? fmt::format("<{0} class=\"n\">{1}</{0}>", tag, cell.substr(1))
                                  : fmt::format("<{0}>{1}</{0}>", tag, cell);
  return html;
}

std::string row(const std::vector<std::string> &all, std::string_view anchor, int64_t layer) {
  std::string attributes = anchor.empty() ? "" : fmt::format(" id=\"{}\"", escape(anchor));
  if (layer >= 0)
    attributes += fmt::format(" data-layer=\"{}\"", layer);
  return fmt::format("<tr{}>{}</tr>\n", attributes, cells(all, "td"));
}

std::string head(const std::vector<std::string> &all) { return fmt::format("<tr>{}</tr>\n", cells(all, "th")); }

const KernelExplanation *Subject::explained(const std::string &kernel) const {
  for (const KernelExplanation &entry : explanation.kernels)
    if (entry.name == kernel)
      return &entry;
  return nullptr;
}

std::string places(const Subject &subject, const std::vector<ConfigPlace> &places) {
  std::string html;
  for (const ConfigPlace &place : places) {
    std::string text = escape(describe(place, subject.inspection.config()));
    for (const ConfigLine &line : subject.inspection.config())
      if (line.key == place.key)
        text = fmt::format("<a href=\"#config-{}\">{}</a>", line.line, text);
    html += (html.empty() ? "" : "; ") + text;
  }
  return html;
}

std::string modelSection(const Subject &subject) {
  const Inspection &inspection = subject.inspection;
  const Manifest &m = inspection.artifact().manifest();
  const Plan &plan = inspection.plan();
  std::string html = "<section id=\"model\"><h2>" + escape(m.model) + "</h2>\n<div class=\"wide\"><table>\n";
  auto fact = [&](const char *name, const std::string &value) { html += row({name, escape(value)}); };
  fact("made from", m.source + ", by " + m.compiler);
  fact("target", fmt::format("{}, weights {}; code for {}", m.target, m.quant, fmt::join(m.tiers, ", ")));
  fact("shown here", subject.tier.name + (subject.tier.why.empty() ? "" : ": " + subject.tier.why));
  fact("parameters", fmt::format("{}", m.parameters));
  fact("weights", fmt::format("{} in {} tensors", sizeText(inspection.weightBytes()), m.weights.size()));
  fact("step", fmt::format("{} launches of {} kernels", plan.launches.size(), plan.kernels.size()));
  fact("context",
       fmt::format("{} positions; keys and values in {}, pages of {}", plan.context, plan.kvElement, plan.pageTokens));
  html += "</table></div>\n<h3>config.toml</h3>\n<pre>";
  int64_t number = 0;
  std::string_view config = inspection.text("config.toml");
  while (!config.empty()) {
    size_t end = std::min(config.find('\n'), config.size());
    html += fmt::format("<span id=\"config-{}\">{}</span>\n", ++number, escape(config.substr(0, end)));
    config.remove_prefix(std::min(end + 1, config.size()));
  }
  html += "</pre>\n<details><summary>members of the artifact</summary><div class=\"wide\"><table>\n" +
          head({"member", "#bytes"});
  for (const Member &member : inspection.artifact().members())
    html += row({escape(member.name), fmt::format("#{}", member.bytes)});
  return html + "</table></div></details></section>\n";
}

} // namespace html

Result<std::string> writePage(Inspection &inspection, const ShownTier &tier) {
  html::Subject subject{.inspection = inspection, .tier = tier, .facts = {}, .explanation = {}};
  for (const Kernel &kernel : inspection.plan().kernels) {
    auto facts = inspection.facts(kernel, tier.name);
    if (!facts)
      return propagate(facts);
    subject.facts.push_back(std::move(*facts));
  }
  auto explanation = inspection.explanation();
  if (!explanation)
    return propagate(explanation);
  subject.explanation = std::move(*explanation);
  auto stages = html::stagesSection(subject);
  auto kernels = html::kernelsSection(subject);
  if (!stages || !kernels)
    return stages ? propagate(kernels) : propagate(stages);
  std::string name = html::escape(inspection.artifact().manifest().model);
  std::string page = fmt::format("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
                                 "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                                 "<title>{}: inside the artifact</title>\n<style>\n{}</style></head>\n<body>\n"
                                 "<nav><b>{}</b>",
                                 name, html::css, name);
  for (const char *section : {"model", "stages", "kernels", "launches", "memory", "explain"})
    page += html::link(section, section);
  page += "<label class=\"layers\">layer <select><option value=\"\">all</option>";
  for (int64_t layer = 0; layer < inspection.plan().layers; ++layer)
    page += fmt::format("<option>{}</option>", layer);
  page += "</select></label></nav>\n<main>\n" + html::modelSection(subject) + *stages + *kernels +
          html::launchesSection(subject) + html::memorySection(subject) + html::explainSection(subject);
  page += fmt::format("</main>\n<script>\n{}</script>\n</body></html>\n", html::js);
  return page;
}

} // namespace lathe

//===- Kernels.cpp - the kernels, and what was fused into them ----------------===//
#include "compiler/inspect/html/Parts.h"

namespace lathe::html {
namespace {

/// Text as lines; those with a margin mark are of the inner loop.
std::string lines(std::string_view text, bool marked) {
  std::string html;
  while (!text.empty()) {
    size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    html += (marked && line.starts_with('|') ? "<span class=\"k\">" : "<span>") + escape(line) + "</span>\n";
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return html;
}

std::string folded(std::string_view title, const std::string &text, bool marked = false) {
  return fmt::format("<details><summary>{}</summary><pre>{}</pre></details>\n", escape(title), lines(text, marked));
}

std::string factsTable(const KernelFacts &facts) {
  const Kernel &k = *facts.kernel;
  std::string html = "<div class=\"wide\"><table>\n";
  auto fact = [&](const char *name, const std::string &value) { html += row({name, escape(value)}); };
  fact("launches", fmt::format("{} a step, by {}; {} tiles", facts.launches, unitName(k.unit), k.tiles));
  fact("weights", fmt::format("{} bytes, {} a tile", facts.weightBytes(), k.bytesPerTile));
  std::string traffic = fmt::format("reads {} bytes, writes {}", facts.readBytes, facts.writtenBytes);
  if (facts.appendedBytes)
    traffic += fmt::format(", and {} of keys and values", facts.appendedBytes);
  if (facts.positionBytes)
    traffic += fmt::format("; of each position {} of keys and values", facts.positionBytes);
  fact("a row", traffic);
  fact("flops", fmt::format("{} a {}, {} of them a tile", k.flopsPerUnit, k.unit == Unit::items ? "position" : "row",
                            facts.flopsPerTile()));
  if (facts.inStages) {
    fact("schedule", facts.schedule.tile());
    fact("because of", facts.why);
  }
  return html + "</table></div>\n";
}

std::string partsTable(const Subject &subject, const KernelFacts &facts) {
  std::string html = "<div class=\"wide\"><table>\n" + head({"role", "op", "name", "put there by", "decided by"});
  const KernelExplanation *explained = subject.explained(facts.kernel->symbol);
  for (size_t i = 0; i < facts.parts.size(); ++i) {
    const FusedPart &part = facts.parts[i];
    // The explanation is of stage 00: an edited stage 10 may have other ops.
    bool same = explained && i < explained->parts.size() && explained->parts[i].op == part.op;
    html += row({escape(part.role), escape(part.op), escape(part.word),
                 same ? escape(explained->parts[i].pass) : std::string(), places(subject, part.places)});
  }
  return html + "</table></div>\n";
}

std::string refusalsTable(const std::vector<Refusal> &refusals) {
  std::string html = "<div class=\"wide\"><table>\n" + head({"#times", "pass", "op", "why not"});
  for (const Refusal &refusal : refusals)
    html +=
        row({fmt::format("#{}", refusal.count), escape(refusal.pass), escape(refusal.word), escape(refusal.reason)});
  return html + "</table></div>\n";
}

} // namespace

Result<std::string> kernelsSection(const Subject &subject) {
  std::string html = "<section id=\"kernels\"><h2>Kernels</h2>\n";
  for (const KernelFacts &facts : subject.facts) {
    const std::string &name = facts.kernel->symbol;
    html += fmt::format(
        "<details id=\"kernel-{0}\"><summary><code>{0}</code> <span class=\"soft\">{1}; {2} times a step, {3} "
        "of weights each</span></summary>\n",
        escape(name), escape(facts.kernel->provenance), facts.launches, sizeText(facts.weightBytes()));
    html += factsTable(facts) + partsTable(subject, facts);
    for (auto [number, scope] : {std::pair{"10", std::string()}, std::pair{"20", subject.tier.name}}) {
      if (!facts.inStages)
        break;
      auto module = subject.inspection.stage(number);
      if (!module)
        return propagate(module);
      auto text = printFunction(*module, name, scope);
      if (!text)
        return propagate(text);
      html += folded(fmt::format("stage {}", number), *text);
    }
    auto code = subject.inspection.code(*facts.kernel, subject.tier.name);
    if (!code)
      return propagate(code);
    for (const std::string &note : code->notes)
      html += "<p class=\"soft\">" + escape(note) + "</p>\n";
    html += folded(code->member, code->text, !subject.inspection.forCuda()) + "</details>\n";
  }
  return html + "</section>\n";
}

std::string explainSection(const Subject &subject) {
  std::string html =
      "<section id=\"explain\"><h2>Why not fewer kernels</h2>\n<p>What the passes refused, by the kernel that "
      "the op is in; equal remarks of several layers are counted.</p>\n";
  for (const KernelExplanation &kernel : subject.explanation.kernels)
    if (!kernel.refusals.empty()) {
      bool compiled = subject.inspection.kernel(kernel.name).has_value();
      html += "<h3>" + (compiled ? link("kernel-" + kernel.name, kernel.name) : escape(kernel.name)) + "</h3>\n" +
              refusalsTable(kernel.refusals);
    }
  if (!subject.explanation.others.empty())
    html += "<h3>in no kernel</h3>\n" + refusalsTable(subject.explanation.others);
  html += "<h3>passes</h3>\n<ul>\n";
  for (const std::string &pass : subject.explanation.passes)
    html += "<li>" + escape(pass) + "</li>\n";
  return html + "</ul></section>\n";
}

} // namespace lathe::html

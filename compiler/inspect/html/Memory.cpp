//===- Memory.cpp - launches of a step, and memory over them ------------------===//
#include "compiler/Weights.h"
#include "compiler/inspect/html/Parts.h"

#include <algorithm>

namespace lathe::html {
namespace {

/// Bytes that a launch moves for one row, without the positions that attention reads.
int64_t bytesOf(const KernelFacts &facts) {
  return facts.weightBytes() + facts.readBytes + facts.writtenBytes + facts.appendedBytes;
}

/// The decoder layer whose keys, values or weights a buffer holds, -1: no layer's own.
int64_t layerOfBuffer(const Buffer &buffer) { return buffer.layer >= 0 ? buffer.layer : layerOf(buffer.tensor); }

/// The decoder layer that a launch computes, -1: it is the step's.
int64_t layerOfLaunch(const Plan &plan, const Launch &launch) {
  int64_t layer = -1;
  for (int64_t argument : launch.args)
    layer = std::max(layer, layerOfBuffer(plan.buffers[argument]));
  return layer;
}

/// Links to what a launch takes; the weights, with their long names, folded.
std::string argumentLinks(const Plan &plan, const Launch &launch) {
  std::string html, weights;
  int64_t count = 0;
  for (int64_t argument : launch.args) {
    bool weight = plan.buffers[argument].kind == Buffer::Kind::weight;
    std::string &list = weight ? weights : html;
    list += (list.empty() ? "" : ", ") + link(fmt::format("buffer-{}", argument), plan.buffers[argument].name);
    count += weight;
  }
  if (count)
    html += fmt::format("<details><summary>weights: {}</summary>{}</details>", count, weights);
  return html;
}

std::string bytesOfBuffer(const Plan &plan, const Buffer &buffer, const Manifest &manifest) {
  switch (buffer.kind) {
  case Buffer::Kind::activation:
    return fmt::format("slot {}", buffer.slot);
  case Buffer::Kind::weight:
    for (const PackedWeight &weight : manifest.weights)
      if (weight.name == buffer.tensor)
        return fmt::format("{} bytes, {}", weight.bytes, weight.layout);
    return "";
  case Buffer::Kind::key:
    return fmt::format("{} bytes a page", plan.keyPageBytes());
  case Buffer::Kind::value:
    return fmt::format("{} bytes a page", plan.valuePageBytes());
  case Buffer::Kind::logits:
    return fmt::format("{} bytes a logit row", plan.logitStride * 4);
  case Buffer::Kind::tokens:
    return "4 bytes a logit row";
  }
  return "";
}

const char *kindName(Buffer::Kind kind) {
  switch (kind) {
  case Buffer::Kind::activation:
    return "activation";
  case Buffer::Kind::weight:
    return "weight";
  case Buffer::Kind::key:
    return "keys";
  case Buffer::Kind::value:
    return "values";
  case Buffer::Kind::logits:
    return "logits";
  case Buffer::Kind::tokens:
    return "tokens";
  }
  return "";
}

/// A lane a slot, as high as its bytes a unit; a rectangle a buffer, from its first launch to its last.
std::string drawing(const Plan &plan, const std::vector<Lifetime> &lives) {
  constexpr int64_t left = 150, height = 360, least = 18;
  int64_t launches = plan.launches.size(), step = std::clamp<int64_t>(1000 / std::max<int64_t>(launches, 1), 14, 60);
  int64_t total = 0;
  for (const Slot &slot : plan.slots)
    total += slot.bytesPerUnit;
  std::string lanes;
  int64_t top = 24;
  for (size_t s = 0; s < plan.slots.size(); ++s) {
    const Slot &slot = plan.slots[s];
    int64_t tall = std::max(least, slot.bytesPerUnit * height / std::max<int64_t>(total, 1));
    lanes +=
        fmt::format("<text x=\"6\" y=\"{}\">slot {}<title>{} bytes a unit of {}</title></text><text class=\"soft\" "
                    "x=\"50\" y=\"{}\">{} a {}</text>\n",
                    top + 13, s, slot.bytesPerUnit, unitName(slot.unit), top + 13, sizeText(slot.bytesPerUnit),
                    slot.unit == Unit::rows        ? "row"
                    : slot.unit == Unit::logitRows ? "logit row"
                    : slot.unit == Unit::partials  ? "partial"
                                                   : "item");
    int64_t shade = 0;
    for (size_t b = 0; b < plan.buffers.size(); ++b) {
      if (plan.buffers[b].slot != static_cast<int64_t>(s) || lives[b].first < 0)
        continue;
      int64_t x = left + lives[b].first * step, wide = (lives[b].last - lives[b].first + 1) * step;
      std::string name = escape(plan.buffers[b].name);
      lanes += fmt::format("<a href=\"#buffer-{}\"><rect class=\"v v{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\">"
                           "<title>{}: launches {} to {}</title></rect>",
                           b, shade++ % 4, x, top, wide, tall, name, lives[b].first, lives[b].last);
      if (wide > static_cast<int64_t>(plan.buffers[b].name.size()) * 7)
        lanes += fmt::format("<text x=\"{}\" y=\"{}\" pointer-events=\"none\">{}</text>", x + 3, top + 13, name);
      lanes += "</a>\n";
    }
    top += tall + 4;
  }
  int64_t width = left + launches * step + 10;
  std::string axis;
  for (int64_t l = 0; l < launches; l += std::max<int64_t>(1, 50 / step))
    axis += fmt::format("<text class=\"soft\" x=\"{}\" y=\"14\">{}</text><line class=\"grid\" x1=\"{}\" y1=\"18\" "
                        "x2=\"{}\" y2=\"{}\"/>\n",
                        left + l * step + 2, l, left + l * step, left + l * step, top);
  return fmt::format("<div class=\"wide\"><svg width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" role=\"img\" "
                     "aria-label=\"slots over launches\">\n<text class=\"soft\" x=\"6\" y=\"14\">launch</text>\n{2}{3}"
                     "</svg></div>\n",
                     width, top + 6, axis, lanes);
}

} // namespace

std::string launchesSection(const Subject &subject) {
  const Plan &plan = subject.inspection.plan();
  double total = 0;
  for (const Launch &launch : plan.launches)
    total += bytesOf(subject.facts[launch.kernel]);
  std::string html = fmt::format(
      "<section id=\"launches\"><h2>Launches of a step</h2>\n<p>One row moves {}, and attention {} more for "
      "each position that it looks back at.</p>\n<div class=\"wide\"><table>\n",
      sizeText(total), [&] {
        int64_t bytes = 0;
        for (const KernelFacts &facts : subject.facts)
          bytes += facts.launches * facts.positionBytes;
        return sizeText(bytes);
      }());
  html += head({"#", "layer", "kernel", "#bytes", "#share", "", "arguments"});
  for (size_t l = 0; l < plan.launches.size(); ++l) {
    const KernelFacts &facts = subject.facts[plan.launches[l].kernel];
    double share = total ? bytesOf(facts) / total : 0;
    int64_t layer = layerOfLaunch(plan, plan.launches[l]);
    html += row({fmt::format("#{}", l), layer < 0 ? "step" : fmt::format("layer {}", layer),
                 link("kernel-" + facts.kernel->symbol, facts.kernel->symbol), fmt::format("#{}", bytesOf(facts)),
                 fmt::format("#{:.1f} %", 100 * share),
                 fmt::format("<span class=\"bar\" style=\"width:{:.1f}rem\"></span>", 24 * share),
                 argumentLinks(plan, plan.launches[l])},
                fmt::format("launch-{}", l), layer);
  }
  return html + "</table></div></section>\n";
}

std::string memorySection(const Subject &subject) {
  const Inspection &inspection = subject.inspection;
  const Plan &plan = inspection.plan();
  std::vector<Lifetime> lives = inspection.lifetimes();
  std::string html = fmt::format(
      "<section id=\"memory\"><h2>Memory over time</h2>\n<p>The pool of activations: launches from left to right, a "
      "lane a "
      "slot, as high as its bytes. Beside it: {} of weights, mapped from the file; {} of keys and values a page of {} "
      "positions; {} a logit row.</p>\n",
      sizeText(inspection.weightBytes()), sizeText(plan.layers * plan.pageBytes()), plan.pageTokens,
      sizeText(plan.logitStride * 4));
  html += drawing(plan, lives);
  html += "<details><summary>buffers</summary><div class=\"wide\"><table>\n" +
          head({"buffer", "kind", "memory", "#first launch", "#last"});
  for (size_t b = 0; b < plan.buffers.size(); ++b) {
    auto at = [&](int64_t launch) {
      return launch < 0 ? "#" : "#" + link(fmt::format("launch-{}", launch), std::to_string(launch));
    };
    html += row({escape(plan.buffers[b].name), kindName(plan.buffers[b].kind),
                 escape(bytesOfBuffer(plan, plan.buffers[b], inspection.artifact().manifest())), at(lives[b].first),
                 at(lives[b].last)},
                fmt::format("buffer-{}", b), layerOfBuffer(plan.buffers[b]));
  }
  return html + "</table></div></details></section>\n";
}

} // namespace lathe::html

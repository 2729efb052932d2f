//===- Packing.cpp - weights in the order the kernels read them --------------===//
#include "compiler/Packing.h"

#include "compiler/CodedRows.h"
#include "compiler/Half.h"
#include "compiler/Parallel.h"
#include "compiler/Quantizer.h"
#include "dialects/lm/LmDialect.h"

#include <algorithm>
#include <cmath>

using namespace mlir;

namespace lathe {

using namespace kern;

namespace {

MemRefType typeOf(WeightOp op) { return cast<MemRefType>(op.getResult().getType()); }

std::vector<std::string> sourcesOf(WeightOp op) {
  std::vector<std::string> names;
  for (Attribute name : op.getSources())
    names.push_back(cast<StringAttr>(name).getValue().str());
  return names;
}

/// Rows of output features.
struct FeatureMap {
  std::vector<std::string> names; ///< empty for a source of zeros
  std::vector<int64_t> rows;      ///< of each source
  PackAttr pack;

  /// The source and row that a packed row comes from; source -1 is padding.
  std::pair<int64_t, int64_t> at(int64_t packed) const {
    constexpr std::pair<int64_t, int64_t> padding{-1, 0};
    switch (pack.getOrder()) {
    case Order::flat:
      for (size_t s = 0; s < rows.size(); packed -= rows[s++])
        if (packed < rows[s])
          return {s, packed};
      return padding;
    case Order::heads: {
      int64_t head = packed / roundUp(pack.getDim(), panelWidth), within = packed % roundUp(pack.getDim(), panelWidth);
      if (within >= pack.getDim())
        return padding;
      int64_t row = head * pack.getDim() + within;
      for (size_t s = 0; s < rows.size(); row -= rows[s++])
        if (row < rows[s])
          return {s, row};
      return padding;
    }
    case Order::interleaved: {
      int64_t count = rows.size(), block = packed / pack.getDim();
      int64_t source = block % count, row = block / count * pack.getDim() + packed % pack.getDim();
      return row < rows[source] ? std::pair{source, row} : padding;
    }
    }
    return padding;
  }

  /// Calls `read(name, row, count, lane)` for each run of neighbouring rows of a panel.
  template <typename Read> Result<void> forRuns(int64_t panel, Read read) const {
    for (int64_t lane = 0; lane < panelWidth;) {
      auto [from, row] = at(panel * panelWidth + lane);
      int64_t run = 1;
      while (lane + run < panelWidth && from >= 0 && at(panel * panelWidth + lane + run) == std::pair{from, row + run})
        ++run;
      if (from >= 0 && !names[from].empty())
        if (auto done = read(names[from], row, run, lane); !done)
          return done;
      lane += run;
    }
    return {};
  }
};

Result<FeatureMap> featuresOf(WeightOp op, const WeightSource &source) {
  FeatureMap map{.names = sourcesOf(op), .rows = {}, .pack = op.getPackAttr()};
  for (std::string &name : map.names) {
    if (llvm::StringRef rest(name); rest.consume_front("zeros ")) {
      int64_t rows = 0;
      if (rest.getAsInteger(10, rows) || rows < 1)
        return fail(ExitCode::badInput, "weight source '{}': expected 'zeros' and a number of rows", name);
      map.rows.push_back(rows);
      name.clear();
      continue;
    }
    const SourceTensor *tensor = source.find(name);
    if (!tensor)
      return fail(ExitCode::badInput, "weight '{}' is missing from the model's files", name);
    map.rows.push_back(tensor->shape.front());
  }
  return map;
}

/// Where element (lane, i) of 32 rows [32][k] stands among them when they are packed.
struct PanelOrder {
  bool device;
  int64_t span, blocks; ///< elements of k side by side, and how many such

  explicit PanelOrder(MemRefType type)
      : device(isDeviceValues(type)), span(device ? type.getDimSize(3) : valuesSpan(type.getElementType())),
        blocks(type.getDimSize(1)) {}

  int64_t at(int64_t lane, int64_t i) const {
    if (!device)
      return (i / span * panelWidth + lane) * span + i % span;
    int64_t panel = lane / devicePanel, column = lane % devicePanel;
    return ((panel * blocks + i / span) * devicePanel + column) * span + i % span;
  }
  int64_t size() const { return blocks * span * panelWidth; }
};

/// Writes rows [32][k] in their packed order; false when a value is not finite there.
template <typename T, typename Round>
bool storeValues(std::span<const float> rows, int64_t k, const PanelOrder &order, std::byte *to, Round round) {
  T *panel = reinterpret_cast<T *>(to);
  bool finite = true;
  std::fill_n(panel, order.size(), T(0));
  for (int64_t lane = 0; lane < panelWidth; ++lane)
    for (int64_t i = 0; i < k; ++i) {
      auto [bits, value] = round(rows[lane * k + i]);
      panel[order.at(lane, i)] = bits;
      finite &= std::isfinite(value);
    }
  return finite;
}

/// Floats: the panels of 32 rows [begin, end), of which a GPU's layout makes four each.
Result<void> packFloats(WeightOp op, const WeightSource &source, const FeatureMap &map, std::span<std::byte> out,
                        int64_t begin, int64_t end) {
  int64_t k = op.getK();
  Type element = typeOf(op).getElementType();
  PanelOrder order(typeOf(op));
  int64_t panelBytes = order.size() * (element.getIntOrFloatBitWidth() / 8);
  std::vector<float> rows(panelWidth * k);
  for (int64_t panel = begin; panel < end; ++panel) {
    std::fill(rows.begin(), rows.end(), 0.0f);
    auto read = map.forRuns(panel, [&](const std::string &name, int64_t row, int64_t count, int64_t lane) {
      return source.read(name, row, count, std::span(rows).subspan(lane * k, count * k));
    });
    if (!read)
      return read;
    std::byte *to = out.data() + panel * panelBytes;
    bool held = true;
    if (element.isF32())
      storeValues<float>(rows, k, order, to, [](float x) { return std::pair(x, x); });
    else if (element.isBF16())
      held = storeValues<uint16_t>(rows, k, order, to, [](float x) {
        uint16_t bits = floatToBf16(x);
        return std::pair(bits, bf16ToFloat(bits));
      });
    else
      held = storeValues<uint16_t>(rows, k, order, to, [](float x) {
        uint16_t bits = floatToHalf(x);
        return std::pair(bits, halfToFloat(bits));
      });
    if (!held)
      return fail(ExitCode::badInput, "weight '{}' has a value that is not finite in {}", packedName(op),
                  element.isBF16() ? "bf16" : "f16");
  }
  return {};
}

/// The panels of 32 rows [begin, end) of every part of a coded matrix.
Result<void> packCodes(CodingAttr coding, int64_t k, bool device, const WeightSource &source, const FeatureMap &map,
                       const std::map<std::string, std::vector<float>> &importance, const PackedParts &parts,
                       int64_t begin, int64_t end) {
  CodedRows rows(coding, k, device);
  for (int64_t panel = begin; panel < end; ++panel) {
    rows.clear();
    auto read = map.forRuns(panel, [&](const std::string &name, int64_t row, int64_t count, int64_t lane) {
      return rows.read(source, name, row, count, lane, importance.at(name));
    });
    if (!read)
      return read;
    rows.store(parts, panel);
  }
  return {};
}

/// Panels are shared out; all parts of a panel are made at once.
Result<void> byPanels(int64_t panels, llvm::function_ref<Result<void>(int64_t, int64_t)> share) {
  int64_t workers = std::clamp<int64_t>(processorCount(), 1, ceilDiv(panels, 16));
  return inParallel(workers, [&](int64_t w) { return share(panels * w / workers, panels * (w + 1) / workers); });
}

/// A norm's gain, or a bias in the order of its linear's packed features; padding is zero.
Result<void> packVector(WeightOp op, const WeightSource &source, std::span<std::byte> out) {
  std::span<float> to(reinterpret_cast<float *>(out.data()), typeOf(op).getDimSize(0));
  std::fill(to.begin(), to.end(), 0.0f);
  auto map = featuresOf(op, source);
  if (!map)
    return propagate(map);
  std::vector<std::vector<float>> values;
  for (size_t s = 0; s < map->names.size(); ++s) {
    values.emplace_back(map->rows[s]);
    if (!map->names[s].empty())
      if (auto read = source.read(map->names[s], 0, 1, values.back()); !read)
        return read;
  }
  for (int64_t i = 0; i < static_cast<int64_t>(to.size()); ++i) {
    auto [from, row] = map->pack ? map->at(i) : std::pair<int64_t, int64_t>{i < map->rows[0] ? 0 : -1, i};
    if (from >= 0)
      to[i] = values[from][row];
  }
  return {};
}

/// cos and sin of angles, [2][positions][pairs padded]; see ropeSpan. The padding is zero, so padded lanes come out
/// zero.
void packRope(WeightOp op, std::span<std::byte> out) {
  auto shape = typeOf(op).getShape();
  int64_t positions = shape[1], padded = shape[2];
  auto frequencies = lm::ropeFrequencies(cast<lm::RopeAttr>(*op.getRope()), op.getK());
  bool low = op.getPart() == Part::rope_low;
  float *to = reinterpret_cast<float *>(out.data());
  std::fill_n(to, 2 * positions * padded, 0.0f);
  for (int64_t p = 0; p < positions; ++p)
    for (size_t j = 0; j < frequencies.inverse.size(); ++j) {
      double angle = (low ? p : p * ropeSpan) * frequencies.inverse[j],
             factor = low ? frequencies.attentionFactor : 1.0;
      to[p * padded + j] = static_cast<float>(std::cos(angle) * factor);
      to[(positions + p) * padded + j] = static_cast<float>(std::sin(angle) * factor);
    }
}

} // namespace

std::string packedName(WeightOp op) { return packedName(op, op.getPart()); }

std::string packedName(WeightOp op, Part wanted) {
  std::string part = stringifyPart(wanted).str();
  if (op.getRope()) {
    // Tables of different embeddings are told apart by their parameters.
    std::string text;
    llvm::raw_string_ostream(text) << *op.getRope();
    return "rope." + std::to_string(op.getK()) + text + "." + part;
  }
  std::string name;
  for (const std::string &source : sourcesOf(op))
    name += (name.empty() ? "" : "+") + source;
  if (op.getPackAttr() && op.getPackAttr().getOrder() != Order::flat)
    name += "." + stringifyOrder(op.getPackAttr().getOrder()).str() + std::to_string(op.getPackAttr().getDim());
  return name + "." + part;
}

std::string packedLayout(WeightOp op) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  stream << typeOf(op).getElementType() << " ";
  for (int64_t size : typeOf(op).getShape())
    stream << "[" << size << "]";
  if (CodingAttr coding = op.getCodingAttr())
    stream << " group " << coding.getGroup();
  return text;
}

int64_t packedBytes(WeightOp op) { return typeOf(op).getNumElements() * typeOf(op).getElementTypeBitWidth() / 8; }

Result<void> Packer::pack(WeightOp op, std::span<std::byte> out) {
  Part part = op.getPart();
  if (part == Part::vector)
    return packVector(op, source, out);
  if (part == Part::rope_low || part == Part::rope_high) {
    packRope(op, out);
    return {};
  }
  int64_t panels = typeOf(op).getDimSize(0), k = op.getK();
  bool device = isDeviceValues(typeOf(op)) || isDeviceScales(typeOf(op));
  if (device)
    panels /= panelWidth / devicePanel;
  if (part != Part::values) {
    // The matrix is read once: what is not asked for yet waits, all parts but the codes being small.
    std::string key = packedName(op);
    if (auto ready = waiting.find(key); ready != waiting.end()) {
      std::ranges::copy(ready->second, out.begin());
      waiting.erase(ready);
      return {};
    }
  }
  auto map = featuresOf(op, source);
  if (!map)
    return propagate(map);
  if (part == Part::values)
    return byPanels(panels, [&](int64_t begin, int64_t end) { return packFloats(op, source, *map, out, begin, end); });
  CodingAttr coding = *op.getCoding();
  std::map<std::string, std::vector<float>> importance;
  for (const std::string &name : map->names) {
    auto known = coding.getMethod().getValue() == "search" ? inputImportance(config, source, name)
                                                           : Result<std::vector<float>>(std::vector<float>());
    if (!known)
      return propagate(known);
    importance[name] = std::move(*known);
  }
  waiting.clear();
  PackedParts parts;
  for (Part other : coding.parts()) {
    if (other == part) {
      parts[other] = out;
      continue;
    }
    MemRefType type =
        device ? deviceTypeOf(coding, other, panels * (panelWidth / devicePanel), k) : coding.typeOf(other, panels, k);
    std::vector<std::byte> &bytes = waiting[packedName(op, other)];
    bytes.resize(type.getNumElements() * type.getElementTypeBitWidth() / 8);
    parts[other] = bytes;
  }
  return byPanels(panels, [&](int64_t begin, int64_t end) {
    return packCodes(coding, k, device, source, *map, importance, parts, begin, end);
  });
}

} // namespace lathe

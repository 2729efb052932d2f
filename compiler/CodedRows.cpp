#include "compiler/CodedRows.h"

#include "compiler/Half.h"
#include "compiler/Quantizer.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace lathe {

using namespace kern;

namespace {

/// The smallest bf16 that is not below a non-negative float.
uint16_t ceilBf16(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0xffff) >> 16);
}

/// The bits of a float that the type holds exactly.
uint32_t bitsOf(float value, mlir::Type type) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  if (type.isF32())
    return bits;
  if (type.isBF16())
    return bits >> 16;
  return floatToHalf(value);
}

} // namespace

CodedRows::CodedRows(CodingAttr coding, int64_t k, bool device)
    : coding(coding), k(k), paddedK(roundUp(k, 16)), device(device), groups(ceilDiv(k, coding.getGroup())),
      spans(coding.getSuper() ? ceilDiv(k, coding.getSuper()) : groups) {
  codes.resize(panelWidth * paddedK);
  scales.resize(panelWidth * spans);
  if (coding.getMinimum())
    minima.resize(panelWidth * spans);
  if (coding.getSuper())
    subScales.resize(panelWidth * groups);
  if (coding.getSuper() && coding.getMinimum())
    subMinima.resize(panelWidth * groups);
}

void CodedRows::clear() {
  std::ranges::fill(codes, static_cast<uint8_t>(coding.getBias()));
  std::ranges::fill(scales, 0.0f);
  std::ranges::fill(minima, 0.0f);
  std::ranges::fill(subScales, 0);
  std::ranges::fill(subMinima, 0);
}

Result<void> CodedRows::read(const WeightSource &source, const std::string &name, int64_t row, int64_t count,
                             int64_t lane, std::span<const float> importance) {
  llvm::StringRef method = coding.getMethod().getValue();
  if (method == "kept")
    return keep(source, name, row, count, lane);
  if (method == "search")
    return search(source, name, row, count, lane, importance);
  if (method == "absmax" && coding.getBits() == 8 && coding.getScale().isBF16() && coding.getBias() == 128)
    return quantize(source, name, row, count, lane);
  return fail(ExitCode::badInput, "weight '{}': no way to make a coding of method '{}', {} bits, bias {}", name,
              method.str(), int64_t(coding.getBits()), int64_t(coding.getBias()));
}

Result<void> CodedRows::search(const WeightSource &source, const std::string &name, int64_t row, int64_t count,
                               int64_t lane, std::span<const float> importance) {
  BlockFormat format = int4Format(coding.getGroup(), coding.getMinimum());
  if (coding.getBits() != format.bits || coding.getBias() != format.bias || coding.getSuper() ||
      !coding.getScale().isF16())
    return fail(ExitCode::badInput, "weight '{}': expected 4 bits with f16 scales for method 'search'", name);
  std::vector<float> rows(count * k);
  if (auto read = source.read(name, row, count, rows); !read)
    return read;
  std::vector<uint8_t> made(count * k);
  std::vector<uint16_t> halves(count * spans), lows(coding.getMinimum() ? count * spans : 0);
  if (auto done =
          quantizeRows(name, row, rows, k, format, importance, {.codes = made, .scales = halves, .minima = lows});
      !done)
    return done;
  take(made, halves, lows, count, lane);
  return {};
}

void CodedRows::take(std::span<const uint8_t> read, std::span<const uint16_t> halves, std::span<const uint16_t> lows,
                     int64_t count, int64_t lane) {
  for (int64_t r = 0; r < count; ++r)
    std::copy_n(&read[r * k], k, &codes[(lane + r) * paddedK]);
  for (int64_t i = 0; i < count * spans; ++i) {
    scales[lane * spans + i] = halfToFloat(halves[i]);
    if (coding.getMinimum())
      minima[lane * spans + i] = halfToFloat(lows[i]);
  }
}

Result<void> CodedRows::quantize(const WeightSource &source, const std::string &name, int64_t row, int64_t count,
                                 int64_t lane) {
  std::vector<float> rows(count * k);
  if (auto read = source.read(name, row, count, rows); !read)
    return read;
  int64_t group = coding.getGroup();
  for (int64_t r = 0; r < count; ++r)
    for (int64_t g = 0; g < groups; ++g) {
      const float *x = &rows[r * k + g * group];
      int64_t length = std::min(group, k - g * group);
      float absmax = 0;
      for (int64_t i = 0; i < length; ++i)
        absmax = std::max(absmax, std::fabs(x[i]));
      if (!std::isfinite(absmax))
        return fail(ExitCode::badInput, "weight '{}' has a value that is not finite", name);
      // Rounded up, so that no code leaves [-127, 127].
      float step = bf16ToFloat(ceilBf16(absmax / 127.0f));
      scales[(lane + r) * spans + g] = step;
      uint8_t *to = &codes[(lane + r) * paddedK + g * group];
      for (int64_t i = 0; i < length; ++i) {
        float code = step > 0 ? std::clamp(std::nearbyint(x[i] / step), -127.0f, 127.0f) : 0.0f;
        to[i] = static_cast<uint8_t>(static_cast<int>(code) + 128);
      }
    }
  return {};
}

Result<void> CodedRows::keep(const WeightSource &source, const std::string &name, int64_t row, int64_t count,
                             int64_t lane) {
  const SourceTensor *tensor = source.find(name);
  auto format = tensor ? blockFormat(tensor->element) : std::nullopt;
  if (!format)
    return fail(ExitCode::badInput, "weight '{}': expected a tensor stored in blocks, found {}", name,
                tensor ? tensor->element : "none");
  int64_t bits = format->bits == 5 ? 6 : format->bits;
  if (bits != static_cast<int64_t>(coding.getBits()) || format->group != static_cast<int64_t>(coding.getGroup()) ||
      format->super != static_cast<int64_t>(coding.getSuper()) || format->minimum != coding.getMinimum() ||
      format->bias != static_cast<int>(coding.getBias()) || !coding.getScale().isF16())
    return widen(source, name, *format, row, count, lane);
  std::vector<uint8_t> read(count * k);
  std::vector<uint16_t> halves(count * spans), lows(coding.getMinimum() ? count * spans : 0);
  BlockRows blocks{.codes = read, .scales = halves, .minima = lows};
  if (coding.getSuper())
    blocks.subScales = std::span(subScales).subspan(lane * groups, count * groups);
  if (!subMinima.empty())
    blocks.subMinima = std::span(subMinima).subspan(lane * groups, count * groups);
  if (auto done = source.readBlocks(name, row, count, blocks); !done)
    return done;
  take(read, halves, lows, count, lane);
  return {};
}

Result<void> CodedRows::widen(const WeightSource &source, const std::string &name, const BlockFormat &format,
                              int64_t row, int64_t count, int64_t lane) {
  int64_t group = coding.getGroup();
  if (coding.getBits() != 8 || coding.getSuper() || !coding.getScale().isF32() || format.group % group != 0 ||
      (format.minimum && !coding.getMinimum()))
    return fail(ExitCode::badInput, "weight '{}': its blocks do not fit the coding of stage 20", name);
  int64_t fromGroups = k / format.group, fromSpans = format.super ? k / format.super : fromGroups;
  std::vector<uint8_t> read(count * k);
  std::vector<uint16_t> halves(count * fromSpans), lows(format.minimum ? count * fromSpans : 0);
  std::vector<int8_t> subs(format.super ? count * fromGroups : 0), subLows(format.minimum ? subs.size() : 0);
  if (auto done = source.readBlocks(
          name, row, count, {.codes = read, .scales = halves, .minima = lows, .subScales = subs, .subMinima = subLows});
      !done)
    return done;
  for (int64_t r = 0; r < count; ++r) {
    for (int64_t i = 0; i < k; ++i)
      codes[(lane + r) * paddedK + i] = static_cast<uint8_t>(read[r * k + i] - format.bias + 128);
    for (int64_t g = 0; g < groups; ++g) {
      int64_t from = r * fromGroups + g * group / format.group;
      int64_t span = format.super ? r * fromSpans + g * group / format.super : from;
      float scale = halfToFloat(halves[span]);
      scales[(lane + r) * spans + g] = format.super ? scale * float(subs[from]) : scale;
      if (format.minimum) {
        float low = halfToFloat(lows[span]);
        minima[(lane + r) * spans + g] = format.super ? -(low * float(subLows[from])) : low;
      }
    }
  }
  return {};
}

void CodedRows::storeCodes(const PackedParts &parts, int64_t panel) const {
  auto base = [&](Part part) {
    auto type = coding.typeOf(part, 1, k);
    return reinterpret_cast<uint8_t *>(parts.at(part).data()) + panel * type.getNumElements();
  };
  uint8_t *to = base(Part::codes), *high = coding.getBits() == 6 ? base(Part::codes_high) : nullptr;
  for (int64_t lane = 0; lane < panelWidth; ++lane) {
    const uint8_t *row = &codes[lane * paddedK];
    // Behind the row's end stands anything: the activations are zero there.
    if (coding.getBits() == 8) {
      for (int64_t i = 0; i < roundUp(k, 4); ++i)
        to[(i / 4 * panelWidth + lane) * 4 + i % 4] = row[i];
      continue;
    }
    for (int64_t i = 0; i < (high ? paddedK : roundUp(k, 8)); i += 8)
      for (int64_t j = 0; j < 4; ++j)
        to[(i / 8 * panelWidth + lane) * 4 + j] = static_cast<uint8_t>((row[i + j] & 15) | (row[i + 4 + j] & 15) << 4);
    for (int64_t i = 0; high && i < paddedK; i += 16)
      for (int64_t j = 0; j < 4; ++j) {
        unsigned byte = 0;
        for (int64_t q = 0; q < 4; ++q)
          byte |= (row[i + 4 * q + j] >> 4 & 3u) << 2 * q;
        high[(i / 16 * panelWidth + lane) * 4 + j] = static_cast<uint8_t>(byte);
      }
  }
}

void CodedRows::storeForDevice(const PackedParts &parts, int64_t panel) const {
  constexpr int64_t perPanel = panelWidth / devicePanel;
  auto codeType = deviceTypeOf(coding, Part::codes, perPanel, k),
       scaleType = deviceTypeOf(coding, Part::scales, perPanel, k);
  int64_t rowCodes = codeType.getDimSize(1) * codeType.getDimSize(3), rowScales = scaleType.getDimSize(1);
  int64_t block = codeType.getDimSize(3), group = deviceGroup(coding), size = scaleType.getElementTypeBitWidth() / 8;
  std::byte *codeAt = parts.at(Part::codes).data() + panel * panelWidth * rowCodes,
            *scaleAt = parts.at(Part::scales).data() + panel * panelWidth * rowScales * size;
  for (int64_t lane = 0; lane < panelWidth; ++lane) {
    int64_t within = lane / devicePanel, column = lane % devicePanel;
    for (int64_t i = 0; i < rowCodes; ++i) { // behind k zeros, like the rows that they are multiplied by
      int64_t place = deviceCodePlace(i);
      int code = i < k ? codes[lane * paddedK + i] - static_cast<int>(coding.getBias()) : 0;
      codeAt[((within * rowCodes / block + place / block) * devicePanel + column) * block + place % block] =
          static_cast<std::byte>(code);
    }
    for (int64_t g = 0; g < rowScales; ++g) {
      int64_t from = g * group / coding.getGroup();
      uint32_t bits = from < spans ? bitsOf(scales[lane * spans + from], coding.getScale()) : 0;
      std::memcpy(scaleAt + ((within * rowScales + g) * devicePanel + column) * size, &bits, size); // little-endian
    }
  }
}

void CodedRows::store(const PackedParts &parts, int64_t panel) const {
  if (device)
    return storeForDevice(parts, panel);
  storeCodes(parts, panel);
  auto transposed = [&](Part part, auto &values, int64_t width, auto write) {
    auto type = coding.typeOf(part, 1, k);
    int64_t size = type.getElementTypeBitWidth() / 8;
    std::byte *to = parts.at(part).data() + panel * type.getNumElements() * size;
    for (int64_t lane = 0; lane < panelWidth; ++lane)
      for (int64_t i = 0; i < width; ++i) {
        auto bits = write(values[lane * width + i]);
        std::memcpy(to + (i * panelWidth + lane) * size, &bits, size); // little-endian, as the machine is
      }
  };
  auto real = [&](float value) { return bitsOf(value, coding.getScale()); };
  auto byte = [](int8_t value) { return value; };
  transposed(Part::scales, scales, spans, real);
  if (coding.getMinimum())
    transposed(Part::minima, minima, spans, real);
  if (!subScales.empty())
    transposed(Part::sub_scales, subScales, groups, byte);
  if (!subMinima.empty())
    transposed(Part::sub_minima, subMinima, groups, byte);
}

} // namespace lathe

// Quantised tensors in their own bits: codes, scales and minima recombined are read()'s floats.
#include "compiler/importers/Importers.h"
#include "test/front/Fixtures.h"

#include <algorithm>
#include <cmath>
#include <cstring>

using namespace lathe;
using namespace lathe::test;

namespace {

constexpr std::string_view kBlockElements[] = {"Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"};

/// The parts of some rows, with room for them.
struct Parts {
  std::vector<uint8_t> codes;
  std::vector<uint16_t> scales, minima;
  std::vector<int8_t> subScales, subMinima;

  Parts(const BlockFormat &format, int64_t rows, int64_t k) {
    int64_t scaled = format.super ? format.super : format.group;
    codes.resize(rows * k);
    scales.resize(rows * k / scaled);
    minima.resize(format.minimum ? rows * k / scaled : 0);
    subScales.resize(format.super ? rows * k / format.group : 0);
    subMinima.resize(format.minimum ? subScales.size() : 0);
  }
  BlockRows rows() { return {codes, scales, minima, subScales, subMinima}; }
};

float halfValue(uint16_t bits) {
  int exponent = bits >> 10 & 31, fraction = bits & 1023;
  double size = exponent ? std::ldexp(1024 + fraction, exponent - 25) : std::ldexp(fraction, -24);
  return static_cast<float>(bits >> 15 ? -size : size);
}

/// As BlockFormat says.
std::vector<float> recombined(const BlockFormat &format, const Parts &parts) {
  std::vector<float> values(parts.codes.size());
  for (size_t i = 0; i < values.size(); ++i) {
    size_t group = i / format.group, scaled = format.super ? i / format.super : group;
    float scale = halfValue(parts.scales[scaled]);
    if (format.super)
      scale *= static_cast<float>(parts.subScales[group]);
    volatile float product = scale * static_cast<float>(parts.codes[i] - format.bias); // one rounding each
    values[i] = product;
    if (!format.minimum)
      continue;
    volatile float minimum = halfValue(parts.minima[scaled]);
    if (format.super)
      minimum = -(minimum * static_cast<float>(parts.subMinima[group]));
    values[i] = product + minimum;
  }
  return values;
}

std::shared_ptr<const WeightSource> open(const std::string &path) {
  auto file = GgufFile::open(path);
  EXPECT_TRUE(file.has_value()) << file.error().message;
  return file ? openGgufWeights(*file) : nullptr;
}

void expectBlocksEqualFloats(const WeightSource &source, const std::string &name, int64_t row, int64_t rows) {
  const SourceTensor *tensor = source.find(name);
  ASSERT_NE(tensor, nullptr) << name;
  auto format = blockFormat(tensor->element);
  ASSERT_TRUE(format.has_value()) << name;
  int64_t k = tensor->shape.back();
  Parts parts(*format, rows, k);
  auto read = source.readBlocks(name, row, rows, parts.rows());
  ASSERT_OK(read);
  std::vector<float> expected(rows * k), found = recombined(*format, parts);
  ASSERT_TRUE(source.read(name, row, rows, expected).has_value());
  for (size_t i = 0; i < expected.size(); ++i)
    ASSERT_EQ(std::memcmp(&found[i], &expected[i], 4), 0)
        << name << " " << i << ": " << found[i] << " expected " << expected[i];
  EXPECT_LT(*std::max_element(parts.codes.begin(), parts.codes.end()), 1 << format->bits) << name;
}

} // namespace

TEST(Blocks, RecombinedAreTheFloatsThatGgufGives) {
  auto source = open(repositoryFile("test/data/front/elements.gguf"));
  ASSERT_NE(source, nullptr);
  for (std::string_view element : kBlockElements) {
    expectBlocksEqualFloats(*source, std::string(element), 0, 3);
    expectBlocksEqualFloats(*source, std::string(element), 1, 2);
  }
}

// The rows of q and k that a converter permuted stay where read() has them.
TEST(Blocks, RowsAreThoseOfRead) {
  auto model = importModel(repositoryFile("test/data/front/llama.gguf"), "");
  ASSERT_OK(model);
  for (const char *name : {"q_proj", "k_proj", "o_proj"})
    for (int64_t row = 0; row < 16; ++row)
      expectBlocksEqualFloats(*model->weights, fmt::format("model.layers.0.self_attn.{}.weight", name), row, 1);
}

TEST(Blocks, FormatsAreThoseOfGgml) {
  struct Case {
    std::string_view element;
    int bits;
    int64_t group, super;
    bool minimum;
    int bias;
  };
  for (const Case &one :
       {Case{"Q8_0", 8, 32, 0, false, 128}, Case{"Q4_0", 4, 32, 0, false, 8}, Case{"Q4_1", 4, 32, 0, true, 0},
        Case{"Q5_0", 5, 32, 0, false, 16}, Case{"Q5_1", 5, 32, 0, true, 0}, Case{"Q4_K", 4, 32, 256, true, 0},
        Case{"Q5_K", 5, 32, 256, true, 0}, Case{"Q6_K", 6, 16, 256, false, 32}}) {
    auto format = blockFormat(one.element);
    ASSERT_TRUE(format.has_value()) << one.element;
    EXPECT_EQ(std::tie(format->bits, format->group, format->super, format->minimum, format->bias),
              std::tie(one.bits, one.group, one.super, one.minimum, one.bias))
        << one.element;
  }
  for (const char *element : {"F32", "F16", "BF16", "Q3_K", "random", ""})
    EXPECT_EQ(blockFormat(element), std::nullopt) << element;
}

TEST(Blocks, ErrorsNameTheTensor) {
  std::string path = repositoryFile("test/data/front/elements.gguf");
  auto source = open(path);
  ASSERT_NE(source, nullptr);
  BlockFormat format = *blockFormat("Q4_K");
  Parts parts(format, 3, 512);
  auto error = [&](const std::string &name, int64_t row, int64_t rows, const BlockRows &out) {
    auto read = source->readBlocks(name, row, rows, out);
    EXPECT_FALSE(read.has_value());
    return read ? "" : replaced(read.error().message, path, "FILE");
  };
  EXPECT_EQ(error("none", 0, 3, parts.rows()), "FILE: there is no tensor 'none'");
  EXPECT_EQ(error("BF16", 0, 3, parts.rows()), "FILE: tensor \"BF16\": its element type BF16 has no blocks");
  EXPECT_EQ(error("Q4_K", 1, 3, parts.rows()), "FILE: tensor \"Q4_K\": rows 1 to 4 of 3 were asked for");
  EXPECT_EQ(error("Q4_K", 0, INT64_MAX, parts.rows()),
            fmt::format("FILE: tensor \"Q4_K\": rows 0 to {} of 3 were asked for", INT64_MAX));
  EXPECT_EQ(error("Q4_K", 0, 2, parts.rows()),
            "FILE: tensor \"Q4_K\": room for 1536 codes, 6 scales, 6 minima, 48 and 48 of groups does not fit 2 rows "
            "of 512 values in Q4_K");
  for (int part = 0; part < 5; ++part) {
    BlockRows out = parts.rows();
    part == 0   ? void(out.codes = {})
    : part == 1 ? void(out.scales = {})
    : part == 2 ? void(out.minima = {})
    : part == 3 ? void(out.subScales = {})
                : void(out.subMinima = {});
    EXPECT_FALSE(source->readBlocks("Q4_K", 0, 3, out).has_value()) << part;
  }
  auto random = randomWeights(ModelConfig{}, 0);
  EXPECT_EQ(random->readBlocks("x", 0, 1, {}).error().message, "random:0: there is no tensor 'x'");
  std::string norm = "model.norm.weight";
  ASSERT_NE(random->find(norm), nullptr);
  EXPECT_EQ(random->readBlocks(norm, 0, 1, {}).error().message,
            "random:0: tensor \"model.norm.weight\": its element type random has no blocks");
}

TEST(Blocks, ScalesMustBeFinite) {
  TemporaryFolder folder;
  // The second row's minimum is an infinity.
  std::string block(20, '\1'), damaged = block;
  damaged[2] = '\0', damaged[3] = '\x7c';
  auto source = open(folder.write("m.gguf", GgufBytes().tensor("t", {2, 32}, 3, block + damaged).bytes()));
  ASSERT_NE(source, nullptr);
  expectBlocksEqualFloats(*source, "t", 0, 1);
  Parts parts(*blockFormat("Q4_1"), 1, 32);
  EXPECT_EQ(messageOf(source->readBlocks("t", 1, 1, parts.rows()), folder.path()),
            "m.gguf: tensor \"t\": row 1: a scale of Q4_1 that is not finite: the file is damaged");
}

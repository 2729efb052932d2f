// Weight sources: element types, safetensors headers, random weights, and the check against a config.
#include "compiler/importers/Dequantize.h"
#include "compiler/importers/Importers.h"
#include "test/front/Fixtures.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <thread>

using namespace lathe;
using namespace lathe::test;

namespace {

std::vector<float> readAll(const WeightSource &source, const std::string &name) {
  const SourceTensor *tensor = source.find(name);
  EXPECT_NE(tensor, nullptr) << name;
  if (!tensor)
    return {};
  int64_t rows = tensor->shape.size() == 2 ? tensor->shape[0] : 1;
  std::vector<float> values(static_cast<size_t>(rows * tensor->shape.back()));
  auto read = source.read(name, 0, rows, values);
  EXPECT_TRUE(read.has_value()) << read.error().message;
  return values;
}

bool sameBits(const std::vector<float> &a, const std::vector<float> &b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::string openError(std::string_view header, size_t bytes) {
  TemporaryFolder folder;
  return messageOf(openSafetensors(folder.write("m.safetensors", safetensorsBytes(header, bytes))), folder.path());
}

ModelConfig tinyConfig() {
  auto config = parseConfig(R"(vocab_size = 40
hidden_size = 16
intermediate_size = 24
num_hidden_layers = 1
num_attention_heads = 2
max_position_embeddings = 64
rms_norm_eps = 1e-5
[rope_parameters]
rope_theta = 10000.0
)",
                            "tiny.toml");
  EXPECT_TRUE(config.has_value());
  return config.value_or(ModelConfig{});
}

} // namespace

// Every block format gives the bits that the PyPI package gguf gives (makeFixtures.py wrote both files).
TEST(Weights, ElementTypesMatchGguf) {
  auto file = GgufFile::open(repositoryFile("test/data/front/elements.gguf"));
  ASSERT_OK(file);
  auto stored = openGgufWeights(*file);
  auto expected = openSafetensors(repositoryFile("test/data/front/elements.safetensors"));
  ASSERT_OK(expected);
  for (const char *name : {"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"}) {
    ASSERT_NE(stored->find(name), nullptr) << name;
    EXPECT_EQ(stored->find(name)->element, name);
    std::vector<float> mine = readAll(*stored, name), theirs = readAll(**expected, name);
    ASSERT_EQ(mine.size(), theirs.size()) << name;
    for (size_t i = 0; i < mine.size(); ++i) {
      // Drawn halves hold NaNs; their payload is no value.
      if (std::isnan(theirs[i]))
        EXPECT_TRUE(std::isnan(mine[i])) << name << " " << i;
      else
        EXPECT_EQ(std::memcmp(&mine[i], &theirs[i], 4), 0)
            << name << " " << i << ": " << mine[i] << " expected " << theirs[i];
    }
  }
}

TEST(Weights, EveryHalfIsExact) {
  std::vector<uint16_t> halves(1 << 16);
  for (size_t i = 0; i < halves.size(); ++i)
    halves[i] = static_cast<uint16_t>(i);
  std::vector<float> values(halves.size());
  findElement("F16")->convert(reinterpret_cast<const std::byte *>(halves.data()), static_cast<int64_t>(halves.size()),
                              values.data());
  for (size_t i = 0; i < halves.size(); ++i) {
    int exponent = static_cast<int>(i >> 10 & 31), fraction = static_cast<int>(i & 1023);
    double sign = i >> 15 ? -1 : 1;
    if (exponent == 31) {
      EXPECT_TRUE(fraction ? std::isnan(values[i]) : values[i] == sign * INFINITY) << i;
      continue;
    }
    double expected = sign * (exponent ? std::ldexp(1024 + fraction, exponent - 25) : std::ldexp(fraction, -24));
    ASSERT_EQ(values[i], expected) << i;
    ASSERT_EQ(std::signbit(values[i]), sign < 0) << i;
  }
}

TEST(Weights, ReadsRowRanges) {
  auto source = openSafetensors(repositoryFile("test/data/reference/llama"));
  ASSERT_OK(source);
  const std::string name = "model.layers.1.mlp.up_proj.weight";
  ASSERT_NE((*source)->find(name), nullptr);
  EXPECT_EQ((*source)->find(name)->shape, (std::vector<int64_t>{160, 96}));
  EXPECT_EQ((*source)->find(name)->element, "F32");
  std::vector<float> whole = readAll(**source, name), part(3 * 96);
  ASSERT_TRUE((*source)->read(name, 157, 3, part).has_value());
  EXPECT_TRUE(sameBits(part, {whole.end() - 3 * 96, whole.end()}));
  EXPECT_EQ((*source)->read(name, 158, 3, part).error().message,
            repositoryFile("test/data/reference/llama/model.safetensors") +
                ": tensor \"model.layers.1.mlp.up_proj.weight\": rows 158 to 161 of 160 were asked for");
  EXPECT_FALSE((*source)->read(name, -1, 3, part).has_value());
  EXPECT_FALSE((*source)->read(name, 0, INT64_MAX, part).has_value());
  EXPECT_FALSE((*source)->read(name, 0, 2, part).has_value());
  EXPECT_EQ((*source)->read("x", 0, 1, part).error().message,
            repositoryFile("test/data/reference/llama") + ": there is no tensor 'x'");
  EXPECT_EQ((*source)->find("x"), nullptr);
}

TEST(Weights, SafetensorsHeaders) {
  TemporaryFolder folder;
  EXPECT_TRUE(openSafetensors(folder.write("none.safetensors", safetensorsBytes("{}  ", 0))).has_value());
  EXPECT_EQ(openError(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 7),
            "m.safetensors: tensor \"a\": data_offsets: bytes 0 to 8 are not within the 7 bytes of data: the file is "
            "truncated or damaged");
}

TEST(Weights, SafetensorsErrors) {
  struct Case {
    const char *header;
    const char *message;
  };
  for (
      const Case &one : {
          Case{
              R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
              "m.safetensors: tensors \"a\" and \"b\" overlap"},
          {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})",
           "m.safetensors: tensor \"a\": its shape and dtype take 8 bytes, its data_offsets 4"},
          {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})",
           "m.safetensors: tensor \"a\": data_offsets: bytes 8 to 0 are not within the 16 bytes of data: the file is "
           "truncated or damaged"},
          {R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}})",
           "m.safetensors: tensor \"a\": shape: the size overflows"},
          {R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8]}})",
           "m.safetensors: tensor \"a\": shape: the size overflows"},
          {R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})",
           "m.safetensors: tensor \"a\": shape: expected at most 8 sizes, found a list"},
          {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8.0]}})",
           "m.safetensors: tensor \"a\": data_offsets: expected two byte offsets, found a list"},
          {R"({"a":{"dtype":"Q9","shape":[2],"data_offsets":[0,8]}})",
           "m.safetensors: tensor \"a\": unknown dtype: the string \"Q9\""},
          {R"({"a":[1]})",
           "m.safetensors: tensor \"a\": expected an object with dtype, shape and data_offsets, found a list"},
          {R"([])", "m.safetensors: byte 8: expected a JSON object, found a list"},
      })
    EXPECT_EQ(openError(one.header, 16), one.message) << one.header;
  EXPECT_EQ(openError("{", 0).substr(0, 40), "m.safetensors (header):1:2: not JSON: sy");
  TemporaryFolder folder;
  EXPECT_EQ(messageOf(openSafetensors(folder.write("a.safetensors", "1234")), folder.path()),
            "a.safetensors: expected a safetensors file, found 4 bytes");
  EXPECT_EQ(
      messageOf(openSafetensors(folder.write("a.safetensors", littleEndian<uint64_t>(1ull << 60) + "{}")),
                folder.path()),
      "a.safetensors: byte 0: expected a header of at most 2 bytes, found 1152921504606846976: not a safetensors file, "
      "or truncated");
  std::string deep(100000, '[');
  EXPECT_EQ(openError(deep, 0), "m.safetensors (header): JSON nests deeper than 64");
  std::string text = "{\"a\":\"" + std::string(5 << 20, 'x') + "\"}";
  EXPECT_EQ(openError(text, 0), "m.safetensors (header):1:7: expected a string or number of at most 4194304 bytes");
  std::string many = "{\"a\":[0" + std::string(1 << 22, ' ');
  for (size_t i = 7; i + 2 < many.size(); i += 2)
    many[i] = ',', many[i + 1] = '1';
  EXPECT_EQ(openError(many, 0), "m.safetensors (header): expected at most 1048576 JSON values");
}

TEST(Weights, SeveralFiles) {
  TemporaryFolder folder;
  std::string header = R"({"NAME":{"dtype":"BF16","shape":[1,2],"data_offsets":[0,4]}})";
  folder.write("x-1.safetensors", safetensorsBytes(replaced(header, "NAME", "a"), 4));
  folder.write("x-2.safetensors", safetensorsBytes(replaced(header, "NAME", "b"), 4));
  auto index = [&](std::string_view map) {
    folder.write("model.safetensors.index.json", R"({"weight_map":)" + std::string(map) + "}");
  };
  index(R"({"a":"x-1.safetensors","b":"x-2.safetensors"})");
  auto source = openSafetensors(folder.path());
  ASSERT_OK(source);
  EXPECT_EQ((*source)->list().size(), 2u);
  EXPECT_EQ((*source)->origin("b"), folder.path("x-2.safetensors"));
  EXPECT_EQ(readAll(**source, "b"), (std::vector<float>{0, 0}));
  folder.write("x-2.safetensors", safetensorsBytes(replaced(header, "NAME", "a"), 4));
  EXPECT_EQ(messageOf(openSafetensors(folder.path()), folder.path()),
            "x-2.safetensors: tensor \"a\" is also in x-1.safetensors");
  index(R"({"a":"x-3.safetensors"})");
  EXPECT_EQ(messageOf(openSafetensors(folder.path()), folder.path()),
            "x-3.safetensors: cannot open: No such file or directory");
  index(R"({"a":"../x.safetensors"})");
  EXPECT_EQ(messageOf(openSafetensors(folder.path()), folder.path()),
            "model.safetensors.index.json:1:15: weight_map: tensor \"a\": expected the name of a safetensors file "
            "beside the index, found the "
            "string \"../x.safetensors\"");
  index("3");
  EXPECT_EQ(messageOf(openSafetensors(folder.path()), folder.path()),
            "model.safetensors.index.json:1:15: expected an object 'weight_map' of tensor and file names");
  TemporaryFolder empty;
  auto none = openSafetensors(empty.path());
  ASSERT_OK(none);
  EXPECT_EQ(*none, nullptr);
}

TEST(Weights, RandomIsAFunctionOfSeedNameAndIndex) {
  ModelConfig config = tinyConfig();
  auto source = randomWeights(config, 5), again = randomWeights(config, 5), other = randomWeights(config, 6);
  const std::string name = "model.layers.0.mlp.up_proj.weight";
  std::vector<float> values = readAll(*source, name);
  EXPECT_TRUE(sameBits(values, readAll(*again, name)));
  EXPECT_FALSE(sameBits(values, readAll(*other, name)));
  EXPECT_FALSE(sameBits(values, readAll(*source, "model.layers.0.mlp.gate_proj.weight")));
  std::vector<float> rows(2 * 16);
  ASSERT_TRUE(source->read(name, 7, 2, rows).has_value());
  EXPECT_TRUE(sameBits(rows, {values.begin() + 7 * 16, values.begin() + 9 * 16}));
  EXPECT_FALSE(source->read(name, 23, 2, rows).has_value());
  EXPECT_EQ(source->find(name)->element, "random");
  EXPECT_EQ(source->find("model.layers.1.mlp.up_proj.weight"), nullptr);
  EXPECT_TRUE(checkWeights(config, *source).has_value());
}

// These bits are part of the contract: another machine, compiler or version must give the same.
TEST(Weights, RandomBitsAreFixed) {
  auto source = randomWeights(tinyConfig(), 0);
  std::vector<float> values(16);
  ASSERT_TRUE(source->read("model.embed_tokens.weight", 39, 1, values).has_value());
  std::string bits;
  for (float value : {values[0], values[1], values[15]})
    bits += fmt::format("{:08x} ", std::bit_cast<uint32_t>(value));
  EXPECT_EQ(bits, "3cf37a8d bb5c8653 3bcef208 ");
}

TEST(Weights, RandomHasTheMomentsOfInitialisation) {
  ModelConfig config = tinyConfig();
  config.vocabSize = 20000;
  config.attentionBias.q = true;
  auto source = randomWeights(config, 1);
  double sum = 0, squares = 0, largest = 0;
  std::vector<float> values = readAll(*source, "model.embed_tokens.weight");
  for (float value : values)
    sum += value, squares += double(value) * value, largest = std::max(largest, std::abs(double(value)));
  double count = static_cast<double>(values.size());
  EXPECT_NEAR(sum / count, 0, 2e-4);
  EXPECT_NEAR(std::sqrt(squares / count), 0.02, 2e-4);
  EXPECT_LT(largest, 0.07);
  EXPECT_GT(largest, 0.06);
  EXPECT_EQ(readAll(*source, "model.norm.weight"), std::vector<float>(16, 1.0f));
  EXPECT_EQ(readAll(*source, "model.layers.0.self_attn.q_proj.bias"), std::vector<float>(16, 0.0f));
}

TEST(Weights, CheckNamesWhatDoesNotFit) {
  ModelConfig config = tinyConfig();
  auto source = randomWeights(config, 0);
  ModelConfig wanted = config;
  wanted.intermediateSize = 25;
  EXPECT_EQ(messageOf(checkWeights(wanted, *source)), "random:0: tensor 'model.layers.0.mlp.gate_proj.weight': "
                                                      "expected shape [25, 16] from the config, found [24, 16]");
  wanted = config;
  wanted.numHiddenLayers = 2;
  EXPECT_EQ(messageOf(checkWeights(wanted, *source)),
            "random:0: tensor 'model.layers.1.input_layernorm.weight' is missing: the config calls for it "
            "with shape [16]; check num_hidden_layers");
  wanted = config;
  wanted.attentionBias.v = true;
  EXPECT_EQ(messageOf(checkWeights(wanted, *source)),
            "random:0: tensor 'model.layers.0.self_attn.v_proj.bias' is missing: the config calls for it "
            "with shape [16]; check attention_bias");
  ModelConfig biased = config;
  biased.mlpBias.up = true;
  EXPECT_EQ(messageOf(checkWeights(config, *randomWeights(biased, 0))),
            "random:0: tensor \"model.layers.0.mlp.up_proj.bias\" is not called for by the config; check mlp_bias");
  // Fewer layers than the file has, and a tied head that the file repeats, are fine.
  biased = config;
  biased.numHiddenLayers = 3;
  EXPECT_TRUE(checkWeights(config, *randomWeights(biased, 0)).has_value());
  wanted = config;
  wanted.tieWordEmbeddings = true;
  EXPECT_TRUE(checkWeights(wanted, *source).has_value());
}

TEST(Weights, UnreadElementTypes) {
  TemporaryFolder folder;
  auto source = openSafetensors(folder.write(
      "a.safetensors", safetensorsBytes(R"({"a":{"dtype":"F64","shape":[2],"data_offsets":[0,16]}})", 16)));
  ASSERT_OK(source);
  std::vector<float> values(2);
  EXPECT_EQ(messageOf((*source)->read("a", 0, 1, values), folder.path()),
            "a.safetensors: tensor \"a\": element type F64 is not read; supported: F32, F16, BF16, Q8_0, Q4_0, Q4_1, "
            "Q5_0, Q5_1, Q4_K, Q5_K, Q6_K");
}

TEST(Weights, ReadingIsThreadSafe) {
  auto file = GgufFile::open(repositoryFile("test/data/front/llama.gguf"));
  ASSERT_OK(file);
  auto source = openGgufWeights(*file);
  std::vector<float> alone = readAll(*source, "model.layers.0.mlp.down_proj.weight");
  std::vector<std::vector<float>> results(4);
  std::vector<std::thread> threads;
  for (auto &result : results)
    threads.emplace_back([&] { result = readAll(*source, "model.layers.0.mlp.down_proj.weight"); });
  for (auto &thread : threads)
    thread.join();
  for (const auto &result : results)
    EXPECT_TRUE(sameBits(result, alone));
}

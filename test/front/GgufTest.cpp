// GGUF: the header, the config, rope scaling, tokenizers, and what it says about damaged files.
#include "compiler/importers/Importers.h"
#include "test/front/Fixtures.h"

#include <nlohmann/json.hpp>

using namespace lathe;
using namespace lathe::test;
using nlohmann::json;

namespace {

std::string errorOf(const std::string &bytes) {
  TemporaryFolder folder;
  return messageOf(importModel(folder.write("m.gguf", bytes), ""), folder.path());
}
std::string errorOf(const GgufBytes &file) { return errorOf(file.bytes()); }
/// What is behind "m.gguf: key '…' (byte N): ".
std::string keyErrorOf(const GgufBytes &file) {
  std::string message = errorOf(file);
  EXPECT_TRUE(message.starts_with("m.gguf: key '")) << message;
  size_t bracket = message.find(" (byte ");
  return bracket == std::string::npos
             ? message
             : message.substr(13, bracket - 13 - 1) + message.substr(message.find("): ", bracket) + 1);
}

ModelConfig configOf(const GgufBytes &bytes) {
  TemporaryFolder folder;
  auto file = GgufFile::open(folder.write("m.gguf", bytes.bytes()));
  EXPECT_TRUE(file.has_value()) << file.error().message;
  if (!file)
    return {};
  auto config = importGgufConfig(**file);
  EXPECT_TRUE(config.has_value()) << config.error().message;
  return config.value_or(ModelConfig{});
}

ImportedModel fixture(std::string_view name) {
  auto model = importModel(repositoryFile(fmt::format("test/data/front/{}.gguf", name)), "");
  EXPECT_TRUE(model.has_value()) << model.error().message;
  return model.value_or(ImportedModel{});
}

/// A llama with a tokenizer of a few tokens.
GgufBytes withTokenizer(std::string_view pre = "smollm") {
  GgufBytes file = GgufBytes::llama();
  file.text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", pre);
  file.texts("tokenizer.ggml.tokens", {"<s>", "a", "b", "ab", "<t>"})
      .integers("tokenizer.ggml.token_type", {3, 1, 1, 1, 4});
  return file;
}
Result<std::string> tokenizerOf(const GgufBytes &bytes, const std::string &folderPath, const TemporaryFolder &folder) {
  auto file = GgufFile::open(folder.write("m.gguf", bytes.bytes()));
  if (!file)
    return propagate(file);
  ModelConfig config;
  config.eosTokenIds = {4};
  return importGgufTokenizer(**file, config);
}
json tokenizerOf(const GgufBytes &bytes) {
  TemporaryFolder folder;
  auto text = tokenizerOf(bytes, folder.path(), folder);
  EXPECT_TRUE(text.has_value()) << text.error().message;
  json root = json::parse(text.value_or(""), nullptr, false);
  EXPECT_TRUE(root.is_object()) << text.value_or("");
  return root;
}
std::string tokenizerErrorOf(const GgufBytes &bytes) {
  TemporaryFolder folder;
  std::string message = messageOf(tokenizerOf(bytes, folder.path(), folder), folder.path());
  size_t bracket = message.find(" (byte ");
  return bracket == std::string::npos ? message
                                      : message.substr(0, bracket) + message.substr(message.find("): ", bracket) + 1);
}

} // namespace

TEST(Gguf, WrittenByThePackageGguf) {
  ImportedModel llama = fixture("llama");
  EXPECT_EQ(llama.config.name, "Tiny llama");
  EXPECT_EQ(llama.config.rope.layout, "interleaved") << "the converter permutes q and k of llama models";
  EXPECT_EQ(llama.config.normEps, 1e-5) << "the decimal number, not its float";
  EXPECT_FALSE(llama.config.tieWordEmbeddings);
  EXPECT_EQ(llama.config.maxPositionEmbeddings, 256);
  EXPECT_EQ(llama.config.eosTokenIds, std::vector<int64_t>{2});
  EXPECT_EQ(llama.weights->find("model.layers.0.mlp.down_proj.weight")->shape, (std::vector<int64_t>{32, 64}));
  EXPECT_EQ(llama.weights->find("model.layers.0.mlp.down_proj.weight")->element, "Q8_0");
  EXPECT_EQ(llama.weights->find("lm_head.weight")->element, "Q8_0");

  ImportedModel qwen2 = fixture("qwen2");
  EXPECT_EQ(qwen2.config.rope.layout, "half");
  EXPECT_TRUE(qwen2.config.attentionBias.q && qwen2.config.attentionBias.k && qwen2.config.attentionBias.v &&
              !qwen2.config.attentionBias.o);
  EXPECT_TRUE(qwen2.config.tieWordEmbeddings);
  EXPECT_EQ(qwen2.config.slidingWindow, 12);
  EXPECT_EQ(std::tie(qwen2.config.rope.type, qwen2.config.rope.factor, qwen2.config.rope.originalMaxPositionEmbeddings),
            std::tuple("yarn", 4.0, 64));
  EXPECT_EQ(qwen2.config.rope.attentionFactor, std::nullopt);

  ImportedModel qwen3 = fixture("qwen3");
  EXPECT_EQ(qwen3.config.qkNorm, "rms");
  EXPECT_EQ(qwen3.config.headDim, 32);
  EXPECT_EQ(std::tie(qwen3.config.rope.type, qwen3.config.rope.factor), std::tuple("linear", 2.5));
  for (const ImportedModel *model : {&llama, &qwen2, &qwen3}) {
    auto again = parseConfig(printConfig(model->config), "again.toml");
    ASSERT_OK(again);
    EXPECT_EQ(printConfig(*again), printConfig(model->config));
  }
}

TEST(Gguf, RopeFactorsBecomeLlama3Parameters) {
  auto expect = [](std::string_view name, double factor, double high, int64_t original) {
    RopeConfig rope = fixture(name).config.rope;
    EXPECT_EQ(rope.type, "llama3") << name;
    EXPECT_EQ(std::tie(rope.factor, rope.lowFreqFactor, rope.highFreqFactor), std::tuple(factor, 1.0, high)) << name;
    EXPECT_EQ(rope.originalMaxPositionEmbeddings, original) << name;
  };
  expect("llama3", 32, 4, 8192);
  expect("llama3-short", 8, 4, 64);
  expect("llama3-odd", 16, 6, 1000);
  EXPECT_EQ(messageOf(importModel(repositoryFile("test/data/front/other-factors.gguf"), ""),
                      repositoryFile("test/data/front")),
            "other-factors.gguf: tensor 'rope_freqs.weight': its frequency factors are not those of llama3 scaling, "
            "the only kind that is supported");
  GgufBytes ones = GgufBytes::llama();
  std::string four;
  for (int i = 0; i < 4; ++i)
    four += littleEndian(1.0f);
  EXPECT_EQ(configOf(ones.tensor("rope_freqs.weight", {4}, 0, four)).rope.type, "default");
  EXPECT_EQ(errorOf(GgufBytes::llama().tensor("rope_freqs.weight", {3}, 0, std::string(12, 'x'))),
            "m.gguf: tensor 'rope_freqs.weight': expected F32 [4] (half of head_dim), found F32 [3]");
}

TEST(Gguf, ConfigKeys) {
  ModelConfig config = configOf(GgufBytes::llama());
  EXPECT_EQ(config.vocabSize, 5) << "the rows of the embedding";
  EXPECT_EQ(config.headDim, 8);
  EXPECT_EQ(config.rope.theta, 10000);
  EXPECT_EQ(config.name, "m.gguf");
  EXPECT_TRUE(config.where.at("hidden_size").starts_with("m.gguf:1:"));
  config = configOf(GgufBytes::llama().text("llama.rope.scaling.type", "none").number("llama.rope.scale_linear", 4));
  EXPECT_EQ(config.rope.type, "default");
  config = configOf(GgufBytes::llama().number("llama.rope.scale_linear", 4));
  EXPECT_EQ(std::tie(config.rope.type, config.rope.factor), std::tuple("linear", 4.0));
  config = configOf(GgufBytes::llama()
                        .integer("tokenizer.ggml.eos_token_id", 1)
                        .integer("tokenizer.ggml.eot_token_id", 3)
                        .integer("tokenizer.ggml.eom_token_id", 1));
  EXPECT_EQ(config.eosTokenIds, (std::vector<int64_t>{1, 3}));
  config = configOf(GgufBytes::llama()
                        .boolean("llama.attention.causal", true)
                        .integer("llama.expert_count", 0)
                        .integer("llama.attention.sliding_window", 0));
  EXPECT_FALSE(config.slidingWindow);
  GgufBytes yarn = GgufBytes::llama();
  yarn.text("llama.rope.scaling.type", "yarn")
      .number("llama.rope.scaling.factor", 4)
      .number("llama.rope.scaling.attn_factor", 0.5f);
  config = configOf(yarn);
  EXPECT_EQ(config.rope.originalMaxPositionEmbeddings, 64);
  EXPECT_NEAR(config.rope.attentionFactor.value_or(0), 0.5 * (0.1 * std::log(4.0) + 1), 1e-12);
}

TEST(Gguf, SizesMayBeRepeatedPerLayer) {
  auto file = [](const std::vector<int32_t> &counts) {
    GgufBytes made;
    made.text("general.architecture", "llama")
        .integer("llama.context_length", 64)
        .integer("llama.embedding_length", 32)
        .integer("llama.block_count", 2);
    made.integers("llama.feed_forward_length", counts)
        .integer("llama.attention.head_count", 4)
        .number("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    return made.tensor("token_embd.weight", {5, 32}, 0, std::string(640, '\0'));
  };
  EXPECT_EQ(configOf(file({48, 48})).intermediateSize, 48);
  EXPECT_EQ(keyErrorOf(file({48, 64})), "llama.feed_forward_length: differs between layers, which is not supported");
}

TEST(Gguf, ConfigErrors) {
  GgufBytes none;
  EXPECT_EQ(errorOf(none), "m.gguf: missing key 'general.architecture'; supported: llama, qwen2, qwen3");
  EXPECT_EQ(keyErrorOf(GgufBytes().text("general.architecture", "mamba")),
            "general.architecture: architecture \"mamba\" is not supported; supported: llama, qwen2, qwen3");
  EXPECT_EQ(keyErrorOf(GgufBytes().integer("general.architecture", 1)),
            "general.architecture: expected a string, found a value of type uint32");
  EXPECT_EQ(errorOf(GgufBytes().text("general.architecture", "llama")),
            "m.gguf: missing key 'llama.embedding_length': expected an integer");
  EXPECT_EQ(keyErrorOf(GgufBytes().text("general.architecture", "llama").text("llama.embedding_length", "x")),
            "llama.embedding_length: expected an integer, found a value of type string");
  EXPECT_EQ(keyErrorOf(GgufBytes::llama().integer("llama.strange", 1)),
            "llama.strange: unknown key: it could change what the model computes");
  EXPECT_EQ(keyErrorOf(GgufBytes::llama().integer("llama.expert_count", 8)),
            "llama.expert_count: 8 is not supported, and ignoring it would change what the model computes");
  EXPECT_EQ(keyErrorOf(GgufBytes::llama().boolean("llama.attention.causal", false)),
            "llama.attention.causal: 0 is not supported, and ignoring it would change what the model computes");
  EXPECT_EQ(keyErrorOf(GgufBytes::llama().integer("llama.rope.dimension_count", 4)),
            "llama.rope.dimension_count: 4 of 8 dimensions of a head are rotated: only whole heads are supported");
  EXPECT_EQ(keyErrorOf(GgufBytes::llama().integer("llama.attention.value_length", 4)),
            "llama.attention.value_length: 4 differs from the length of keys, 8: not supported");
  EXPECT_EQ(keyErrorOf(GgufBytes::llama().number("llama.attention.scale", 0.5f)).substr(0, 80),
            "llama.attention.scale: 0.5 is not supported: expected 1 / sqrt(head_dim) = 0.353");
  EXPECT_EQ(keyErrorOf(GgufBytes::llama().text("llama.rope.scaling.type", "longrope")),
            "llama.rope.scaling.type: rope type \"longrope\" is not supported; known: none, linear, yarn");
  EXPECT_EQ(errorOf(GgufBytes::llama().text("llama.rope.scaling.type", "linear")),
            "m.gguf: missing key 'llama.rope.scaling.factor': rope type linear needs it");
  EXPECT_EQ(keyErrorOf(GgufBytes::llama().number("llama.rope.freq_base", INFINITY)),
            "llama.rope.freq_base: expected a finite number, found inf");
  EXPECT_EQ(errorOf(GgufBytes::llama()), "m.gguf: tensor 'model.layers.0.input_layernorm.weight' is missing: the "
                                         "config calls for it with shape [32]; check num_hidden_layers");
  EXPECT_EQ(errorOf(GgufBytes::llama().integer("llama.vocab_size", 7)).substr(0, 97),
            "m.gguf: tensor 'model.embed_tokens.weight': expected shape [7, 32] from the config, found [5, 32]");
  EXPECT_EQ(errorOf(GgufBytes::llama().integer("tokenizer.ggml.bos_token_id", 5)).substr(0, 12), "m.gguf:1:398");
}

TEST(Gguf, HeaderErrors) {
  const std::string good = GgufBytes::llama().bytes();
  auto damaged = [&](size_t at, std::string_view bytes) {
    std::string text = good;
    return errorOf(text.replace(at, bytes.size(), bytes));
  };
  EXPECT_EQ(damaged(0, "GGML"), "m.gguf: byte 0: expected the magic \"GGUF\", found \"GGML\"");
  EXPECT_EQ(damaged(4, littleEndian<uint32_t>(1)), "m.gguf: byte 4: expected GGUF version 2 or 3, found 1");
  EXPECT_EQ(damaged(4, littleEndian<uint32_t>(0x03000000)),
            "m.gguf: byte 4: the file is big-endian: convert it to little-endian (gguf-convert-endian)");
  EXPECT_EQ(damaged(8, littleEndian<uint64_t>(1ull << 40)),
            "m.gguf: byte 8: expected at most 262144 tensors, found 1099511627776");
  EXPECT_EQ(damaged(16, littleEndian<uint64_t>(1ull << 40)),
            "m.gguf: byte 16: expected at most 65536 metadata keys, found 1099511627776");
  EXPECT_EQ(damaged(24, littleEndian<uint64_t>(UINT64_MAX)),
            fmt::format("m.gguf: byte 32: a key of 18446744073709551615 bytes goes beyond the file's end ({} bytes): "
                        "truncated or damaged",
                        good.size()));
  EXPECT_EQ(damaged(24 + 8 + 20, littleEndian<uint32_t>(99)), "m.gguf: byte 52: unknown metadata type 99");
  EXPECT_EQ(errorOf(good.substr(0, 30)),
            "m.gguf: byte 24: a key of 8 bytes goes beyond the file's end (30 bytes): truncated or damaged");
  EXPECT_EQ(errorOf(good.substr(0, good.size() - 1)), "m.gguf: tensor \"token_embd.weight\": 640 bytes at offset 0 go "
                                                      "beyond the 639 bytes of data: the file is truncated or damaged");
  EXPECT_EQ(errorOf(GgufBytes().text("a", "").text("a", "")), "m.gguf: byte 45: key \"a\" appears twice");
  EXPECT_EQ(errorOf(GgufBytes().text(std::string(300, 'k'), "")),
            "m.gguf: byte 24: expected a key of at most 256 bytes, found 300");
  std::string huge = littleEndian<uint32_t>(9) + littleEndian<uint32_t>(4) + littleEndian<uint64_t>(1ull << 62);
  EXPECT_EQ(errorOf(GgufBytes().raw("a", huge)),
            "m.gguf: byte 49: an array of 4611686018427387904 uint32 goes beyond the file's end (64 bytes)");
  std::string nested;
  for (int i = 0; i < 9; ++i)
    nested += littleEndian<uint32_t>(9) + littleEndian<uint64_t>(1);
  EXPECT_EQ(errorOf(GgufBytes().raw("a", littleEndian<uint32_t>(9) + nested)),
            "m.gguf: byte 97: arrays nest deeper than 4");
  GgufBytes aligned = GgufBytes::llama();
  EXPECT_EQ(keyErrorOf(aligned.integer("general.alignment", 3)),
            "general.alignment: expected a power of two up to 1048576, found 3");
}

TEST(Gguf, TensorErrors) {
  auto with = [](std::string_view name, std::vector<uint64_t> shape, uint32_t type,
                 std::optional<uint64_t> offset = {}) {
    return errorOf(GgufBytes::llama().tensor(name, std::move(shape), type, std::string(32, '\0'), offset));
  };
  EXPECT_TRUE(with("t", {1, 1, 1, 1, 1}, 0).ends_with("tensor \"t\": expected 1 to 4 dimensions, found 5"));
  EXPECT_TRUE(with("t", {0}, 0).ends_with("tensor \"t\": dimension 0 of 0 is not possible"));
  EXPECT_TRUE(
      with("t", {1ull << 40, 1ull << 40}, 0).ends_with("tensor \"t\": dimension 1 of 1099511627776 is not possible"));
  EXPECT_TRUE(with("t", {8}, 77).ends_with("tensor \"t\": unknown element type 77"));
  EXPECT_TRUE(with("t", {8}, 8).ends_with("tensor \"t\": a row of 8 values is no multiple of Q8_0's block of 32"));
  EXPECT_EQ(with("t", {8}, 0, 7), "m.gguf: tensor \"t\": its offset 7 is no multiple of the alignment 32");
  EXPECT_EQ(with("t", {8}, 0, 1ull << 63), "m.gguf: tensor \"t\": 32 bytes at offset 9223372036854775808 go beyond the "
                                           "672 bytes of data: the file is truncated or damaged");
  EXPECT_EQ(with("t", {8}, 0, 32), "m.gguf: tensors \"token_embd.weight\" and \"t\" overlap");
  EXPECT_EQ(with("token_embd.weight", {8}, 0), "m.gguf: tensor \"token_embd.weight\" appears twice");
}

TEST(Gguf, UnreadElementTypesAreNamed) {
  GgufBytes file;
  file.text("general.architecture", "llama")
      .integer("llama.context_length", 64)
      .integer("llama.embedding_length", 256)
      .integer("llama.block_count", 1);
  file.integer("llama.feed_forward_length", 48)
      .integer("llama.attention.head_count", 4)
      .number("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  file.tensor("token_embd.weight", {2, 256}, 11, std::string(220, '\0'));
  EXPECT_EQ(errorOf(file), "m.gguf: tensor 'model.embed_tokens.weight': element type Q3_K is not read; supported: F32, "
                           "F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K");
}

TEST(Gguf, RowOrderBelongsToTheWeights) {
  std::string weights = repositoryFile("test/data/front/llama.gguf");
  ModelConfig config = fixture("llama").config;
  config.rope.layout = "half";
  TemporaryFolder folder;
  std::string printed = printConfig(config);
  std::string said = folder.write("said.toml", printed),
              open = folder.write("open.toml", replaced(printed, "rope_layout = \"half\"\n", ""));
  auto model = importModel(open, weights);
  ASSERT_OK(model);
  EXPECT_EQ(model->config.rope.layout, "interleaved");
  EXPECT_EQ(messageOf(importModel(said, weights)),
            "said.toml:23:15: rope_parameters.rope_layout: the config says half, but the rows of q and k in " +
                weights + " are interleaved");
}

TEST(Gguf, TokenizerBecomesTokenizerJson) {
  GgufBytes file = withTokenizer();
  file.texts("tokenizer.ggml.merges", {"a b"})
      .integer("tokenizer.ggml.bos_token_id", 0)
      .text("tokenizer.chat_template", "{{ x }}");
  json root = tokenizerOf(file);
  EXPECT_EQ(
      root["model"],
      json::parse(
          R"({"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,"end_of_word_suffix":null,
    "fuse_unk":false,"byte_fallback":false,"ignore_merges":false,"vocab":{"<s>":0,"a":1,"b":2,"ab":3,"<t>":4},"merges":["a b"]})"));
  EXPECT_EQ(root["added_tokens"], json::parse(R"([
    {"id":0,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},
    {"id":4,"content":"<t>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":false}])"));
  EXPECT_EQ(root["pre_tokenizer"],
            json::parse(R"({"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},
    {"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}]})"));
  EXPECT_EQ(root["post_processor"],
            json::parse(R"({"type":"ByteLevel","add_prefix_space":true,"trim_offsets":false,"use_regex":true})"));
  EXPECT_EQ(root["normalizer"], nullptr);
  EXPECT_EQ(root["decoder"]["type"], "ByteLevel");
  EXPECT_EQ(root["lathe"],
            json::parse(R"({"bos_token_id":0,"eos_token_ids":[4],"add_bos":false,"chat_template":"{{ x }}"})"));
}

TEST(Gguf, PreTokenizers) {
  json gpt2 = tokenizerOf(withTokenizer("gpt-2"))["pre_tokenizer"];
  EXPECT_EQ(gpt2, json::parse(R"({"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true})"));
  EXPECT_EQ(tokenizerOf(withTokenizer("default"))["pre_tokenizer"], gpt2);
  json llama = tokenizerOf(withTokenizer("llama-bpe"));
  EXPECT_EQ(llama["model"]["ignore_merges"], true);
  EXPECT_EQ(
      llama["pre_tokenizer"]["pretokenizers"][0],
      json(
          {{"type", "Split"},
           {"behavior", "Isolated"},
           {"invert", false},
           {"pattern",
            {{"Regex",
              R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"}}}}));
  EXPECT_EQ(llama["pre_tokenizer"]["pretokenizers"][1]["use_regex"], false);
  json qwen2 = tokenizerOf(withTokenizer("qwen2"));
  EXPECT_EQ(qwen2["normalizer"], json::parse(R"({"type":"NFC"})"));
  EXPECT_EQ(
      qwen2["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"],
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)");
  EXPECT_EQ(tokenizerErrorOf(withTokenizer("quen2")),
            "m.gguf: key 'tokenizer.ggml.pre': pre-tokenizer \"quen2\" is not supported; did you mean 'qwen2'? "
            "known: gpt-2, default, smollm, llama-bpe, llama3, llama-v3, qwen2");
}

TEST(Gguf, BeginningAndEndOfText) {
  const json bos = json::parse(R"({"SpecialToken":{"id":"<s>","type_id":0}})"),
             text = json::parse(R"({"Sequence":{"id":"A","type_id":0}})"),
             eos = json::parse(R"({"SpecialToken":{"id":"<t>","type_id":0}})");
  json llama = tokenizerOf(withTokenizer("llama-bpe").integer("tokenizer.ggml.bos_token_id", 0));
  EXPECT_EQ(llama["lathe"]["add_bos"], true) << "llama.cpp's rule for this kind";
  EXPECT_EQ(llama["post_processor"]["type"], "TemplateProcessing");
  EXPECT_EQ(llama["post_processor"]["single"], json::array({bos, text}));
  EXPECT_EQ(llama["post_processor"]["special_tokens"],
            json::parse(R"({"<s>":{"id":"<s>","ids":[0],"tokens":["<s>"]}})"));
  json off = tokenizerOf(withTokenizer("llama-bpe")
                             .integer("tokenizer.ggml.bos_token_id", 0)
                             .boolean("tokenizer.ggml.add_bos_token", false));
  EXPECT_EQ(off["lathe"]["add_bos"], false);
  EXPECT_EQ(off["post_processor"]["type"], "ByteLevel");
  json both = tokenizerOf(withTokenizer()
                              .integer("tokenizer.ggml.bos_token_id", 0)
                              .boolean("tokenizer.ggml.add_bos_token", true)
                              .integer("tokenizer.ggml.eos_token_id", 4)
                              .boolean("tokenizer.ggml.add_eos_token", true));
  EXPECT_EQ(both["post_processor"]["single"], json::array({bos, text, eos}));
  EXPECT_EQ(both["post_processor"]["pair"].size(), 6u);
}

TEST(Gguf, TokenizerErrors) {
  auto base = [] {
    return GgufBytes::llama().text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", "gpt-2");
  };
  EXPECT_EQ(tokenizerErrorOf(base()), "m.gguf: missing key 'tokenizer.ggml.tokens'");
  EXPECT_EQ(tokenizerErrorOf(base().integers("tokenizer.ggml.tokens", {1})),
            "m.gguf: key 'tokenizer.ggml.tokens': expected an array of strings, found a value of type array");
  EXPECT_EQ(tokenizerErrorOf(base().texts("tokenizer.ggml.tokens", {"a", "\xff"})),
            "m.gguf: key 'tokenizer.ggml.tokens': token 1: expected UTF-8 of at most 65536 bytes");
  EXPECT_EQ(tokenizerErrorOf(base().texts("tokenizer.ggml.tokens", {"a", "a"})),
            "m.gguf: key 'tokenizer.ggml.tokens': token 1 repeats \"a\"");
  EXPECT_EQ(
      tokenizerErrorOf(base().texts("tokenizer.ggml.tokens", {"a"}).integers("tokenizer.ggml.token_type", {1, 1})),
      "m.gguf: key 'tokenizer.ggml.token_type': expected an array of 1 integers, one a token");
  EXPECT_EQ(tokenizerErrorOf(withTokenizer().texts("tokenizer.ggml.merges", {"a b", "b a"})),
            "m.gguf: key 'tokenizer.ggml.merges': merge 1: \"ba\" is not a token");
  EXPECT_EQ(tokenizerErrorOf(withTokenizer().texts("tokenizer.ggml.merges", {"ab"})),
            "m.gguf: key 'tokenizer.ggml.merges': merge 0: expected two tokens with a space between, found \"ab\"");
  EXPECT_EQ(tokenizerErrorOf(withTokenizer().integer("tokenizer.ggml.bos_token_id", 5)),
            "m.gguf: key 'tokenizer.ggml.bos_token_id': expected an id below the number of tokens, 5, found 5");
  EXPECT_EQ(tokenizerErrorOf(withTokenizer().integer("tokenizer.ggml.add_bos_token", 1)),
            "m.gguf: key 'tokenizer.ggml.add_bos_token': expected a bool, found a value of type uint32");
  EXPECT_EQ(tokenizerErrorOf(withTokenizer().text("tokenizer.chat_template", "\xff")),
            "m.gguf: key 'tokenizer.chat_template': expected UTF-8 of at most 1048576 bytes");
}

TEST(Gguf, OtherTokenizersAreLeftOut) {
  TemporaryFolder folder;
  auto text = tokenizerOf(GgufBytes::llama().text("tokenizer.ggml.model", "rwkv"), folder.path(), folder);
  ASSERT_OK(text);
  EXPECT_EQ(*text, "");
}

TEST(Gguf, SentencePieceTokenizers) {
  auto file = [](std::string_view model) {
    return GgufBytes::llama()
        .text("tokenizer.ggml.model", model)
        .texts("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>", "▁", "a", "▁a"})
        .integers("tokenizer.ggml.token_type", {2, 3, 3, 1, 1, 1});
  };
  auto scores = [](GgufBytes bytes) {
    std::string numbers = littleEndian<uint32_t>(9) + littleEndian<uint32_t>(6) + littleEndian<uint64_t>(6);
    for (float score : {0.F, 0.F, 0.F, -1.F, -2.F, -2.5F})
      numbers += littleEndian(score);
    return bytes.raw("tokenizer.ggml.scores", numbers);
  };
  json llama = tokenizerOf(scores(file("llama")));
  EXPECT_EQ(llama["model"]["type"], "BPE");
  EXPECT_EQ(llama["model"]["merges"], json::parse(R"([["▁","a"]])"));
  EXPECT_EQ(llama["normalizer"]["normalizers"][0], json::parse(R"({"type":"Prepend","prepend":"▁"})"));
  EXPECT_EQ(llama["lathe"]["add_bos"], true);
  EXPECT_EQ(llama["lathe"]["bos_token_id"], 1);
  EXPECT_EQ(llama["lathe"]["sentencepiece"]["unmatched_ids"], json::parse("[0,1,2]"));
  json bare = tokenizerOf(scores(file("llama").boolean("tokenizer.ggml.add_space_prefix", false)));
  EXPECT_EQ(bare["normalizer"]["type"], "Replace");
  json t5 = tokenizerOf(scores(file("t5")));
  EXPECT_EQ(t5["model"]["type"], "Unigram");
  EXPECT_EQ(t5["model"]["vocab"][5], json::parse(R"(["▁a",-2.5])"));
  EXPECT_EQ(t5["post_processor"]["single"][1]["SpecialToken"]["id"], "<s>")
      << "id 1, unless the metadata says otherwise";
  EXPECT_EQ(tokenizerErrorOf(file("llama")), "m.gguf: missing key 'tokenizer.ggml.scores'");
  EXPECT_EQ(tokenizerErrorOf(file("t5").integers("tokenizer.ggml.scores", {1})),
            "m.gguf: key 'tokenizer.ggml.scores': expected an array of 6 numbers of type float32, one a token");
  EXPECT_EQ(tokenizerErrorOf(scores(file("t5")).integers("tokenizer.ggml.precompiled_charsmap", {1})),
            "m.gguf: key 'tokenizer.ggml.precompiled_charsmap': expected an array of bytes");
}

TEST(Gguf, WordPieceTokenizer) {
  auto file = [] {
    return GgufBytes::llama()
        .text("tokenizer.ggml.model", "bert")
        .texts("tokenizer.ggml.tokens", {"[UNK]", "[CLS]", "[SEP]", "▁un", "able"})
        .integers("tokenizer.ggml.token_type", {2, 3, 3, 1, 1})
        .integer("tokenizer.ggml.bos_token_id", 1)
        .integer("tokenizer.ggml.seperator_token_id", 2);
  };
  json bert =
      tokenizerOf(file().integer("tokenizer.ggml.eos_token_id", 2).integer("tokenizer.ggml.unknown_token_id", 0));
  EXPECT_EQ(bert["model"]["vocab"], json::parse(R"({"[UNK]":0,"[CLS]":1,"[SEP]":2,"un":3,"##able":4})"));
  EXPECT_EQ(bert["post_processor"]["single"].size(), 3u);
  EXPECT_EQ(tokenizerErrorOf(file()), "m.gguf: missing key 'tokenizer.ggml.unknown_token_id'");
}

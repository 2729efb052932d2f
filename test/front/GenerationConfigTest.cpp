// How a model's makers sample: generation_config.json, general.sampling.* of GGUF, and [generation_config] of the TOML.
#include "compiler/importers/Importers.h"
#include "test/front/Fixtures.h"

using namespace lathe;
using namespace lathe::test;

namespace {

Result<ModelConfig> folderWith(std::string_view generation, const TemporaryFolder &folder) {
  folder.write("config.json", R"({"model_type": "llama", "vocab_size": 64, "hidden_size": 16, "intermediate_size": 32,
    "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5})");
  folder.write("generation_config.json", generation);
  auto config = importHuggingFaceConfig(folder.path("config.json"));
  if (config)
    if (auto fine = checkConfig(*config); !fine)
      return propagate(fine);
  return config;
}
SamplingDefaults samplingOf(std::string_view generation) {
  TemporaryFolder folder;
  auto config = folderWith(generation, folder);
  EXPECT_TRUE(config.has_value()) << config.error().message;
  return config ? config->sampling : SamplingDefaults();
}
std::string errorOf(std::string_view generation) {
  TemporaryFolder folder;
  return messageOf(folderWith(generation, folder), folder.path());
}
SamplingDefaults samplingOf(const GgufBytes &bytes) {
  TemporaryFolder folder;
  auto file = GgufFile::open(folder.write("m.gguf", bytes.bytes()));
  EXPECT_TRUE(file.has_value());
  auto config = importGgufConfig(**file);
  EXPECT_TRUE(config.has_value()) << config.error().message;
  return config ? config->sampling : SamplingDefaults();
}

} // namespace

// The file of Qwen3-0.6B.
TEST(GenerationConfig, OfHuggingFace) {
  SamplingDefaults found = samplingOf(R"({"bos_token_id": 3, "do_sample": true, "eos_token_id": [4, 5],
    "pad_token_id": 3, "temperature": 0.6, "top_k": 20, "top_p": 0.95, "transformers_version": "4.51.0"})");
  EXPECT_EQ(found,
            (SamplingDefaults{.source = "generation_config.json", .temperature = 0.6, .topP = 0.95, .topK = 20}));
}

// transformers' generate() searches greedily unless do_sample is true, whatever else the file says.
TEST(GenerationConfig, GreedyWithoutDoSample) {
  EXPECT_EQ(samplingOf(R"({"temperature": 0.6, "top_k": 20, "top_p": 0.95})"), SamplingDefaults());
  EXPECT_EQ(samplingOf(R"({"do_sample": false, "temperature": 0.6, "repetition_penalty": 1.1})"),
            (SamplingDefaults{.source = "generation_config.json", .repetitionPenalty = 1.1}));
  EXPECT_EQ(samplingOf(R"({"do_sample": true, "top_k": -1, "min_p": 0.05, "typical_p": 0.9})"),
            (SamplingDefaults{
                .source = "generation_config.json", .temperature = 1, .minP = 0.05, .typicalP = 0.9, .topK = 0}));
  EXPECT_EQ(samplingOf(R"({"_from_model_config": true, "temperature": null})"), SamplingDefaults());
}

TEST(GenerationConfig, Errors) {
  EXPECT_EQ(errorOf(R"({"do_sample": 1})"), "generation_config.json:1:15: do_sample: expected true or false, found 1");
  EXPECT_EQ(errorOf(R"({"do_sample": true, "top_p": "x"})"),
            "generation_config.json:1:30: top_p: expected a number, found the string \"x\"");
  EXPECT_EQ(errorOf(R"({"do_sample": true, "top_k": 1.5})"),
            "generation_config.json:1:30: top_k: expected an integer, found 1.5");
  EXPECT_EQ(errorOf(R"({"do_sample": true, "top_p": 1.5})"),
            "generation_config.json:1:30: generation_config.top_p: expected 0 to 1, found 1.5");
  EXPECT_EQ(errorOf("[]"), "generation_config.json:1:1: expected a JSON object, found a list");
}

TEST(GenerationConfig, OfGguf) {
  GgufBytes file = GgufBytes::llama();
  EXPECT_EQ(samplingOf(file), SamplingDefaults());
  file.number("general.sampling.temp", 0.7f).number("general.sampling.top_p", 0.95f);
  file.integer("general.sampling.top_k", 40).number("general.sampling.min_p", 0.01f);
  file.number("general.sampling.penalty_repeat", 1.05f).integer("general.sampling.mirostat", 2);
  file.number("general.sampling.mirostat_tau", 4).number("general.sampling.mirostat_eta", 0.2f);
  file.text("general.sampling.sequence", "top_k;temperature").number("general.sampling.xtc_probability", 0);
  EXPECT_EQ(samplingOf(file), (SamplingDefaults{.source = "general.sampling of m.gguf",
                                                .temperature = 0.7,
                                                .topP = 0.95,
                                                .minP = 0.01,
                                                .repetitionPenalty = 1.05,
                                                .mirostatTau = 4,
                                                .mirostatEta = 0.2,
                                                .topK = 40,
                                                .mirostat = 2}));
  GgufBytes first = GgufBytes::llama();
  first.integer("general.sampling.mirostat", 1).number("general.sampling.mirostat_tau", 4);
  EXPECT_EQ(samplingOf(first), SamplingDefaults()) << "the first version of Mirostat is left out";
  TemporaryFolder folder;
  GgufBytes wrong = GgufBytes::llama();
  wrong.text("general.sampling.temp", "hot");
  std::string message = messageOf(importModel(folder.write("m.gguf", wrong.bytes()), ""), folder.path());
  EXPECT_NE(message.find("key 'general.sampling.temp'"), std::string::npos) << message;
}

// What an importer found goes through the canonical TOML.
TEST(GenerationConfig, OfToml) {
  TemporaryFolder folder;
  auto config =
      folderWith(R"({"do_sample": true, "temperature": 0.6, "top_k": 20, "repetition_penalty": 1.5})", folder);
  ASSERT_OK(config);
  std::string toml = printConfig(*config);
  EXPECT_NE(toml.find("[generation_config]\ntemperature = 0.6\ntop_k = 20\nrepetition_penalty = 1.5\n"),
            std::string::npos)
      << toml;
  auto again = parseConfig(toml, "there/model.toml");
  ASSERT_OK(again);
  config->sampling.source = "model.toml";
  EXPECT_EQ(again->sampling, config->sampling);
  EXPECT_EQ(printConfig(*again), toml);
  auto wrong = [&](std::string_view from, std::string_view to) {
    return messageOf(parseConfig(replaced(toml, from, to), "model.toml"));
  };
  EXPECT_NE(wrong("top_k = 20", "topk = 20").find("unknown key 'generation_config.topk'; did you mean 'top_k'?"),
            std::string::npos);
  EXPECT_NE(wrong("top_k = 20", "top_k = 0.5").find("generation_config.top_k: expected an integer"), std::string::npos);
  EXPECT_NE(wrong("0.6", "-1").find("generation_config.temperature: expected 0 to 1000000, found -1"),
            std::string::npos);
  EXPECT_NE(wrong("top_k = 20", "mirostat = 1").find("generation_config.mirostat: expected 0 or 2"), std::string::npos);
  EXPECT_NE(wrong("[generation_config]", "[generation_confg]").find("did you mean"), std::string::npos);
}

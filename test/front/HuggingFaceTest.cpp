// config.json of both generations, generation_config.json, tokenizer files, and folders.
#include "compiler/importers/Importers.h"
#include "compiler/importers/Json.h"
#include "test/front/Fixtures.h"

#include <nlohmann/json.hpp>

using namespace lathe;
using namespace lathe::test;
using nlohmann::json;

namespace {

const std::string kLlama = R"({
  "model_type": "llama",
  "vocab_size": 40,
  "hidden_size": 16,
  "intermediate_size": 24,
  "num_hidden_layers": 2,
  "num_attention_heads": 4,
  "max_position_embeddings": 64,
  "rms_norm_eps": 1e-05
})";

/// kLlama with members added or replaced.
std::string with(std::string_view members) {
  json config = json::parse(kLlama);
  config.update(json::parse(fmt::format("{{{}}}", members)));
  return config.dump();
}

ModelConfig read(const std::string &text) {
  TemporaryFolder folder;
  auto config = importHuggingFaceConfig(folder.write("config.json", text));
  EXPECT_TRUE(config.has_value()) << config.error().message;
  return config.value_or(ModelConfig{});
}

std::string errorOf(const std::string &text) {
  TemporaryFolder folder;
  return messageOf(importHuggingFaceConfig(folder.write("config.json", text)), folder.path());
}

/// What is behind "config.json:line:column: ".
std::string errorWith(std::string_view members) {
  std::string message = errorOf(with(members));
  EXPECT_TRUE(message.starts_with("config.json:1:")) << message;
  return message.substr(std::min(message.find(": ") + 2, message.size()));
}

const std::string kTokenizer =
    R"({"version":"1.0","added_tokens":[{"id":0,"content":"<s>"},{"id":1,"content":"</s>"}],"post_processor":null,"model":{"type":"BPE","vocab":{},"merges":[]}})";

struct Side {
  std::string_view name, content;
};
json factsOf(const ModelConfig &config, std::string_view tokenizer, std::initializer_list<Side> sides = {}) {
  TemporaryFolder folder;
  folder.write("tokenizer.json", tokenizer);
  for (const Side &side : sides)
    folder.write(side.name, side.content);
  auto text = importHuggingFaceTokenizer(folder.path(), config);
  EXPECT_TRUE(text.has_value()) << text.error().message;
  json root = json::parse(text.value_or(""), nullptr, false);
  EXPECT_TRUE(root.is_object());
  json original = json::parse(tokenizer), facts = root.is_object() ? root["lathe"] : json();
  root.erase("lathe");
  EXPECT_EQ(root, original) << "the rest of the file is its own";
  return facts;
}

} // namespace

TEST(HuggingFace, ReferenceModels) {
  struct Case {
    const char *name;
    int64_t parameters;
  };
  for (auto [name, parameters] : {Case{"llama", 310944},
                                  {"llama3-rope-scaled", 335520},
                                  {"mistral-window", 310944},
                                  {"qwen2", 262272},
                                  {"qwen3", 384864}}) {
    auto model = importModel(repositoryFile(fmt::format("test/data/reference/{}", name)), "");
    ASSERT_OK(model);
    EXPECT_EQ(model->config.name, name);
    EXPECT_EQ(countParameters(model->config), parameters);
    ASSERT_NE(model->weights, nullptr);
    EXPECT_EQ(model->tokenizerJson, "");
    auto again = parseConfig(printConfig(model->config), "again.toml");
    ASSERT_OK(again);
    EXPECT_EQ(printConfig(*again), printConfig(model->config));
    // The file itself is an input as well as its folder.
    auto file = importModel(repositoryFile(fmt::format("test/data/reference/{}/config.json", name)), "");
    ASSERT_OK(file);
    EXPECT_EQ(printConfig(file->config), printConfig(model->config));
    EXPECT_NE(file->weights, nullptr);
  }
}

TEST(HuggingFace, Families) {
  auto family = [](std::string_view members) { return read(with(members)); };
  ModelConfig llama = read(kLlama);
  EXPECT_EQ(llama.numKeyValueHeads, 4);
  EXPECT_EQ(llama.headDim, 4);
  EXPECT_EQ(llama.rope.theta, 10000);
  EXPECT_FALSE(llama.attentionBias.q || llama.attentionBias.o || llama.mlpBias.gate);
  llama = family(R"("attention_bias":true,"mlp_bias":true,"sliding_window":5)");
  EXPECT_TRUE(llama.attentionBias.q && llama.attentionBias.k && llama.attentionBias.v && llama.attentionBias.o);
  EXPECT_TRUE(llama.mlpBias.gate && llama.mlpBias.up && llama.mlpBias.down);
  EXPECT_FALSE(llama.slidingWindow) << "LlamaModel has no window";

  ModelConfig qwen2 = family(
      R"("model_type":"qwen2","rope_theta":1e6,"num_key_value_heads":2,"sliding_window":9,"use_sliding_window":false)");
  EXPECT_TRUE(qwen2.attentionBias.q && qwen2.attentionBias.k && qwen2.attentionBias.v);
  EXPECT_FALSE(qwen2.attentionBias.o || qwen2.slidingWindow);
  EXPECT_EQ(qwen2.rope.theta, 1e6);
  EXPECT_EQ(qwen2.qkNorm, "none");

  ModelConfig qwen3 = family(R"("model_type":"qwen3","rope_theta":1e6,"num_key_value_heads":2,"attention_bias":true)");
  EXPECT_EQ(qwen3.headDim, 128) << "Qwen3Config's default";
  EXPECT_EQ(qwen3.qkNorm, "rms");
  EXPECT_EQ(qwen3.qkNormEps, 1e-5);
  EXPECT_TRUE(qwen3.attentionBias.q && qwen3.attentionBias.o);

  EXPECT_EQ(family(R"("model_type":"mistral","rope_theta":1e4,"num_key_value_heads":2)").slidingWindow, 4096)
      << "MistralConfig's default";
  EXPECT_EQ(
      family(R"("model_type":"mistral","rope_theta":1e4,"num_key_value_heads":2,"sliding_window":null)").slidingWindow,
      std::nullopt);
  EXPECT_EQ(
      family(R"("model_type":"mistral","rope_theta":1e4,"num_key_value_heads":2,"sliding_window":12)").slidingWindow,
      12);
  EXPECT_EQ(family(R"("model_type":"mistral","rope_theta":1e4)").numKeyValueHeads, 8) << "MistralConfig's default";
}

TEST(HuggingFace, Windows) {
  const std::string qwen2 =
      R"("model_type":"qwen2","rope_theta":1e6,"num_key_value_heads":2,"use_sliding_window":true,"sliding_window":9,)";
  ModelConfig mixed = read(with(qwen2 + R"("max_window_layers":1)"));
  EXPECT_EQ(mixed.slidingWindow, 9);
  EXPECT_EQ(mixed.layerTypes, (std::vector<std::string>{"full_attention", "sliding_attention"}));
  ModelConfig all = read(with(qwen2 + R"("max_window_layers":0)"));
  EXPECT_TRUE(all.layerTypes.empty() && all.slides(0) && all.slides(1));
  ModelConfig none = read(with(qwen2 + R"("max_window_layers":28)"));
  EXPECT_TRUE(none.layerTypes.empty() && !none.slidingWindow);
  ModelConfig listed =
      read(with(qwen2 + R"("max_window_layers":28,"layer_types":["sliding_attention","full_attention"])"));
  EXPECT_TRUE(listed.slides(0) && !listed.slides(1));
  EXPECT_EQ(
      errorWith(
          R"("model_type":"mistral","rope_theta":1e4,"sliding_window":4,"layer_types":["full_attention","full_attention"])"),
      "layer_types: model_type mistral has the same attention in every layer, and slides: expected sliding_attention "
      "only");
}

TEST(HuggingFace, RopeOfBothGenerations) {
  RopeConfig now = read(with(R"("rope_parameters":{"rope_type":"linear","rope_theta":5e4,"factor":2.5})")).rope;
  RopeConfig before = read(with(R"("rope_theta":5e4,"rope_scaling":{"type":"linear","factor":2.5})")).rope;
  for (const RopeConfig &rope : {now, before}) {
    EXPECT_EQ(rope.type, "linear");
    EXPECT_EQ(rope.theta, 5e4);
    EXPECT_EQ(rope.factor, 2.5);
    EXPECT_EQ(rope.layout, "half");
  }
  EXPECT_EQ(read(with(R"("rope_theta":5e4,"rope_scaling":null)")).rope.type, "default");
  RopeConfig llama3 =
      read(
          with(
              R"("rope_theta":5e5,"rope_scaling":{"rope_type":"llama3","factor":8,"low_freq_factor":1.5,"high_freq_factor":4,
    "original_max_position_embeddings":32})"))
          .rope;
  EXPECT_EQ(std::tie(llama3.type, llama3.factor, llama3.lowFreqFactor, llama3.highFreqFactor),
            std::tuple("llama3", 8.0, 1.5, 4.0));
  EXPECT_EQ(llama3.originalMaxPositionEmbeddings, 32);
  RopeConfig yarn =
      read(with(R"("rope_parameters":{"rope_type":"yarn","rope_theta":1e4,"factor":4,"mscale":0.9,"mscale_all_dim":0.6,
    "attention_factor":1.3,"beta_fast":24,"beta_slow":2,"truncate":false})"))
          .rope;
  EXPECT_EQ(yarn.originalMaxPositionEmbeddings, 64) << "max_position_embeddings when not said";
  EXPECT_EQ(std::tie(yarn.attentionFactor, yarn.mscale, yarn.mscaleAllDim, yarn.betaFast, yarn.betaSlow, yarn.truncate),
            std::tuple(1.3, 0.9, 0.6, 24.0, 2.0, false));
  EXPECT_EQ(read(with(R"("rope_parameters":{"rope_type":"yarn","factor":null,"original_max_position_embeddings":16})"))
                .rope.factor,
            4);
}

TEST(HuggingFace, PlacesPointIntoTheFile) {
  TemporaryFolder folder;
  auto config = importHuggingFaceConfig(
      folder.write("config.json", replaced(kLlama, "\"rms",
                                           "\"rope_scaling\": {\"type\": \"linear\",\n    \"factor\": 2},\n  \"rms")));
  ASSERT_OK(config);
  EXPECT_EQ(config->where.at("hidden_size"), "config.json:4:18");
  EXPECT_EQ(config->where.at("rope_parameters.factor"), "config.json:10:15");
  EXPECT_EQ(config->where.at("rope_parameters.rope_type"), "config.json:9:28");
  EXPECT_EQ(config->where.at(""), "config.json:1:1");
}

TEST(HuggingFace, EndsOfText) {
  EXPECT_EQ(read(with(R"("eos_token_id":[2,5,2],"bos_token_id":1)")).eosTokenIds, (std::vector<int64_t>{2, 5}));
  TemporaryFolder folder;
  folder.write("config.json", with(R"("eos_token_id":2)"));
  folder.write("generation_config.json", R"({"eos_token_id":[7,8]})");
  auto config = importHuggingFaceConfig(folder.path("config.json"));
  ASSERT_OK(config);
  EXPECT_EQ(config->eosTokenIds, (std::vector<int64_t>{7, 8})) << "what generate() stops at";
  EXPECT_EQ(config->where.at("eos_token_id"), "generation_config.json:1:17");
  folder.write("generation_config.json", R"({"eos_token_id":"x"})");
  EXPECT_EQ(
      messageOf(importHuggingFaceConfig(folder.path("config.json")), folder.path()),
      "generation_config.json:1:17: eos_token_id: expected an integer or a list of integers, found the string \"x\"");
}

TEST(HuggingFace, Errors) {
  EXPECT_EQ(errorWith(R"("model_type":"gpt_neox")"),
            "model_type: \"gpt_neox\" is not supported; supported: llama, mistral, qwen2, qwen3");
  EXPECT_EQ(errorOf("{}"), "config.json:1:1: missing key 'model_type'; supported: llama, mistral, qwen2, qwen3");
  EXPECT_EQ(errorOf("[1]"), "config.json:1:1: expected a JSON object, found a list");
  EXPECT_EQ(errorOf("{\"a\": 1,\n  b}"), "config.json:2:3: not JSON: syntax error while parsing object key - invalid "
                                         "literal; last read: '1,<U+000A>  b'; expected string literal");
  EXPECT_EQ(errorOf(replaced(kLlama, "  \"hidden_size\": 16,\n", "")),
            "config.json:1:1: missing key 'hidden_size': expected an integer");
  EXPECT_EQ(errorOf(replaced(kLlama, "16", "\"16\"")),
            "config.json:4:18: hidden_size: expected an integer, found the string \"16\"");
  EXPECT_EQ(errorWith(R"("hidden_size":18446744073709551615)"),
            "hidden_size: expected an integer, found 18446744073709551615");
  EXPECT_EQ(errorWith(R"("rms_norm_eps":true)"), "rms_norm_eps: expected a number, found true");
  EXPECT_EQ(errorWith(R"("tie_word_embeddings":1)"), "tie_word_embeddings: expected true or false, found 1");
  EXPECT_EQ(errorWith(R"("hidden_act":[1])"), "hidden_act: expected a string, found a list");
  EXPECT_EQ(errorWith(R"("eos_token_id":{"a":1})"),
            "eos_token_id: expected an integer or a list of integers, found an object");
  EXPECT_EQ(errorWith(R"("bos_token_id":[1])"), "bos_token_id: expected an integer, found a list");
  EXPECT_EQ(errorWith(R"("layer_types":[1])"), "layer_types: expected a list of strings, found 1");
  EXPECT_EQ(errorWith(R"("model_type":"qwen2")"), "missing key 'rope_theta': expected a number");
}

TEST(HuggingFace, WhatWouldChangeTheMathsIsAnError) {
  const std::string why = " is not supported, and ignoring it would change what the model computes";
  EXPECT_EQ(errorWith(R"("attn_logit_softcapping":50.0)"), "attn_logit_softcapping: 50.0" + why);
  EXPECT_EQ(errorWith(R"("final_logit_softcapping":30.0)"), "final_logit_softcapping: 30.0" + why);
  EXPECT_EQ(errorWith(R"("quantization_config":{"quant_method":"gptq"})"), "quantization_config: an object" + why);
  EXPECT_EQ(errorWith(R"("partial_rotary_factor":0.5)"), "partial_rotary_factor: 0.5" + why);
  EXPECT_EQ(errorWith(R"("num_local_experts":8)"), "num_local_experts: 8" + why);
  EXPECT_EQ(errorWith(R"("logit_scale":0.0625)"), "logit_scale: 0.0625" + why);
  EXPECT_EQ(errorWith(R"("model_type":"mistral","rope_theta":1e4,"attention_bias":true)"),
            "attention_bias: model_type mistral has no such key");
  EXPECT_EQ(errorWith(R"("model_type":"qwen3","rope_theta":1e4,"mlp_bias":true)"),
            "mlp_bias: model_type qwen3 has no such key");
  EXPECT_EQ(errorWith(R"("architectures":["LlamaForSequenceClassification"])"),
            "architectures: expected a model with a language head (…ForCausalLM), found the string "
            "\"LlamaForSequenceClassification\"");
  EXPECT_EQ(errorWith(R"("rope_scaling":{"type":"dynamic","factor":2})"),
            "rope_scaling.type: rope type \"dynamic\" is not supported; known: default, linear, llama3, yarn, none");
  EXPECT_EQ(errorWith(R"("rope_parameters":{"rope_type":"linear","fctor":2})").substr(0, 66),
            "rope_parameters: unknown key \"fctor\"; did you mean 'factor'? known");
  EXPECT_EQ(errorWith(R"("rope_parameters":{"rope_type":"linear"})"),
            "missing key 'rope_parameters.factor': rope type linear needs it");
  EXPECT_EQ(errorWith(R"("rope_parameters":{"rope_type":"llama3","factor":2,"low_freq_factor":1})"),
            "missing key 'rope_parameters.high_freq_factor': rope type llama3 needs it");
  EXPECT_EQ(errorWith(R"("rope_parameters":[1])"), "rope_parameters: expected an object, found a list");
  EXPECT_EQ(errorWith(R"("rope_parameters":{"partial_rotary_factor":0.25})"),
            "rope_parameters.partial_rotary_factor: 0.25 is not supported: only whole heads are rotated");
  // Neutral values, and keys that do not matter.
  read(with(
      R"("quantization_config":null,"partial_rotary_factor":1.0,"logit_scale":1,"num_experts":0,"use_cache":true,"pretraining_tp":2,
    "initializer_range":0.02,"anything":[1,{"a":2}],"architectures":["LlamaForCausalLM"])"));
  // What is wrong whatever the source was is said with the path that was given.
  TemporaryFolder folder;
  folder.write("config.json", with(R"("hidden_act":"gelu")"));
  EXPECT_EQ(messageOf(importModel(folder.path(), ""), folder.path()),
            "config.json:1:15: hidden_act: unknown value \"gelu\"; known: silu");
}

TEST(HuggingFace, Folders) {
  TemporaryFolder folder;
  EXPECT_EQ(messageOf(importModel(folder.path(), ""), folder.path().substr(0, folder.path().rfind('/'))),
            folder.path().substr(folder.path().rfind('/') + 1) +
                ": expected a Hugging Face folder, but there is no config.json in it");
  EXPECT_EQ(messageOf(importModel(folder.path("x"), ""), folder.path()), "x: cannot open: No such file or directory");
  folder.write("config.json", kLlama);
  auto model = importModel(folder.path(), "");
  ASSERT_OK(model);
  EXPECT_EQ(model->weights, nullptr) << "a folder may have none";
  folder.write("model.safetensors", "abc");
  EXPECT_FALSE(importModel(folder.path(), "").has_value());
  EXPECT_TRUE(importModel(folder.path(), "random:3").has_value()) << "the folder's own weights are not opened";
  auto usage = importModel(folder.path(), "random:x");
  ASSERT_FALSE(usage.has_value());
  EXPECT_EQ(usage.error().code, ExitCode::usage);
  EXPECT_EQ(usage.error().message,
            "--weights random:x: expected random:SEED with a seed from 0 to 18446744073709551615");
  EXPECT_EQ(messageOf(importModel(folder.path("model.safetensors"), ""), folder.path()),
            "model.safetensors: holds weights but no config: give the folder with its config.json, or a .toml with "
            "--weights model.safetensors");
  EXPECT_EQ(messageOf(importModel(folder.path("config.json"), folder.path("config.json")), folder.path()),
            "config.json: expected weights: a safetensors file, a folder with them, a GGUF file, or random:SEED");
  std::filesystem::remove(folder.path("model.safetensors"));
  std::string parent = std::filesystem::path(folder.path()).parent_path().string();
  EXPECT_EQ(messageOf(importModel(folder.path(), folder.path()), parent),
            std::filesystem::path(folder.path()).filename().string() +
                ": expected model.safetensors or model.safetensors.index.json in the folder");
}

TEST(HuggingFace, WeightsFromElsewhere) {
  TemporaryFolder folder;
  auto reference = importModel(repositoryFile("test/data/reference/qwen2"), "");
  ASSERT_OK(reference);
  std::string toml = folder.write("m.toml", printConfig(reference->config));
  auto model = importModel(toml, repositoryFile("test/data/reference/qwen2"));
  ASSERT_OK(model);
  EXPECT_NE(model->weights->find("model.norm.weight"), nullptr);
  EXPECT_TRUE(importModel(toml, repositoryFile("test/data/reference/qwen2/model.safetensors")).has_value());
  EXPECT_EQ(messageOf(importModel(toml, repositoryFile("test/data/reference/llama"))),
            repositoryFile("test/data/reference/llama") +
                ": tensor 'model.layers.0.self_attn.q_proj.bias' is missing: the config calls for it "
                "with shape [96]; check attention_bias");
}

TEST(HuggingFace, ImportedFacts) {
  ModelConfig config;
  config.bosTokenId = 7;
  config.eosTokenIds = {3};
  json facts = factsOf(config, kTokenizer);
  EXPECT_EQ(facts, json::parse(R"({"bos_token_id":7,"eos_token_ids":[3],"add_bos":false,"chat_template":null})"));
  // tokenizer_config.json knows better which token begins a text.
  facts = factsOf(config, kTokenizer,
                  {{"tokenizer_config.json", R"({"bos_token":{"content":"<s>"},"chat_template":"{{ \"ü\" }}"})"}});
  EXPECT_EQ(facts["bos_token_id"], 0);
  EXPECT_EQ(facts["chat_template"], "{{ \"ü\" }}");
  facts = factsOf(
      config, kTokenizer,
      {{"tokenizer_config.json",
        R"({"bos_token":null,"chat_template":[{"name":"tool","template":"a"},{"name":"default","template":"b"}]})"}});
  EXPECT_EQ(facts["bos_token_id"], nullptr);
  EXPECT_EQ(facts["chat_template"], "b");
  config.eosTokenIds.clear();
  facts = factsOf(config, kTokenizer,
                  {{"special_tokens_map.json", R"({"bos_token":"<s>","eos_token":"</s>"})"},
                   {"chat_template.jinja", "from a file"}});
  EXPECT_EQ(facts,
            json::parse(R"({"bos_token_id":0,"eos_token_ids":[1],"add_bos":false,"chat_template":"from a file"})"));
  std::string post =
      R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}]})";
  EXPECT_EQ(factsOf(config, replaced(kTokenizer, "null", post))["add_bos"], false)
      << "the template begins with another token than 7, and says all that is added";
  config.bosTokenId = 0;
  EXPECT_EQ(factsOf(config, replaced(kTokenizer, "null", post))["add_bos"], true);
  EXPECT_EQ(
      factsOf(config, replaced(kTokenizer, "null",
                               R"({"type":"Sequence","processors":[{"type":"ByteLevel"},)" + post + "]}"))["add_bos"],
      true);
  EXPECT_EQ(factsOf(config, replaced(kTokenizer, "null", R"({"type":"ByteLevel"})"))["add_bos"], false);
  EXPECT_EQ(factsOf(config, "{ }\n")["eos_token_ids"], json::array());
}

TEST(HuggingFace, TokenizerErrors) {
  auto errorOfTokenizer = [](std::string_view tokenizer, std::initializer_list<Side> sides = {}) {
    TemporaryFolder folder;
    folder.write("tokenizer.json", tokenizer);
    for (const Side &side : sides)
      folder.write(side.name, side.content);
    return messageOf(importHuggingFaceTokenizer(folder.path(), ModelConfig{}), folder.path());
  };
  EXPECT_EQ(errorOfTokenizer("{\"model\":{\"vocab\":{\"a\":}}}").substr(0, 34), "tokenizer.json:1:24: not JSON: syn");
  EXPECT_EQ(errorOfTokenizer("[]"), "tokenizer.json:1:1: expected a JSON object, found a list");
  EXPECT_EQ(errorOfTokenizer("{\"lathe\":1}"), "tokenizer.json:1:10: the key 'lathe' is reserved: remove it");
  EXPECT_EQ(errorOfTokenizer("{\"model\":" + std::string(1000, '[')), "tokenizer.json: JSON nests deeper than 64");
  EXPECT_EQ(errorOfTokenizer("{}", {{"tokenizer_config.json", "3"}}),
            "tokenizer_config.json: expected a JSON object, found 3");
  EXPECT_EQ(errorOfTokenizer("{}", {{"chat_template.jinja", "\xff"}}),
            "chat_template.jinja: expected UTF-8 text of at most 16777216 bytes");
}

TEST(Json, FindsPlaces) {
  std::string text = "{\n \"a\\\"b\": [1, {\"x\": \"}\"}], \"o\" : { \"x\":null ,\"y\": \"z\" }\n}";
  EXPECT_EQ(placeInJson(text, "f", ""), "f:1:1");
  EXPECT_EQ(placeInJson(text, "f", "o"), "f:2:33");
  EXPECT_EQ(placeInJson(text, "f", "o.x"), "f:2:39");
  EXPECT_EQ(placeInJson(text, "f", "o.y"), "f:2:50");
  EXPECT_EQ(placeInJson(text, "f", "none"), "f:1:1");
}

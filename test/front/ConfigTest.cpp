// The canonical TOML: what it reads, what it prints, and what it says about mistakes.
#include "compiler/Config.h"
#include "test/front/Fixtures.h"

#include <fmt/format.h>

using namespace lathe;
using namespace lathe::test;

namespace {

const std::string kSmall = R"(name = "small"
vocab_size = 100
hidden_size = 32
intermediate_size = 48
num_hidden_layers = 2
num_attention_heads = 4
num_key_value_heads = 2
max_position_embeddings = 64
rms_norm_eps = 1e-5

[rope_parameters]
rope_theta = 10000.0
)";

std::string errorOf(const std::string &toml) { return messageOf(parseConfig(toml, "folder/m.toml")); }
std::string errorAfter(std::string_view from, std::string_view to) { return errorOf(replaced(kSmall, from, to)); }

/// parse(print(c)) == c, field by field but for `where`.
void expectRoundTrip(const ModelConfig &config) {
  std::string printed = printConfig(config);
  auto again = parseConfig(printed, "printed.toml");
  ASSERT_OK(again);
  EXPECT_EQ(printConfig(*again), printed);
  const ModelConfig &a = config, &b = *again;
  EXPECT_EQ(std::tie(a.name, a.modelType, a.vocabSize, a.hiddenSize, a.intermediateSize, a.numHiddenLayers,
                     a.numAttentionHeads, a.numKeyValueHeads, a.headDim, a.maxPositionEmbeddings, a.hiddenAct,
                     a.normType, a.normEps, a.qkNorm, a.qkNormEps, a.headBias, a.tieWordEmbeddings, a.slidingWindow,
                     a.layerTypes, a.bosTokenId, a.eosTokenIds),
            std::tie(b.name, b.modelType, b.vocabSize, b.hiddenSize, b.intermediateSize, b.numHiddenLayers,
                     b.numAttentionHeads, b.numKeyValueHeads, b.headDim, b.maxPositionEmbeddings, b.hiddenAct,
                     b.normType, b.normEps, b.qkNorm, b.qkNormEps, b.headBias, b.tieWordEmbeddings, b.slidingWindow,
                     b.layerTypes, b.bosTokenId, b.eosTokenIds));
  const RopeConfig &r = config.rope, &s = again->rope;
  EXPECT_EQ(
      std::tie(r.type, r.layout, r.theta, r.factor, r.lowFreqFactor, r.highFreqFactor, r.originalMaxPositionEmbeddings,
               r.betaFast, r.betaSlow, r.attentionFactor, r.mscale, r.mscaleAllDim, r.truncate),
      std::tie(s.type, s.layout, s.theta, s.factor, s.lowFreqFactor, s.highFreqFactor, s.originalMaxPositionEmbeddings,
               s.betaFast, s.betaSlow, s.attentionFactor, s.mscale, s.mscaleAllDim, s.truncate));
  auto bits = [](const ModelConfig &c) {
    return std::vector<bool>{c.attentionBias.q, c.attentionBias.k, c.attentionBias.v, c.attentionBias.o,
                             c.mlpBias.gate,    c.mlpBias.up,      c.mlpBias.down};
  };
  EXPECT_EQ(bits(config), bits(*again));
}

ModelConfig small() {
  auto config = parseConfig(kSmall, "m.toml");
  EXPECT_TRUE(config.has_value());
  return config.value_or(ModelConfig{});
}

} // namespace

TEST(Config, ReadsDefaults) {
  ModelConfig config = small();
  EXPECT_EQ(config.headDim, 8);
  EXPECT_EQ(config.numKeyValueHeads, 2);
  EXPECT_EQ(config.hiddenAct, "silu");
  EXPECT_EQ(config.normType, "rms");
  EXPECT_EQ(config.normEps, 1e-5);
  EXPECT_EQ(config.rope.type, "default");
  EXPECT_EQ(config.rope.layout, "half");
  EXPECT_FALSE(config.bosTokenId);
  EXPECT_TRUE(config.eosTokenIds.empty());
  EXPECT_FALSE(config.slides(0));
}

TEST(Config, KeepsPlacesWithBaseNames) {
  auto config = parseConfig(kSmall, "folder/m.toml");
  ASSERT_OK(config);
  EXPECT_EQ(config->where.at(""), "m.toml:1:1");
  EXPECT_EQ(config->where.at("hidden_size"), "m.toml:3:15");
  EXPECT_EQ(config->where.at("rope_parameters.rope_theta"), "m.toml:12:14");
  EXPECT_FALSE(config->where.contains("head_dim"));
}

TEST(Config, RoundTripsEveryField) {
  ModelConfig config = small();
  expectRoundTrip(config);
  config.name = "quotes \" and \\ and ü";
  config.attentionBias = {true, false, true, false};
  config.mlpBias = {true, true, true};
  config.normType = "layer";
  config.normEps = 1.0 / 3;
  config.qkNorm = "layer";
  config.qkNormEps = 2e-7;
  config.headBias = config.tieWordEmbeddings = true;
  config.slidingWindow = 7;
  config.layerTypes = {"full_attention", "sliding_attention"};
  config.bosTokenId = 0;
  config.eosTokenIds = {3, 99};
  expectRoundTrip(config);
  RopeConfig rope;
  rope.type = "linear";
  rope.layout = "interleaved";
  rope.theta = 1e6;
  rope.factor = 2.5;
  config.rope = rope;
  expectRoundTrip(config);
  rope.type = "llama3";
  rope.lowFreqFactor = 1.5;
  rope.highFreqFactor = 4.25;
  rope.originalMaxPositionEmbeddings = 64;
  config.rope = rope;
  expectRoundTrip(config);
  rope = {};
  rope.type = "yarn";
  rope.factor = 4;
  rope.originalMaxPositionEmbeddings = 32;
  rope.betaFast = 24;
  rope.betaSlow = 2;
  config.rope = rope;
  expectRoundTrip(config);
  config.rope.attentionFactor = 1.3;
  config.rope.mscale = 0.9;
  config.rope.mscaleAllDim = 0.6;
  config.rope.truncate = false;
  expectRoundTrip(config);
  config.rope = {};
  config.rope.type = "none";
  expectRoundTrip(config);
}

TEST(Config, PrintsTheCanonicalForm) {
  EXPECT_EQ(printConfig(small()), R"(name = "small"
vocab_size = 100
hidden_size = 32
intermediate_size = 48
num_hidden_layers = 2
num_attention_heads = 4
num_key_value_heads = 2
head_dim = 8
max_position_embeddings = 64
hidden_act = "silu"
norm_type = "rms"
rms_norm_eps = 1e-05
qk_norm = "none"
attention_bias = false
mlp_bias = false
tie_word_embeddings = false

[rope_parameters]
rope_type = "default"
rope_layout = "half"
rope_theta = 10000.0
)");
}

TEST(Config, NamesUnknownKeys) {
  EXPECT_EQ(errorAfter("hidden_size = 32", "hiden_size = 32").substr(0, 87),
            "folder/m.toml:3:1: unknown key 'hiden_size'; did you mean 'hidden_size'? known: name, m");
  EXPECT_EQ(
      errorAfter("rope_theta", "rope_thta"),
      "folder/m.toml:12:1: unknown key 'rope_parameters.rope_thta'; did you mean 'rope_theta'? known: rope_type, "
      "rope_layout, "
      "rope_theta, factor, low_freq_factor, high_freq_factor, original_max_position_embeddings, beta_fast, beta_slow, "
      "attention_factor, mscale, mscale_all_dim, truncate");
  EXPECT_EQ(errorAfter("[rope_parameters]\n", ""),
            "folder/m.toml:11:1: unknown key 'rope_theta': it belongs into the table [rope_parameters]");
  std::string far = errorAfter("hidden_size = 32", "zzzzzzzzzzzz = 32");
  EXPECT_EQ(far.substr(0, 60), "folder/m.toml:3:1: unknown key 'zzzzzzzzzzzz'; known: name, ");
}

TEST(Config, NamesMissingKeys) {
  EXPECT_EQ(errorAfter("hidden_size = 32\n", ""), "folder/m.toml:1:1: missing key 'hidden_size': expected an integer");
  EXPECT_EQ(errorAfter("rms_norm_eps = 1e-5\n", ""),
            "folder/m.toml:1:1: missing key 'rms_norm_eps': expected a number");
  EXPECT_EQ(errorAfter("rope_theta = 10000.0\n", ""),
            "folder/m.toml:11:1: missing key 'rope_parameters.rope_theta': expected a number");
  EXPECT_EQ(errorAfter("[rope_parameters]\nrope_theta = 10000.0\n", ""),
            "folder/m.toml:1:1: missing key 'rope_parameters': expected a table with rope_type and rope_theta");
  EXPECT_EQ(errorAfter("num_attention_heads = 4", "num_attention_heads = 6"),
            "folder/m.toml:1:1: missing key 'head_dim': expected an integer");
  EXPECT_EQ(errorOf(kSmall + "rope_type = \"llama3\"\nfactor = 2.0\n"),
            "folder/m.toml:11:1: missing key 'rope_parameters.low_freq_factor': expected a number");
}

TEST(Config, NamesMistypedValues) {
  EXPECT_EQ(errorAfter("hidden_size = 32", "hidden_size = \"32\""),
            "folder/m.toml:3:15: hidden_size: expected an integer, found the string \"32\"");
  EXPECT_EQ(errorAfter("hidden_size = 32", "hidden_size = 32.0"),
            "folder/m.toml:3:15: hidden_size: expected an integer, found the number 32");
  EXPECT_EQ(errorAfter("rms_norm_eps = 1e-5", "rms_norm_eps = true"),
            "folder/m.toml:9:16: rms_norm_eps: expected a number, found true");
  EXPECT_EQ(errorAfter("rms_norm_eps = 1e-5", "rms_norm_eps = nan"),
            "folder/m.toml:9:16: rms_norm_eps: expected a number, found the number nan");
  EXPECT_EQ(errorOf("name = [1]\n" + replaced(kSmall, "name = \"small\"\n", "")),
            "folder/m.toml:1:8: name: expected a string, found a list");
  EXPECT_EQ(errorOf("tie_word_embeddings = 1\n" + kSmall),
            "folder/m.toml:1:23: tie_word_embeddings: expected true or false, found the integer 1");
  EXPECT_EQ(
      errorOf("attention_bias = [\"q\", \"x\"]\n" + kSmall),
      "folder/m.toml:1:24: attention_bias: expected true, false, or a list of q, k, v, o, found the string \"x\"");
  EXPECT_EQ(errorOf("mlp_bias = [\"up\", \"up\"]\n" + kSmall), "folder/m.toml:1:19: mlp_bias: names \"up\" twice");
  EXPECT_EQ(errorOf("mlp_bias = 3\n" + kSmall),
            "folder/m.toml:1:12: mlp_bias: expected true, false, or a list of gate, up, down, found the integer 3");
  EXPECT_EQ(errorOf("eos_token_id = [1, \"a\"]\n" + kSmall),
            "folder/m.toml:1:20: eos_token_id: expected an integer or a list of integers, found the string \"a\"");
  EXPECT_EQ(errorOf("layer_types = \"full_attention\"\n" + kSmall),
            "folder/m.toml:1:15: layer_types: expected a list of \"full_attention\" and \"sliding_attention\", one a "
            "layer, found the "
            "string \"full_attention\"");
  EXPECT_EQ(
      errorOf("rope_parameters = 1970-01-01\n" + replaced(kSmall, "[rope_parameters]\nrope_theta = 10000.0\n", "")),
      "folder/m.toml:1:19: rope_parameters: expected a table with rope_type and rope_theta, found a date or time");
}

TEST(Config, NamesContradictions) {
  EXPECT_EQ(errorOf("norm_type = \"layer\"\n" + kSmall),
            "folder/m.toml:10:16: rms_norm_eps: contradicts norm_type = \"layer\", whose epsilon is layer_norm_eps");
  EXPECT_EQ(
      errorOf("qk_norm_eps = 1e-6\n" + kSmall),
      "folder/m.toml:1:15: qk_norm_eps: has no meaning with qk_norm = \"none\": remove it, or choose rms or layer");
  EXPECT_EQ(errorOf(kSmall + "factor = 2.0\n"),
            "folder/m.toml:13:1: rope_parameters.factor: has no meaning with rope_type = \"default\": remove it; "
            "keys that do: rope_type, rope_layout, rope_theta");
  EXPECT_EQ(errorOf(kSmall + "rope_type = \"none\"\n"),
            "folder/m.toml:12:1: rope_parameters.rope_theta: has no meaning with rope_type = \"none\": remove it; keys "
            "that do: rope_type");
  EXPECT_EQ(errorOf("layer_types = [\"full_attention\", \"sliding_attention\"]\n" + kSmall),
            "folder/m.toml:1:15: layer_types: says sliding_attention, but there is no sliding_window: give one, or say "
            "full_attention");
  EXPECT_EQ(errorOf("sliding_window = 4\nlayer_types = [\"full_attention\", \"full_attention\"]\n" + kSmall),
            "folder/m.toml:1:18: sliding_window: no entry of layer_types is sliding_attention: remove sliding_window, "
            "or let a layer slide");
  EXPECT_EQ(errorOf("layer_types = [\"full_attention\"]\n" + kSmall),
            "folder/m.toml:1:15: layer_types: expected num_hidden_layers = 2 entries, found 1");
  EXPECT_EQ(errorAfter("num_key_value_heads = 2", "num_key_value_heads = 3"),
            "folder/m.toml:7:23: num_key_value_heads: 3 does not divide num_attention_heads = 4: every key/value head "
            "serves an equal group");
  EXPECT_EQ(errorOf("head_dim = 7\n" + kSmall), "folder/m.toml:1:12: head_dim: 7 is odd: rotary embedding turns pairs; "
                                                "use an even head_dim or rope_type = \"none\"");
  EXPECT_EQ(errorOf(kSmall + "rope_type = \"llama3\"\nfactor = 2.0\nlow_freq_factor = 4\nhigh_freq_factor = "
                             "4\noriginal_max_position_embeddings = 8\n"),
            "folder/m.toml:16:20: rope_parameters.high_freq_factor: 4 is not above low_freq_factor = 4");
  EXPECT_EQ(
      errorOf(kSmall +
              "rope_type = \"yarn\"\nfactor = 2\nbeta_fast = 1\nbeta_slow = 2\noriginal_max_position_embeddings = 8\n"),
      "folder/m.toml:15:13: rope_parameters.beta_fast: 1 is below beta_slow = 2");
}

TEST(Config, NamesValuesOutOfRange) {
  EXPECT_EQ(errorAfter("hidden_size = 32", "hidden_size = 0"),
            "folder/m.toml:3:15: hidden_size: expected an integer from 1 to 131072, found 0");
  EXPECT_EQ(errorAfter("vocab_size = 100", "vocab_size = 9223372036854775807"),
            "folder/m.toml:2:14: vocab_size: expected an integer from 1 to 2097152, found 9223372036854775807");
  EXPECT_EQ(errorAfter("num_key_value_heads = 2", "num_key_value_heads = -1"),
            "folder/m.toml:7:23: num_key_value_heads: expected an integer from 1 to 8192, found -1");
  EXPECT_EQ(errorAfter("rms_norm_eps = 1e-5", "rms_norm_eps = 0"),
            "folder/m.toml:9:16: rms_norm_eps: expected a number from 1e-30 to 1, found 0");
  EXPECT_EQ(errorAfter("10000.0", "-1"),
            "folder/m.toml:12:14: rope_parameters.rope_theta: expected a number from 1e-06 to 1e+16, found -1");
  EXPECT_EQ(errorOf("hidden_act = \"gelu\"\n" + kSmall),
            "folder/m.toml:1:14: hidden_act: unknown value \"gelu\"; known: silu");
  EXPECT_EQ(errorOf("norm_type = \"lyer\"\n" + kSmall),
            "folder/m.toml:1:13: norm_type: unknown value \"lyer\"; did you mean 'layer'? known: rms, layer");
  EXPECT_EQ(errorOf("qk_norm = \"l2\"\n" + kSmall),
            "folder/m.toml:1:11: qk_norm: unknown value \"l2\"; known: none, rms, layer");
  EXPECT_EQ(errorOf(kSmall + "rope_type = \"yarm\"\n"),
            "folder/m.toml:13:13: rope_parameters.rope_type: unknown value \"yarm\"; did you mean 'yarn'? known: "
            "default, linear, llama3, yarn, none");
  EXPECT_EQ(errorOf(kSmall + "rope_layout = \"pairs\"\n"),
            "folder/m.toml:13:15: rope_parameters.rope_layout: unknown value \"pairs\"; known: half, interleaved");
  EXPECT_EQ(errorOf("bos_token_id = 100\n" + kSmall),
            "folder/m.toml:1:16: bos_token_id: expected a token id from 0 to 99 (vocab_size - 1), found 100");
  EXPECT_EQ(errorOf("eos_token_id = [1, -1]\n" + kSmall),
            "folder/m.toml:1:16: eos_token_id: expected a token id from 0 to 99 (vocab_size - 1), found -1");
  EXPECT_EQ(errorOf("sliding_window = 0\n" + kSmall),
            "folder/m.toml:1:18: sliding_window: expected an integer from 1 to 134217728, found 0");
  EXPECT_EQ(
      errorOf("head_dim = 4096\n" + replaced(replaced(kSmall, "num_attention_heads = 4", "num_attention_heads = 512"),
                                             "hidden_size = 32", "hidden_size = 512")),
      "folder/m.toml:1:12: head_dim: num_attention_heads x head_dim = 512 x 4096 is beyond the limit of 1048576");
}

TEST(Config, LimitsTheNumberOfParameters) {
  std::string huge = R"(vocab_size = 2097152
hidden_size = 131072
intermediate_size = 1048576
num_hidden_layers = 4096
num_attention_heads = 256
head_dim = 4096
max_position_embeddings = 64
rms_norm_eps = 1e-5
[rope_parameters]
rope_theta = 10000.0
)";
  EXPECT_EQ(errorOf(huge), "folder/m.toml:4:21: num_hidden_layers: the sizes make 3941200503635968 parameters, the "
                           "limit is 281474976710656");
}

TEST(Config, NamesBrokenToml) {
  EXPECT_EQ(errorOf("name = \n"),
            "folder/m.toml:1:8: not TOML: Error while parsing key-value pair: expected value, saw '\\n'");
  EXPECT_EQ(errorOf("name = \"a\"\nname = \"b\"\n").substr(0, 28), "folder/m.toml:2:8: not TOML:");
  EXPECT_EQ(errorOf("a" + std::string(30, '.') + "b = 1\n"),
            "folder/m.toml:1:1: expected at most 24 dots in a line: keys of a config nest two deep");
  EXPECT_EQ(errorOf(std::string((1 << 18) + 1, '#')),
            "folder/m.toml: expected a config of at most 262144 bytes, found 262145");
}

TEST(Config, AMissingKeyIsReportedAfterAWrongOne) {
  std::string both = replaced(replaced(kSmall, "vocab_size = 100\n", ""), "hidden_size = 32", "hiden_size = 32");
  EXPECT_EQ(errorOf(both).substr(0, 43), "folder/m.toml:2:1: unknown key 'hiden_size'");
}

TEST(Config, ListsWeightsInOrder) {
  ModelConfig config = small();
  config.numHiddenLayers = 1;
  config.attentionBias.q = config.mlpBias.down = config.headBias = true;
  config.qkNorm = "rms";
  config.normType = "layer";
  std::vector<std::string> lines;
  for (const WeightSpec &weight : listWeights(config))
    lines.push_back(fmt::format("{} {}", weight.name, fmt::join(weight.shape, "x")));
  EXPECT_EQ(lines, (std::vector<std::string>{"model.embed_tokens.weight 100x32",
                                             "model.layers.0.input_layernorm.weight 32",
                                             "model.layers.0.input_layernorm.bias 32",
                                             "model.layers.0.self_attn.q_proj.weight 32x32",
                                             "model.layers.0.self_attn.q_proj.bias 32",
                                             "model.layers.0.self_attn.k_proj.weight 16x32",
                                             "model.layers.0.self_attn.v_proj.weight 16x32",
                                             "model.layers.0.self_attn.q_norm.weight 8",
                                             "model.layers.0.self_attn.k_norm.weight 8",
                                             "model.layers.0.self_attn.o_proj.weight 32x32",
                                             "model.layers.0.post_attention_layernorm.weight 32",
                                             "model.layers.0.post_attention_layernorm.bias 32",
                                             "model.layers.0.mlp.gate_proj.weight 48x32",
                                             "model.layers.0.mlp.up_proj.weight 48x32",
                                             "model.layers.0.mlp.down_proj.weight 32x48",
                                             "model.layers.0.mlp.down_proj.bias 32",
                                             "model.norm.weight 32",
                                             "model.norm.bias 32",
                                             "lm_head.weight 100x32",
                                             "lm_head.bias 100"}));
  EXPECT_EQ(countParameters(config),
            100 * 32 + 64 + (1024 + 32) + 512 + 512 + 16 + 1024 + 64 + 1536 + 1536 + (1536 + 32) + 64 + 3200 + 100);
}

TEST(Config, SlidesByLayerTypes) {
  ModelConfig config = small();
  config.slidingWindow = 3;
  EXPECT_TRUE(config.slides(0) && config.slides(1));
  config.layerTypes = {"full_attention", "sliding_attention"};
  EXPECT_FALSE(config.slides(0));
  EXPECT_TRUE(config.slides(1));
}

TEST(Config, PublishedModels) {
  for (auto [name, parameters] : {std::pair("SmolLM2-135M", 134515008ll),
                                  {"Qwen3-0.6B", 596049920ll},
                                  {"Llama-3.2-1B", 1235814400ll},
                                  {"Mistral-7B", 7241732096ll}}) {
    std::string path = repositoryFile(fmt::format("configs/models/{}.toml", name));
    auto config = parseConfig(readFile(path), path);
    ASSERT_OK(config);
    EXPECT_EQ(config->name, name);
    EXPECT_EQ(countParameters(*config), parameters) << name;
    expectRoundTrip(*config);
  }
}

// The .cfg files of OSC-Transformers, unchanged, and what is said about wrong ones.
#include "compiler/importers/Importers.h"
#include "test/front/Fixtures.h"

using namespace lathe;
using namespace lathe::test;

namespace {

const std::string &decoder() {
  static const std::string text = readFile(repositoryFile("test/data/osc/decoder.cfg"));
  return text;
}
std::string errorOf(const std::string &text) { return messageOf(importOscConfig(text, "folder/d.cfg")); }
std::string errorAfter(std::string_view from, std::string_view to) { return errorOf(replaced(decoder(), from, to)); }

} // namespace

TEST(Osc, DecoderIsReadUnchanged) {
  auto model = importModel(repositoryFile("test/data/osc/decoder.cfg"), "");
  ASSERT_OK(model);
  EXPECT_EQ(countParameters(model->config), 751632384);
  EXPECT_EQ(model->weights, nullptr);
  EXPECT_EQ(printConfig(model->config), R"(name = "decoder"
model_type = "osc-transformers"
vocab_size = 151936
hidden_size = 1024
intermediate_size = 3072
num_hidden_layers = 28
num_attention_heads = 16
num_key_value_heads = 8
head_dim = 128
max_position_embeddings = 4096
hidden_act = "silu"
norm_type = "rms"
rms_norm_eps = 1e-06
qk_norm = "rms"
qk_norm_eps = 1e-06
attention_bias = false
mlp_bias = false
tie_word_embeddings = false

[rope_parameters]
rope_type = "default"
rope_layout = "half"
rope_theta = 1000000.0
)");
  EXPECT_EQ(model->config.where.at("hidden_size"), "decoder.cfg:31:17");
  EXPECT_EQ(model->config.where.at("rope_parameters.rope_theta"), "decoder.cfg:12:13");
}

TEST(Osc, AllThreeFiles) {
  for (auto [name, norm, parameters] : {std::tuple("decoder", "rms", 751632384ll),
                                        {"readme_model", "rms", 751632384ll},
                                        {"build_decoder_literal_2", "layer", 751697920ll}}) {
    auto model = importModel(repositoryFile(fmt::format("test/data/osc/{}.cfg", name)), "random:0");
    ASSERT_OK(model);
    EXPECT_EQ(model->config.normType, norm) << name;
    EXPECT_EQ(model->config.qkNorm, norm) << name;
    EXPECT_EQ(countParameters(model->config), parameters) << name;
  }
}

TEST(Osc, Syntax) {
  std::string text =
      "# a comment\n; another\n[sizes]\nwidth: 64\nname = deep\ntwo = \"6${sizes:four}\"\nfour = \"4\"\n\n" +
      replaced(replaced(decoder(), "embedding_dim = 1024", "embedding_dim = ${sizes:width}"), "prenorm = \"True\"",
               "prenorm = yes");
  for (size_t at; (at = text.find("in_dim = 1024")) != std::string::npos;)
    text.replace(at, 13, "in_dim = ${sizes:two}");
  auto config = importOscConfig(replaced(text, "hidden_dim = 3072", "hidden_dim =\n  \"96\""), "d.cfg");
  ASSERT_OK(config);
  EXPECT_EQ(config->hiddenSize, 64);
  EXPECT_EQ(config->intermediateSize, 96) << "an indented line goes on with the value above";
}

TEST(Osc, Variants) {
  auto read = [](const std::string &text) {
    auto config = importOscConfig(text, "d.cfg");
    EXPECT_TRUE(config.has_value()) << config.error().message;
    return config.value_or(ModelConfig{});
  };
  ModelConfig biased = read(replaced(replaced(decoder(), "q_bias = \"False\"", "q_bias = True"),
                                     "gate_bias = \"False\"", "gate_bias = true"));
  EXPECT_TRUE(biased.attentionBias.q && !biased.attentionBias.k && biased.mlpBias.gate && !biased.mlpBias.up);
  EXPECT_TRUE(read(replaced(decoder(), "\nbias = \"False\"", "\nbias = 1")).headBias);
  ModelConfig merged = read(replaced(decoder(), "q_bias = \"False\"", "use_qkv_proj = true\nqkv_bias = true"));
  EXPECT_TRUE(merged.attentionBias.q && merged.attentionBias.k && merged.attentionBias.v && !merged.attentionBias.o);
  EXPECT_EQ(read(replaced(decoder(), "rope_base = 1000000", "apply_rope = false")).rope.type, "none");
  std::string norms = decoder();
  size_t first = norms.find("[model.attention.k_norm]"), last = norms.find("[model.embedding]");
  ModelConfig plain = read(norms.erase(first, last - first));
  EXPECT_EQ(plain.qkNorm, "none");
  EXPECT_EQ(read(decoder() + "\n[model.sampler]\nanything = 1\n").numHiddenLayers, 28);
  EXPECT_EQ(read(replaced(decoder(), "rope_base = 1000000", "scale = 0.08838834764831845")).rope.theta, 10000)
      << "the component's default";
}

TEST(Osc, NamesUnregisteredComponents) {
  const std::string norm = "[model.norm]\n@normalization = \"RMSNorm\"";
  EXPECT_EQ(errorAfter(norm, "[model.norm]\n@normalization = \"PowerNorm\""),
            "folder/d.cfg:48:18: [model.norm] @normalization: the string \"PowerNorm\" is not registered; known: "
            "RMSNorm, RMSNorm.torch, RMSNorm.triton, LayerNorm");
  EXPECT_EQ(errorAfter("\"PagedAttention\"", "\"PagedAtention\""),
            "folder/d.cfg:7:14: [model.attention] @attention: the string \"PagedAtention\" is not registered; did you "
            "mean 'PagedAttention'? known: PagedAttention");
  EXPECT_EQ(errorAfter("\"SwiGLU\"", "3"), "folder/d.cfg:34:16: [model.feedforward] @feedforward: 3 is not registered; "
                                           "known: SwiGLU, SwiGLU.torch, SwiGLU.triton");
}

TEST(Osc, NamesWrongKeysAndSections) {
  EXPECT_EQ(errorAfter("num_heads", "num_haeds"),
            "folder/d.cfg:9:1: [model.attention] unknown key \"num_haeds\"; did you mean 'num_heads'? known: "
            "@attention, in_dim, num_heads, head_dim, "
            "num_query_groups, q_bias, k_bias, v_bias, o_bias, use_qkv_proj, qkv_bias, apply_rope, rope_base, scale");
  EXPECT_EQ(errorAfter("num_heads = 16\n", ""),
            "folder/d.cfg:6:1: [model.attention] missing key 'num_heads': expected an integer");
  EXPECT_EQ(errorAfter("@head = \"LMHead\"\n", ""),
            "folder/d.cfg:41:1: [model.head] missing key '@head': expected one of LMHead");
  EXPECT_EQ(errorAfter("\nbias = \"False\"", ""),
            "folder/d.cfg:41:1: [model.head] missing key 'bias': expected true or false");
  EXPECT_EQ(errorAfter("num_layers = 28", "num_layers = \"many\""),
            "folder/d.cfg:3:14: [model] num_layers: expected an integer, found the string \"many\"");
  EXPECT_EQ(errorAfter("q_bias = \"False\"", "q_bias = perhaps"),
            "folder/d.cfg:13:10: [model.attention] q_bias: expected true or false, found the string \"perhaps\"");
  EXPECT_EQ(errorAfter("rope_base = 1000000", "rope_base = x"),
            "folder/d.cfg:12:13: [model.attention] rope_base: expected a number, found the string \"x\"");
  EXPECT_EQ(
      errorAfter("prenorm = \"True\"", "prenorm = False"),
      "folder/d.cfg:4:11: [model] prenorm: false is not supported: expected norms before attention and feed-forward");
  EXPECT_EQ(errorAfter("head_dim = 128", "head_dim = 128\nhead_dim = 64"),
            "folder/d.cfg:11:1: [model.attention] key \"head_dim\" appears twice: first on line 10");
  EXPECT_EQ(errorAfter("[model.head]", "[model.norm]"),
            "folder/d.cfg:47:1: section [model.norm] appears twice: first on line 41");
  EXPECT_EQ(errorAfter("[model.head]", "[model.haed]").substr(0, 75),
            "folder/d.cfg:41:1: unknown section [model.haed]; did you mean 'model.head'?");
  EXPECT_EQ(errorAfter("[model.head]", "[other]"), "folder/d.cfg:1:1: missing section [model.head]");
  EXPECT_EQ(errorAfter("[model.head]", "[model_head]"),
            "folder/d.cfg:1:1: missing section [model.head]; did you mean it by [model_head]?");
  EXPECT_EQ(errorOf("a = 1\n"),
            "folder/d.cfg:1:1: expected a section like [model] before the first key, found \"a = 1\"");
  EXPECT_EQ(errorOf("[model]\nword\n"), "folder/d.cfg:2:1: [model] expected 'key = value', found \"word\"");
  EXPECT_EQ(errorOf("[model\n"), "folder/d.cfg:1:1: expected a section like [model.attention], found \"[model\"");
  EXPECT_EQ(errorOf(std::string((1 << 18) + 1, ' ')),
            "folder/d.cfg: expected a config of at most 262144 bytes, found 262145");
}

TEST(Osc, NamesSizesThatDoNotFit) {
  EXPECT_EQ(errorAfter("embedding_dim = 1024", "embedding_dim = 512"),
            "folder/d.cfg:8:10: [model.attention] in_dim: expected 512, as embedding_dim of [model.embedding] is, "
            "found 1024");
  EXPECT_EQ(errorAfter("out_dim = 151936", "out_dim = 151935"),
            "folder/d.cfg:44:11: [model.head] out_dim: expected 151936, as num_embeddings of [model.embedding] is, "
            "found 151935");
  EXPECT_EQ(errorAfter("head_dim = 128", "head_dim = 64"),
            "folder/d.cfg:25:10: [model.attention.q_norm] in_dim: expected head_dim = 64, found 128");
  EXPECT_EQ(errorAfter("[model.attention.k_norm]", "[k_norm]"),
            "folder/d.cfg:6:1: [model.attention] has only one of [model.attention.q_norm] and "
            "[model.attention.k_norm]: give both or neither");
  EXPECT_EQ(errorAfter("[model.attention.q_norm]\n@normalization = \"RMSNorm\"",
                       "[model.attention.q_norm]\n@normalization = \"LayerNorm\""),
            "folder/d.cfg:19:18: [model.attention.k_norm] @normalization: differs from [model.attention.q_norm] in "
            "kind or eps, which is not supported");
  EXPECT_EQ(errorAfter("rope_base = 1000000", "scale = 1.0").substr(0, 76),
            "folder/d.cfg:12:9: [model.attention] scale: 1 is not supported: expected 1 /");
}

TEST(Osc, NamesBrokenReferences) {
  EXPECT_EQ(errorAfter("num_layers = 28", "num_layers = ${modl:x}"),
            "folder/d.cfg:3:14: [model] num_layers: \"${modl:x}\" refers to section [modl], which is not there; did "
            "you mean [model]?");
  EXPECT_EQ(errorAfter("num_layers = 28", "num_layers = ${model.head:out_dm}"),
            "folder/d.cfg:3:14: [model] num_layers: \"${model.head:out_dm}\" refers to a key that is not there; did "
            "you mean 'out_dim'? known: @head, bias, in_dim, out_dim");
  EXPECT_EQ(errorAfter("num_layers = 28", "num_layers = ${model}"),
            "folder/d.cfg:3:14: [model] num_layers: expected a reference like ${section:key}, found \"${model}\"");
  EXPECT_EQ(errorAfter("num_layers = 28", "num_layers = $x"),
            "folder/d.cfg:3:14: [model] num_layers: expected ${section:key} or $$ after the dollar, found \"$x\"");
  EXPECT_EQ(errorAfter("num_layers = 28", "num_layers = ${model:num_layers}"),
            "folder/d.cfg:3:14: [model] num_layers: references go on for more than 16 steps: is there a cycle?");
  // Values that double at each step, empty or not, end early.
  for (const char *seed : {"", "x"}) {
    std::string text = fmt::format("[a]\nk0 = {}\n", seed);
    for (int i = 1; i <= 15; ++i)
      text +=
          fmt::format("k{} = {}\n", i, fmt::join(std::vector<std::string>(12, fmt::format("${{a:k{}}}", i - 1)), ""));
    std::string message = errorOf(text);
    EXPECT_TRUE(message.ends_with("the file makes more than 100000 references") ||
                message.ends_with("expected a value of at most 65536 bytes"))
        << message;
  }
}

// Seeded damage to every kind of input: each ends with an error or succeeds; none may crash, hang or read out of bounds
// (the sanitizer build is what makes this sharp). What opens is read in full.
#include "compiler/importers/Importers.h"
#include "test/front/Fixtures.h"

#include <cstring>
#include <random>

using namespace lathe;
using namespace lathe::test;

namespace {

std::string damaged(std::string text, std::mt19937_64 &random) {
  auto below = [&](size_t bound) { return bound ? random() % bound : 0; };
  size_t rounds = 1 + below(4);
  for (size_t round = 0; round < rounds && !text.empty(); ++round) {
    // Half of the damage goes to the beginning, where headers are.
    size_t at = below(2) ? below(text.size()) : below(std::min<size_t>(text.size(), 1024));
    switch (below(7)) {
    case 0: // flip a bit
      text[at] = static_cast<char>(text[at] ^ (1 << below(8)));
      break;
    case 1: // truncate
      text.resize(at);
      break;
    case 2: { // a size that cannot be
      static constexpr uint64_t sizes[] = {0, 1, UINT64_MAX, INT64_MAX, 1ull << 32, 1ull << 40, 0x7fffffff, 0xffffffff};
      uint64_t size = sizes[below(8)];
      size_t bytes = std::min<size_t>(below(2) ? 4 : 8, text.size() - at);
      std::memcpy(text.data() + at, &size, bytes);
      break;
    }
    case 3: // another digit
      if (size_t digit = text.find_first_of("0123456789", at); digit != std::string::npos)
        text[digit] = static_cast<char>('0' + below(10));
      break;
    case 4: // more digits
      if (size_t digit = text.find_first_of("0123456789", at); digit != std::string::npos)
        text.insert(digit, std::string(1 + below(20), static_cast<char>('0' + below(10))));
      break;
    case 5: // a piece twice
      text.insert(at, text.substr(at, below(64)));
      break;
    case 6: // a piece left out
      text.erase(at, below(64));
      break;
    }
  }
  return text;
}

/// Imports a model and reads every tensor of it.
void consume(const std::string &path) {
  auto model = importModel(path, "");
  if (!model) {
    EXPECT_FALSE(model.error().message.empty());
    EXPECT_EQ(model.error().message.find('\n'), std::string::npos) << model.error().message;
    EXPECT_TRUE(model.error().code == ExitCode::badInput) << model.error().message;
    return;
  }
  auto printed = parseConfig(printConfig(model->config), "printed.toml");
  EXPECT_TRUE(printed.has_value()) << printed.error().message << "\n" << printConfig(model->config);
  if (!model->weights)
    return;
  for (const SourceTensor &tensor : model->weights->list()) {
    int64_t rows = tensor.shape.size() == 2 ? tensor.shape[0] : 1;
    std::vector<float> row(static_cast<size_t>(tensor.shape.empty() ? 1 : tensor.shape.back()));
    for (int64_t i = 0; i < rows; i += std::max<int64_t>(1, rows / 7))
      (void)model->weights->read(tensor.name, i, 1, row);
  }
}

void damageMany(const std::string &original, std::string_view name, int rounds, uint64_t seed,
                const TemporaryFolder &folder, const std::string &model) {
  std::mt19937_64 random(seed);
  for (int round = 0; round < rounds; ++round) {
    SCOPED_TRACE(fmt::format("{} seed {} round {}", name, seed, round));
    folder.write(name, damaged(original, random));
    consume(model);
  }
}

} // namespace

TEST(Damage, Toml) {
  TemporaryFolder folder;
  for (const char *name : {"SmolLM2-135M", "Qwen3-0.6B", "Llama-3.2-1B", "Mistral-7B"})
    damageMany(readFile(repositoryFile(fmt::format("configs/models/{}.toml", name))), "m.toml", 400, 1, folder,
               folder.path("m.toml"));
}

TEST(Damage, Osc) {
  TemporaryFolder folder;
  for (const char *name : {"decoder", "build_decoder_literal_2"})
    damageMany(readFile(repositoryFile(fmt::format("test/data/osc/{}.cfg", name))), "m.cfg", 600, 2, folder,
               folder.path("m.cfg"));
}

TEST(Damage, Gguf) {
  TemporaryFolder folder;
  for (const char *name : {"llama", "llama3-odd", "qwen2", "qwen3"})
    damageMany(readFile(repositoryFile(fmt::format("test/data/front/{}.gguf", name))), "m.gguf", 500, 3, folder,
               folder.path("m.gguf"));
}

TEST(Damage, GgufShards) {
  TemporaryFolder folder;
  auto shard = [](uint32_t number) {
    GgufBytes file = number == 0 ? GgufBytes::llama() : GgufBytes();
    file.integer("split.no", number).integer("split.count", 2).integer("split.tensors.count", 2);
    if (number == 1)
      file.tensor("output_norm.weight", {32}, 0, std::string(128, '\0'));
    return file.bytes();
  };
  const std::string names[] = {"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"};
  for (uint32_t damagedOne : {0u, 1u}) {
    folder.write(names[1 - damagedOne], shard(1 - damagedOne));
    for (uint32_t named : {0u, 1u})
      damageMany(shard(damagedOne), names[damagedOne], 150, 10 + damagedOne, folder, folder.path(names[named]));
  }
}

TEST(Damage, HuggingFaceConfig) {
  TemporaryFolder folder;
  for (const char *name : {"llama3-rope-scaled", "qwen3", "mistral-window"})
    damageMany(readFile(repositoryFile(fmt::format("test/data/reference/{}/config.json", name))), "config.json", 500, 4,
               folder, folder.path());
}

TEST(Damage, Safetensors) {
  TemporaryFolder folder;
  folder.write("config.json", readFile(repositoryFile("test/data/reference/qwen2/config.json")));
  damageMany(readFile(repositoryFile("test/data/reference/qwen2/model.safetensors")), "model.safetensors", 200, 5,
             folder, folder.path());
}

TEST(Damage, SafetensorsHeader) {
  TemporaryFolder folder;
  folder.write("config.json", readFile(repositoryFile("test/data/reference/qwen2/config.json")));
  std::string whole = readFile(repositoryFile("test/data/reference/qwen2/model.safetensors"));
  uint64_t length = 0;
  std::memcpy(&length, whole.data(), 8);
  std::mt19937_64 random(6);
  for (int round = 0; round < 300; ++round) {
    SCOPED_TRACE(round);
    std::string header = damaged(whole.substr(8, length), random);
    folder.write("model.safetensors", littleEndian<uint64_t>(header.size()) + header + whole.substr(8 + length));
    consume(folder.path());
  }
}

TEST(Damage, Tokenizer) {
  TemporaryFolder folder;
  folder.write("config.json", readFile(repositoryFile("test/data/reference/qwen2/config.json")));
  auto gguf = importModel(repositoryFile("test/data/front/qwen2.gguf"), "");
  ASSERT_OK(gguf);
  size_t lathe = gguf->tokenizerJson.rfind(",\"lathe\":");
  ASSERT_NE(lathe, std::string::npos);
  std::string tokenizer = gguf->tokenizerJson.substr(0, lathe) + "}";
  std::string side =
      R"({"bos_token":"<s>","eos_token":{"content":"</s>"},"chat_template":[{"name":"default","template":"{{ x }}"}]})";
  folder.write("tokenizer_config.json", side);
  damageMany(tokenizer, "tokenizer.json", 500, 7, folder, folder.path());
  folder.write("tokenizer.json", tokenizer);
  damageMany(side, "tokenizer_config.json", 300, 8, folder, folder.path());
  folder.write("tokenizer_config.json", side);
  damageMany(R"({"weight_map":{"a":"x.safetensors","b":"y.safetensors"}})", "model.safetensors.index.json", 200, 9,
             folder, folder.path());
}

TEST(Damage, Nesting) {
  TemporaryFolder folder;
  for (size_t depth : {100u, 10000u, 200000u}) {
    for (const char *open : {"[", "{\"a\":", "{a={", "a.", "[[", "a=[", "[a.b]\n", "${a:", "\"\"\"", "${"}) {
      std::string text;
      while (text.size() < depth)
        text += open;
      for (const char *name : {"m.toml", "m.cfg", "config.json", "tokenizer.json", "m.gguf", "m.safetensors"}) {
        folder.write(name, text);
        consume(folder.path(name));
      }
    }
  }
}

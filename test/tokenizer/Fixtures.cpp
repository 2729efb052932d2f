#include "Fixtures.h"

#include "runtime/support/MappedFile.h"

namespace lathe::test {

using nlohmann::json;

std::string fixtureText(const std::string &name) {
  auto file = MappedFile::open(std::string(LATHE_TOKENIZER_DATA) + "/" + name + ".json");
  EXPECT_TRUE(file) << file.error().message;
  return file ? std::string((*file)->text()) : "";
}

std::shared_ptr<const Tokenizer> fixture(const std::string &name) {
  auto tokenizer = Tokenizer::parse(fixtureText(name));
  EXPECT_TRUE(tokenizer) << tokenizer.error().message;
  return tokenizer.value_or(nullptr);
}

json tinyJson() {
  json vocabulary = {{"a", 0}, {"b", 1}, {"c", 2},  {"d", 3},   {"e", 4},   {"Ġ", 5},    {"Ã", 6},    {"¤", 7},
                     {"ä", 8}, {"½", 9}, {"ł", 10}, {"ab", 11}, {"bc", 12}, {"abc", 13}, {"<s>", 14}, {"</s>", 15}};
  auto special = [](const char *content, int id) { return json{{"id", id}, {"content", content}, {"special", true}}; };
  return {{"added_tokens", {special("<s>", 14), special("</s>", 15)}},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", {"a b", "b c", "ab c", "a bc"}}}}};
}

std::shared_ptr<const Tokenizer> parsed(const json &content) {
  auto tokenizer = Tokenizer::parse(content.dump());
  EXPECT_TRUE(tokenizer) << tokenizer.error().message;
  return tokenizer.value_or(nullptr);
}

std::string parseError(const std::string &text) {
  auto tokenizer = Tokenizer::parse(text);
  EXPECT_FALSE(tokenizer) << "parsed: " << text.substr(0, 200);
  if (tokenizer)
    return "";
  EXPECT_EQ(tokenizer.error().code, ExitCode::badInput);
  return tokenizer.error().message;
}

} // namespace lathe::test

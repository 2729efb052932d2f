#include "compiler/importers/TokenizerJson.h"

#include <algorithm>

namespace lathe {

using nlohmann::json;

const std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

std::string printJson(const json &value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

void appendJsonString(std::string &text, std::string_view value) {
  auto needsEscape = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == '"' || c == '\\'; };
  if (std::none_of(value.begin(), value.end(), needsEscape))
    text.append("\"").append(value).append("\"");
  else
    text += printJson(value);
}

std::string printTokenizer(const TokenizerParts &parts) {
  std::string text =
      R"({"version":"1.0","truncation":null,"padding":null,"added_tokens":)" + printJson(parts.addedTokens);
  for (const auto &[key, part] : {std::pair("normalizer", &parts.normalizer),
                                  {"pre_tokenizer", &parts.preTokenizer},
                                  {"post_processor", &parts.postProcessor},
                                  {"decoder", &parts.decoder}})
    text += fmt::format(",\"{}\":{}", key, printJson(*part));
  return text.append(",\"model\":")
      .append(parts.model)
      .append(",")
      .append(printTokenizerFacts(parts.facts))
      .append("}\n");
}

std::string printTokenizerFacts(const ImportedFacts &facts) {
  json object = json::object();
  object["bos_token_id"] = facts.bosTokenId ? json(*facts.bosTokenId) : json(nullptr);
  object["eos_token_ids"] = facts.eosTokenIds;
  object["add_bos"] = facts.addBos;
  object["chat_template"] = facts.chatTemplate.empty() ? json(nullptr) : json(facts.chatTemplate);
  if (facts.sentencePiece)
    object["sentencepiece"] = {{"user_defined_ids", facts.sentencePiece->userDefinedIds},
                               {"unmatched_ids", facts.sentencePiece->unmatchedIds},
                               {"single_precision", facts.sentencePiece->singlePrecision}};
  return "\"lathe\":" + printJson(object);
}

json addedTokenJson(int64_t id, std::string_view content, bool special) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", special}};
}

json byteLevelJson(bool addPrefixSpace, bool trimOffsets, bool useRegex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", addPrefixSpace},
          {"trim_offsets", trimOffsets},
          {"use_regex", useRegex}};
}

json sequenceJson(const char *members, std::vector<json> steps) {
  if (steps.empty())
    return nullptr;
  return steps.size() == 1 ? steps.front() : json{{"type", "Sequence"}, {members, steps}};
}

json replaceJson(const char *kind, std::string_view pattern, std::string_view content) {
  return {{"type", "Replace"}, {"pattern", {{kind, pattern}}}, {"content", content}};
}

json templateJson(std::optional<SpecialToken> before, std::optional<SpecialToken> behind) {
  json single = json::array(), pair = json::array(), specials = json::object();
  auto add = [&](const std::optional<SpecialToken> &token, int type) {
    if (!token)
      return;
    specials[std::string(token->text)] = {
        {"id", token->text}, {"ids", json::array({token->id})}, {"tokens", json::array({token->text})}};
    pair.push_back({{"SpecialToken", {{"id", token->text}, {"type_id", type}}}});
  };
  for (auto [name, type] : {std::pair("A", 0), {"B", 1}}) {
    add(before, type);
    pair.push_back({{"Sequence", {{"id", name}, {"type_id", type}}}});
    add(behind, type);
    if (type == 0)
      single = pair;
  }
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", specials}};
}

json splitThenBytesJson(std::string_view pattern) {
  json split = {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
  return sequenceJson("pretokenizers", {split, byteLevelJson(false, true, false)});
}

} // namespace lathe

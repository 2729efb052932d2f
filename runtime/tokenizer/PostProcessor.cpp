#include "runtime/tokenizer/PostProcessor.h"

#include "runtime/tokenizer/Utf8.h"

namespace lathe {

namespace {

constexpr std::string_view supported =
    "null, ByteLevel, TemplateProcessing, BertProcessing, RobertaProcessing, Sequence";
constexpr size_t specialLimit = 64;

Result<std::vector<int32_t>> specialIds(const JsonNode &node, const std::string &name, const Vocabulary &vocabulary) {
  JsonNode special = node.member("special_tokens").member(name);
  if (special.isNull())
    return node.fail("the template names {}, which is not in its special_tokens", quote(name));
  Result<std::vector<JsonNode>> elements = special.member("ids").elements();
  if (!elements)
    return propagate(elements);
  std::vector<int32_t> ids;
  for (const JsonNode &element : *elements) {
    const nlohmann::json &id = element.json();
    if (!id.is_number_unsigned() || id >= Vocabulary::idLimit || !vocabulary.token(id.get<int32_t>()))
      return element.fail("expected the id of a token");
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

} // namespace

Result<PostProcessor> PostProcessor::parse(const JsonNode &node, const Vocabulary &vocabulary) {
  PostProcessor result;
  auto components = node.isNull() ? std::vector<JsonNode>() : node.components("processors", supported);
  if (!components)
    return propagate(components);
  for (const JsonNode &component : *components)
    if (Result<void> added = result.add(component, vocabulary); !added)
      return propagate(added);
  return result;
}

Result<void> PostProcessor::add(const JsonNode &node, const Vocabulary &vocabulary) {
  auto type = node.type(supported);
  if (*type == "ByteLevel")
    return {};
  if (*type == "TemplateProcessing")
    return addTemplate(node, vocabulary);
  if (*type == "BertProcessing" || *type == "RobertaProcessing")
    return addPair(node, vocabulary);
  return node.fail("post-processor {} is not supported; supported: {}", quote(*type), supported);
}

/// "cls" in front and "sep" behind, both [token, id].
Result<void> PostProcessor::addPair(const JsonNode &node, const Vocabulary &vocabulary) {
  for (auto [key, side] : {std::pair("cls", &prefix), {"sep", &suffix}}) {
    Result<std::vector<JsonNode>> pair = node.member(key).elements();
    if (!pair)
      return propagate(pair);
    if (pair->size() != 2)
      return node.member(key).fail("expected [token, id], found {} values", pair->size());
    const nlohmann::json &id = (*pair)[1].json();
    if (!id.is_number_unsigned() || id >= Vocabulary::idLimit || !vocabulary.token(id.get<int32_t>()))
      return (*pair)[1].fail("expected the id of a token");
    side->insert(side == &prefix ? side->begin() : side->end(), id.get<int32_t>());
  }
  return {};
}

Result<void> PostProcessor::addTemplate(const JsonNode &node, const Vocabulary &vocabulary) {
  Result<std::vector<JsonNode>> pieces = node.member("single").elements();
  if (!pieces)
    return propagate(pieces);
  std::vector<int32_t> before, behind;
  bool textSeen = false;
  for (const JsonNode &piece : *pieces) {
    if (piece.has("Sequence")) {
      Result<std::string> name = piece.member("Sequence").string("id", "");
      if (!name)
        return propagate(name);
      if (*name != "A" || textSeen)
        return piece.fail("expected the text \"A\" once, found {}{}", quote(*name), textSeen ? " as a second one" : "");
      textSeen = true;
    } else if (piece.has("SpecialToken")) {
      Result<std::string> name = piece.member("SpecialToken").string("id", "");
      if (!name)
        return propagate(name);
      Result<std::vector<int32_t>> ids = specialIds(node, *name, vocabulary);
      if (!ids)
        return propagate(ids);
      std::vector<int32_t> &side = textSeen ? behind : before;
      side.insert(side.end(), ids->begin(), ids->end());
    } else {
      return piece.fail("expected a Sequence or a SpecialToken");
    }
  }
  if (!textSeen)
    return node.member("single").fail("the template has no place for the text");
  prefix.insert(prefix.begin(), before.begin(), before.end());
  suffix.insert(suffix.end(), behind.begin(), behind.end());
  if (prefix.size() + suffix.size() > specialLimit)
    return node.fail("adds more than {} special tokens", specialLimit);
  return {};
}

} // namespace lathe

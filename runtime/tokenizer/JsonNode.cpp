#include "runtime/tokenizer/JsonNode.h"

#include "runtime/tokenizer/Vocabulary.h"

namespace lathe {

JsonNode JsonNode::member(const std::string &key) const {
  static const nlohmann::json null;
  auto found = value->is_object() ? value->find(key) : value->end();
  return {value->is_object() && found != value->end() ? *found : null, place.empty() ? key : place + "." + key};
}

Result<void> JsonNode::expectObject() const {
  if (!value->is_object())
    return fail("expected an object, found {}", value->type_name());
  return {};
}

Result<std::vector<JsonNode>> JsonNode::elements() const {
  std::vector<JsonNode> nodes;
  if (value->is_null())
    return nodes;
  if (!value->is_array())
    return fail("expected an array, found {}", value->type_name());
  for (const nlohmann::json &element : *value)
    nodes.emplace_back(element, fmt::format("{}[{}]", place, nodes.size()));
  return nodes;
}

Result<std::string> JsonNode::string(const std::string &key, std::string fallback) const {
  JsonNode node = member(key);
  if (node.isNull())
    return fallback;
  if (!node.value->is_string())
    return node.fail("expected a string, found {}", node.value->type_name());
  return node.value->get_ref<const std::string &>();
}

Result<bool> JsonNode::boolean(const std::string &key, bool fallback) const {
  JsonNode node = member(key);
  if (node.isNull())
    return fallback;
  if (!node.value->is_boolean())
    return node.fail("expected true or false, found {}", node.value->type_name());
  return node.value->get<bool>();
}

Result<uint64_t> JsonNode::number(const std::string &key) const {
  JsonNode node = member(key);
  if (!node.value->is_number_unsigned())
    return node.fail("expected a number from 0, found {}",
                     node.value->is_number() ? node.value->dump() : std::string(node.value->type_name()));
  return node.value->get<uint64_t>();
}

Result<int32_t> JsonNode::id() const {
  if (!value->is_number_unsigned() || *value >= Vocabulary::idLimit)
    return fail("expected an id from 0 to {}", Vocabulary::idLimit - 1);
  return value->get<int32_t>();
}

Result<std::string> JsonNode::type(std::string_view supported) const {
  if (!value->is_object())
    return fail("expected an object with a type ({}), found {}", supported, value->type_name());
  Result<std::string> name = string("type", "");
  if (name && name->empty())
    return fail("has no type; supported: {}", supported);
  return name;
}

Result<std::vector<JsonNode>> JsonNode::components(const std::string &members, std::string_view supported) const {
  std::vector<JsonNode> all;
  if (auto added = addComponents(all, members, supported, 0); !added)
    return propagate(added);
  return all;
}

Result<void> JsonNode::addComponents(std::vector<JsonNode> &all, const std::string &members, std::string_view supported,
                                     int depth) const {
  constexpr size_t most = 64;
  auto name = type(supported);
  if (!name)
    return propagate(name);
  if (*name != "Sequence") {
    if (all.size() == most)
      return fail("more than {} steps", most);
    all.push_back(*this);
    return {};
  }
  if (depth == 8)
    return fail("sequences nested deeper than 8 levels");
  auto parts = member(members).elements();
  if (!parts)
    return propagate(parts);
  for (const JsonNode &part : *parts)
    if (auto added = part.addComponents(all, members, supported, depth + 1); !added)
      return added;
  return {};
}

std::unexpected<Error> JsonNode::failAt(const std::string &message) const {
  return lathe::fail(ExitCode::badInput, "tokenizer.json: {}{}{}", place, place.empty() ? "" : ": ", message);
}

} // namespace lathe

#include "compiler/importers/HuggingFaceJson.h"

#include <algorithm>

namespace lathe {

using nlohmann::json;

Result<HuggingFaceJson> HuggingFaceJson::open(const std::string &path, ModelConfig &config) {
  constexpr size_t most = size_t{1} << 20;
  auto file = MappedFile::open(path);
  if (!file)
    return propagate(file);
  if ((*file)->bytes().size() > most)
    return fail(ExitCode::badInput, "{}: expected at most {} bytes, found {}", path, most, (*file)->bytes().size());
  auto root = parseJson((*file)->text(), path);
  if (!root)
    return propagate(root);
  if (!root->is_object())
    return fail(ExitCode::badInput, "{}: expected a JSON object, found {}", placeInJson((*file)->text(), path, ""),
                describeJson(*root));
  return HuggingFaceJson(std::move(*file), path, std::move(*root), config);
}

Result<void> HuggingFaceJson::finish() const {
  if (error)
    return fail(ExitCode::badInput, "{}", *error);
  return {};
}

const json *HuggingFaceJson::peek(const std::string &key) const {
  const json *value = &root;
  for (std::string_view rest = key; !rest.empty();) {
    size_t dot = std::min(rest.find('.'), rest.size());
    if (!value->is_object())
      return nullptr;
    auto member = value->find(rest.substr(0, dot));
    if (member == value->end() || member->is_null())
      return nullptr;
    value = &*member;
    rest.remove_prefix(std::min(dot + 1, rest.size()));
  }
  return value;
}

const json *HuggingFaceJson::find(const std::string &key, const std::string &canonical) {
  const json *value = peek(key);
  if (value)
    config.where[canonical.empty() ? key : canonical] = placeInJson(file->text(), baseName(path), key);
  return value;
}

bool HuggingFaceJson::asInteger(const json &value, int64_t &result) {
  if (!value.is_number_integer() || (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT64_MAX}))
    return false;
  result = value.get<int64_t>();
  return true;
}

void HuggingFaceJson::integer(const std::string &key, int64_t &result, bool required, const std::string &canonical) {
  if (const json *value = find(key, canonical)) {
    if (!asInteger(*value, result))
      expected(key, "an integer", *value);
  } else if (required) {
    complain(fmt::format("{}: missing key '{}': expected an integer", place(""), key));
  }
}

bool HuggingFaceJson::number(const std::string &key, double &result, const std::string &canonical) {
  const json *value = find(key, canonical);
  if (value && !value->is_number())
    expected(key, "a number", *value);
  if (!value || !value->is_number())
    return false;
  result = value->get<double>();
  return true;
}

bool HuggingFaceJson::boolean(const std::string &key, bool fallback, const std::string &canonical) {
  const json *value = find(key, canonical);
  if (value && !value->is_boolean())
    expected(key, "true or false", *value);
  return value && value->is_boolean() ? value->get<bool>() : fallback;
}

std::string HuggingFaceJson::string(const std::string &key, std::string fallback, const std::string &canonical) {
  const json *value = find(key, canonical);
  if (value && !value->is_string())
    expected(key, "a string", *value);
  return value && value->is_string() ? value->get<std::string>() : fallback;
}

void HuggingFaceJson::endTokens() {
  const json *value = find("eos_token_id");
  if (!value)
    return;
  std::vector<int64_t> &ends = config.eosTokenIds;
  ends.clear();
  for (const json &item : value->is_array() ? *value : json::array({*value})) {
    int64_t id = 0;
    if (!asInteger(item, id))
      expected("eos_token_id", "an integer or a list of integers", item);
    else if (std::find(ends.begin(), ends.end(), id) == ends.end())
      ends.push_back(id);
  }
}

} // namespace lathe

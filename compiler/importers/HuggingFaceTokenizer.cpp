#include "compiler/ConfigDiagnostics.h"
#include "compiler/importers/Importers.h"
#include "compiler/importers/Json.h"
#include "compiler/importers/VocabularyFiles.h"
#include "runtime/support/MappedFile.h"

#include <filesystem>

namespace lathe {
namespace {

using nlohmann::json;

constexpr size_t kMaxTokenizerBytes = size_t{48} << 20;
constexpr size_t kMaxSideBytes = size_t{16} << 20;

std::optional<int64_t> addedTokenId(const json &root, const std::string &content) {
  auto added = root.find("added_tokens");
  if (content.empty() || added == root.end() || !added->is_array())
    return std::nullopt;
  for (const json &token : *added) {
    if (!token.is_object() || tokenText(token, "content") != content)
      continue;
    if (auto id = token.find("id"); id != token.end() && id->is_number_integer())
      return id->get<int64_t>();
  }
  return std::nullopt;
}

/// The special token that a post-processor begins a text with; empty for none.
std::string firstSpecial(const json &processor) {
  if (!processor.is_object())
    return {};
  std::string type = tokenText(processor, "type");
  if (type == "Sequence") {
    auto list = processor.find("processors");
    if (list == processor.end() || !list->is_array())
      return {};
    for (const json &inner : *list)
      if (inner.is_object() && tokenText(inner, "type") != "Sequence")
        if (std::string name = firstSpecial(inner); !name.empty())
          return name;
    return {};
  }
  auto single = processor.find("single");
  if (type != "TemplateProcessing" || single == processor.end() || !single->is_array() || single->empty() ||
      !single->front().is_object())
    return {};
  auto special = single->front().find("SpecialToken");
  return special != single->front().end() && special->is_object() ? tokenText(*special, "id") : std::string();
}

Result<std::string> readChatTemplate(const std::filesystem::path &folder, const json &side) {
  std::error_code ignored;
  std::string path = (folder / "chat_template.jinja").string();
  if (std::filesystem::exists(path, ignored)) {
    auto file = MappedFile::open(path);
    if (!file)
      return propagate(file);
    if ((*file)->bytes().size() > kMaxSideBytes || !isUtf8((*file)->text()))
      return fail(ExitCode::badInput, "{}: expected UTF-8 text of at most {} bytes", path, kMaxSideBytes);
    return std::string((*file)->text());
  }
  auto found = side.find("chat_template");
  if (found == side.end())
    return std::string();
  if (found->is_string())
    return found->get<std::string>();
  // Several templates by name: the plain one is called "default".
  if (found->is_array())
    for (const json &entry : *found)
      if (entry.is_object() && tokenText(entry, "name") == "default")
        return tokenText(entry, "template");
  return std::string();
}

} // namespace

Result<std::string> importHuggingFaceTokenizer(const std::string &folderName, const ModelConfig &config) {
  std::filesystem::path folder(folderName);
  std::string path = (folder / "tokenizer.json").string();
  auto side = readSideFile(folder / "tokenizer_config.json");
  if (!side)
    return propagate(side);
  auto map = readSideFile(folder / "special_tokens_map.json");
  if (!map)
    return propagate(map);
  auto chatTemplate = readChatTemplate(folder, *side);
  if (!chatTemplate)
    return propagate(chatTemplate);
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored))
    return importVocabularyFiles(folder, {*side, *map, std::move(*chatTemplate)}, config);
  auto file = MappedFile::open(path);
  if (!file)
    return propagate(file);
  std::string_view text = (*file)->text();
  if (text.size() > kMaxTokenizerBytes)
    return fail(ExitCode::badInput, "{}: expected at most {} bytes, found {}", path, kMaxTokenizerBytes, text.size());
  auto root = parseJson(text, path, "model");
  if (!root)
    return propagate(root);
  if (!root->is_object())
    return fail(ExitCode::badInput, "{}: expected a JSON object, found {}", placeInJson(text, path, ""),
                describeJson(*root));
  if (root->contains("lathe"))
    return fail(ExitCode::badInput, "{}: the key 'lathe' is reserved: remove it", placeInJson(text, path, "lathe"));

  ImportedFacts facts;
  facts.chatTemplate = std::move(*chatTemplate);
  // A tokenizer that says which token begins a text, or that none does, knows better than config.json.
  const json &beginning = side->contains("bos_token") ? *side : *map;
  if (beginning.contains("bos_token"))
    facts.bosTokenId = addedTokenId(*root, tokenText(beginning, "bos_token"));
  else
    facts.bosTokenId = config.bosTokenId;
  facts.eosTokenIds = config.eosTokenIds;
  if (facts.eosTokenIds.empty())
    if (auto id = addedTokenId(*root, tokenText(side->contains("eos_token") ? *side : *map, "eos_token")))
      facts.eosTokenIds.push_back(*id);
  if (auto processor = root->find("post_processor"); processor != root->end())
    if (std::string name = firstSpecial(*processor); !name.empty() && facts.bosTokenId)
      facts.addBos = addedTokenId(*root, name) == facts.bosTokenId;

  size_t end = text.find_last_of('}');
  std::string printed = printTokenizerFacts(facts), result;
  result.reserve(end + printed.size() + 3);
  result = text.substr(0, end);
  size_t last = result.find_last_not_of(" \t\r\n");
  if (last != std::string::npos && result[last] != '{')
    result += ',';
  return result.append(printed).append("}\n");
}

} // namespace lathe

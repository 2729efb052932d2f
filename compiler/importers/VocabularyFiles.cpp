#include "compiler/importers/VocabularyFiles.h"

#include "compiler/ConfigDiagnostics.h"
#include "compiler/importers/Json.h"
#include "compiler/importers/SentencePiece.h"
#include "runtime/support/MappedFile.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <unordered_map>

namespace lathe {
namespace {

using nlohmann::json;

constexpr size_t kMaxBytes = size_t{48} << 20;
constexpr size_t kMaxSideBytes = size_t{16} << 20;
constexpr int64_t kMaxId = (int64_t{1} << 21) - 1;

/// The value of a flag of tokenizer_config.json.
bool flagOf(const json &config, const char *key, bool fallback) {
  auto found = config.find(key);
  return found != config.end() && found->is_boolean() ? found->get<bool>() : fallback;
}

bool isOneOf(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::ranges::find(names, name) != names.end();
}

class FolderImport {
public:
  FolderImport(const std::filesystem::path &folder, TokenizerSide side, const ModelConfig &config)
      : folder(folder), side(std::move(side)), config(config) {
    className = tokenText(this->side.config, "tokenizer_class");
    if (className.ends_with("Fast"))
      className.resize(className.size() - 4);
  }

  Result<std::string> run() {
    for (const char *name : {"tokenizer.model", "spiece.model"})
      if (exists(name))
        return finish(sentencePiece(name));
    if (exists("vocab.json") && exists("merges.txt"))
      return finish(byteLevel());
    if (exists("vocab.txt"))
      return finish(wordPiece());
    return std::string();
  }

private:
  const std::filesystem::path &folder;
  TokenizerSide side;
  const ModelConfig &config;
  std::string className;
  TokenizerParts parts;
  std::unordered_map<std::string, int64_t> ids;

  bool exists(const char *name) const {
    std::error_code ignored;
    return std::filesystem::exists(folder / name, ignored);
  }

  Result<std::shared_ptr<const MappedFile>> open(const char *name) const {
    std::string path = (folder / name).string();
    auto file = MappedFile::open(path);
    if (file && (*file)->bytes().size() > kMaxBytes)
      return fail(ExitCode::badInput, "{}: expected at most {} bytes, found {}", path, kMaxBytes,
                  (*file)->bytes().size());
    return file;
  }

  std::unexpected<Error> refuseClass(const char *files, std::string_view supported) const {
    return fail(ExitCode::badInput,
                "{}: tokenizer_class {} with {} is not supported: give its tokenizer.json; supported: {}",
                (folder / "tokenizer_config.json").string(), inQuotes(className), files, supported);
  }

  std::optional<SpecialToken> special(const char *key, const std::string &fallback = "") {
    // A token that is there, with the value null, is none.
    const json &from = side.config.contains(key) ? side.config : side.specialsMap;
    std::string text = from.contains(key) ? tokenText(from, key) : fallback;
    auto known = ids.find(text);
    return known == ids.end() || text.empty() ? std::nullopt : std::optional(SpecialToken{known->second, known->first});
  }

  /// added_tokens.json and added_tokens_decoder, then the special tokens that are in the vocabulary.
  Result<void> readAddedTokens(std::initializer_list<std::pair<const char *, const char *>> specials) {
    std::map<int64_t, json> added;
    for (const json &token : parts.addedTokens)
      added[token["id"].get<int64_t>()] = token;
    auto add = [&](int64_t id, const std::string &content, json token) {
      added[id] = std::move(token);
      ids.emplace(content, id);
    };
    auto list = readSideFile(folder / "added_tokens.json");
    if (!list)
      return propagate(list);
    for (const auto &[content, id] : list->items()) {
      if (!id.is_number_integer() || id < 0 || id > kMaxId)
        return fail(ExitCode::badInput, "{}: token {}: expected an id from 0 to {}",
                    (folder / "added_tokens.json").string(), inQuotes(content), kMaxId);
      bool special = content.starts_with('<') || content.starts_with('[');
      add(id.get<int64_t>(), content, addedTokenJson(id.get<int64_t>(), content, special));
    }
    if (auto decoder = side.config.find("added_tokens_decoder"); decoder != side.config.end() && decoder->is_object())
      for (const auto &[key, token] : decoder->items()) {
        int64_t id = -1;
        auto [end, code] = std::from_chars(key.data(), key.data() + key.size(), id);
        std::string content = token.is_object() ? tokenText(*decoder, key.c_str()) : "";
        if (code != std::errc() || end != key.data() + key.size() || id < 0 || id > kMaxId || content.empty())
          return fail(ExitCode::badInput, "{}: added_tokens_decoder: {}: expected an id with a token's content",
                      (folder / "tokenizer_config.json").string(), inQuotes(key));
        json entry = addedTokenJson(id, content, flagOf(token, "special", false));
        for (const char *flag : {"single_word", "lstrip", "rstrip", "normalized"})
          entry[flag] = flagOf(token, flag, false);
        add(id, content, std::move(entry));
      }
    for (const auto &[key, fallback] : specials)
      if (auto token = special(key, fallback))
        added.try_emplace(token->id, addedTokenJson(token->id, token->text, true));
    parts.addedTokens = json::array();
    for (auto &[id, token] : added)
      parts.addedTokens.push_back(std::move(token));
    return {};
  }

  Result<void> sentencePiece(const char *name) {
    if (isOneOf(className,
                {"XLMRobertaTokenizer", "CamembertTokenizer", "MBartTokenizer", "BarthezTokenizer", "PegasusTokenizer",
                 "XLNetTokenizer", "BigBirdTokenizer", "NllbTokenizer", "MBart50Tokenizer"}))
      return refuseClass(name,
                         "those whose ids are the pieces' own, as LlamaTokenizer, GemmaTokenizer and T5Tokenizer");
    auto file = open(name);
    if (!file)
      return propagate(file);
    std::string path = (folder / name).string();
    auto model = parseSentencePiece((*file)->text(), path);
    if (!model)
      return propagate(model);
    auto translated = translateSentencePiece(*model, path);
    if (!translated)
      return propagate(translated);
    parts = std::move(*translated);
    for (size_t id = 0; id < model->pieces.size(); ++id)
      ids.emplace(model->pieces[id].text, static_cast<int64_t>(id));
    if (auto read = readAddedTokens({}); !read)
      return read;
    auto piece = [&](std::optional<int64_t> id) -> std::optional<SpecialToken> {
      if (!id || *id >= static_cast<int64_t>(model->pieces.size()))
        return std::nullopt;
      return SpecialToken{*id, model->pieces[static_cast<size_t>(*id)].text};
    };
    bool t5 = isOneOf(className, {"T5Tokenizer", "UMT5Tokenizer"});
    std::optional<SpecialToken> bos = piece(model->bosId), eos = piece(model->eosId);
    bool addBos = flagOf(side.config, "add_bos_token", !t5 && !className.empty());
    bool addEos = flagOf(side.config, "add_eos_token", t5);
    parts.facts.addBos = addBos && bos;
    if (parts.facts.addBos || (addEos && eos))
      parts.postProcessor = templateJson(addBos ? bos : std::nullopt, addEos ? eos : std::nullopt);
    return {};
  }

  Result<void> byteLevel() {
    static constexpr std::string_view supported =
        "GPT2Tokenizer, RobertaTokenizer, BartTokenizer, LongformerTokenizer, Qwen2Tokenizer";
    bool roberta = isOneOf(className, {"RobertaTokenizer", "BartTokenizer", "LongformerTokenizer"});
    bool qwen2 = className == "Qwen2Tokenizer";
    if (!className.empty() && !roberta && !qwen2 && className != "GPT2Tokenizer")
      return refuseClass("vocab.json and merges.txt", supported);
    auto vocabulary = open("vocab.json"), merges = open("merges.txt");
    if (!vocabulary || !merges)
      return vocabulary ? propagate(merges) : propagate(vocabulary);
    auto root = parseJson((*vocabulary)->text(), (folder / "vocab.json").string());
    if (!root)
      return propagate(root);
    for (const auto &[token, id] : root->items()) {
      if (!root->is_object() || !id.is_number_unsigned() || id > kMaxId)
        return fail(ExitCode::badInput, "{}: expected an object of token: id", (folder / "vocab.json").string());
      ids.emplace(token, id.get<int64_t>());
    }
    parts.model =
        R"({"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,"ignore_merges":false,"vocab":)" +
        printJson(*root) + ",\"merges\":[";
    if (auto read = readMerges((*merges)->text()); !read)
      return read;
    parts.model += "]}";
    if (auto read = readAddedTokens({{"bos_token", roberta ? "<s>" : "<|endoftext|>"},
                                     {"eos_token", roberta ? "</s>" : "<|endoftext|>"},
                                     {"unk_token", roberta ? "<unk>" : "<|endoftext|>"},
                                     {"sep_token", roberta ? "</s>" : ""},
                                     {"cls_token", roberta ? "<s>" : ""},
                                     {"pad_token", roberta ? "<pad>" : ""},
                                     {"mask_token", roberta ? "<mask>" : ""}});
        !read)
      return read;
    bool prefixSpace = flagOf(side.config, "add_prefix_space", false);
    parts.normalizer = qwen2 ? json{{"type", "NFC"}} : json(nullptr);
    parts.preTokenizer = qwen2 ? splitThenBytesJson(kQwen2Pattern) : byteLevelJson(prefixSpace, true, true);
    parts.decoder = byteLevelJson(prefixSpace, true, true);
    parts.postProcessor = byteLevelJson(true, false, true);
    auto cls = special("cls_token", "<s>"), sep = special("sep_token", "</s>");
    auto bos = special("bos_token", "<|endoftext|>");
    if (roberta && cls && sep)
      parts.postProcessor = {{"type", "RobertaProcessing"},
                             {"sep", json::array({sep->text, sep->id})},
                             {"cls", json::array({cls->text, cls->id})},
                             {"trim_offsets", true},
                             {"add_prefix_space", prefixSpace}};
    else if (flagOf(side.config, "add_bos_token", false) && bos)
      parts.postProcessor = templateJson(bos, std::nullopt);
    return {};
  }

  /// Lines of two tokens with a space between; a first one with "#version" is none.
  Result<void> readMerges(std::string_view text) {
    bool first = true;
    for (size_t number = 1; !text.empty(); ++number) {
      size_t end = std::min(text.find('\n'), text.size());
      std::string_view line = text.substr(0, end);
      text.remove_prefix(std::min(end + 1, text.size()));
      if (line.ends_with('\r'))
        line.remove_suffix(1);
      if (line.empty() || line.starts_with("#version"))
        continue;
      size_t space = line.find(' ');
      if (space == line.npos || line.find(' ', space + 1) != line.npos || !isUtf8(line))
        return fail(ExitCode::badInput, "{}:{}: expected two tokens with a space between, found {}",
                    (folder / "merges.txt").string(), number, inQuotes(line));
      parts.model += std::exchange(first, false) ? "" : ",";
      appendJsonString(parts.model, line);
    }
    return {};
  }

  Result<void> wordPiece() {
    if (!className.empty() && !isOneOf(className, {"BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer"}))
      return refuseClass("vocab.txt", "BertTokenizer, DistilBertTokenizer, ElectraTokenizer");
    auto file = open("vocab.txt");
    if (!file)
      return propagate(file);
    std::string_view text = (*file)->text();
    std::string path = (folder / "vocab.txt").string();
    std::string vocabulary;
    for (int64_t id = 0; !text.empty(); ++id) {
      size_t end = std::min(text.find('\n'), text.size());
      std::string_view token = text.substr(0, end);
      text.remove_prefix(std::min(end + 1, text.size()));
      if (token.ends_with('\r'))
        token.remove_suffix(1);
      if (!isUtf8(token))
        return fail(ExitCode::badInput, "{}:{}: expected UTF-8", path, id + 1);
      if (id > kMaxId)
        return fail(ExitCode::badInput, "{}: expected at most {} tokens", path, kMaxId + 1);
      if (!ids.emplace(token, id).second)
        return fail(ExitCode::badInput, "{}:{}: repeats {}", path, id + 1, inQuotes(token));
      vocabulary += id > 0 ? "," : "";
      appendJsonString(vocabulary, token);
      vocabulary += fmt::format(":{}", id);
    }
    if (auto read = readAddedTokens({{"unk_token", "[UNK]"},
                                     {"sep_token", "[SEP]"},
                                     {"pad_token", "[PAD]"},
                                     {"cls_token", "[CLS]"},
                                     {"mask_token", "[MASK]"}});
        !read)
      return read;
    auto unknown = special("unk_token", "[UNK]");
    if (!unknown)
      return fail(ExitCode::badInput, "{}: has no token for unknown words ([UNK], or what unk_token names)", path);
    parts.model = fmt::format(
        R"({{"type":"WordPiece","unk_token":{},"continuing_subword_prefix":"##","max_input_chars_per_word":100,"vocab":{{)",
        printJson(unknown->text));
    parts.model += vocabulary + "}}";
    json accents = side.config.contains("strip_accents") && side.config["strip_accents"].is_boolean()
                       ? side.config["strip_accents"]
                       : json(nullptr);
    parts.normalizer = {{"type", "BertNormalizer"},
                        {"clean_text", true},
                        {"handle_chinese_chars", flagOf(side.config, "tokenize_chinese_chars", true)},
                        {"strip_accents", accents},
                        {"lowercase", flagOf(side.config, "do_lower_case", true)}};
    parts.preTokenizer = {{"type", "BertPreTokenizer"}};
    parts.decoder = {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}};
    if (auto cls = special("cls_token", "[CLS]"), sep = special("sep_token", "[SEP]"); cls && sep)
      parts.postProcessor = templateJson(cls, sep);
    return {};
  }

  Result<std::string> finish(Result<void> read) {
    if (!read)
      return propagate(read);
    parts.facts.chatTemplate = side.chatTemplate;
    auto name = [&](const char *key) { return side.config.contains(key) || side.specialsMap.contains(key); };
    if (name("bos_token") || !parts.facts.bosTokenId) {
      auto bos = special("bos_token");
      parts.facts.bosTokenId = bos ? std::optional(bos->id) : name("bos_token") ? std::nullopt : config.bosTokenId;
    }
    parts.facts.addBos = parts.facts.addBos && parts.facts.bosTokenId;
    if (!config.eosTokenIds.empty())
      parts.facts.eosTokenIds = config.eosTokenIds;
    else if (auto eos = special("eos_token"))
      parts.facts.eosTokenIds = {eos->id};
    return printTokenizer(parts);
  }
};

} // namespace

Result<json> readSideFile(const std::filesystem::path &path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored))
    return json::object();
  auto file = MappedFile::open(path.string());
  if (!file)
    return propagate(file);
  if ((*file)->bytes().size() > kMaxSideBytes)
    return fail(ExitCode::badInput, "{}: expected at most {} bytes, found {}", path.string(), kMaxSideBytes,
                (*file)->bytes().size());
  auto root = parseJson((*file)->text(), path.string());
  if (root && !root->is_object())
    return fail(ExitCode::badInput, "{}: expected a JSON object, found {}", path.string(), describeJson(*root));
  return root;
}

std::string tokenText(const json &side, const char *key) {
  auto token = side.find(key);
  if (token == side.end())
    return {};
  if (token->is_object()) {
    auto content = token->find("content");
    return content != token->end() && content->is_string() ? content->get<std::string>() : "";
  }
  return token->is_string() ? token->get<std::string>() : "";
}

Result<std::string> importVocabularyFiles(const std::filesystem::path &folder, TokenizerSide side,
                                          const ModelConfig &config) {
  return FolderImport(folder, std::move(side), config).run();
}

} // namespace lathe

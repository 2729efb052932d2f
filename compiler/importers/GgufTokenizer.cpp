//===- GgufTokenizer.cpp - GGUF metadata -> tokenizer.json ----------------===//
//
// Each `tokenizer.ggml.model` becomes what the library `tokenizers` saves for the same model (llama.cpp,
// llama-vocab.cpp): gpt2 is byte-level BPE split as `tokenizer.ggml.pre` says, llama and t5 are BPE and unigram of
// sentencepiece, bert is WordPiece. Added tokens come from the token types, BOS and EOS from the flags.
//
//===----------------------------------------------------------------------===//
#include "compiler/ConfigDiagnostics.h"
#include "compiler/importers/SentencePiece.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <unordered_set>

namespace lathe {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxTokens = uint64_t{1} << 21;
constexpr uint64_t kMaxMerges = uint64_t{1} << 22;
constexpr uint64_t kMaxTokenBytes = uint64_t{1} << 16;
constexpr uint64_t kMaxTemplateBytes = uint64_t{1} << 20;

/// How a `tokenizer.ggml.pre` splits text before BPE. The patterns are those of the models' own tokenizer.json.
struct PreTokenizer {
  std::string_view name;
  std::string_view pattern; ///< of a Split before ByteLevel; empty: GPT-2's, which ByteLevel has built in
  bool digits;              ///< every digit is a piece of its own, before the pattern
  bool compose;             ///< text is normalised to NFC
  bool ignoreMerges;        ///< a piece that is a token is taken whole
  bool addBos;              ///< unless the metadata says otherwise
};
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const std::array<PreTokenizer, 7> kPreTokenizers{{
    {"gpt-2", "", false, false, false, false},
    {"default", "", false, false, false, false},
    {"smollm", "", true, false, false, false},
    {"llama-bpe", kLlama3, false, false, true, true},
    {"llama3", kLlama3, false, false, true, true},
    {"llama-v3", kLlama3, false, false, true, true},
    {"qwen2", kQwen2Pattern, false, true, false, false},
}};

json preTokenizerJson(const PreTokenizer &pre) {
  if (!pre.pattern.empty())
    return splitThenBytesJson(pre.pattern);
  std::vector<json> steps{byteLevelJson(false, true, true)};
  if (pre.digits)
    steps.insert(steps.begin(), json{{"type", "Digits"}, {"individual_digits", true}});
  return sequenceJson("pretokenizers", std::move(steps));
}

/// What llama.cpp takes where the metadata says nothing.
struct Defaults {
  bool addBos, addEos;
  int64_t bos, eos; ///< -1: none
};

class Writer {
public:
  Writer(const GgufFile &file, const ModelConfig &config) : file(file), config(config) {}
  Result<std::string> writeByteLevel();
  Result<std::string> writeSentencePiece(bool unigram);
  Result<std::string> writeWordPiece();

private:
  Result<void> readTokens();
  Result<void> readScores();
  Result<void> readMerges(const GgufValue &array);
  Result<void> readFacts(const Defaults &defaults);
  Result<bool> flag(const char *key, bool fallback) const;
  void addTokensOfTypes();
  /// The tokens around a text, null where there are none.
  json postProcessor() const;
  Result<std::optional<int64_t>> tokenId(const std::string &key) const;

  const GgufFile &file;
  const ModelConfig &config;
  TokenizerParts parts;
  ImportedFacts facts;
  std::optional<int64_t> eos; ///< where one is added
  std::vector<SentencePiece> tokens;
  std::unordered_set<std::string_view> vocabulary;
  std::string merges; ///< the JSON elements
};

Result<void> Writer::readTokens() {
  const std::string key = "tokenizer.ggml.tokens", typeKey = "tokenizer.ggml.token_type";
  auto array = file.strings(key);
  if (!array)
    return propagate(array);
  if (!*array)
    return fail(ExitCode::badInput, "{}: missing key '{}'", file.path(), key);
  if ((*array)->count > kMaxTokens)
    return fail(ExitCode::badInput, "{}: expected at most {} tokens, found {}", file.place(key), kMaxTokens,
                (*array)->count);
  // Types are an array of integers, one a token; without it every token is normal.
  auto types = file.metadata().find(typeKey);
  bool typed = types != file.metadata().end();
  size_t bytes = typed && types->second.type == GgufType::array ? ggufBytes(types->second.element) : 0;
  if (typed && (bytes == 0 || types->second.count != (*array)->count))
    return fail(ExitCode::badInput, "{}: expected an array of {} integers, one a token", file.place(typeKey),
                (*array)->count);
  int specials = 0;
  return file.eachString(**array, [&](uint64_t index, std::string_view token) -> Result<void> {
    if (token.size() > kMaxTokenBytes || !isUtf8(token))
      return fail(ExitCode::badInput, "{}: token {}: expected UTF-8 of at most {} bytes", file.place(key), index,
                  kMaxTokenBytes);
    if (!vocabulary.insert(token).second)
      return fail(ExitCode::badInput, "{}: token {} repeats {}", file.place(key), index, inQuotes(token));
    int64_t type = 1;
    if (typed)
      type = ggufInteger(types->second.element, types->second.bytes.substr(index * bytes, bytes)).value_or(1);
    tokens.push_back({token, 0, type >= 1 && type <= 6 ? static_cast<PieceType>(type) : PieceType::normal});
    bool special = tokens.back().type == PieceType::unknown || tokens.back().type == PieceType::control ||
                   tokens.back().type == PieceType::userDefined;
    if (special && ++specials > (1 << 16))
      return fail(ExitCode::badInput, "{}: expected at most {} special tokens", file.place(typeKey), 1 << 16);
    return {};
  });
}

void Writer::addTokensOfTypes() {
  for (size_t id = 0; id < tokens.size(); ++id)
    if (PieceType type = tokens[id].type;
        type == PieceType::unknown || type == PieceType::control || type == PieceType::userDefined)
      parts.addedTokens.push_back(
          addedTokenJson(static_cast<int64_t>(id), tokens[id].text, type != PieceType::userDefined));
}

Result<void> Writer::readScores() {
  const std::string key = "tokenizer.ggml.scores";
  auto found = file.metadata().find(key);
  if (found == file.metadata().end())
    return fail(ExitCode::badInput, "{}: missing key '{}'", file.path(), key);
  const GgufValue &array = found->second;
  if (array.type != GgufType::array || array.element != GgufType::float32 || array.count != tokens.size())
    return fail(ExitCode::badInput, "{}: expected an array of {} numbers of type float32, one a token", file.place(key),
                tokens.size());
  for (size_t id = 0; id < tokens.size(); ++id)
    std::memcpy(&tokens[id].score, array.bytes.data() + id * sizeof(float), sizeof(float));
  return {};
}

Result<void> Writer::readMerges(const GgufValue &array) {
  const std::string key = "tokenizer.ggml.merges";
  if (array.count > kMaxMerges)
    return fail(ExitCode::badInput, "{}: expected at most {} merges, found {}", file.place(key), kMaxMerges,
                array.count);
  std::string whole;
  return file.eachString(array, [&](uint64_t index, std::string_view merge) -> Result<void> {
    size_t space = merge.find(' ', 1);
    if (space == std::string_view::npos || space + 1 >= merge.size())
      return fail(ExitCode::badInput, "{}: merge {}: expected two tokens with a space between, found {}",
                  file.place(key), index, inQuotes(merge));
    std::string_view left = merge.substr(0, space), right = merge.substr(space + 1);
    whole.assign(left).append(right);
    for (std::string_view part : {left, right, std::string_view(whole)})
      if (!vocabulary.contains(part))
        return fail(ExitCode::badInput, "{}: merge {}: {} is not a token", file.place(key), index, inQuotes(part));
    if (!merges.empty())
      merges += ',';
    appendJsonString(merges, merge);
    if (merges.size() > kMaxTokenizerPart)
      return fail(ExitCode::badInput, "{}: expected at most {} bytes of merges", file.place(key), kMaxTokenizerPart);
    return {};
  });
}

Result<std::optional<int64_t>> Writer::tokenId(const std::string &key) const {
  auto id = file.integer(key);
  if (id && *id && (**id < 0 || **id >= static_cast<int64_t>(tokens.size())))
    return fail(ExitCode::badInput, "{}: expected an id below the number of tokens, {}, found {}", file.place(key),
                tokens.size(), **id);
  return id;
}

Result<bool> Writer::flag(const char *key, bool fallback) const {
  auto value = file.boolean(key);
  if (!value)
    return propagate(value);
  return value->value_or(fallback);
}

Result<void> Writer::readFacts(const Defaults &defaults) {
  auto known = [&](int64_t id) {
    return id >= 0 && id < static_cast<int64_t>(tokens.size()) ? std::optional(id) : std::nullopt;
  };
  auto bos = tokenId("tokenizer.ggml.bos_token_id"), end = tokenId("tokenizer.ggml.eos_token_id");
  if (!bos || !end)
    return bos ? propagate(end) : propagate(bos);
  auto addBos = flag("tokenizer.ggml.add_bos_token", defaults.addBos);
  auto addEnd = flag("tokenizer.ggml.add_eos_token", defaults.addEos);
  if (!addBos || !addEnd)
    return addBos ? propagate(addEnd) : propagate(addBos);
  auto chat = file.string("tokenizer.chat_template");
  if (!chat)
    return propagate(chat);
  if (*chat && ((*chat)->size() > kMaxTemplateBytes || !isUtf8(**chat)))
    return fail(ExitCode::badInput, "{}: expected UTF-8 of at most {} bytes", file.place("tokenizer.chat_template"),
                kMaxTemplateBytes);
  facts.bosTokenId = *bos ? *bos : known(defaults.bos);
  facts.eosTokenIds = config.eosTokenIds;
  facts.addBos = *addBos && facts.bosTokenId;
  facts.chatTemplate = chat->value_or("");
  if (*addEnd)
    eos = *end ? *end : known(defaults.eos);
  return {};
}

json Writer::postProcessor() const {
  auto token = [&](std::optional<int64_t> id) {
    return id ? std::optional(SpecialToken{*id, tokens[static_cast<size_t>(*id)].text}) : std::nullopt;
  };
  if (!facts.addBos && !eos)
    return nullptr;
  return templateJson(facts.addBos ? token(facts.bosTokenId) : std::nullopt, token(eos));
}

Result<std::string> Writer::writeByteLevel() {
  auto name = file.string("tokenizer.ggml.pre");
  if (!name)
    return propagate(name);
  std::string_view wanted = name->value_or("default");
  auto known = std::find_if(kPreTokenizers.begin(), kPreTokenizers.end(),
                            [&](const auto &entry) { return entry.name == wanted; });
  if (known == kPreTokenizers.end()) {
    std::vector<std::string_view> names;
    for (const PreTokenizer &entry : kPreTokenizers)
      names.push_back(entry.name);
    return fail(ExitCode::badInput, "{}: pre-tokenizer {} is not supported{}", file.place("tokenizer.ggml.pre"),
                inQuotes(wanted), suggestion(wanted, names));
  }
  if (auto read = readTokens(); !read)
    return propagate(read);
  auto array = file.strings("tokenizer.ggml.merges");
  if (!array)
    return propagate(array);
  if (*array)
    if (auto read = readMerges(**array); !read)
      return propagate(read);
  if (auto read = readFacts({known->addBos, false, -1, -1}); !read)
    return propagate(read);
  addTokensOfTypes();
  parts.normalizer = known->compose ? json{{"type", "NFC"}} : json(nullptr);
  parts.preTokenizer = preTokenizerJson(*known);
  parts.postProcessor = postProcessor();
  if (parts.postProcessor.is_null())
    parts.postProcessor = byteLevelJson(true, false, true);
  parts.decoder = byteLevelJson(true, true, true);
  parts.facts = facts;
  parts.model = fmt::format(
      R"({{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,"ignore_merges":{},"vocab":{{)",
      known->ignoreMerges);
  for (size_t id = 0; id < tokens.size(); ++id) {
    parts.model += id > 0 ? "," : "";
    appendJsonString(parts.model, tokens[id].text);
    parts.model += fmt::format(":{}", id);
    if (parts.model.size() > kMaxTokenizerPart)
      return fail(ExitCode::badInput, "{}: expected at most {} bytes of tokens", file.place("tokenizer.ggml.tokens"),
                  kMaxTokenizerPart);
  }
  parts.model.append("},\"merges\":[").append(merges).append("]}");
  return printTokenizer(parts);
}

Result<std::string> Writer::writeSentencePiece(bool unigram) {
  if (auto read = readTokens(); !read)
    return propagate(read);
  if (auto read = readScores(); !read)
    return propagate(read);
  if (auto read = readFacts(unigram ? Defaults{false, true, -1, 1} : Defaults{true, false, 1, 2}); !read)
    return propagate(read);
  SentencePieceModel model;
  model.algorithm = unigram ? SentencePieceModel::Algorithm::unigram : SentencePieceModel::Algorithm::bytePair;
  model.cutsAtUserDefined = true;
  model.pieces = tokens;
  auto prefix = flag("tokenizer.ggml.add_space_prefix", true);
  auto removes = flag("tokenizer.ggml.remove_extra_whitespaces", false);
  if (!prefix || !removes)
    return prefix ? propagate(removes) : propagate(prefix);
  model.addDummyPrefix = *prefix;
  model.removeExtraWhitespaces = *removes && unigram;
  model.byteFallback = !unigram;
  const std::string key = "tokenizer.ggml.precompiled_charsmap";
  if (auto found = file.metadata().find(key); found != file.metadata().end() && unigram) {
    if (found->second.type != GgufType::array || ggufBytes(found->second.element) != 1)
      return fail(ExitCode::badInput, "{}: expected an array of bytes", file.place(key));
    model.charsMap = found->second.bytes;
  }
  auto translated = translateSentencePiece(model, file.place("tokenizer.ggml.tokens"));
  if (!translated)
    return propagate(translated);
  parts = std::move(*translated);
  facts.sentencePiece = std::move(parts.facts.sentencePiece);
  facts.sentencePiece->singlePrecision = false;
  parts.facts = facts;
  parts.postProcessor = postProcessor();
  return printTokenizer(parts);
}

Result<std::string> Writer::writeWordPiece() {
  if (auto read = readTokens(); !read)
    return propagate(read);
  constexpr int64_t cls = 101, sep = 102, unk = 100; // of BERT's own vocabulary
  if (auto read = readFacts({true, true, cls, sep}); !read)
    return propagate(read);
  auto unknown = tokenId("tokenizer.ggml.unknown_token_id"), separator = tokenId("tokenizer.ggml.seperator_token_id");
  if (!unknown || !separator)
    return unknown ? propagate(separator) : propagate(unknown);
  if (eos && *separator)
    eos = *separator;
  int64_t unknownId = unknown->value_or(unk);
  if (unknownId >= static_cast<int64_t>(tokens.size()))
    return fail(ExitCode::badInput, "{}: missing key 'tokenizer.ggml.unknown_token_id'", file.path());
  addTokensOfTypes();
  // A mark stands in front of what begins a word; the others carried the prefix before they were converted.
  constexpr std::string_view mark = "▁";
  auto spelled = [&](const SentencePiece &token) {
    if (token.text.starts_with(mark))
      return std::string(token.text.substr(mark.size()));
    bool plain = token.type == PieceType::normal || token.type == PieceType::byte || token.type == PieceType::unused;
    return (plain ? "##" : "") + std::string(token.text);
  };
  parts.model =
      R"({"type":"WordPiece","unk_token":)" + printJson(spelled(tokens[static_cast<size_t>(unknownId)])) +
      R"(,"continuing_subword_prefix":"##","max_input_chars_per_word":65536,"vocab":{)"; // llama.cpp has no limit
  for (size_t id = 0; id < tokens.size(); ++id) {
    parts.model += id > 0 ? "," : "";
    appendJsonString(parts.model, spelled(tokens[id]));
    parts.model += fmt::format(":{}", id);
    if (parts.model.size() > kMaxTokenizerPart)
      return fail(ExitCode::badInput, "{}: expected at most {} bytes of tokens", file.place("tokenizer.ggml.tokens"),
                  kMaxTokenizerPart);
  }
  parts.model += "}}";
  parts.normalizer = {{"type", "BertNormalizer"},
                      {"clean_text", true},
                      {"handle_chinese_chars", true},
                      {"strip_accents", true},
                      {"lowercase", true}}; // always, as the metadata does not say
  parts.preTokenizer = {{"type", "BertPreTokenizer"}};
  parts.decoder = {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}};
  parts.facts = facts;
  parts.postProcessor = postProcessor();
  return printTokenizer(parts);
}

} // namespace

Result<std::string> importGgufTokenizer(const GgufFile &file, const ModelConfig &config) {
  auto kind = file.string("tokenizer.ggml.model");
  if (!kind)
    return propagate(kind);
  std::string_view name = kind->value_or("");
  Writer writer(file, config);
  if (name == "gpt2")
    return writer.writeByteLevel();
  if (name == "llama" || name == "t5")
    return writer.writeSentencePiece(name == "t5");
  if (name == "bert")
    return writer.writeWordPiece();
  return std::string();
}

} // namespace lathe

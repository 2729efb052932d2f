//===- GgufTokenizer.cpp - GGUF metadata -> tokenizer.json ----------------===//
//
// A byte-level BPE ("gpt2" in GGUF) becomes what the library `tokenizers` saves for the same model: vocabulary, merges,
// added tokens from the token types, the pre-tokenizer that `tokenizer.ggml.pre` names (llama.cpp, llama-vocab.cpp),
// and a post-processor that adds BOS and EOS where the metadata says so.
//
//===----------------------------------------------------------------------===//
#include "compiler/ConfigDiagnostics.h"
#include "compiler/importers/Importers.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <unordered_set>

namespace lathe {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxTokens = uint64_t{1} << 21;
constexpr uint64_t kMaxMerges = uint64_t{1} << 22;
constexpr uint64_t kMaxTokenBytes = uint64_t{1} << 16;
constexpr uint64_t kMaxTemplateBytes = uint64_t{1} << 20;
constexpr uint64_t kMaxJsonBytes = uint64_t{64} << 20; // of the vocabulary, and of the merges

enum TokenType : int64_t { normal = 1, unknown = 2, control = 3, userDefined = 4 };

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
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::array<PreTokenizer, 7> kPreTokenizers{{
    {"gpt-2", "", false, false, false, false},
    {"default", "", false, false, false, false},
    {"smollm", "", true, false, false, false},
    {"llama-bpe", kLlama3, false, false, true, true},
    {"llama3", kLlama3, false, false, true, true},
    {"llama-v3", kLlama3, false, false, true, true},
    {"qwen2", kQwen2, false, true, false, false},
}};

json byteLevel(bool addPrefixSpace, bool trimOffsets, bool useRegex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", addPrefixSpace},
          {"trim_offsets", trimOffsets},
          {"use_regex", useRegex}};
}

json preTokenizerJson(const PreTokenizer &pre) {
  json last = byteLevel(false, true, pre.pattern.empty());
  if (pre.pattern.empty() && !pre.digits)
    return last;
  json first =
      pre.digits
          ? json{{"type", "Digits"}, {"individual_digits", true}}
          : json{{"type", "Split"}, {"pattern", {{"Regex", pre.pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
  return {{"type", "Sequence"}, {"pretokenizers", json::array({first, last})}};
}

void appendString(std::string &text, std::string_view value) {
  auto needsEscape = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == '"' || c == '\\'; };
  if (std::none_of(value.begin(), value.end(), needsEscape))
    text.append("\"").append(value).append("\"");
  else
    text += json(value).dump(-1, ' ', false, json::error_handler_t::replace);
}

class Writer {
public:
  Writer(const GgufFile &file, const ModelConfig &config) : file(file), config(config) {}
  Result<std::string> write();

private:
  Result<void> readTokens();
  Result<void> readMerges(const GgufValue &array);
  Result<void> readFacts();
  Result<json> postProcessor() const;
  Result<std::optional<int64_t>> tokenId(const std::string &key) const;

  const GgufFile &file;
  const ModelConfig &config;
  PreTokenizer pre = kPreTokenizers[0];
  TokenizerFacts facts;
  bool addEos = false;
  std::vector<std::string_view> tokens;
  std::unordered_set<std::string_view> vocabulary;
  json addedTokens = json::array();
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
  return file.eachString(**array, [&](uint64_t index, std::string_view token) -> Result<void> {
    if (token.size() > kMaxTokenBytes || !isUtf8(token))
      return fail(ExitCode::badInput, "{}: token {}: expected UTF-8 of at most {} bytes", file.place(key), index,
                  kMaxTokenBytes);
    if (!vocabulary.insert(token).second)
      return fail(ExitCode::badInput, "{}: token {} repeats {}", file.place(key), index, inQuotes(token));
    tokens.push_back(token);
    int64_t type = normal;
    if (typed)
      type = ggufInteger(types->second.element, types->second.bytes.substr(index * bytes, bytes)).value_or(normal);
    if (type == unknown || type == control || type == userDefined) {
      if (addedTokens.size() >= (1 << 16))
        return fail(ExitCode::badInput, "{}: expected at most {} special tokens", file.place(typeKey), 1 << 16);
      addedTokens.push_back({{"id", index},
                             {"content", token},
                             {"single_word", false},
                             {"lstrip", false},
                             {"rstrip", false},
                             {"normalized", false},
                             {"special", type != userDefined}});
    }
    return {};
  });
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
    appendString(merges, merge);
    if (merges.size() > kMaxJsonBytes)
      return fail(ExitCode::badInput, "{}: expected at most {} bytes of merges", file.place(key), kMaxJsonBytes);
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

Result<void> Writer::readFacts() {
  auto bos = tokenId("tokenizer.ggml.bos_token_id");
  if (!bos)
    return propagate(bos);
  auto addBos = file.boolean("tokenizer.ggml.add_bos_token"), addEnd = file.boolean("tokenizer.ggml.add_eos_token");
  if (!addBos)
    return propagate(addBos);
  if (!addEnd)
    return propagate(addEnd);
  auto chat = file.string("tokenizer.chat_template");
  if (!chat)
    return propagate(chat);
  if (*chat && ((*chat)->size() > kMaxTemplateBytes || !isUtf8(**chat)))
    return fail(ExitCode::badInput, "{}: expected UTF-8 of at most {} bytes", file.place("tokenizer.chat_template"),
                kMaxTemplateBytes);
  facts.bosTokenId = *bos;
  facts.eosTokenIds = config.eosTokenIds;
  facts.addBos = addBos->value_or(pre.addBos) && bos->has_value();
  facts.chatTemplate = chat->value_or("");
  addEos = addEnd->value_or(false);
  return {};
}

Result<json> Writer::postProcessor() const {
  auto eos = tokenId("tokenizer.ggml.eos_token_id");
  if (!eos)
    return propagate(eos);
  if (!facts.addBos && !(addEos && *eos))
    return byteLevel(true, false, true);
  json single = json::array(), pair = json::array(), specials = json::object();
  auto special = [&](int64_t id) {
    std::string_view token = tokens[static_cast<size_t>(id)];
    specials[std::string(token)] = {{"id", token}, {"ids", json::array({id})}, {"tokens", json::array({token})}};
    return token;
  };
  auto sequence = [&](const char *name, int type) {
    if (facts.addBos)
      pair.push_back({{"SpecialToken", {{"id", special(*facts.bosTokenId)}, {"type_id", type}}}});
    pair.push_back({{"Sequence", {{"id", name}, {"type_id", type}}}});
    if (addEos && *eos)
      pair.push_back({{"SpecialToken", {{"id", special(**eos)}, {"type_id", type}}}});
  };
  sequence("A", 0);
  single = pair;
  sequence("B", 1);
  return json{{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", specials}};
}

Result<std::string> Writer::write() {
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
  pre = *known;
  if (auto read = readTokens(); !read)
    return propagate(read);
  auto array = file.strings("tokenizer.ggml.merges");
  if (!array)
    return propagate(array);
  if (*array)
    if (auto read = readMerges(**array); !read)
      return propagate(read);
  if (auto read = readFacts(); !read)
    return propagate(read);
  auto post = postProcessor();
  if (!post)
    return propagate(post);

  auto print = [](const json &value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); };
  std::string text = R"({"version":"1.0","truncation":null,"padding":null,"added_tokens":)" + print(addedTokens);
  text += ",\"normalizer\":" + print(pre.compose ? json{{"type", "NFC"}} : json(nullptr));
  text += ",\"pre_tokenizer\":" + print(preTokenizerJson(pre)) + ",\"post_processor\":" + print(*post);
  text += ",\"decoder\":" + print(byteLevel(true, true, true));
  text +=
      R"(,"model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,"end_of_word_suffix":null,)";
  text += fmt::format(R"("fuse_unk":false,"byte_fallback":false,"ignore_merges":{},"vocab":{{)", pre.ignoreMerges);
  for (size_t id = 0; id < tokens.size(); ++id) {
    text += id > 0 ? "," : "";
    appendString(text, tokens[id]);
    text += fmt::format(":{}", id);
    if (text.size() > kMaxJsonBytes)
      return fail(ExitCode::badInput, "{}: expected at most {} bytes of tokens", file.place("tokenizer.ggml.tokens"),
                  kMaxJsonBytes);
  }
  text.append("},\"merges\":[").append(merges).append("]},").append(printTokenizerFacts(facts)).append("}\n");
  return text;
}

} // namespace

Result<std::string> importGgufTokenizer(const GgufFile &file, const ModelConfig &config) {
  auto kind = file.string("tokenizer.ggml.model");
  if (!kind)
    return propagate(kind);
  if (!*kind || **kind != "gpt2")
    return std::string();
  return Writer(file, config).write();
}

} // namespace lathe

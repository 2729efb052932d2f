//===- BytePairTokenizer.cpp - the tokenizer of byte-level BPE ------------===//
#include "runtime/Tokenizer.h"
#include "runtime/tokenizer/AddedTokens.h"
#include "runtime/tokenizer/BytePairModel.h"
#include "runtime/tokenizer/Normalizer.h"
#include "runtime/tokenizer/PostProcessor.h"
#include "runtime/tokenizer/PreTokenizer.h"
#include "runtime/tokenizer/Utf8.h"

#include <algorithm>
#include <unordered_map>

namespace lathe {

namespace {

/// The ids of words seen before in the same text: where they stand in the output.
class WordCache {
public:
  struct Span {
    size_t begin, count;
  };

  bool mayHold(std::string_view word) const { return word.size() <= wordLimit; }
  const Span *find(std::string_view word) const {
    auto found = spans.find(word);
    return found == spans.end() ? nullptr : &found->second;
  }
  void add(std::string_view word, Span span) {
    if (spans.size() < countLimit)
      spans.emplace(word, span);
  }

private:
  static constexpr size_t wordLimit = 48, countLimit = size_t(1) << 16;
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  std::unordered_map<std::string, Span, Hash, std::equal_to<>> spans;
};

class BytePairTokenizer final : public Tokenizer {
public:
  static Result<std::shared_ptr<const Tokenizer>> parse(std::string_view json);

  std::vector<int32_t> encode(std::string_view text, const EncodeOptions &options) const override;
  std::string piece(int32_t id, bool skipSpecial) const override;
  int32_t size() const override { return vocabulary.size(); }
  std::optional<int32_t> id(std::string_view token) const override { return vocabulary.id(token); }

private:
  Vocabulary vocabulary;
  BytePairModel model;
  Normalizer normalizer;
  PreTokenizer preTokenizer;
  AddedTokens addedTokens;
  PostProcessor postProcessor;

  Result<void> readComponents(const JsonNode &root, TokenizerFile &file);
  Result<void> readDecoder(const JsonNode &node, int depth);
  Result<void> readLathe(const JsonNode &node);
};

Result<std::shared_ptr<const Tokenizer>> BytePairTokenizer::parse(std::string_view json) {
  Result<TokenizerFile> file = TokenizerFile::parse(json);
  if (!file)
    return propagate(file);
  auto tokenizer = std::make_shared<BytePairTokenizer>();
  nlohmann::json rest = std::move(file->rest);
  if (Result<void> read = tokenizer->readComponents(JsonNode(rest, ""), *file); !read)
    return propagate(read);
  return tokenizer;
}

/// `truncation` and `padding` are the training code's settings and have no part in what a text means.
Result<void> BytePairTokenizer::readComponents(const JsonNode &root, TokenizerFile &file) {
  auto put = [](auto result, auto &place) -> Result<void> {
    if (!result)
      return propagate(result);
    place = std::move(*result);
    return {};
  };
  Result<void> read = put(BytePairModel::parse(root.member("model"), file), model);
  if (!read)
    return read;
  vocabulary = std::move(file.vocabulary);
  if (read = put(Normalizer::parse(root.member("normalizer")), normalizer); !read)
    return read;
  if (read = put(AddedTokens::parse(root.member("added_tokens"), vocabulary, normalizer), addedTokens); !read)
    return read;
  if (read = put(PreTokenizer::parse(root.member("pre_tokenizer")), preTokenizer); !read)
    return read;
  if (read = put(PostProcessor::parse(root.member("post_processor"), vocabulary), postProcessor); !read)
    return read;
  if (read = readDecoder(root.member("decoder"), 0); !read)
    return read;
  return readLathe(root.member("lathe"));
}

Result<void> BytePairTokenizer::readDecoder(const JsonNode &node, int depth) {
  constexpr std::string_view supported = "ByteLevel";
  Result<std::string> type = node.type(supported);
  if (!type)
    return propagate(type);
  if (*type == "ByteLevel")
    return {};
  Result<std::vector<JsonNode>> members = node.member("decoders").elements();
  if (*type == "Sequence" && depth == 0 && members && members->size() == 1)
    return readDecoder(members->front(), depth + 1);
  return node.fail("decoder {} is not supported; supported: {}", quote(*type), supported);
}

Result<void> BytePairTokenizer::readLathe(const JsonNode &node) {
  if (node.isNull())
    return {};
  if (Result<void> object = node.expectObject(); !object)
    return object;
  for (const auto &[key, value] : node.json().items())
    if (key != "bos_token_id" && key != "eos_token_ids" && key != "add_bos" && key != "chat_template")
      return node.fail("unknown key {}; known: bos_token_id, eos_token_ids, add_bos, chat_template", quote(key));
  // config.json may name an end that the tokenizer lacks.
  auto tokenId = [](const JsonNode &id) -> Result<int32_t> {
    if (!id.json().is_number_unsigned() || id.json() >= Vocabulary::idLimit)
      return id.fail("expected an id from 0 to {}", Vocabulary::idLimit - 1);
    return id.json().get<int32_t>();
  };
  Result<std::vector<JsonNode>> ends = node.member("eos_token_ids").elements();
  if (!ends)
    return propagate(ends);
  for (const JsonNode &end : *ends)
    if (Result<int32_t> id = tokenId(end); !id)
      return propagate(id);
  Result<std::string> chatTemplate = node.string("chat_template", "");
  Result<bool> addBos = node.boolean("add_bos", false);
  if (!chatTemplate || !addBos)
    return chatTemplate ? propagate(addBos) : propagate(chatTemplate);
  JsonNode bosNode = node.member("bos_token_id");
  if (bosNode.isNull())
    return *addBos ? node.fail("add_bos is true, but there is no bos_token_id") : Result<void>();
  Result<int32_t> bos = tokenId(bosNode);
  if (!bos)
    return propagate(bos);
  if (*addBos && !vocabulary.token(*bos))
    return bosNode.fail("{} is the id of no token, but add_bos is true", *bos);
  std::vector<int32_t> &prefix = postProcessor.prefix;
  if (*addBos && std::ranges::find(prefix, *bos) == prefix.end())
    prefix.insert(prefix.begin(), *bos);
  return {};
}

std::vector<int32_t> BytePairTokenizer::encode(std::string_view bytes, const EncodeOptions &options) const {
  std::string repaired;
  std::string_view text = bytes;
  if (validUtf8Length(bytes) != bytes.size())
    text = repaired = decodeLossy(bytes);

  std::vector<int32_t> ids;
  if (options.addSpecial)
    ids = postProcessor.prefix;
  WordCache cache;
  PreTokenizer::Splitter splitter(preTokenizer, text.size());
  PreTokenizer::Sink addWord = [&](std::string_view word) {
    if (!cache.mayHold(word))
      return model.encode(word, vocabulary, ids);
    size_t begin = ids.size();
    if (const WordCache::Span *known = cache.find(word)) {
      ids.resize(begin + known->count);
      std::copy_n(ids.begin() + static_cast<ptrdiff_t>(known->begin), known->count,
                  ids.begin() + static_cast<ptrdiff_t>(begin));
      return;
    }
    model.encode(word, vocabulary, ids);
    cache.add(word, {begin, ids.size() - begin});
  };
  auto addNormalized = [&](std::string_view segment, const AddedToken *token) {
    token ? ids.push_back(token->id) : splitter.split(segment, addWord);
  };
  addedTokens.split(text, false, !options.parseSpecial, [&](std::string_view segment, const AddedToken *token) {
    if (token)
      return ids.push_back(token->id);
    std::string normalized;
    if (!normalizer.changesNothing())
      segment = normalized = normalizer.apply(segment);
    addedTokens.split(segment, true, !options.parseSpecial, addNormalized);
  });
  if (options.addSpecial)
    ids.insert(ids.end(), postProcessor.suffix.begin(), postProcessor.suffix.end());
  return ids;
}

std::string BytePairTokenizer::piece(int32_t id, bool skipSpecial) const {
  std::optional<std::string_view> token = vocabulary.token(id);
  if (!token || (skipSpecial && addedTokens.isSpecial(id)))
    return {};
  return bytesOfToken(*token);
}

} // namespace

Result<std::shared_ptr<const Tokenizer>> Tokenizer::parse(std::string_view json) {
  return BytePairTokenizer::parse(json);
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skipSpecial) const {
  std::string bytes;
  for (int32_t id : ids)
    bytes += piece(id, skipSpecial);
  return decodeLossy(bytes);
}

} // namespace lathe

//===- Pipeline.cpp - the way of a text through a tokenizer ----------------===//
//
// Added tokens that stand in the text, normalizer, added tokens that stand in the normalized text, pre-tokenizer,
// model, post-processor; and back by the decoder.
//
//===----------------------------------------------------------------------===//
#include "runtime/Tokenizer.h"
#include "runtime/tokenizer/AddedTokens.h"
#include "runtime/tokenizer/Decoder.h"
#include "runtime/tokenizer/Model.h"
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

  static constexpr size_t wordLimit = 48; ///< longer ones are none of its
  const Span *find(std::string_view word) const {
    auto found = spans.find(word);
    return found == spans.end() ? nullptr : &found->second;
  }
  void add(std::string_view word, Span span) {
    if (spans.size() < countLimit)
      spans.emplace(word, span);
  }

private:
  static constexpr size_t countLimit = size_t(1) << 16;
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  std::unordered_map<std::string, Span, Hash, std::equal_to<>> spans;
};

class Pipeline final : public Tokenizer {
public:
  static Result<std::shared_ptr<const Tokenizer>> parse(std::string_view json);

  std::vector<int32_t> encode(std::string_view text, const EncodeOptions &options) const override;
  std::string piece(int32_t id, bool skipSpecial) const override;
  std::unique_ptr<DecodeStream> startDecoding(bool skipSpecial) const override;
  int32_t size() const override { return vocabulary.size(); }
  std::optional<int32_t> id(std::string_view token) const override { return vocabulary.id(token); }

private:
  Vocabulary vocabulary;
  std::optional<SentencePieceRules> rules;
  std::unique_ptr<const Model> model; ///< refers to the vocabulary
  Normalizer normalizer;
  PreTokenizer preTokenizer;
  AddedTokens addedTokens;
  PostProcessor postProcessor;
  Decoder decoder;

  friend class PipelineStream;
  Result<void> readComponents(const JsonNode &root, TokenizerFile &file);
  Result<void> readLathe(const JsonNode &node);
  Result<void> readRules(const JsonNode &node);
  /// A token's spelling; nothing for ids of no token and for special tokens that are skipped.
  std::optional<std::string_view> spelling(int32_t id, bool skipSpecial) const;
};

Result<std::shared_ptr<const Tokenizer>> Pipeline::parse(std::string_view json) {
  Result<TokenizerFile> file = TokenizerFile::parse(json);
  if (!file)
    return propagate(file);
  auto tokenizer = std::make_shared<Pipeline>();
  nlohmann::json rest = std::move(file->rest);
  if (Result<void> read = tokenizer->readComponents(JsonNode(rest, ""), *file); !read)
    return propagate(read);
  return tokenizer;
}

/// `truncation` and `padding` are the training code's settings and have no part in what a text means.
Result<void> Pipeline::readComponents(const JsonNode &root, TokenizerFile &file) {
  auto put = [](auto result, auto &place) -> Result<void> {
    if (!result)
      return propagate(result);
    place = std::move(*result);
    return {};
  };
  vocabulary = std::move(file.vocabulary);
  Result<void> read = readRules(root.member("lathe").member("sentencepiece"));
  if (!read)
    return read;
  const SentencePieceRules *modelRules = rules ? &*rules : nullptr;
  if (read = put(Model::parse(root.member("model"), file, vocabulary, modelRules), model); !read)
    return read;
  std::shared_ptr<Trie> untouched = rules ? std::make_shared<Trie>() : nullptr;
  if (rules)
    for (int32_t id : rules->userDefined)
      if (std::optional<std::string_view> token = vocabulary.token(id))
        untouched->add(*token, 0);
  if (read = put(Normalizer::parse(root.member("normalizer"), untouched), normalizer); !read)
    return read;
  if (read = put(AddedTokens::parse(root.member("added_tokens"), vocabulary, normalizer), addedTokens); !read)
    return read;
  if (read = put(PreTokenizer::parse(root.member("pre_tokenizer")), preTokenizer); !read)
    return read;
  if (read = put(PostProcessor::parse(root.member("post_processor"), vocabulary), postProcessor); !read)
    return read;
  if (read = put(Decoder::parse(root.member("decoder")), decoder); !read)
    return read;
  return readLathe(root.member("lathe"));
}

Result<void> Pipeline::readRules(const JsonNode &node) {
  if (node.isNull())
    return {};
  if (Result<void> object = node.expectObject(); !object)
    return object;
  rules.emplace();
  for (auto [key, ids] : {std::pair("user_defined_ids", &rules->userDefined), {"unmatched_ids", &rules->unmatched}}) {
    Result<std::vector<JsonNode>> elements = node.member(key).elements();
    if (!elements)
      return propagate(elements);
    for (const JsonNode &element : *elements) {
      Result<int32_t> id = element.id();
      if (!id)
        return propagate(id);
      ids->push_back(*id);
    }
    std::ranges::sort(*ids);
  }
  Result<bool> single = node.boolean("single_precision", true);
  if (!single)
    return propagate(single);
  rules->singlePrecision = *single;
  return {};
}

Result<void> Pipeline::readLathe(const JsonNode &node) {
  if (node.isNull())
    return {};
  if (Result<void> object = node.expectObject(); !object)
    return object;
  for (const auto &[key, value] : node.json().items())
    if (key != "bos_token_id" && key != "eos_token_ids" && key != "add_bos" && key != "chat_template" &&
        key != "sentencepiece")
      return node.fail("unknown key {}; known: bos_token_id, eos_token_ids, add_bos, chat_template, sentencepiece",
                       quote(key));
  // config.json may name an end that the tokenizer lacks.
  Result<std::vector<JsonNode>> ends = node.member("eos_token_ids").elements();
  if (!ends)
    return propagate(ends);
  for (const JsonNode &end : *ends) {
    Result<int32_t> id = end.id();
    if (!id)
      return propagate(id);
    facts_.eosTokenIds.push_back(*id);
  }
  Result<std::string> chatTemplate = node.string("chat_template", "");
  Result<bool> addBos = node.boolean("add_bos", false);
  if (!chatTemplate || !addBos)
    return chatTemplate ? propagate(addBos) : propagate(chatTemplate);
  facts_.chatTemplate = std::move(*chatTemplate);
  JsonNode bosNode = node.member("bos_token_id");
  if (bosNode.isNull())
    return *addBos ? node.fail("add_bos is true, but there is no bos_token_id") : Result<void>();
  Result<int32_t> bos = bosNode.id();
  if (!bos)
    return propagate(bos);
  facts_.bosTokenId = *bos;
  if (*addBos && !vocabulary.token(*bos))
    return bosNode.fail("{} is the id of no token, but add_bos is true", *bos);
  std::vector<int32_t> &prefix = postProcessor.prefix;
  if (*addBos && std::ranges::find(prefix, *bos) == prefix.end())
    prefix.insert(prefix.begin(), *bos);
  return {};
}

/// The words of one text, whose ids it collects.
class WordEncoder {
public:
  WordEncoder(const Model &model, bool bytes, std::vector<int32_t> &ids) : model(model), bytes(bytes), ids(ids) {}

  void add(std::string_view word) {
    if (word.size() <= WordCache::wordLimit)
      return addCached(word);
    if (bytes)
      return model.encode(tokenOfBytes(word), ids);
    while (!word.empty()) {
      std::string_view part = word.substr(0, model.cut(word));
      part.size() <= WordCache::wordLimit ? addCached(part) : model.encode(part, ids);
      word.remove_prefix(part.size());
    }
  }

private:
  const Model &model;
  bool bytes;
  std::vector<int32_t> &ids;
  WordCache cache;

  void addCached(std::string_view word) {
    size_t begin = ids.size();
    if (const WordCache::Span *known = cache.find(word)) {
      ids.resize(begin + known->count);
      std::copy_n(ids.begin() + static_cast<ptrdiff_t>(known->begin), known->count,
                  ids.begin() + static_cast<ptrdiff_t>(begin));
      return;
    }
    bytes ? model.encode(tokenOfBytes(word), ids) : model.encode(word, ids);
    cache.add(word, {begin, ids.size() - begin});
  }
};

std::vector<int32_t> Pipeline::encode(std::string_view input, const EncodeOptions &options) const {
  std::string repaired;
  std::string_view text = input;
  if (!rules && validUtf8Length(input) != input.size())
    text = repaired = decodeLossy(input);

  std::vector<int32_t> ids;
  if (options.addSpecial)
    ids = postProcessor.prefix;
  PreTokenizer::Splitter splitter(preTokenizer, text.size());
  WordEncoder words(*model, preTokenizer.givesBytes(), ids);
  PreTokenizer::Sink addWord = [&](std::string_view word) { words.add(word); };
  // Ranges are those of the text that was given; where it had to be repaired, nothing in it is trusted.
  bool trusted = options.parseSpecial && (options.plain.empty() || text.data() == input.data());
  auto touchesPlain = [&](size_t begin, size_t end) {
    auto range = std::ranges::lower_bound(options.plain, begin + 1, {}, &TextRange::end);
    return !trusted || (range != options.plain.end() && range->begin < end);
  };
  addedTokens.split(text, false, touchesPlain, [&](std::string_view segment, const AddedToken *token) {
    if (token)
      return ids.push_back(token->id);
    size_t from = static_cast<size_t>(segment.data() - text.data());
    bool plain = touchesPlain(from, from + segment.size()); // normalizing moves bytes: as a whole or not at all
    PreTokenizer::Piece whole{segment};
    if (segment.data() == text.data())
      nextCharacter(segment, whole.atStart);
    NormalizedText normalized;
    if (!normalizer.changesNothing()) {
      normalized = {std::string(segment), whole.atStart};
      normalizer.apply(normalized);
      whole = {normalized.text, normalized.atStart};
    }
    auto isPlain = [plain](size_t, size_t) { return plain; };
    addedTokens.split(whole.text, true, isPlain, [&](std::string_view part, const AddedToken *inner) {
      if (inner)
        return ids.push_back(inner->id);
      size_t begin = static_cast<size_t>(part.data() - whole.text.data());
      splitter.split(whole.part(begin, begin + part.size()), addWord);
    });
  });
  if (options.addSpecial)
    ids.insert(ids.end(), postProcessor.suffix.begin(), postProcessor.suffix.end());
  return ids;
}

std::optional<std::string_view> Pipeline::spelling(int32_t id, bool skipSpecial) const {
  return skipSpecial && addedTokens.isSpecial(id) ? std::nullopt : vocabulary.token(id);
}

std::string Pipeline::piece(int32_t id, bool skipSpecial) const {
  std::optional<std::string_view> token = spelling(id, skipSpecial);
  return token ? decoder.piece(*token) : std::string();
}

class PipelineStream final : public DecodeStream {
public:
  PipelineStream(std::shared_ptr<const Pipeline> pipeline, bool skipSpecial)
      : pipeline(std::move(pipeline)), skipSpecial(skipSpecial), stream(this->pipeline->decoder) {}

  std::string push(int32_t id) override {
    std::optional<std::string_view> token = pipeline->spelling(id, skipSpecial);
    return token ? stream.push(*token) : std::string();
  }
  std::string finish() override { return stream.finish(); }

private:
  std::shared_ptr<const Pipeline> pipeline;
  bool skipSpecial;
  Decoder::Stream stream;
};

std::unique_ptr<DecodeStream> Pipeline::startDecoding(bool skipSpecial) const {
  return std::make_unique<PipelineStream>(std::static_pointer_cast<const Pipeline>(shared_from_this()), skipSpecial);
}

} // namespace

Result<std::shared_ptr<const Tokenizer>> Tokenizer::parse(std::string_view json) { return Pipeline::parse(json); }

} // namespace lathe

#include "runtime/tokenizer/AddedTokens.h"

#include "runtime/tokenizer/Unicode.h"
#include "runtime/tokenizer/Utf8.h"

namespace lathe {

namespace {

/// Whether a word character stands right before `begin` or at `end`.
bool touchesWord(std::string_view text, size_t begin, size_t end) {
  size_t previous = begin;
  while (previous > 0 && (static_cast<uint8_t>(text[--previous]) & 0xC0) == 0x80)
    ;
  return (begin > 0 && isWord(nextCharacter(text, previous))) ||
         (end < text.size() && isWord(nextCharacter(text, end)));
}

} // namespace

Result<AddedTokens> AddedTokens::parse(const JsonNode &list, Vocabulary &vocabulary, const Normalizer &normalizer) {
  AddedTokens result;
  Result<std::vector<JsonNode>> nodes = list.elements();
  if (!nodes)
    return propagate(nodes);
  for (const JsonNode &node : *nodes)
    if (Result<void> added = result.addToken(node, vocabulary, normalizer); !added)
      return propagate(added);
  return result;
}

Result<void> AddedTokens::addToken(const JsonNode &node, Vocabulary &vocabulary, const Normalizer &normalizer) {
  if (Result<void> object = node.expectObject(); !object)
    return object;
  AddedToken token;
  Result<std::string> content = node.string("content", "");
  Result<uint64_t> id = node.number("id");
  if (!content || !id)
    return content ? propagate(id) : propagate(content);
  if (content->size() > contentLimit)
    return node.fail("content is {} bytes long, expected at most {}", content->size(), contentLimit);
  std::pair<const char *, bool *> flags[] = {{"special", &token.special},
                                             {"normalized", &token.normalized},
                                             {"lstrip", &token.lstrip},
                                             {"rstrip", &token.rstrip},
                                             {"single_word", &token.singleWord}};
  for (auto [name, flag] : flags) {
    Result<bool> value = node.boolean(name, false);
    if (!value)
      return propagate(value);
    *flag = *value;
  }
  if (content->empty())
    return {}; // tokenizers ignores it, too

  if (std::optional<int32_t> known = vocabulary.id(*content)) {
    if (static_cast<uint64_t>(*known) != *id)
      return node.fail("{} has id {}, but is in the vocabulary with id {}", quote(*content), *id, *known);
  } else if (Result<void> added = vocabulary.add(*content, *id); !added) {
    return node.fail("{}", added.error().message);
  }
  token.id = static_cast<int32_t>(*id);
  token.content = std::move(*content);
  if (token.special) {
    special.resize(std::max<size_t>(special.size(), *id + 1));
    special[*id] = true;
  }
  std::string searched = token.normalized ? normalizer.apply(token.content) : token.content;
  tries[token.normalized].add(searched, static_cast<uint32_t>(tokens.size()));
  tokens.push_back(std::move(token));
  return {};
}

void AddedTokens::split(std::string_view text, bool normalized, const IsPlain &isPlain, const Sink &sink) const {
  // The steps and their order, also where strips overlap, are those of `tokenizers` (AddedVocabulary::find_matches).
  const Trie &trie = tries[normalized];
  size_t done = 0;
  size_t spaceBegin = 0, spaceEnd = 0; // the whitespace that rstrip saw last: a run is walked once
  for (size_t position = 0; position < text.size();) {
    uint32_t index = 0;
    size_t length = trie.longest(text, position, index);
    if (length == 0) {
      ++position;
      continue;
    }
    size_t begin = position, end = position + length;
    position = end;
    const AddedToken &token = tokens[index];
    if ((token.special && isPlain(begin, end)) || (token.singleWord && touchesWord(text, begin, end)))
      continue;
    if (token.lstrip && done < begin)
      begin -= trailingWhitespace(text.substr(done, begin - done));
    if (token.rstrip) {
      if (end < spaceBegin || end >= spaceEnd) {
        spaceBegin = end;
        spaceEnd = end + leadingWhitespace(text.substr(end));
      }
      end = spaceEnd;
    }
    if (done < begin)
      sink(text.substr(done, begin - done), nullptr);
    sink({}, &token);
    done = end;
  }
  if (done < text.size())
    sink(text.substr(done), nullptr);
}

} // namespace lathe

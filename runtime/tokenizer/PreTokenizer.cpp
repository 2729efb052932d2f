#include "runtime/tokenizer/PreTokenizer.h"

#include "runtime/tokenizer/SplitSteps.h"
#include "runtime/tokenizer/Unicode.h"
#include "runtime/tokenizer/Utf8.h"

#include <algorithm>

namespace lathe {

namespace {

constexpr std::string_view supported =
    "Sequence, ByteLevel, Metaspace, Whitespace, WhitespaceSplit, BertPreTokenizer, Punctuation, Digits, "
    "CharDelimiterSplit, Split, UnicodeScripts, FixedLength";
using Step = PreTokenizer::Step;
using StepResult = Result<std::shared_ptr<const Step>>;

/// openai/gpt-2, encoder.py; what ByteLevel splits at with use_regex.
constexpr std::string_view gpt2Expression =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

Result<SplitBehavior> parseBehavior(const JsonNode &node, std::string fallback) {
  static constexpr std::pair<std::string_view, SplitBehavior> behaviors[] = {
      {"Removed", SplitBehavior::removed},
      {"Isolated", SplitBehavior::isolated},
      {"MergedWithPrevious", SplitBehavior::mergedWithPrevious},
      {"MergedWithNext", SplitBehavior::mergedWithNext},
      {"Contiguous", SplitBehavior::contiguous}};
  Result<std::string> behavior = node.string("behavior", std::move(fallback));
  if (!behavior)
    return propagate(behavior);
  auto known = std::ranges::find(behaviors, *behavior, [](const auto &entry) { return entry.first; });
  if (known == std::end(behaviors))
    return node.fail(
        "behavior {} is not known; expected Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous",
        quote(*behavior));
  return known->second;
}

StepResult parseSplit(const JsonNode &node) {
  Result<Pattern> pattern = parsePattern(node.member("pattern"));
  if (!pattern)
    return propagate(pattern);
  Result<SplitBehavior> behavior = parseBehavior(node, "");
  if (!behavior)
    return propagate(behavior);
  Result<bool> invert = node.boolean("invert", false);
  if (!invert)
    return propagate(invert);
  return splitAtPattern(std::move(*pattern), *behavior, *invert);
}

/// A member that is one character.
Result<std::string> parseCharacter(const JsonNode &node, const std::string &key, std::string fallback) {
  Result<std::string> text = node.string(key, std::move(fallback));
  if (!text)
    return text;
  size_t end = 0;
  if (!text->empty())
    nextCharacter(*text, end);
  if (end == 0 || end != text->size())
    return node.member(key).fail("expected one character, found {}", quote(*text));
  return text;
}

StepResult parseMetaspace(const JsonNode &node) {
  Result<std::string> replacement = parseCharacter(node, "replacement", "▁");
  if (!replacement)
    return propagate(replacement);
  // Before prepend_scheme there was add_prefix_space.
  Result<bool> adds = node.boolean("add_prefix_space", true), splits = node.boolean("split", true);
  if (!adds || !splits)
    return adds ? propagate(splits) : propagate(adds);
  Result<std::string> scheme = node.string("prepend_scheme", *adds ? "always" : "never");
  if (!scheme)
    return propagate(scheme);
  if (*scheme != "always" && *scheme != "first" && *scheme != "never")
    return node.member("prepend_scheme").fail("expected always, first or never, found {}", quote(*scheme));
  PrependScheme prepend = *scheme == "always"  ? PrependScheme::always
                          : *scheme == "first" ? PrependScheme::first
                                               : PrependScheme::never;
  return splitAtMetaspace(std::move(*replacement), prepend, *splits);
}

StepResult parseFixedLength(const JsonNode &node) {
  uint64_t length = 5;
  if (node.has("length")) {
    Result<uint64_t> given = node.number("length");
    if (!given)
      return propagate(given);
    if (*given == 0)
      return node.member("length").fail("expected at least 1, found 0");
    length = *given;
  }
  return splitAtLength(length);
}

StepResult parseStep(const JsonNode &node, const std::string &type) {
  if (type == "Split")
    return parseSplit(node);
  if (type == "Metaspace")
    return parseMetaspace(node);
  if (type == "FixedLength")
    return parseFixedLength(node);
  if (type == "Whitespace")
    return splitWords();
  if (type == "WhitespaceSplit")
    return splitAtCharacters(isWhitespace, SplitBehavior::removed);
  if (type == "UnicodeScripts")
    return splitAtScripts();
  if (type == "Punctuation") {
    Result<SplitBehavior> behavior = parseBehavior(node, "Isolated");
    if (!behavior)
      return propagate(behavior);
    return splitAtCharacters(isPunctuation, *behavior);
  }
  if (type == "Digits") {
    Result<bool> individual = node.boolean("individual_digits", false);
    if (!individual)
      return propagate(individual);
    return splitAtCharacters(isNumeric, *individual ? SplitBehavior::isolated : SplitBehavior::contiguous);
  }
  if (type == "CharDelimiterSplit") {
    Result<std::string> delimiter = parseCharacter(node, "delimiter", "");
    if (!delimiter)
      return propagate(delimiter);
    return splitAtPattern(Pattern::fromLiteral(*delimiter), SplitBehavior::removed, false);
  }
  return node.fail("pre-tokenizer {} is not supported; supported: {}", quote(type), supported);
}

} // namespace

Result<PreTokenizer> PreTokenizer::parse(const JsonNode &node) {
  PreTokenizer result;
  auto components = node.isNull() ? std::vector<JsonNode>() : node.components("pretokenizers", supported);
  if (!components)
    return propagate(components);
  for (const JsonNode &component : *components)
    if (Result<void> added = result.add(component, &component == &components->back()); !added)
      return propagate(added);
  return result;
}

Result<void> PreTokenizer::add(const JsonNode &node, bool last) {
  auto type = node.type(supported);
  if (*type == "ByteLevel")
    return addByteLevel(node, last);
  if (*type == "BertPreTokenizer") {
    steps.push_back(splitAtCharacters(isWhitespace, SplitBehavior::removed));
    steps.push_back(splitAtCharacters(isPunctuation, SplitBehavior::isolated));
    return {};
  }
  StepResult step = parseStep(node, *type);
  if (!step)
    return propagate(step);
  steps.push_back(std::move(*step));
  return {};
}

Result<void> PreTokenizer::addByteLevel(const JsonNode &node, bool last) {
  Result<bool> addPrefixSpace = node.boolean("add_prefix_space", true);
  Result<bool> useRegex = node.boolean("use_regex", true);
  if (!addPrefixSpace || !useRegex)
    return propagate(addPrefixSpace ? useRegex : addPrefixSpace);
  if (*addPrefixSpace)
    steps.push_back(prependSpace());
  if (*useRegex) {
    Result<Pattern> pattern = Pattern::fromOniguruma(gpt2Expression);
    if (!pattern)
      return node.fail("{}", pattern.error().message);
    steps.push_back(splitAtPattern(std::move(*pattern), SplitBehavior::isolated, false));
  }
  if (last)
    bytes = true;
  else
    steps.push_back(spellBytes());
  return {};
}

PreTokenizer::Splitter::Splitter(const PreTokenizer &preTokenizer, size_t textBytes) : preTokenizer(preTokenizer) {
  for (const auto &step : preTokenizer.steps) {
    matchers.emplace_back();
    if (const Pattern *pattern = step->pattern())
      matchers.back().emplace(*pattern, textBytes);
  }
}

void PreTokenizer::Splitter::run(size_t step, const Piece &piece, const Sink &sink) {
  if (piece.text.empty())
    return;
  if (step == preTokenizer.steps.size())
    return sink(piece.text);
  Matcher *matcher = matchers[step] ? &*matchers[step] : nullptr;
  preTokenizer.steps[step]->split(piece, matcher, Next{*this, step + 1, sink});
}

} // namespace lathe

#include "runtime/tokenizer/PreTokenizer.h"

#include "runtime/tokenizer/UnicodeAdditions.h"
#include "runtime/tokenizer/Utf8.h"

namespace lathe {

namespace {

constexpr std::string_view supported = "Sequence, Split, Digits, ByteLevel";
constexpr size_t stepLimit = 64;

/// openai/gpt-2, encoder.py; what ByteLevel splits at with use_regex.
constexpr std::string_view gpt2Expression =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

} // namespace

Result<PreTokenizer> PreTokenizer::parse(const JsonNode &node) {
  PreTokenizer result;
  if (!node.isNull())
    if (Result<void> added = result.add(node, 0); !added)
      return propagate(added);
  if (!result.byteLevel)
    return node.fail("no ByteLevel in it; only byte-level BPE is supported");
  return result;
}

Result<void> PreTokenizer::add(const JsonNode &node, int depth) {
  Result<std::string> type = node.type(supported);
  if (!type)
    return propagate(type);
  if (byteLevel)
    return node.fail("{} follows ByteLevel, which is supported only as the last one", quote(*type));
  if (steps.size() >= stepLimit)
    return node.fail("more than {} steps", stepLimit);
  if (*type == "Split")
    return addSplit(node);
  if (*type == "Digits")
    return addDigits(node);
  if (*type == "ByteLevel")
    return addByteLevel(node);
  if (*type != "Sequence")
    return node.fail("pre-tokenizer {} is not supported; supported: {}", quote(*type), supported);
  if (depth == 8)
    return node.fail("sequences nested deeper than 8 levels");
  Result<std::vector<JsonNode>> members = node.member("pretokenizers").elements();
  if (!members)
    return propagate(members);
  for (const JsonNode &member : *members)
    if (Result<void> added = add(member, depth + 1); !added)
      return added;
  return {};
}

Result<void> PreTokenizer::addSplit(const JsonNode &node) {
  static constexpr std::pair<std::string_view, Behavior> behaviors[] = {
      {"Removed", Behavior::removed},
      {"Isolated", Behavior::isolated},
      {"MergedWithPrevious", Behavior::mergedWithPrevious},
      {"MergedWithNext", Behavior::mergedWithNext},
      {"Contiguous", Behavior::contiguous}};
  Step step;
  JsonNode patternNode = node.member("pattern");
  bool regex = patternNode.has("Regex");
  if (regex == patternNode.has("String"))
    return patternNode.fail("expected {{\"Regex\": …}} or {{\"String\": …}}");
  Result<std::string> text = patternNode.string(regex ? "Regex" : "String", "");
  if (!text)
    return propagate(text);
  if (text->empty())
    return patternNode.fail("the pattern is empty");
  Result<Pattern> pattern = regex ? Pattern::fromOniguruma(*text) : Pattern::fromLiteral(*text);
  if (!pattern)
    return patternNode.fail("{}", pattern.error().message);
  step.pattern = std::move(*pattern);

  Result<std::string> behavior = node.string("behavior", "");
  if (!behavior)
    return propagate(behavior);
  auto known = std::ranges::find(behaviors, *behavior, [](const auto &entry) { return entry.first; });
  if (known == std::end(behaviors))
    return node.fail(
        "behavior {} is not known; expected Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous",
        quote(*behavior));
  step.behavior = known->second;
  Result<bool> invert = node.boolean("invert", false);
  if (!invert)
    return propagate(invert);
  step.invert = *invert;
  steps.push_back(std::move(step));
  return {};
}

Result<void> PreTokenizer::addByteLevel(const JsonNode &node) {
  Result<bool> addPrefixSpace = node.boolean("add_prefix_space", true);
  Result<bool> useRegex = node.boolean("use_regex", true);
  if (!addPrefixSpace || !useRegex)
    return propagate(addPrefixSpace ? useRegex : addPrefixSpace);
  if (*addPrefixSpace)
    steps.push_back({});
  if (*useRegex) {
    Result<Pattern> pattern = Pattern::fromOniguruma(gpt2Expression);
    if (!pattern)
      return node.fail("{}", pattern.error().message);
    steps.push_back({std::move(*pattern), Behavior::isolated, false});
  }
  byteLevel = true;
  return {};
}

Result<void> PreTokenizer::addDigits(const JsonNode &node) {
  Result<bool> individual = node.boolean("individual_digits", false);
  if (!individual)
    return propagate(individual);
  std::string numbers = "[\\p{N}";
  for (const CategoryRange &range : unicode17Numbers)
    numbers += fmt::format("\\x{{{:X}}}-\\x{{{:X}}}", range.first, range.last);
  Result<Pattern> pattern = Pattern::fromOniguruma(numbers + "]");
  if (!pattern)
    return node.fail("{}", pattern.error().message);
  steps.push_back({std::move(*pattern), *individual ? Behavior::isolated : Behavior::contiguous, false});
  return {};
}

PreTokenizer::Splitter::Splitter(const PreTokenizer &preTokenizer, size_t textBytes) : preTokenizer(preTokenizer) {
  for (const Step &step : preTokenizer.steps) {
    matchers.emplace_back();
    if (step.pattern)
      matchers.back().emplace(*step.pattern, textBytes);
  }
}

void PreTokenizer::Splitter::run(size_t step, std::string_view text, const Sink &sink) {
  if (text.empty())
    return;
  if (step == preTokenizer.steps.size())
    return sink(text);
  if (preTokenizer.steps[step].pattern)
    return runSplit(step, text, sink);
  if (text.starts_with(' '))
    return run(step + 1, text, sink);
  std::string spaced = " ";
  spaced += text;
  run(step + 1, spaced, sink);
}

void PreTokenizer::Splitter::runSplit(size_t step, std::string_view text, const Sink &sink) {
  // A delimiter is a match, or with `invert` what lies between two.
  const auto &[pattern, behavior, invert] = preTokenizer.steps[step];
  Matcher &matcher = *matchers[step];
  size_t begin = 0, end = 0; // the piece that may still grow
  bool any = false, previousDelimiter = false;
  auto flush = [&] { run(step + 1, text.substr(begin, end - begin), sink); };
  auto add = [&](size_t from, size_t to, bool match) {
    bool delimiter = match != invert;
    bool grows = false;
    switch (behavior) {
    case Behavior::contiguous:
      grows = delimiter == previousDelimiter;
      break;
    case Behavior::mergedWithPrevious:
      grows = delimiter && !previousDelimiter;
      break;
    case Behavior::mergedWithNext:
      grows = !delimiter && previousDelimiter;
      break;
    case Behavior::isolated:
    case Behavior::removed:
      break;
    }
    previousDelimiter = delimiter;
    if (any && grows) {
      end = to;
      return;
    }
    if (any)
      flush();
    any = behavior != Behavior::removed || !delimiter;
    begin = from;
    end = to;
  };

  size_t covered = 0;
  std::optional<size_t> matchEnd;
  for (size_t position = 0; position <= text.size();) {
    std::optional<PatternMatch> match = matcher.find(text, position);
    if (!match)
      break;
    if (match->begin == match->end && matchEnd == match->end) { // an empty match right behind the last one
      if (position == text.size())
        break;
      nextCharacter(text, position);
      continue;
    }
    if (covered != match->begin)
      add(covered, match->begin, false);
    add(match->begin, match->end, true);
    position = covered = match->end;
    matchEnd = match->end;
  }
  if (covered != text.size())
    add(covered, text.size(), false);
  if (any)
    flush();
}

} // namespace lathe

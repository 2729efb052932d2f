#include "runtime/tokenizer/Normalizer.h"

#include "runtime/tokenizer/CharsMap.h"
#include "runtime/tokenizer/Pattern.h"
#include "runtime/tokenizer/Unicode.h"
#include "runtime/tokenizer/Utf8.h"

#include <algorithm>

namespace lathe {

namespace {

constexpr std::string_view supported =
    "Sequence, NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, Prepend, Replace, "
    "Nmt, Precompiled, BertNormalizer, ByteLevel";

/// `map(c, text)` appends what becomes of a character.
template <typename Map> void mapCharacters(NormalizedText &text, Map map) {
  std::string result;
  result.reserve(text.text.size() + text.text.size() / 8);
  size_t atStart = 0;
  for (size_t position = 0; position < text.text.size();) {
    bool starts = position < text.atStart;
    map(nextCharacter(text.text, position), result);
    if (starts)
      atStart = result.size();
  }
  text = {std::move(result), atStart};
}

class Form final : public Normalizer::Step {
public:
  explicit Form(NormalForm form) : form(form) {}
  void apply(NormalizedText &text) const override {
    std::string result = normalForm(text.text, form);
    // What the start became is what it becomes alone, but that marks behind it may join it.
    if (text.atStart > 0) {
      size_t firstEnd = 0;
      if (!result.empty())
        nextCharacter(result, firstEnd);
      size_t alone = normalForm(std::string_view(text.text).substr(0, text.atStart), form).size();
      text.atStart = std::min(result.size(), std::max(firstEnd, alone));
    }
    text.text = std::move(result);
  }

private:
  NormalForm form;
};

class Lowercase final : public Normalizer::Step {
public:
  void apply(NormalizedText &text) const override {
    mapCharacters(text, [](char32_t c, std::string &result) { appendLowercase(result, c); });
  }
};

class StripAccents final : public Normalizer::Step {
public:
  void apply(NormalizedText &text) const override {
    mapCharacters(text, [](char32_t c, std::string &result) {
      if (!isCombiningMark(c))
        appendUtf8(result, c);
    });
  }
};

class Strip final : public Normalizer::Step {
public:
  Strip(bool left, bool right) : left(left), right(right) {}
  void apply(NormalizedText &text) const override {
    if (right)
      text.text.resize(text.text.size() - trailingWhitespace(text.text));
    size_t removed = left ? leadingWhitespace(text.text) : 0;
    text.text.erase(0, removed);
    text.atStart = std::min(text.atStart - std::min(text.atStart, removed), text.text.size());
  }

private:
  bool left, right;
};

class Prepend final : public Normalizer::Step {
public:
  explicit Prepend(std::string prefix) : prefix(std::move(prefix)) {}
  void apply(NormalizedText &text) const override {
    if (text.text.empty())
      return;
    text.text.insert(0, prefix);
    text.atStart += text.atStart > 0 ? prefix.size() : 0;
  }

private:
  std::string prefix;
};

class Replace final : public Normalizer::Step {
public:
  Replace(Pattern pattern, std::string content) : pattern(std::move(pattern)), content(std::move(content)) {}
  void apply(NormalizedText &text) const override {
    Matcher matcher(pattern, text.text.size());
    std::string result;
    size_t done = 0, atStart = 0;
    bool any = false;
    auto copy = [&](size_t end) {
      result.append(text.text, done, end - done);
      atStart += std::min(end, text.atStart) - std::min(done, text.atStart);
      done = end;
    };
    matcher.eachMatch(text.text, [&](PatternMatch match) {
      any = true;
      copy(match.begin);
      result += content;
      // A replacement belongs to the last character that it replaces.
      atStart += match.end <= text.atStart ? content.size() : 0;
      done = match.end;
    });
    if (!any)
      return;
    copy(text.text.size());
    text = {std::move(result), atStart};
  }

private:
  Pattern pattern;
  std::string content;
};

class Nmt final : public Normalizer::Step {
public:
  void apply(NormalizedText &text) const override {
    // google/sentencepiece, builder.cc, MergeNmtTable, as `tokenizers` has it.
    mapCharacters(text, [](char32_t c, std::string &result) {
      if ((c >= 0x1 && c <= 0x8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F)
        return;
      bool space = c == 0x9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 || (c >= 0x200B && c <= 0x200F) ||
                   c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
      appendUtf8(result, space ? ' ' : c);
    });
  }
};

class Precompiled final : public Normalizer::Step {
public:
  Precompiled(CharsMap map, std::shared_ptr<const Trie> untouched)
      : map(std::move(map)), untouched(std::move(untouched)) {}
  void apply(NormalizedText &text) const override {
    std::string_view rest = text.text;
    std::string result;
    size_t atStart = 0;
    result.reserve(rest.size());
    for (size_t done = 0; !rest.empty();) {
      size_t length = untouched ? replaceLongest(rest, result) : replaceGrapheme(rest, result);
      rest.remove_prefix(length);
      if (done < text.atStart)
        atStart = result.size();
      done += length;
    }
    text = {std::move(result), atStart};
  }

private:
  CharsMap map;
  std::shared_ptr<const Trie> untouched;

  size_t replaceLongest(std::string_view rest, std::string &result) const {
    uint32_t ignored = 0;
    size_t length = untouched->longest(rest, 0, ignored);
    if (auto match = length == 0 ? map.longest(rest) : std::nullopt) {
      result += match->replacement;
      return match->length;
    }
    if (length == 0)
      nextCharacter(rest, length);
    if (validUtf8Length(rest.substr(0, length)) == length)
      result += rest.substr(0, length);
    else
      result += decodeLossy(rest.substr(0, length = 1));
    return length;
  }

  /// As `tokenizers` does it: a short grapheme is replaced as a whole by what its shortest match becomes.
  size_t replaceGrapheme(std::string_view rest, std::string &result) const {
    constexpr size_t shortGrapheme = 5;
    std::string_view grapheme = rest.substr(0, graphemeLength(rest));
    if (grapheme.size() <= shortGrapheme)
      if (auto match = map.shortest(grapheme)) {
        result += match->replacement;
        return grapheme.size();
      }
    for (size_t position = 0; position < grapheme.size();) {
      size_t begin = position;
      nextCharacter(grapheme, position);
      std::string_view character = grapheme.substr(begin, position - begin);
      auto match = map.shortest(character);
      result += match ? match->replacement : character;
    }
    return grapheme.size();
  }
};

class Repair final : public Normalizer::Step {
public:
  void apply(NormalizedText &text) const override {
    if (validUtf8Length(text.text) != text.text.size())
      text.text = decodeLossy(text.text, true);
  }
};

class Bert final : public Normalizer::Step {
public:
  bool cleanText = true, handleChinese = true, stripAccents = true, lowercase = true;

  void apply(NormalizedText &text) const override {
    if (cleanText)
      mapCharacters(text, [](char32_t c, std::string &result) {
        bool line = c == '\t' || c == '\n' || c == '\r';
        if (c != 0 && c != 0xFFFD && (line || !isOther(c)))
          appendUtf8(result, line || isWhitespace(c) ? ' ' : c);
      });
    if (handleChinese)
      mapCharacters(text, [](char32_t c, std::string &result) {
        bool chinese = isChinese(c);
        result += chinese ? " " : "";
        appendUtf8(result, c);
        result += chinese ? " " : "";
      });
    if (stripAccents) {
      Form(NormalForm::nfd).apply(text);
      mapCharacters(text, [](char32_t c, std::string &result) {
        if (!isNonspacingMark(c))
          appendUtf8(result, c);
      });
    }
    if (lowercase)
      Lowercase().apply(text);
  }
};

class ByteLevel final : public Normalizer::Step {
public:
  void apply(NormalizedText &text) const override {
    size_t atStart = tokenOfBytes(std::string_view(text.text).substr(0, text.atStart)).size();
    text = {tokenOfBytes(text.text), atStart};
  }
};

using StepResult = Result<std::shared_ptr<const Normalizer::Step>>;

StepResult parseStrip(const JsonNode &node) {
  Result<bool> left = node.boolean("strip_left", false), right = node.boolean("strip_right", false);
  if (!left || !right)
    return left ? propagate(right) : propagate(left);
  return std::make_shared<Strip>(*left, *right);
}

StepResult parseReplace(const JsonNode &node) {
  Result<Pattern> pattern = parsePattern(node.member("pattern"));
  Result<std::string> content = node.string("content", "");
  if (!pattern || !content)
    return pattern ? propagate(content) : propagate(pattern);
  if (node.member("pattern").has("Regex") && content->find('$') != content->npos)
    return node.member("content").fail("{} refers to a group; that is not supported", quote(*content));
  return std::make_shared<Replace>(std::move(*pattern), std::move(*content));
}

StepResult parsePrecompiled(const JsonNode &node, const std::shared_ptr<const Trie> &untouched) {
  Result<std::string> text = node.string("precompiled_charsmap", "");
  if (!text)
    return propagate(text);
  JsonNode place = node.member("precompiled_charsmap");
  std::optional<std::string> bytes = fromBase64(*text);
  if (!bytes)
    return place.fail("expected base64");
  Result<CharsMap> map = CharsMap::parse(std::move(*bytes));
  if (!map)
    return place.fail("{}", map.error().message);
  return std::make_shared<Precompiled>(std::move(*map), untouched);
}

StepResult parseBert(const JsonNode &node) {
  auto step = std::make_shared<Bert>();
  for (auto [key, flag] : {std::pair("clean_text", &step->cleanText),
                           {"handle_chinese_chars", &step->handleChinese},
                           {"lowercase", &step->lowercase}}) {
    Result<bool> value = node.boolean(key, true);
    if (!value)
      return propagate(value);
    *flag = *value;
  }
  Result<bool> strips = node.boolean("strip_accents", step->lowercase);
  if (!strips)
    return propagate(strips);
  step->stripAccents = *strips;
  return step;
}

StepResult parseStep(const JsonNode &node, const std::string &type, const std::shared_ptr<const Trie> &untouched) {
  for (auto [name, form] : {std::pair("NFC", NormalForm::nfc),
                            {"NFD", NormalForm::nfd},
                            {"NFKC", NormalForm::nfkc},
                            {"NFKD", NormalForm::nfkd}})
    if (type == name)
      return std::make_shared<Form>(form);
  if (type == "Lowercase")
    return std::make_shared<Lowercase>();
  if (type == "StripAccents")
    return std::make_shared<StripAccents>();
  if (type == "Strip")
    return parseStrip(node);
  if (type == "Prepend") {
    Result<std::string> prefix = node.string("prepend", "");
    if (!prefix)
      return propagate(prefix);
    return std::make_shared<Prepend>(std::move(*prefix));
  }
  if (type == "Replace")
    return parseReplace(node);
  if (type == "Nmt")
    return std::make_shared<Nmt>();
  if (type == "Precompiled")
    return parsePrecompiled(node, untouched);
  if (type == "BertNormalizer")
    return parseBert(node);
  if (type == "ByteLevel")
    return std::make_shared<ByteLevel>();
  return node.fail("normalizer {} is not supported; supported: {}", quote(type), supported);
}

} // namespace

Result<Normalizer> Normalizer::parse(const JsonNode &node, std::shared_ptr<const Trie> untouched) {
  Normalizer result;
  auto components = node.isNull() ? std::vector<JsonNode>() : node.components("normalizers", supported);
  if (!components)
    return propagate(components);
  bool beginsWithCharsMap = false;
  for (const JsonNode &component : *components) {
    auto type = component.type(supported);
    StepResult step = parseStep(component, *type, untouched);
    if (!step)
      return propagate(step);
    beginsWithCharsMap |= *type == "Precompiled" && std::ranges::all_of(result.steps, [](const auto &before) {
      return dynamic_cast<const Prepend *>(before.get()) != nullptr;
    });
    result.steps.push_back(std::move(*step));
  }
  // A charsmap sees malformed bytes, for they are not to become what it makes of U+FFFD.
  if (untouched && !beginsWithCharsMap)
    result.steps.insert(result.steps.begin(), std::make_shared<Repair>());
  return result;
}

void Normalizer::apply(NormalizedText &text) const {
  for (const auto &step : steps)
    step->apply(text);
}

std::string Normalizer::apply(std::string_view text) const {
  NormalizedText result{std::string(text)};
  apply(result);
  return std::move(result.text);
}

} // namespace lathe

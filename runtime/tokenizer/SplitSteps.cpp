#include "runtime/tokenizer/SplitSteps.h"

#include "runtime/tokenizer/Unicode.h"
#include "runtime/tokenizer/Utf8.h"

namespace lathe {

namespace {

using Next = PreTokenizer::Next;
using Piece = PreTokenizer::Piece;
using Step = PreTokenizer::Step;

/// Makes pieces of what is and what is not a delimiter, which come in turn and without gaps.
class Joiner {
public:
  Joiner(const Piece &piece, SplitBehavior behavior, const Next &next) : piece(piece), behavior(behavior), next(next) {}

  void add(size_t from, size_t to, bool delimiter) {
    bool grows = false;
    switch (behavior) {
    case SplitBehavior::contiguous:
      grows = delimiter == previousDelimiter;
      break;
    case SplitBehavior::mergedWithPrevious:
      grows = delimiter && !previousDelimiter;
      break;
    case SplitBehavior::mergedWithNext:
      grows = !delimiter && previousDelimiter;
      break;
    case SplitBehavior::isolated:
    case SplitBehavior::removed:
      break;
    }
    previousDelimiter = delimiter;
    if (any && grows) {
      end = to;
      return;
    }
    finish();
    any = behavior != SplitBehavior::removed || !delimiter;
    begin = from;
    end = to;
  }

  void finish() {
    if (any)
      next(piece.part(begin, end));
    any = false;
  }

private:
  const Piece &piece;
  SplitBehavior behavior;
  const Next &next;
  size_t begin = 0, end = 0; ///< the piece that may still grow
  bool any = false, previousDelimiter = false;
};

class PatternStep final : public Step {
public:
  PatternStep(Pattern pattern, SplitBehavior behavior, bool invert)
      : wanted(std::move(pattern)), behavior(behavior), invert(invert) {}

  const Pattern *pattern() const override { return &wanted; }
  void split(const Piece &piece, Matcher *matcher, const Next &next) const override {
    Joiner joiner(piece, behavior, next);
    size_t covered = 0;
    matcher->eachMatch(piece.text, [&](PatternMatch match) {
      if (covered != match.begin)
        joiner.add(covered, match.begin, invert);
      joiner.add(match.begin, match.end, !invert);
      covered = match.end;
    });
    if (covered != piece.text.size())
      joiner.add(covered, piece.text.size(), invert);
    joiner.finish();
  }

private:
  Pattern wanted;
  SplitBehavior behavior;
  bool invert;
};

class CharacterStep final : public Step {
public:
  CharacterStep(bool (*isDelimiter)(char32_t), SplitBehavior behavior) : isDelimiter(isDelimiter), behavior(behavior) {}

  void split(const Piece &piece, Matcher *, const Next &next) const override {
    Joiner joiner(piece, behavior, next);
    size_t covered = 0;
    for (size_t position = 0; position < piece.text.size();) {
      size_t begin = position;
      if (!isDelimiter(nextCharacter(piece.text, position)))
        continue;
      if (covered != begin)
        joiner.add(covered, begin, false);
      joiner.add(begin, position, true);
      covered = position;
    }
    if (covered != piece.text.size())
      joiner.add(covered, piece.text.size(), false);
    joiner.finish();
  }

private:
  bool (*isDelimiter)(char32_t);
  SplitBehavior behavior;
};

class WordStep final : public Step {
public:
  void split(const Piece &piece, Matcher *, const Next &next) const override {
    enum class Kind { space, word, rest } kind = Kind::space;
    size_t begin = 0;
    auto finish = [&](size_t end) {
      if (kind != Kind::space)
        next(piece.part(begin, end));
    };
    for (size_t position = 0; position < piece.text.size();) {
      size_t from = position;
      char32_t c = nextCharacter(piece.text, position);
      Kind now = isWord(c) ? Kind::word : isWhitespace(c) ? Kind::space : Kind::rest;
      if (now == kind)
        continue;
      finish(from);
      kind = now;
      begin = from;
    }
    finish(piece.text.size());
  }
};

class ScriptStep final : public Step {
public:
  void split(const Piece &piece, Matcher *, const Next &next) const override {
    // The first character that has a script starts a piece; what stands before it is lost, as in `tokenizers`.
    std::optional<uint8_t> last;
    std::optional<size_t> begin;
    for (size_t position = 0; position < piece.text.size();) {
      size_t from = position;
      uint8_t script = scriptOf(nextCharacter(piece.text, position));
      if (script == anyScript)
        continue;
      if (last != script) {
        if (begin)
          next(piece.part(*begin, from));
        begin = from;
      }
      last = script;
    }
    if (begin)
      next(piece.part(*begin, piece.text.size()));
  }
};

class LengthStep final : public Step {
public:
  explicit LengthStep(size_t characters) : characters(characters) {}
  void split(const Piece &piece, Matcher *, const Next &next) const override {
    for (size_t position = 0; position < piece.text.size();) {
      size_t begin = position;
      for (size_t count = 0; count < characters && position < piece.text.size(); ++count)
        nextCharacter(piece.text, position);
      next(piece.part(begin, position));
    }
  }

private:
  size_t characters;
};

class MetaspaceStep final : public Step {
public:
  MetaspaceStep(std::string replacement, PrependScheme prepend, bool splits)
      : replacement(std::move(replacement)), prepend(prepend), splits(splits) {}

  void split(const Piece &piece, Matcher *, const Next &next) const override {
    std::string text;
    text.reserve(piece.text.size() + piece.text.size() / 2 + replacement.size());
    bool atStart = piece.atStart > 0;
    if ((prepend == PrependScheme::always || (prepend == PrependScheme::first && atStart)) &&
        !piece.text.starts_with(' ') && !piece.text.starts_with(replacement))
      text += replacement;
    size_t startLength = text.size();
    for (size_t position = 0; position < piece.text.size(); ++position) {
      if (piece.text[position] == ' ')
        text += replacement;
      else
        text += piece.text[position];
      if (position < piece.atStart)
        startLength = text.size();
    }
    Piece whole{text, atStart ? startLength : 0};
    if (!splits)
      return next(whole);
    size_t begin = 0;
    while (begin < text.size()) {
      size_t end = std::min(
          text.find(replacement,
                    begin + (text.compare(begin, replacement.size(), replacement) == 0 ? replacement.size() : 0)),
          text.size());
      next(whole.part(begin, end));
      begin = end;
    }
  }

private:
  std::string replacement;
  PrependScheme prepend;
  bool splits;
};

class SpaceStep final : public Step {
public:
  void split(const Piece &piece, Matcher *, const Next &next) const override {
    if (piece.text.starts_with(' '))
      return next(piece);
    std::string spaced = " ";
    spaced += piece.text;
    next({spaced, piece.atStart + (piece.atStart > 0)});
  }
};

class BytesStep final : public Step {
public:
  void split(const Piece &piece, Matcher *, const Next &next) const override {
    std::string text = tokenOfBytes(piece.text);
    next({text, tokenOfBytes(piece.text.substr(0, piece.atStart)).size()});
  }
};

} // namespace

SplitStep splitAtPattern(Pattern pattern, SplitBehavior behavior, bool invert) {
  return std::make_shared<PatternStep>(std::move(pattern), behavior, invert);
}
SplitStep splitAtCharacters(bool (*isDelimiter)(char32_t), SplitBehavior behavior) {
  return std::make_shared<CharacterStep>(isDelimiter, behavior);
}
SplitStep splitWords() { return std::make_shared<WordStep>(); }
SplitStep splitAtScripts() { return std::make_shared<ScriptStep>(); }
SplitStep splitAtLength(size_t characters) { return std::make_shared<LengthStep>(characters); }
SplitStep splitAtMetaspace(std::string replacement, PrependScheme prepend, bool split) {
  return std::make_shared<MetaspaceStep>(std::move(replacement), prepend, split);
}
SplitStep prependSpace() { return std::make_shared<SpaceStep>(); }
SplitStep spellBytes() { return std::make_shared<BytesStep>(); }

} // namespace lathe

//===- Pattern.h - what splits and replacements look for -----------------===//
//
// tokenizer.json writes them in the syntax of Oniguruma (its Ruby flavour), Lathe matches with PCRE2. Where the two
// mean different things by the same text, the text is rewritten; what has no equal is refused.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/tokenizer/JsonNode.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace lathe {

struct PatternMatch {
  size_t begin, end;
};

/// A compiled pattern; immutable and safe to share.
class Pattern {
public:
  /// Errors say what and at which byte of `expression`; where it stands in the file is the caller's to add.
  static Result<Pattern> fromOniguruma(std::string_view expression);
  /// `text` is not empty.
  static Pattern fromLiteral(std::string_view text);

  /// The PCRE2 text of an Oniguruma expression.
  static Result<std::string> translate(std::string_view expression);

  struct Code;
  std::shared_ptr<const Code> code;
};

/// Finds matches of one pattern for one thread. All its searches share a budget of work, so that a pattern that
/// backtracks without end finds nothing more instead of hanging: real patterns spend a few units a byte.
class Matcher {
public:
  Matcher(const Pattern &pattern, size_t textBytes);
  ~Matcher();
  Matcher(Matcher &&) noexcept;

  /// The leftmost match in well-formed UTF-8 that starts at byte `from` or behind it.
  std::optional<PatternMatch> find(std::string_view text, size_t from);
  /// Calls `each` for one match after the other; an empty one right behind another is none.
  template <typename Each> void eachMatch(std::string_view text, Each each) {
    std::optional<size_t> previousEnd;
    for (size_t position = 0; position <= text.size();) {
      std::optional<PatternMatch> match = find(text, position);
      if (!match)
        break;
      position = match->end;
      if (match->begin == match->end && previousEnd == match->end) {
        if (position == text.size())
          break;
        stepOver(text, position);
        continue;
      }
      previousEnd = match->end;
      each(*match);
    }
  }
  bool exhausted() const;

private:
  struct State;
  std::unique_ptr<State> state;

  static void stepOver(std::string_view text, size_t &position);
};

/// {"Regex": …} or {"String": …}.
Result<Pattern> parsePattern(const JsonNode &node);

} // namespace lathe

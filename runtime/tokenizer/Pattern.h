//===- Pattern.h - regular expressions of pre-tokenizers ------------------===//
//
// tokenizer.json writes them in the syntax of Oniguruma (its Ruby flavour), Lathe matches with PCRE2. Where the two
// mean different things by the same text, the text is rewritten; what has no equal is refused.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/support/Error.h"

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
  static Result<Pattern> fromLiteral(std::string_view text);

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
  bool exhausted() const;

private:
  struct State;
  std::unique_ptr<State> state;
};

} // namespace lathe

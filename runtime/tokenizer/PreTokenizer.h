//===- PreTokenizer.h - text to the words that a model works on -----------===//
#pragma once

#include "runtime/tokenizer/JsonNode.h"
#include "runtime/tokenizer/Pattern.h"

#include <functional>

namespace lathe {

/// The steps of `pre_tokenizer`. Without one a text is one word.
class PreTokenizer {
public:
  static Result<PreTokenizer> parse(const JsonNode &node);

  using Sink = std::function<void(std::string_view word)>;

  /// A part of a text; of its first bytes `atStart` come from the start of the whole input (NormalizedText).
  struct Piece {
    std::string_view text;
    size_t atStart = 0;

    Piece part(size_t begin, size_t end) const {
      return {text.substr(begin, end - begin), std::min(std::max(atStart, begin), end) - begin};
    }
  };

  class Splitter;
  /// What follows a step.
  struct Next {
    Splitter &splitter;
    size_t step;
    const Sink &sink;

    void operator()(const Piece &piece) const { splitter.run(step, piece, sink); }
  };

  class Step {
  public:
    virtual ~Step() = default;
    /// Hands the parts of a piece on. `matcher` is one of `pattern`, which most steps have not.
    virtual void split(const Piece &piece, Matcher *matcher, const Next &next) const = 0;
    virtual const Pattern *pattern() const { return nullptr; }
  };

  /// Splits texts for one thread; made for each call, as the matchers carry the budget of work.
  class Splitter {
  public:
    Splitter(const PreTokenizer &preTokenizer, size_t textBytes);
    /// Words are valid during the call of `sink` only.
    void split(const Piece &piece, const Sink &sink) { run(0, piece, sink); }

  private:
    friend Next;
    const PreTokenizer &preTokenizer;
    std::vector<std::optional<Matcher>> matchers;

    void run(size_t step, const Piece &piece, const Sink &sink);
  };

  /// Words are bytes which the model knows by the characters of the byte alphabet: of a ByteLevel at the end the
  /// spelling is left to who looks words up.
  bool givesBytes() const { return bytes; }

private:
  std::vector<std::shared_ptr<const Step>> steps;
  bool bytes = false;

  Result<void> add(const JsonNode &node, bool last);
  Result<void> addByteLevel(const JsonNode &node, bool last);
};

} // namespace lathe

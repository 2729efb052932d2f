//===- PreTokenizer.h - text to the words that BPE works on ---------------===//
#pragma once

#include "runtime/tokenizer/Pattern.h"
#include "runtime/tokenizer/TokenizerFile.h"

#include <deque>
#include <functional>

namespace lathe {

/// The steps of `pre_tokenizer`, which must end in ByteLevel. Digits and the ByteLevel pattern are splits like any
/// other, so there are two kinds of step. Words stay bytes: the byte alphabet is the vocabulary's matter.
class PreTokenizer {
public:
  static Result<PreTokenizer> parse(const JsonNode &node);

  using Sink = std::function<void(std::string_view word)>;

  /// Splits texts for one thread; made for each call, as the matchers carry the budget of work.
  class Splitter {
  public:
    Splitter(const PreTokenizer &preTokenizer, size_t textBytes);
    /// Words are valid during the call of `sink` only.
    void split(std::string_view text, const Sink &sink) { run(0, text, sink); }

  private:
    const PreTokenizer &preTokenizer;
    std::vector<std::optional<Matcher>> matchers;

    void run(size_t step, std::string_view text, const Sink &sink);
    void runSplit(size_t step, std::string_view text, const Sink &sink);
  };

private:
  enum class Behavior { removed, isolated, mergedWithPrevious, mergedWithNext, contiguous };
  struct Step {
    std::optional<Pattern> pattern; ///< none: a space is put in front where there is none
    Behavior behavior = Behavior::isolated;
    bool invert = false;
  };
  std::vector<Step> steps;
  bool byteLevel = false;

  Result<void> add(const JsonNode &node, int depth);
  Result<void> addSplit(const JsonNode &node);
  Result<void> addByteLevel(const JsonNode &node);
  Result<void> addDigits(const JsonNode &node);
};

} // namespace lathe

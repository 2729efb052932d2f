//===- Decoder.h - tokens to text, one after the other --------------------===//
#pragma once

#include "runtime/tokenizer/JsonNode.h"

#include <functional>
#include <memory>

namespace lathe {

/// The steps of `decoder`. What a token becomes may depend on those before it (the first has no space in front, bytes
/// make characters together), and its end on the next one.
class Decoder {
public:
  static Result<Decoder> parse(const JsonNode &node);

  /// One step at work on one text. Tokens come in as begin, any number of parts, end; what is certain goes on at once.
  class Stage {
  public:
    virtual ~Stage() = default;
    virtual void begin() { next->begin(); }
    virtual void text(std::string_view part) { next->text(part); }
    virtual void end() { next->end(); }
    virtual void finish() { next->finish(); } ///< no token follows

    Stage *next = nullptr;
  };
  using MakeStage = std::function<std::unique_ptr<Stage>()>;

  /// The text of tokens that come one by one. Each part is well-formed UTF-8.
  class Stream {
  public:
    explicit Stream(const Decoder &decoder);
    /// The text that is certain from now on; a token is spelled as in the vocabulary.
    std::string push(std::string_view token);
    std::string finish();

  private:
    std::unique_ptr<std::string> output; ///< its place stays when the stream moves
    std::vector<std::unique_ptr<Stage>> stages;
  };

  /// What a token is within a text, behind others; its bytes, where they may be a part of a character.
  std::string piece(std::string_view token) const;

private:
  std::vector<MakeStage> steps;
  bool byteLevel = false, byteFallback = false;
};

} // namespace lathe

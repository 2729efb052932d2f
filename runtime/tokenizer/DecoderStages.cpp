#include "runtime/tokenizer/DecoderStages.h"

#include "runtime/tokenizer/Utf8.h"

namespace lathe {

namespace {

using Stage = Decoder::Stage;

std::string replaceAll(std::string_view text, std::string_view wanted, std::string_view content) {
  std::string result;
  for (size_t position = 0;;) {
    size_t found = text.find(wanted, position);
    result += text.substr(position, found == text.npos ? found : found - position);
    if (found == text.npos)
      return result;
    result += content;
    position = found + wanted.size();
  }
}

/// A step that needs all of a token.
class TokenStage : public Stage {
public:
  void begin() override { held.clear(); }
  void text(std::string_view part) override { held += part; }
  void end() override { token(std::exchange(held, {})); }

protected:
  virtual void token(std::string text) = 0;
  void pass(std::string_view text) {
    next->begin();
    next->text(text);
    next->end();
  }

private:
  std::string held;
};

class Spaced final : public Stage {
public:
  void begin() override {
    next->begin();
    if (std::exchange(behindFirst, true))
      next->text(" ");
  }

private:
  bool behindFirst = false;
};

/// Makes one token of all.
class Fuse : public Stage {
public:
  void begin() override {
    if (!std::exchange(open, true))
      next->begin();
  }
  void end() override {}
  void finish() override {
    if (std::exchange(open, false))
      next->end();
    next->finish();
  }

private:
  bool open = false;
};

class ByteLevel final : public Fuse {
public:
  void begin() override {
    held.clear();
    Fuse::begin();
  }
  void text(std::string_view part) override { held += part; }
  void end() override {
    bytes += bytesOfToken(std::exchange(held, {}));
    size_t whole = bytes.size() - incompleteTailLength(bytes);
    next->text(decodeLossy(std::string_view(bytes).substr(0, whole)));
    bytes.erase(0, whole);
  }
  void finish() override {
    if (!bytes.empty())
      next->text(decodeLossy(std::exchange(bytes, {})));
    Fuse::finish();
  }

private:
  std::string held, bytes;
};

class ByteFallback final : public TokenStage {
public:
  void finish() override {
    closeRow();
    next->finish();
  }

protected:
  void token(std::string text) override {
    int byte = byteOfToken(text);
    if (byte < 0) {
      closeRow();
      return pass(text);
    }
    if (!std::exchange(inRow, true))
      next->begin();
    bytes += static_cast<char>(byte);
    size_t whole = bytes.size() - incompleteTailLength(bytes);
    next->text(decodeLossy(std::string_view(bytes).substr(0, whole), true));
    bytes.erase(0, whole);
  }

private:
  std::string bytes;
  bool inRow = false;

  void closeRow() {
    if (!std::exchange(inRow, false))
      return;
    next->text(decodeLossy(std::exchange(bytes, {}), true));
    next->end();
  }
};

class Metaspace final : public TokenStage {
public:
  Metaspace(std::string replacement, bool dropsFirst) : replacement(std::move(replacement)), drops(dropsFirst) {}

protected:
  void token(std::string text) override { pass(replaceAll(text, replacement, std::exchange(drops, false) ? "" : " ")); }

private:
  std::string replacement;
  bool drops; ///< until the first token is over
};

class WordPiece final : public TokenStage {
public:
  WordPiece(std::string prefix, bool cleanup) : prefix(std::move(prefix)), cleanup(cleanup) {}

protected:
  void token(std::string text) override {
    if (std::exchange(behindFirst, true))
      text.starts_with(prefix) ? text.erase(0, prefix.size()) : text.insert(0, " ");
    // transformers, clean_up_tokenization
    static constexpr std::pair<std::string_view, std::string_view> artifacts[] = {
        {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
        {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    if (cleanup)
      for (const auto &[wanted, content] : artifacts)
        text = replaceAll(text, wanted, content);
    pass(text);
  }

private:
  std::string prefix;
  bool cleanup;
  bool behindFirst = false;
};

class Strip final : public Stage {
public:
  Strip(std::string content, size_t start, size_t stop) : content(std::move(content)), start(start), stop(stop) {}

  void begin() override {
    left = start;
    held.clear();
    next->begin();
  }
  void text(std::string_view part) override {
    for (; left > 0 && !part.empty(); --left) {
      if (!part.starts_with(content)) {
        left = 0;
        break;
      }
      part.remove_prefix(content.size());
    }
    held += part;
    size_t certain = held.size();
    for (size_t count = 0; count < stop && std::string_view(held).substr(0, certain).ends_with(content); ++count)
      certain -= content.size();
    next->text(std::string_view(held).substr(0, certain));
    held.erase(0, certain);
  }

private:
  std::string content;
  size_t start, stop;
  size_t left = 0; ///< that may still be taken from the start
  std::string held;
};

class ReplaceText final : public Stage {
public:
  ReplaceText(std::string wanted, std::string content) : wanted(std::move(wanted)), content(std::move(content)) {}

  void text(std::string_view part) override {
    held += part;
    std::string result;
    size_t done = 0;
    for (size_t found; (found = held.find(wanted, done)) != held.npos; done = found + wanted.size())
      result.append(held, done, found - done) += content;
    // What may become a match with the next part stays.
    size_t tail = std::min(wanted.size() - 1, held.size() - done);
    while (tail > 0 && !wanted.starts_with(std::string_view(held).substr(held.size() - tail)))
      --tail;
    result.append(held, done, held.size() - tail - done);
    held.erase(0, held.size() - tail);
    next->text(result);
  }
  void end() override {
    next->text(std::exchange(held, {}));
    next->end();
  }

private:
  std::string wanted, content, held;
};

class ReplacePattern final : public TokenStage {
public:
  ReplacePattern(Pattern pattern, std::string content) : pattern(std::move(pattern)), content(std::move(content)) {}

protected:
  void token(std::string text) override {
    Matcher matcher(pattern, text.size());
    std::string result;
    size_t done = 0;
    matcher.eachMatch(text, [&](PatternMatch match) {
      result.append(text, done, match.begin - done) += content;
      done = match.end;
    });
    pass(result.append(text, done));
  }

private:
  Pattern pattern;
  std::string content;
};

class WordSuffix final : public TokenStage {
public:
  explicit WordSuffix(std::string suffix) : suffix(std::move(suffix)) {}
  void finish() override {
    if (waiting)
      pass(replaceAll(*std::exchange(waiting, std::nullopt), suffix, ""));
    next->finish();
  }

protected:
  void token(std::string text) override {
    if (waiting)
      pass(replaceAll(*waiting, suffix, " "));
    waiting = std::move(text);
  }

private:
  std::string suffix;
  std::optional<std::string> waiting;
};

} // namespace

DecoderStage decodeSpaced() { return std::make_unique<Spaced>(); }
DecoderStage decodeByteLevel() { return std::make_unique<ByteLevel>(); }
DecoderStage decodeByteFallback() { return std::make_unique<ByteFallback>(); }
DecoderStage decodeFuse() { return std::make_unique<Fuse>(); }
DecoderStage decodeMetaspace(std::string replacement, bool dropsFirst) {
  return std::make_unique<Metaspace>(std::move(replacement), dropsFirst);
}
DecoderStage decodeWordPiece(std::string prefix, bool cleanup) {
  return std::make_unique<WordPiece>(std::move(prefix), cleanup);
}
DecoderStage decodeStrip(std::string content, size_t start, size_t stop) {
  return std::make_unique<Strip>(std::move(content), start, stop);
}
DecoderStage decodeReplaceText(std::string text, std::string content) {
  return std::make_unique<ReplaceText>(std::move(text), std::move(content));
}
DecoderStage decodeReplacePattern(Pattern pattern, std::string content) {
  return std::make_unique<ReplacePattern>(std::move(pattern), std::move(content));
}
DecoderStage decodeWordSuffix(std::string suffix) { return std::make_unique<WordSuffix>(std::move(suffix)); }

int byteOfToken(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>')
    return -1;
  int byte = 0;
  for (char c : token.substr(3, 2)) {
    int digit = c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
    if (digit < 0)
      return -1;
    byte = byte * 16 + digit;
  }
  return byte;
}

} // namespace lathe

#include "runtime/tokenizer/Decoder.h"

#include "runtime/tokenizer/DecoderStages.h"
#include "runtime/tokenizer/Pattern.h"
#include "runtime/tokenizer/Utf8.h"

namespace lathe {

namespace {

constexpr std::string_view supported =
    "null, Sequence, ByteLevel, Metaspace, WordPiece, ByteFallback, Fuse, Strip, Replace, BPEDecoder";
using MakeStage = Decoder::MakeStage;

Result<MakeStage> parseMetaspace(const JsonNode &node) {
  Result<std::string> replacement = node.string("replacement", "▁");
  Result<bool> adds = node.boolean("add_prefix_space", true);
  if (!replacement || !adds)
    return replacement ? propagate(adds) : propagate(replacement);
  if (replacement->empty())
    return node.member("replacement").fail("expected one character, found none");
  Result<std::string> scheme = node.string("prepend_scheme", *adds ? "always" : "never");
  if (!scheme)
    return propagate(scheme);
  return [replacement = *replacement, drops = *scheme != "never"] { return decodeMetaspace(replacement, drops); };
}

Result<MakeStage> parseWordPiece(const JsonNode &node) {
  Result<std::string> prefix = node.string("prefix", "##");
  Result<bool> cleanup = node.boolean("cleanup", true);
  if (!prefix || !cleanup)
    return prefix ? propagate(cleanup) : propagate(prefix);
  return [prefix = *prefix, cleanup = *cleanup] { return decodeWordPiece(prefix, cleanup); };
}

Result<MakeStage> parseStrip(const JsonNode &node) {
  Result<std::string> content = node.string("content", " ");
  if (!content)
    return propagate(content);
  size_t end = 0;
  if (!content->empty())
    nextCharacter(*content, end);
  if (end == 0 || end != content->size())
    return node.member("content").fail("expected one character, found {}", quote(*content));
  uint64_t counts[2] = {0, 0};
  const char *keys[] = {"start", "stop"};
  for (int side = 0; side < 2; ++side)
    if (node.has(keys[side])) {
      Result<uint64_t> count = node.number(keys[side]);
      if (!count)
        return propagate(count);
      counts[side] = *count;
    }
  return [content = *content, start = counts[0], stop = counts[1]] { return decodeStrip(content, start, stop); };
}

Result<MakeStage> parseReplace(const JsonNode &node) {
  Result<Pattern> pattern = parsePattern(node.member("pattern"));
  Result<std::string> content = node.string("content", "");
  if (!pattern || !content)
    return pattern ? propagate(content) : propagate(pattern);
  if (!node.member("pattern").has("Regex")) {
    Result<std::string> text = node.member("pattern").string("String", "");
    return [text = *text, content = *content] { return decodeReplaceText(text, content); };
  }
  if (content->find('$') != content->npos)
    return node.member("content").fail("{} refers to a group; that is not supported", quote(*content));
  return [pattern = *pattern, content = *content] { return decodeReplacePattern(pattern, content); };
}

Result<MakeStage> parseStep(const JsonNode &node, const std::string &type) {
  if (type == "ByteLevel")
    return decodeByteLevel;
  if (type == "ByteFallback")
    return decodeByteFallback;
  if (type == "Fuse")
    return decodeFuse;
  if (type == "Metaspace")
    return parseMetaspace(node);
  if (type == "WordPiece")
    return parseWordPiece(node);
  if (type == "Strip")
    return parseStrip(node);
  if (type == "Replace")
    return parseReplace(node);
  if (type == "BPEDecoder") {
    Result<std::string> suffix = node.string("suffix", "</w>");
    if (!suffix)
      return propagate(suffix);
    if (suffix->empty())
      return node.member("suffix").fail("expected a text, found \"\"");
    return [suffix = *suffix] { return decodeWordSuffix(suffix); };
  }
  return node.fail("decoder {} is not supported; supported: {}", quote(type), supported);
}

/// Where the text ends up.
class Output final : public Decoder::Stage {
public:
  explicit Output(std::string &text) : all(text) {}
  void begin() override {}
  void text(std::string_view part) override { all += part; }
  void end() override {}
  void finish() override {}

private:
  std::string &all;
};

} // namespace

Result<Decoder> Decoder::parse(const JsonNode &node) {
  Decoder result;
  if (node.isNull()) {
    result.steps.push_back(decodeSpaced);
    return result;
  }
  auto components = node.components("decoders", supported);
  if (!components)
    return propagate(components);
  for (const JsonNode &component : *components) {
    auto type = component.type(supported);
    Result<MakeStage> step = parseStep(component, *type);
    if (!step)
      return propagate(step);
    result.byteLevel |= *type == "ByteLevel";
    result.byteFallback |= *type == "ByteFallback";
    result.steps.push_back(std::move(*step));
  }
  return result;
}

Decoder::Stream::Stream(const Decoder &decoder) : output(std::make_unique<std::string>()) {
  for (const MakeStage &make : decoder.steps)
    stages.push_back(make());
  stages.push_back(std::make_unique<Output>(*output));
  for (size_t index = 0; index + 1 < stages.size(); ++index)
    stages[index]->next = stages[index + 1].get();
}

std::string Decoder::Stream::push(std::string_view token) {
  stages.front()->begin();
  stages.front()->text(token);
  stages.front()->end();
  return std::exchange(*output, {});
}

std::string Decoder::Stream::finish() {
  stages.front()->finish();
  return std::exchange(*output, {});
}

std::string Decoder::piece(std::string_view token) const {
  if (byteLevel)
    return bytesOfToken(token);
  if (int byte = byteFallback ? byteOfToken(token) : -1; byte >= 0)
    return {static_cast<char>(byte)};
  Stream alone(*this), followed(*this);
  std::string before = alone.push("a");
  before += alone.finish();
  std::string both = followed.push("a");
  both += followed.push(token);
  both += followed.finish();
  return both.starts_with(before) ? both.substr(before.size()) : both;
}

} // namespace lathe

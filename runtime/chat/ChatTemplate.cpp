#include "runtime/chat/ChatTemplate.h"

#include "runtime/chat/Evaluator.h"
#include "runtime/chat/Parser.h"
#include "runtime/tokenizer/Utf8.h"

namespace lathe {

Result<std::shared_ptr<const ChatTemplate>> ChatTemplate::parse(std::string_view source, std::string name) {
  if (source.size() > byteLimit)
    return fail(ExitCode::badInput, "{}: expected at most {} bytes, found {}", name, byteLimit, source.size());
  if (validUtf8Length(source) != source.size())
    return fail(ExitCode::badInput, "{}: byte {}: expected UTF-8", name, validUtf8Length(source));
  auto result = std::make_shared<ChatTemplate>();
  result->source = chat::normalizeSource(source);
  result->name = std::move(name);
  auto block = chat::Parser::parse(result->source, result->name);
  if (!block)
    return propagate(block);
  result->block = std::move(*block);
  return result;
}

Result<chat::Text> ChatTemplate::render(const chat::Dict &variables, const Options &options) const {
  auto clock = options.clock ? options.clock : [] { return std::time(nullptr); };
  chat::Run run(source, name, options.limits, clock);
  chat::Text output;
  {
    chat::Evaluator evaluator(run, variables);
    evaluator.render(block, output);
  }
  if (run.error)
    return std::unexpected(*run.error);
  return output;
}

} // namespace lathe

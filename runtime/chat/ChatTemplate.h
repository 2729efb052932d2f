//===- ChatTemplate.h - a model's chat template ---------------------------===//
//
// A chat template is a Jinja template that turns a conversation into the text that a model was trained on. This is our
// own subset of Jinja with jinja2's meaning as transformers configures it (utils/chat_template_utils.py): trim_blocks,
// lstrip_blocks, an immutable sandbox, loop controls, tojson without ASCII escapes. README.md lists what there is.
// Nothing in it reads a file or opens a socket; steps, depth, sizes and output are limited.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/chat/Run.h"
#include "runtime/chat/Syntax.h"

#include <memory>
#include <string>
#include <string_view>

namespace lathe {

/// Immutable after `parse`; safe to share between threads.
class ChatTemplate {
public:
  static constexpr size_t byteLimit = size_t(1) << 20;

  /// `name` begins every error, as in "chat template:3:14: expected '%}', found …" (ExitCode::badInput).
  static Result<std::shared_ptr<const ChatTemplate>> parse(std::string_view source, std::string name = "chat template");

  struct Options {
    chat::RenderLimits limits;
    std::function<std::time_t()> clock; ///< what strftime_now reads; empty: the time
  };
  /// The text for these variables ("messages", "tools", …), with the ranges of it that came with them as input. What
  /// the template refuses by raise_exception, and what goes wrong or beyond a limit, is ExitCode::badInput.
  Result<chat::Text> render(const chat::Dict &variables, const Options &options) const;
  Result<chat::Text> render(const chat::Dict &variables) const { return render(variables, Options()); }

private:
  std::string source, name;
  chat::Block block;
};

} // namespace lathe

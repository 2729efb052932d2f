//===- LineEditor.h - lines from a person at a terminal -------------------===//
#pragma once

#include <memory>
#include <string>

namespace lathe {

/// Line editing with history by libedit; ~/.editrc is read. One at a time, on standard input.
class LineEditor {
public:
  LineEditor();
  ~LineEditor();

  enum class Ending {
    line,        ///< Enter
    interrupted, ///< Ctrl-C; `line` is what was typed so far
    end,         ///< Ctrl-D on an empty line, or the terminal is gone
  };
  /// A line without its newline.
  Ending read(const std::string &prompt, std::string &line);
  /// Whether the line that was read is one of a pasted text that goes on: Enter within it sends nothing. Where the
  /// terminal marks what is pasted (bracketed paste).
  bool pasting() const;
  /// Puts a line where the up arrow finds it.
  void remember(const std::string &line);

private:
  struct Impl;
  std::unique_ptr<Impl> impl;
};

} // namespace lathe

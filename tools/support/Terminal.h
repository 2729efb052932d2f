//===- Terminal.h - colours and the width of what people look at ----------===//
#pragma once

#include <string>
#include <string_view>

namespace lathe {

enum class Color { automatic, always, never };
/// What --color says. Automatic: where the file is a terminal, NO_COLOR (no-color.org) is unset or empty, and TERM is
/// not "dumb".
void setColor(Color color);

enum class Style { bold, good, warning, bad };
/// `text` in a style where `file` (1 or 2) shows colours, else as it is.
std::string paint(Style style, std::string_view text, int file);

bool isTerminal(int file);
/// Columns of the terminal that `file` is; 100 where it is none.
int columnsOf(int file);

} // namespace lathe

#include "tools/support/Terminal.h"

#include <cstdlib>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace lathe {

static Color chosen = Color::automatic;

void setColor(Color color) { chosen = color; }

bool isTerminal(int file) { return isatty(file); }

static bool shows(int file) {
  if (chosen != Color::automatic)
    return chosen == Color::always;
  const char *none = std::getenv("NO_COLOR"), *kind = std::getenv("TERM");
  return isTerminal(file) && !(none && *none) && kind && std::string_view(kind) != "dumb";
}

std::string paint(Style style, std::string_view text, int file) {
  if (!shows(file))
    return std::string(text);
  constexpr const char *codes[] = {"1", "32", "33", "1;31"};
  return fmt::format("\033[{}m{}\033[0m", codes[static_cast<int>(style)], text);
}

int columnsOf(int file) {
  winsize size = {};
  if (isTerminal(file) && ioctl(file, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    return size.ws_col;
  return 100;
}

} // namespace lathe

#include "tools/lathe/Output.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <unistd.h>

namespace lathe {

Result<void> writeOutput(std::string_view text) {
  while (!text.empty()) {
    ssize_t count = write(STDOUT_FILENO, text.data(), text.size());
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0 && errno == EPIPE)
      std::raise(SIGPIPE);
    if (count < 0)
      return fail(errno == ENOSPC || errno == EFBIG || errno == EDQUOT ? ExitCode::resource : ExitCode::runtime,
                  "standard output: cannot write: {}", std::strerror(errno));
    text.remove_prefix(static_cast<size_t>(count));
  }
  return {};
}

std::string jsonLine(const nlohmann::ordered_json &value) {
  return value.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

} // namespace lathe

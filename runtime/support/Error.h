//===- Error.h - the one error type of Lathe ------------------------------===//
//
// Everything that can fail on input returns `Result<T>`; nothing in Lathe throws
// or asserts on what a user gave it. An error is one line: what, where
// (file:line:column, tensor name or byte), why, and what to do next.
//
//===----------------------------------------------------------------------===//
#pragma once

#include <expected>
#include <fmt/format.h>
#include <string>
#include <utility>

namespace lathe {

/// Exit codes of every Lathe program. They are part of the command line's contract.
enum class ExitCode : int {
  ok = 0,
  runtime = 1,     ///< a run-time failure
  usage = 2,       ///< wrong flags or arguments
  badInput = 3,    ///< a file says something that cannot be
  mismatch = 4,    ///< the artifact does not fit this machine or version
  resource = 5,    ///< out of memory or disk
  checkFailed = 6, ///< a check or verification failed
  internal = 7,    ///< a defect of Lathe itself, with a reproducer
  interrupted = 130,
};

struct Error {
  ExitCode code = ExitCode::runtime;
  std::string message;
};

template <typename T> using Result = std::expected<T, Error>;

/// `return fail(ExitCode::badInput, "{}: expected {} bytes, found {}", path, want, have);`
template <typename... Args>
std::unexpected<Error> fail(ExitCode code, fmt::format_string<Args...> format, Args &&...args) {
  return std::unexpected(Error{code, fmt::format(format, std::forward<Args>(args)...)});
}

/// Passes an error of a callee on, as in `if (!file) return propagate(file);`.
template <typename T> std::unexpected<Error> propagate(Result<T> &result) {
  return std::unexpected(std::move(result.error()));
}

} // namespace lathe

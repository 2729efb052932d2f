//===- Programs.h - running the compiler's helpers ------------------------===//
#pragma once

#include "runtime/support/Error.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace lathe {

/// A folder of its own under the system's temporary folder, removed at the end.
class TemporaryFolder {
public:
  static Result<std::unique_ptr<TemporaryFolder>> make();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder &) = delete;
  TemporaryFolder &operator=(const TemporaryFolder &) = delete;

  std::string file(std::string_view name) const;

private:
  explicit TemporaryFolder(std::string path) : path(std::move(path)) {}
  std::string path;
};

/// Folders above are made; an error says what could not be written.
Result<void> writeFile(const std::string &path, std::string_view text);
Result<std::string> readFile(const std::string &path);

/// Runs a program to its end without standard input and gives what it printed on either output; the error of one that
/// failed is just that text, or why it did not run.
Result<std::string> runProgram(const std::string &program, const std::vector<std::string> &arguments);

} // namespace lathe

#include "compiler/Programs.h"

#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/raw_ostream.h"

namespace lathe {

Result<std::unique_ptr<TemporaryFolder>> TemporaryFolder::make() {
  llvm::SmallString<128> path;
  if (llvm::sys::fs::createUniqueDirectory("lathe", path))
    return fail(ExitCode::resource, "cannot make a temporary folder: set TMPDIR to a folder that can be written");
  return std::unique_ptr<TemporaryFolder>(new TemporaryFolder(path.str().str()));
}

TemporaryFolder::~TemporaryFolder() { llvm::sys::fs::remove_directories(path); }

std::string TemporaryFolder::file(std::string_view name) const { return path + "/" + std::string(name); }

Result<void> writeFile(const std::string &path, std::string_view text) {
  llvm::StringRef parent = llvm::sys::path::parent_path(path);
  if (std::error_code error = llvm::sys::fs::create_directories(parent))
    return fail(ExitCode::badInput, "{}: cannot make the folder: {}", parent.str(), error.message());
  std::error_code error;
  llvm::raw_fd_ostream stream(path, error);
  if (!error) {
    stream << llvm::StringRef(text.data(), text.size());
    stream.close();
    error = stream.error();
    stream.clear_error();
  }
  if (error)
    return fail(ExitCode::resource, "{}: cannot write {} bytes: {}", path, text.size(), error.message());
  return {};
}

Result<std::string> readFile(const std::string &path) {
  auto buffer = llvm::MemoryBuffer::getFile(path, false, false);
  if (!buffer)
    return fail(ExitCode::resource, "{}: cannot read it back: {}", path, buffer.getError().message());
  return (*buffer)->getBuffer().str();
}

Result<std::string> runProgram(const std::string &program, const std::vector<std::string> &arguments) {
  auto folder = TemporaryFolder::make();
  if (!folder)
    return propagate(folder);
  std::string messages = (*folder)->file("messages"), why;
  std::optional<llvm::StringRef> redirects[] = {llvm::StringRef(""), llvm::StringRef(messages),
                                                llvm::StringRef(messages)};
  llvm::SmallVector<llvm::StringRef> all{llvm::sys::path::filename(program)};
  all.append(arguments.begin(), arguments.end());
  int status = llvm::sys::ExecuteAndWait(program, all, std::nullopt, redirects, 0, 0, &why);
  auto text = llvm::MemoryBuffer::getFile(messages, false, false);
  std::string said = text ? (*text)->getBuffer().rtrim().str() : "";
  if (status != 0)
    return fail(ExitCode::internal, "{}", said.empty() ? why : said);
  return said;
}

} // namespace lathe

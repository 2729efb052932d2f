#include "tools/lathe/BatchJournal.h"

#include "runtime/support/AtomicFile.h"
#include "runtime/support/Json.h"
#include "runtime/support/MappedFile.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <unistd.h>
#include <xxhash.h>

namespace lathe {

uint64_t BatchJournal::hash(std::string_view line) { return XXH3_64bits(line.data(), line.size()); }

std::string BatchJournal::identity(const Artifact &artifact, int64_t context) {
  auto manifest = artifact.member("manifest.json");
  return fmt::format("{:016x}-{}", manifest ? XXH3_64bits(manifest->data(), manifest->size()) : 0, context);
}

std::string BatchJournal::entry(size_t number, uint64_t line, std::string_view answer) {
  nlohmann::ordered_json entry = {{"request", number}, {"line", fmt::format("{:016x}", line)}, {"answer", answer}};
  return entry.dump() + "\n";
}

Result<std::map<size_t, std::string>> BatchJournal::read(const std::string &path, const std::string &identity,
                                                         const std::vector<uint64_t> &lines) {
  std::map<size_t, std::string> answers;
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored))
    return answers;
  auto file = MappedFile::open(path);
  if (!file)
    return propagate(file);
  std::string_view rest = (*file)->text();
  for (size_t number = 1; rest.find('\n') != rest.npos; ++number) {
    std::string_view text = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(text.size() + 1);
    auto document = parseJson(text, fmt::format("{}:{}", path, number));
    if (!document)
      return propagate(document);
    std::optional<Error> error;
    JsonReader reader(*document, fmt::format("{}:{}", path, number), error);
    if (number == 1) {
      std::string found = reader.string("artifact");
      if (!error && found != identity)
        return fail(
            ExitCode::badInput,
            "{}: the lines in it are answers of another artifact or context ({}, here it is {}); run without --resume",
            path, found, identity);
    } else {
      auto request = static_cast<size_t>(reader.integer("request", 0, INT64_MAX));
      std::string line = reader.string("line"), answer = reader.string("answer");
      if (!error && request < lines.size() && line == fmt::format("{:016x}", lines[request]))
        answers[request] = answer;
    }
    if (error)
      return std::unexpected(*error);
  }
  return answers;
}

Result<std::unique_ptr<BatchJournal>> BatchJournal::create(const std::string &path, const std::string &identity,
                                                           const std::string &entries) {
  auto whole = AtomicFile::create(path);
  if (!whole)
    return propagate(whole);
  if (auto done = (*whole)->write(nlohmann::ordered_json{{"artifact", identity}}.dump() + "\n" + entries); !done)
    return propagate(done);
  if (auto done = (*whole)->commit(); !done)
    return propagate(done);
  int file = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (file < 0)
    return fail(ExitCode::runtime, "{}: cannot write: {}", path, std::strerror(errno));
  return std::unique_ptr<BatchJournal>(new BatchJournal(path, file));
}

BatchJournal::~BatchJournal() { ::close(file); }

void BatchJournal::remove() { ::unlink(path.c_str()); }

Result<void> BatchJournal::add(std::string_view text) {
  while (!text.empty()) {
    ssize_t count = ::write(file, text.data(), text.size());
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      return fail(errno == ENOSPC || errno == EFBIG || errno == EDQUOT ? ExitCode::resource : ExitCode::runtime,
                  "{}: cannot write: {}; what is in it is kept, go on with --resume", path, std::strerror(errno));
    text.remove_prefix(static_cast<size_t>(count));
  }
  return {};
}

} // namespace lathe

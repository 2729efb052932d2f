//===- BatchJournal.h - finished lines of a batch that is still running ---===//
#pragma once

#include "runtime/Artifact.h"
#include "runtime/support/Error.h"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace lathe {

/// A file beside the output, OUT.partial, that gets a line for each request as it finishes, so that a batch that ended
/// early goes on where it was. Its first line names the artifact by a hash; each other one has the number of a request,
/// the hash of its line of input, and its answer. A line that a crash cut short is not looked at.
class BatchJournal {
public:
  static std::string pathFor(const std::string &output) { return output + ".partial"; }
  /// What answers depend on beside their line: the hash of the artifact's manifest, which has the hashes of all its
  /// members, and the context.
  static std::string identity(const Artifact &artifact, int64_t context);
  static uint64_t hash(std::string_view line);
  static std::string entry(size_t number, uint64_t line, std::string_view answer);

  /// Answers of an earlier run by the number of their request. `lines` are the hashes of the input's lines: an answer
  /// to a line that has changed since is left out. No file: none. A journal of another artifact is
  /// ExitCode::badInput.
  static Result<std::map<size_t, std::string>> read(const std::string &path, const std::string &identity,
                                                    const std::vector<uint64_t> &lines);

  /// Begins a journal in the place of an older one, which stays until the new one has all of `entries`.
  static Result<std::unique_ptr<BatchJournal>> create(const std::string &path, const std::string &identity,
                                                      const std::string &entries);
  ~BatchJournal();
  BatchJournal(const BatchJournal &) = delete;
  BatchJournal &operator=(const BatchJournal &) = delete;

  Result<void> add(std::string_view entry);
  /// The output is there: the file goes.
  void remove();

private:
  BatchJournal(std::string path, int file) : path(std::move(path)), file(file) {}
  std::string path;
  int file;
};

} // namespace lathe

//===- Manifest.h - manifest.json -----------------------------------------===//
#pragma once

#include "runtime/Artifact.h"

#include <span>

namespace lathe {

/// manifest.json: the manifest and, of every other member, bytes and hash.
std::string printManifest(const Manifest &manifest, const std::vector<Member> &members);

struct ParsedManifest {
  Manifest manifest;
  std::vector<Member> members; ///< name, bytes and hash; offset is not known here
};

/// Versions are looked at first (ExitCode::mismatch), then every field and number (ExitCode::badInput): sizes and
/// offsets of the weights fit `weightsBytes`, do not overlap and are aligned. `where` begins every error.
Result<ParsedManifest> parseManifest(std::string_view json, const std::string &where);
Result<void> checkWeightDirectory(const Manifest &manifest, uint64_t weightsBytes, const std::string &where);

} // namespace lathe

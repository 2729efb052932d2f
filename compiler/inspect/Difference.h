//===- Difference.h - what differs between two artifacts ------------------===//
#pragma once

#include "compiler/inspect/Inspection.h"

#include <string>
#include <vector>

namespace lathe {

/// One thing that differs; "" where one of them has none of it.
struct Change {
  std::string section; ///< "model", "config", "plan", "memory", "kernels", "weights"
  std::string name;    ///< "hidden_act", "attention: tiles"
  std::string before, after;
};

/// The text of a kernel that differs.
struct TextChange {
  std::string kernel, text; ///< text: "stage 10", "stage 20 of amx", "code of amx"
  std::string diff;         ///< unified, three lines of context
};

struct Difference {
  std::vector<Change> changes;
  std::vector<TextChange> texts; ///< of kernels that both have

  bool equal() const { return changes.empty() && texts.empty(); }
};

/// Everything that a model computes and takes: manifest, config, plan, memory, kernels with their schedules, IR and
/// code, and weights by the hash of their bytes. Where a file's name stands in a location it does not count, and in
/// code not where an instruction or constant lies.
Result<Difference> compare(Inspection &before, Inspection &after);

/// A unified diff of two texts without its file header, "" when they are equal. By Myers, "An O(ND) Difference
/// Algorithm and Its Variations", 1986; texts that differ in more than a few thousand lines are replaced as a whole.
std::string unifiedDiff(const std::string &before, const std::string &after, size_t context = 3);

} // namespace lathe

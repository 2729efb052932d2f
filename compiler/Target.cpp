#include "compiler/Target.h"

#include "compiler/ConfigDiagnostics.h"
#include "runtime/CudaPlan.h"

#include <algorithm>

namespace lathe {

static const char *prefixOf(Target::Kind kind) { return kind == Target::Kind::cuda ? "cuda:" : "cuda-host:"; }

std::string Target::name() const { return kind == Kind::cpu ? "cpu" : prefixOf(kind) + architecture; }

std::string Target::member() const {
  return kind == Kind::cuda ? "kernels/" + architecture + "/" : "kernels/cuda-host-" + architecture + ".so";
}

bool hasFloatInputs(std::string_view family) { return family == "cuda"; }

Result<Target> parseTarget(const std::string &text) {
  if (text == "cpu")
    return Target{};
  for (Target::Kind kind : {Target::Kind::cuda, Target::Kind::cudaHost})
    if (std::string_view rest(text); rest.starts_with(prefixOf(kind))) {
      rest.remove_prefix(std::string_view(prefixOf(kind)).size());
      auto architecture = CudaArchitecture::parse(rest);
      if (architecture && (kind == Target::Kind::cuda || !architecture->portable))
        return Target{kind, std::string(rest)};
    }
  return fail(
      ExitCode::usage,
      "--target {}: expected cpu, cuda:ARCH or cuda-host:ARCH, where ARCH is sm_80 or later (sm_86, sm_90a, …), "
      "or for cuda compute_80 or later",
      printable(text));
}

Result<std::vector<Target>> parseTargets(const std::vector<std::string> &texts) {
  std::vector<Target> targets;
  for (const std::string &text : texts) {
    auto target = parseTarget(text);
    if (!target)
      return propagate(target);
    if (!targets.empty() && (target->kind == Target::Kind::cpu) != (targets.front().kind == Target::Kind::cpu))
      return fail(ExitCode::usage,
                  "--target {} and {}: weights are packed for CPUs or for GPUs; compile an artifact for each",
                  targets.front().name(), target->name());
    if (std::ranges::none_of(targets, [&](const Target &other) { return other.name() == target->name(); }))
      targets.push_back(std::move(*target));
  }
  if (targets.empty())
    targets.push_back({});
  return targets;
}

} // namespace lathe

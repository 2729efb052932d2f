//===- CudaUsage.cpp - what a kernel needs on each architecture ---------------===//
#include "compiler/inspect/CudaUsage.h"

namespace lathe {

static int64_t number(const nlohmann::json &usage, const char *key) {
  auto found = usage.find(key);
  return found != usage.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
}

std::string plannedName(const Plan &plan, const std::string &symbol) {
  for (const Kernel &planned : plan.kernels)
    for (const Kernel &form : formsOf(planned))
      if (form.symbol == symbol)
        return planned.symbol;
  return symbol;
}

Result<std::vector<CudaUse>> cudaUses(std::string_view usageJson, const Plan &plan, const Kernel &kernel) {
  nlohmann::json usages = nlohmann::json::parse(usageJson, nullptr, false);
  if (!usages.is_object())
    return fail(ExitCode::badInput, "kernels/usage.json: expected an object of architectures");
  std::vector<CudaUse> uses;
  for (const auto &[architecture, kernels] : usages.items()) {
    auto variant = kernel.variants.find(architecture);
    auto usage = kernels.is_object() ? kernels.find(kernel.symbol) : kernels.end();
    if (usage == kernels.end() || variant == kernel.variants.end() || variant->second.forms.empty())
      continue;
    KernelUsage found{.registers = number(*usage, "registers"),
                      .spillStores = number(*usage, "spill_stores"),
                      .spillLoads = number(*usage, "spill_loads")};
    CudaUse use{.architecture = architecture, .usage = *usage};
    if (const CudaDeviceFacts *device = findCudaDevice(architecture)) {
      Prediction p = predict(plan, kernel, architecture, *device, found.registers);
      use.predicted = {
          {"device", device->name}, {"bytes", p.bytes}, {"us", p.microseconds}, {"bandwidth_share", p.share}};
    }
    use.facts = factsOf(plan, kernel, architecture, found);
    uses.push_back(std::move(use));
  }
  return uses;
}

} // namespace lathe

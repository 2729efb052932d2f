#include "tools/lathe/BenchProfile.h"

#include <algorithm>
#include <fmt/format.h>

namespace lathe {

BenchProfile::BenchProfile(const Plan &plan, StepTrace &trace, double seconds) {
  if (trace.steps == 0 || trace.total == 0)
    return;
  // Steps are nearly all of the time, so ticks of the counter are worth that much of the clock's.
  double scale = seconds * 1e6 / double(trace.total) / double(trace.steps), workers = double(trace.workers());
  step = double(trace.total) * scale;
  for (const Kernel &kernel : plan.kernels)
    kernels.push_back({.kernel = kernel.symbol});
  double waits = 0;
  for (size_t i = 0; i <= plan.launches.size(); ++i)
    for (int64_t worker = 0; worker < trace.workers(); ++worker) {
      const StepTrace::Ticks &ticks = trace.at(worker, static_cast<int64_t>(i));
      waits += double(ticks.waits) * scale / workers;
      if (i == plan.launches.size())
        continue;
      KernelTime &time = kernels[plan.launches[i].kernel];
      time.busy += double(ticks.busy) * scale / workers;
      time.waits += double(ticks.waits) * scale / workers;
      if (worker == 0) {
        const Kernel &kernel = plan.kernels[plan.launches[i].kernel];
        time.bytes += double(kernel.tiles) * double(kernel.bytesPerTile);
        ++time.launches;
      }
    }
  barriers = trace.medianWaiting(), meanBarriers = waits / step;
  std::ranges::sort(kernels, std::greater{}, &KernelTime::busy);
}

std::string BenchProfile::table(const std::string &title) const {
  std::string text =
      fmt::format("\n{}: a step takes {:.0f} µs, {:.1f} % of a median step at barriers, {:.1f} % on average\n\n"
                  "| kernel | launches | µs a step | share | µs a launch | waiting | GB/s |\n"
                  "| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
                  title, step, barriers * 100, meanBarriers * 100);
  for (const KernelTime &time : kernels)
    text += fmt::format("| {} | {} | {:.0f} | {:.1f} % | {:.2f} | {:.1f} % | {} |\n", time.kernel, time.launches,
                        time.busy, time.busy / step * 100, time.busy / double(std::max<int64_t>(1, time.launches)),
                        time.waits / step * 100,
                        time.bytes > 0 ? fmt::format("{:.1f}", time.bytes / time.busy * 1e-3) : "");
  return text;
}

} // namespace lathe

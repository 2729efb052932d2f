//===- Tune.cpp - lathe tune ---------------------------------------------------===//
#include "compiler/CpuCodegen.h"
#include "compiler/Tuner.h"
#include "tools/lathe-compiler/Commands.h"
#include "tools/support/Progress.h"

#include <unistd.h>

namespace lathe {

namespace {

std::string times(const std::vector<double> &seconds) {
  std::string text;
  for (double value : seconds)
    text += fmt::format("{}{:.1f}", text.empty() ? "" : " / ", value * 1e6);
  return text;
}

Result<void> tune(const TuneOptions &options) {
  Progress progress;
  auto kernels = tuneModel(options, {.line =
                                         [&](const std::string &line) {
                                           progress.clear();
                                           fmt::print(stderr, "{}\n", line);
                                         },
                                     .progress = std::ref(progress)});
  progress.clear();
  if (!kernels)
    return propagate(kernels);
  fmt::print("| kernel | n | k | default | µs at 1 / 8 / 512 rows | best | µs | ratio | spread | tried |\n"
             "| --- | ---: | ---: | --- | ---: | --- | ---: | ---: | ---: | ---: |\n");
  int64_t improved = 0;
  for (const TunedKernel &kernel : *kernels) {
    fmt::print("| {} | {} | {} | {} | {} | {} | {} | {:.3f} | {:.1f} % | {} |\n", kernel.name, kernel.base.key.n,
               kernel.base.key.k, kernel.base.tile(), times(kernel.baseSeconds),
               kernel.improved() ? kernel.best.tile() : "the default",
               kernel.improved() ? times(kernel.bestSeconds) : "", kernel.ratio, kernel.spread * 100, kernel.tried);
    improved += kernel.improved();
  }
  fmt::print(stderr, "{}: {} of {} kernels have a better schedule; use it with lathe compile --schedules {}\n",
             options.output, improved, kernels->size(), options.output);
  return {};
}

} // namespace

void addTune(CLI::App &app, Action &run) {
  auto options = std::make_shared<TuneOptions>();
  CLI::App *command = app.add_subcommand("tune", "Measure schedules and write a schedule table");
  command->group(subject::measure);
  command->footer("Examples:\n  lathe tune smollm2.lathe --seconds 120 -o smollm2.toml\n"
                  "  lathe compile SmolLM2-135M-Instruct.Q8_0.gguf -o smollm2.lathe --schedules smollm2.toml");
  command->add_option("model", options->model, "an artifact, or anything that lathe compile reads")->required();
  command->add_option("-o,--output", options->output, "the table to write; a file of this name is replaced")
      ->capture_default_str();
  command->add_option("--seconds", options->seconds, "what it may take, about")
      ->check(CLI::Range(1.0, 1e6))
      ->capture_default_str();
  command->add_option("--kernel", options->kernel, "tune only this kernel; default: every linear");
  command->add_option("--quant", options->quant, "as in compile; of an artifact its own")
      ->check(CLI::IsMember({"f32", "bf16", "int8"}))
      ->capture_default_str();
  command->add_option("--group", options->group, "as in compile; of an artifact its own")
      ->check(CLI::IsMember({32, 64}))
      ->capture_default_str();
  std::vector<std::string> tierNames;
  for (const CpuTier &tier : cpuTiers())
    tierNames.push_back(tier.name);
  command->add_option("--cpu", options->tier, "the ISA tier; default: the best of this machine")
      ->check(CLI::IsMember(tierNames));
  command->add_option("-t,--threads", options->threads, "worker threads; default: as many as run undisturbed")
      ->check(CLI::Range(1, 4096));
  command->callback([options, &run] { run = [options] { return tune(*options); }; });
}

} // namespace lathe

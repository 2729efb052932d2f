//===- Compile.cpp - lathe compile -------------------------------------------===//
#include "compiler/Compiler.h"
#include "compiler/CpuCodegen.h"
#include "tools/lathe-compiler/Commands.h"
#include "tools/support/Progress.h"

namespace lathe {

namespace {

std::string grouped(int64_t value) {
  std::string text = std::to_string(value);
  for (int64_t i = static_cast<int64_t>(text.size()) - 3; i > 0; i -= 3)
    text.insert(i, ",");
  return text;
}

std::string size(int64_t bytes) {
  return bytes >= 1 << 30   ? fmt::format("{:.2f} GiB", bytes / double(1 << 30))
         : bytes >= 1 << 20 ? fmt::format("{:.1f} MiB", bytes / double(1 << 20))
                            : fmt::format("{:.1f} KiB", bytes / 1024.0);
}

Result<void> compile(CompileOptions options) {
  if (options.output.empty() && options.stopAfter.empty())
    return fail(ExitCode::usage, "compile: -o OUT.lathe is missing (only --stop-after needs none)");
  Progress progress;
  auto summary = compileModel(options, std::ref(progress));
  progress.clear();
  if (!summary)
    return propagate(summary);
  if (!summary->warning.empty())
    fmt::print(stderr, "lathe: warning: {}\n", summary->warning);
  if (!options.stopAfter.empty()) {
    fmt::print(stderr, "stopped after stage {}{}\n", options.stopAfter,
               options.dumpDir.empty() ? "" : ": " + options.dumpDir);
    return {};
  }
  fmt::print(stderr,
             "{}: {} in {:.1f} s\n"
             "  parameters  {}\n"
             "  kernels     {}, {} launches a step\n"
             "  weights     {}\n"
             "  memory      {} at a context of {} (weights, KV {}, activations {} a row)\n",
             options.output, size(summary->artifactBytes), progress.seconds(), grouped(summary->parameters),
             summary->kernels, summary->launches, size(summary->weightBytes),
             size(summary->weightBytes + summary->kvBytesAtContext + 512 * summary->activationBytesPerRow),
             summary->context, size(summary->kvBytesAtContext), size(summary->activationBytesPerRow));
  return {};
}

} // namespace

void addCompile(CLI::App &app, Action &run) {
  auto options = std::make_shared<CompileOptions>();
  CLI::App *command = app.add_subcommand("compile", "Compile a model to an artifact");
  command->group(subject::compile);
  command->footer("Examples:\n  lathe compile SmolLM2-135M-Instruct.Q4_1.gguf -o smollm2.lathe --quant int8\n"
                  "  lathe compile configs/models/Qwen3-0.6B.toml -o qwen3.lathe --weights random:0 --dump stages/");
  command->add_option("model", options->model, "TOML file, Hugging Face folder, GGUF file, or OSC-Transformers .cfg")
      ->required();
  command->add_option("-o,--output", options->output, "the artifact to write");
  command->add_option("--weights", options->weights,
                      "safetensors file or folder, GGUF, or random:SEED; default: the model's own");
  command
      ->add_option(
          "--quant", options->quant,
          "how weights are stored: f32, bf16, int8, int4, or keep: BF16 and F16, and the blocks of a GGUF file "
          "(Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K), as they are")
      ->check(CLI::IsMember({"f32", "bf16", "int8", "int4", "keep"}))
      ->capture_default_str();
  command->add_option("--group", options->group, "elements that share a scale in int8 and int4; default: 32 and 64")
      ->check(CLI::IsMember({32, 64, 128}));
  command->add_option("--kv", options->kv, "element of the KV store; default: f32 with --quant f32, else bf16")
      ->check(CLI::IsMember({"f32", "bf16", "int8"}));
  command->add_option("-c,--context", options->context, "positions of a sequence; default: the model's, at most 8192")
      ->transform(sizes())
      ->check(positive());
  std::vector<std::string> tierNames;
  for (const CpuTier &tier : cpuTiersWithFeatures())
    tierNames.push_back(tier.name);
  command
      ->add_option(
          "--target", options->targets,
          "what to compile for: cpu; cuda:ARCH, an NVIDIA architecture (sm_80, sm_90a; compute_80: PTX for GPUs to "
          "come), by NVRTC of the CUDA toolkit; cuda-host:ARCH, the same kernels checked on the CPU; may be given "
          "several times")
      ->default_str("cpu");
  command
      ->add_option("--cpu", options->tiers,
                   "ISA tiers, with features that their code may use; default: all tiers, without features")
      ->check(CLI::IsMember(tierNames));
  command->add_option("--schedules", options->schedules,
                      "a table of schedules (TOML, as lathe tune writes it) that goes before the built-in one");
  command->add_option("--dump", options->dumpDir, "write the IR after every stage to this folder");
  command->add_option("--stop-after", options->stopAfter, "stop after stage 00, 10, 20 or 30")
      ->check(CLI::IsMember({"00", "10", "20", "30"}));
  command
      ->add_option("--from", options->from,
                   "go on from a stage file (NN-name.mlir of stage 00, 10 or 20) instead of making it")
      ->check(CLI::ExistingFile);
  command
      ->add_option("--use-kernels", options->useKernels,
                   "take kernels from this folder (NAME.cu, as --dump DIR writes them to DIR/kernels) instead of those "
                   "that are printed; one that computes something else is refused")
      ->check(CLI::ExistingDirectory);
  for (auto [flag, subject] : {std::pair{"--weights", "Weights"},
                               {"--quant", "Weights"},
                               {"--group", "Weights"},
                               {"--kv", "Machine"},
                               {"--context", "Machine"},
                               {"--target", "Machine"},
                               {"--cpu", "Machine"},
                               {"--schedules", "Machine"},
                               {"--dump", "Stages"},
                               {"--stop-after", "Stages"},
                               {"--from", "Stages"},
                               {"--use-kernels", "Stages"}})
    command->get_option(flag)->group(subject);
  command->callback([options, &run] { run = [options] { return compile(*options); }; });
}

} // namespace lathe

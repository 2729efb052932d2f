//===- Import.cpp - lathe import -----------------------------------------------===//
#include "compiler/Weights.h"
#include "tools/lathe-compiler/Commands.h"

namespace lathe {

void addImport(CLI::App &app, Action &run) {
  auto model = std::make_shared<std::string>();
  CLI::App *command = app.add_subcommand("import", "Print the canonical TOML of anything Lathe reads");
  command->group(subject::compile);
  command->footer("Examples:\n  lathe import model.gguf > model.toml\n  lathe import ./Qwen3-0.6B/");
  command->add_option("model", *model, "TOML file, Hugging Face folder, GGUF file, or OSC-Transformers .cfg")
      ->required();
  command->callback([model, &run] {
    run = [model]() -> Result<void> {
      auto imported = importModel(*model, "");
      if (!imported)
        return propagate(imported);
      if (auto checked = checkConfig(imported->config); !checked)
        return checked;
      fmt::print("{}", printConfig(imported->config));
      return {};
    };
  });
}

} // namespace lathe

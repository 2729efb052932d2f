//===- Import.cpp - what an input is, and who reads it --------------------===//
#include "compiler/ConfigDiagnostics.h"
#include "compiler/importers/Importers.h"
#include "runtime/support/MappedFile.h"

#include <charconv>
#include <filesystem>

namespace lathe {
namespace {

enum class Kind { folder, configJson, gguf, osc, toml, safetensors };

Result<Kind> kindOf(const std::string &path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored))
    return Kind::folder;
  auto file = MappedFile::open(path);
  if (!file)
    return propagate(file);
  std::string_view text = (*file)->text();
  if (GgufFile::hasMagic(text) || path.ends_with(".gguf"))
    return Kind::gguf;
  for (const auto &[suffix, kind] : {std::pair(".toml", Kind::toml),
                                     {".cfg", Kind::osc},
                                     {".json", Kind::configJson},
                                     {".safetensors", Kind::safetensors}})
    if (path.ends_with(suffix))
      return kind;
  std::string_view head = text.substr(0, 4096);
  size_t first = head.find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos && head[first] == '{')
    return Kind::configJson;
  return head.find("\n@architecture") != std::string_view::npos ? Kind::osc : Kind::toml;
}

Result<std::string> readText(const std::string &path) {
  auto file = MappedFile::open(path);
  if (!file)
    return propagate(file);
  constexpr size_t most = size_t{1} << 20;
  if ((*file)->bytes().size() > most)
    return fail(ExitCode::badInput, "{}: expected a model config of at most {} bytes, found {}", path, most,
                (*file)->bytes().size());
  return std::string((*file)->text());
}

Result<void> importHuggingFace(const std::string &path, bool withWeights, ImportedModel &model) {
  std::error_code ignored;
  bool isFolder = std::filesystem::is_directory(path, ignored);
  std::filesystem::path folder = isFolder ? std::filesystem::path(path) : std::filesystem::path(path).parent_path();
  std::string configPath = isFolder ? (folder / "config.json").string() : path;
  if (isFolder && !std::filesystem::exists(configPath, ignored))
    return fail(ExitCode::badInput, "{}: expected a Hugging Face folder, but there is no config.json in it", path);
  auto config = importHuggingFaceConfig(configPath);
  if (!config)
    return propagate(config);
  model.config = std::move(*config);
  std::string beside = folder.empty() ? "." : folder.string();
  auto tokenizer = importHuggingFaceTokenizer(beside, model.config);
  if (!tokenizer)
    return propagate(tokenizer);
  model.tokenizerJson = std::move(*tokenizer);
  if (!withWeights)
    return {};
  auto weights = openSafetensors(beside);
  if (!weights)
    return propagate(weights);
  model.weights = std::move(*weights);
  return {};
}

Result<void> importGguf(const std::string &path, ImportedModel &model) {
  auto file = GgufFile::open(path);
  if (!file)
    return propagate(file);
  auto config = importGgufConfig(**file);
  if (!config)
    return propagate(config);
  model.config = std::move(*config);
  auto tokenizer = importGgufTokenizer(**file, model.config);
  if (!tokenizer)
    return propagate(tokenizer);
  model.tokenizerJson = std::move(*tokenizer);
  model.weights = openGgufWeights(std::move(*file));
  return {};
}

Result<ImportedModel> importAny(const std::string &path, bool withWeights) {
  auto kind = kindOf(path);
  if (!kind)
    return propagate(kind);
  ImportedModel model;
  Result<void> done;
  switch (*kind) {
  case Kind::folder:
  case Kind::configJson:
    done = importHuggingFace(path, withWeights, model);
    break;
  case Kind::gguf:
    done = importGguf(path, model);
    break;
  case Kind::osc:
  case Kind::toml: {
    auto text = readText(path);
    if (!text)
      return propagate(text);
    auto config = *kind == Kind::osc ? importOscConfig(*text, path) : parseConfig(*text, path);
    if (!config)
      return propagate(config);
    model.config = std::move(*config);
    if (model.config.name.empty()) {
      std::string name = baseName(path);
      model.config.name = printable(name.ends_with(".toml") ? name.substr(0, name.size() - 5) : name);
    }
    break;
  }
  case Kind::safetensors:
    return fail(ExitCode::badInput,
                "{}: holds weights but no config: give the folder with its config.json, or a .toml with --weights {}",
                path, path);
  }
  if (!done)
    return propagate(done);
  return model;
}

Result<std::shared_ptr<const WeightSource>> openWeights(const std::string &weights, ModelConfig &config) {
  constexpr std::string_view random = "random:";
  if (weights.starts_with(random)) {
    uint64_t seed = 0;
    const char *first = weights.data() + random.size(), *last = weights.data() + weights.size();
    auto [end, code] = std::from_chars(first, last, seed);
    if (code != std::errc() || end != last)
      return fail(ExitCode::usage, "--weights {}: expected random:SEED with a seed from 0 to {}", weights, UINT64_MAX);
    return randomWeights(config, seed);
  }
  auto kind = kindOf(weights);
  if (!kind)
    return propagate(kind);
  if (*kind == Kind::folder || *kind == Kind::safetensors) {
    auto source = openSafetensors(weights);
    if (source && !*source)
      return fail(ExitCode::badInput, "{}: expected model.safetensors or model.safetensors.index.json in the folder",
                  weights);
    return source;
  }
  if (*kind != Kind::gguf)
    return fail(ExitCode::badInput,
                "{}: expected weights: a safetensors file, a folder with them, a GGUF file, or random:SEED", weights);
  auto file = GgufFile::open(weights);
  if (!file)
    return propagate(file);
  // The order of q's and k's rows belongs to the weights: a config that does not say it takes theirs.
  auto own = importGgufConfig(**file);
  if (!own)
    return propagate(own);
  auto said = config.where.find("rope_parameters.rope_layout");
  if (config.rope.type != "none" && config.rope.layout != own->rope.layout) {
    if (said != config.where.end())
      return fail(ExitCode::badInput,
                  "{}: rope_parameters.rope_layout: the config says {}, but the rows of q and k in {} are {}",
                  said->second, config.rope.layout, weights, own->rope.layout);
    config.rope.layout = own->rope.layout;
  }
  return openGgufWeights(std::move(*file));
}

} // namespace

Result<ImportedModel> importModel(const std::string &path, const std::string &weights) {
  auto model = importAny(path, weights.empty());
  if (!model)
    return model;
  if (auto fine = checkConfig(model->config); !fine) {
    // Places have base names only, because they may get into artifacts; a message names the file as the user did.
    std::error_code ignored;
    std::string file =
        std::filesystem::is_directory(path, ignored) ? (std::filesystem::path(path) / "config.json").string() : path;
    if (std::string base = baseName(file) + ":"; fine.error().message.starts_with(base))
      fine.error().message.replace(0, base.size() - 1, file);
    return propagate(fine);
  }
  if (!weights.empty()) {
    auto source = openWeights(weights, model->config);
    if (!source)
      return propagate(source);
    model->weights = std::move(*source);
  }
  if (model->weights)
    if (auto fine = checkWeights(model->config, *model->weights); !fine)
      return propagate(fine);
  return model;
}

} // namespace lathe

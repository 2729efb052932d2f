//===- ImportProbe.cpp - an input read to its last byte -------------------===//
//
// `lathe import` reads headers; compiling reads everything but needs MLIR. This
// program reads everything without: config, every weight, tokenizer. damage_check.py runs it in
// the build with AddressSanitizer and UBSan. With --tokenizer it prints the tokenizer.json that
// it makes of a GGUF file or of a folder, whatever else is there.
//
//===----------------------------------------------------------------------===//
#include "compiler/Weights.h"
#include "compiler/importers/Importers.h"
#include "runtime/Tokenizer.h"

#include <cstdio>

using namespace lathe;

namespace {

Result<void> readTensor(const WeightSource &source, const SourceTensor &tensor) {
  int64_t width = tensor.shape.empty() ? 1 : tensor.shape.back();
  int64_t rows = tensor.shape.size() < 2 ? 1 : tensor.shape.front();
  std::vector<float> row(static_cast<size_t>(width));
  for (int64_t r = 0; r < rows; ++r)
    if (auto done = source.read(tensor.name, r, 1, row); !done)
      return done;
  return {};
}

Result<void> readAll(const char *path) {
  auto model = importModel(path, "");
  if (!model)
    return propagate(model);
  if (auto checked = checkConfig(model->config); !checked)
    return checked;
  std::string toml = printConfig(model->config);
  if (auto again = parseConfig(toml, "printed.toml"); !again)
    return fail(ExitCode::internal, "the printed config does not parse: {}", again.error().message);
  if (!model->tokenizerJson.empty()) {
    auto tokenizer = Tokenizer::parse(model->tokenizerJson);
    if (!tokenizer)
      return propagate(tokenizer);
    auto ids = (*tokenizer)->encode("Once upon a time, 1969, Größe 東京 \U0001F999 <s>\xff\n\n");
    (*tokenizer)->decode(ids);
  }
  if (!model->weights)
    return {};
  if (auto checked = checkWeights(model->config, *model->weights); !checked)
    return checked;
  for (const WeightSpec &spec : listWeights(model->config))
    if (const SourceTensor *tensor = model->weights->find(spec.name))
      if (auto done = readTensor(*model->weights, *tensor); !done)
        return done;
  return {};
}

Result<void> printTokenizer(const std::string &path) {
  Result<std::string> text;
  if (path.ends_with(".gguf")) {
    auto file = GgufFile::open(path);
    if (!file)
      return propagate(file);
    text = importGgufTokenizer(**file, {});
  } else {
    text = importHuggingFaceTokenizer(path, {});
  }
  if (!text)
    return propagate(text);
  std::fwrite(text->data(), 1, text->size(), stdout);
  return {};
}

} // namespace

int main(int argc, char **argv) {
  bool tokenizer = argc == 3 && std::string_view(argv[1]) == "--tokenizer";
  if (argc != 2 && !tokenizer) {
    std::fputs("usage: lathe_import_probe [--tokenizer] MODEL\n", stderr);
    return static_cast<int>(ExitCode::usage);
  }
  auto done = tokenizer ? printTokenizer(argv[2]) : readAll(argv[1]);
  if (done)
    return 0;
  std::fprintf(stderr, "%s\n", done.error().message.c_str());
  return static_cast<int>(done.error().code);
}

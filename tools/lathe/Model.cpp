#include "tools/lathe/Model.h"
#include "tools/support/CommandLine.h"

#include "runtime/CpuFeatures.h"
#include "runtime/support/MappedFile.h"

#include <algorithm>
#include <charconv>
#include <iostream>
#include <iterator>

namespace lathe {

static CLI::Validator deviceName() {
  return {[](const std::string &text) -> std::string {
            bool known = text == "auto" || text == "cpu" || text == "cuda-host" || text == "cuda";
            std::string_view number = std::string_view(text).substr(std::min<size_t>(text.size(), 5));
            bool digits = text.starts_with("cuda:") && !number.empty() && number.size() < 5 &&
                          number.find_first_not_of("0123456789") == number.npos;
            return known || digits ? ""
                                   : fmt::format("expected auto, cpu, cuda, cuda:N or cuda-host, found '{}'", text);
          },
          "DEVICE", "device"};
}

void ModelFlags::add(CLI::App &command) {
  command.add_option("artifact", artifact, "Artifact made by lathe compile (*.lathe)")->required();
  command.add_option("-t,--threads", threads, "Worker threads (default: as many as run without disturbing each other)")
      ->check(CLI::Range(1, 4096))
      ->group("Machine");
  command
      .add_option("--cpu", cpu,
                  fmt::format("ISA tier to run: {}, with features where the artifact has such code: avx512vnni+bf16 "
                              "(default: the best this machine has)",
                              fmt::join(knownTiers(), ", ")))
      ->type_name("TIER")
      ->group("Machine");
  command
      .add_flag("--mmap", map,
                "Use the weights in the mapped file, shared by all processes and read when needed, instead of reading "
                "them into huge pages")
      ->group("Machine");
  command
      .add_option("--device", device,
                  "Device to run on: cpu; cuda or cuda:N, a GPU; cuda-host, kernels of the CUDA target checked on the "
                  "CPU; auto (default): what the artifact was compiled for, a GPU where a driver answers")
      ->check(deviceName())
      ->group("Machine");
  command.add_option("--host-seed", hostCheck.seed, "cuda-host: order of blocks and threads; 0: one after another")
      ->capture_default_str()
      ->group("Machine");
  command
      .add_flag("--no-host-check", looseHostCheck,
                "cuda-host: look for wrong places only, not for races and memory that nobody wrote")
      ->group("Machine");
  command
      .add_option("-c,--context", context, "Positions of one sequence (default: what the artifact was compiled for)")
      ->transform(sizes())
      ->check(positive())
      ->group("Machine");
}

EngineOptions ModelFlags::engine() const {
  EngineOptions options;
  options.device = device;
  options.hostCheck = hostCheck;
  options.hostCheck.strict = !looseHostCheck;
  options.tier = cpu;
  options.threads = threads;
  options.context = context;
  options.mapWeights = map;
  return options;
}

LazyTokenizer::LazyTokenizer(std::shared_ptr<const Artifact> opened) : artifact(std::move(opened)) {
  parsing = std::async(std::launch::async, [artifact = artifact]() -> Result<std::shared_ptr<const Tokenizer>> {
    auto member = artifact->member("tokenizer.json");
    if (!member)
      return nullptr;
    return Tokenizer::parse({reinterpret_cast<const char *>(member->data()), member->size()});
  });
}

Result<std::shared_ptr<const Tokenizer>> LazyTokenizer::get() {
  if (!parsed)
    parsed = parsing.get();
  return *parsed;
}

Result<std::shared_ptr<const Tokenizer>> LazyTokenizer::require(std::string_view flag) {
  auto tokenizer = get();
  if (tokenizer && !*tokenizer)
    return fail(ExitCode::badInput, "{}: the model has no tokenizer; give token ids with --ids", flag);
  return tokenizer;
}

namespace {

Result<std::vector<int32_t>> parseIdList(std::string_view text, ExitCode code, const std::string &where) {
  constexpr std::string_view blanks = " \t\r\n";
  size_t first = text.find_first_not_of(blanks), last = text.find_last_not_of(blanks);
  text = first == text.npos ? std::string_view() : text.substr(first, last - first + 1);
  if (text.starts_with('[') && text.ends_with(']'))
    text = text.substr(1, text.size() - 2);
  std::vector<int32_t> ids;
  while (!text.empty()) {
    size_t comma = std::min(text.find(','), text.size());
    std::string_view part = text.substr(0, comma);
    size_t begin = std::min(part.find_first_not_of(blanks), part.size()), end = part.find_last_not_of(blanks) + 1;
    part = part.substr(begin, end > begin ? end - begin : 0);
    int32_t id = -1;
    auto [stop, error] = std::from_chars(part.data(), part.data() + part.size(), id);
    if (error != std::errc() || stop != part.data() + part.size() || id < 0)
      return fail(code, "{}: id {}: expected a number from 0 to {}, found '{}'", where, ids.size() + 1, INT32_MAX,
                  part.substr(0, 40));
    ids.push_back(id);
    text.remove_prefix(comma);
    if (text == ",")
      return fail(code, "{}: expected a number after the last comma", where);
    text.remove_prefix(std::min<size_t>(1, text.size()));
  }
  if (ids.empty())
    return fail(code, "{}: expected token ids such as 1,2,3", where);
  return ids;
}

} // namespace

Result<std::vector<int32_t>> readIds(const std::string &path) {
  auto text = readText(path);
  if (!text)
    return propagate(text);
  return parseIdList(*text, ExitCode::badInput, path);
}

Result<std::vector<int32_t>> parseIds(const std::string &text) {
  if (text.starts_with('@'))
    return readIds(text.substr(1));
  return parseIdList(text, ExitCode::usage, "--ids");
}

Result<std::string> readText(const std::string &path) {
  if (path == "-")
    return std::string(std::istreambuf_iterator<char>(std::cin), {});
  auto file = MappedFile::open(path);
  if (!file)
    return propagate(file);
  return std::string((*file)->text());
}

Result<std::unique_ptr<Engine>> loadEngine(std::shared_ptr<const Artifact> artifact, const ModelFlags &flags,
                                           const EngineOptions &options) {
  auto engine = Engine::load(std::move(artifact), options);
  if (!engine)
    return std::unexpected(Error{engine.error().code, fmt::format("{}: {}", flags.artifact, engine.error().message)});
  return engine;
}

bool multipliesBytes(const Manifest &manifest) {
  return std::ranges::any_of(manifest.weights,
                             [](const PackedWeight &weight) { return weight.name.ends_with(".codes"); });
}

namespace {

/// As OpenAI's API has them: the token's text and bytes beside its id.
nlohmann::ordered_json logprobJson(const TokenLogprob &entry, const Tokenizer *tokenizer) {
  nlohmann::ordered_json json = {{"id", entry.id}};
  if (tokenizer) {
    std::string piece = tokenizer->piece(entry.id, false);
    auto bytes = nlohmann::ordered_json::array();
    for (char byte : piece)
      bytes.push_back(static_cast<unsigned char>(byte));
    json["token"] = piece;
    json["bytes"] = bytes;
  }
  json["logprob"] = entry.logprob;
  return json;
}

void addSample(nlohmann::ordered_json &json, const Sample &sample) {
  json["ids"] = sample.completion.ids;
  json["text"] = sample.text ? nlohmann::ordered_json(*sample.text) : nlohmann::ordered_json();
  json["finish_reason"] = sample.completion.finishReason;
}

void addLogprobs(nlohmann::ordered_json &json, const Completion &completion, const Tokenizer *tokenizer) {
  if (completion.logprobs.empty())
    return;
  auto list = nlohmann::ordered_json::array();
  for (const std::vector<TokenLogprob> &token : completion.logprobs) {
    auto entry = logprobJson(token[0], tokenizer), top = nlohmann::ordered_json::array();
    for (size_t i = 1; i < token.size(); ++i)
      top.push_back(logprobJson(token[i], tokenizer));
    entry["top_logprobs"] = top;
    list.push_back(entry);
  }
  json["logprobs"] = list;
}

} // namespace

nlohmann::ordered_json completionJson(const std::vector<int32_t> &prompt, std::span<const Sample> samples,
                                      const Tokenizer *tokenizer) {
  auto rate = [](double count, double seconds) { return seconds > 0 && count > 0 ? count / seconds : 0.0; };
  const Completion &first = samples.front().completion;
  int64_t computed = first.promptTokens - first.cachedTokens, predicted = 0;
  double seconds = 0;
  for (const Sample &sample : samples) {
    predicted += static_cast<int64_t>(sample.completion.ids.size());
    seconds = std::max(seconds, sample.completion.predictedSeconds);
  }
  nlohmann::ordered_json json;
  json["prompt_ids"] = prompt;
  addSample(json, samples.front());
  json["timings"] = {{"prompt_n", computed},
                     {"cache_n", first.cachedTokens},
                     {"prompt_ms", first.promptSeconds * 1e3},
                     {"prompt_per_second", rate(double(computed), first.promptSeconds)},
                     {"predicted_n", predicted},
                     {"predicted_ms", seconds * 1e3},
                     {"predicted_per_second", rate(double(predicted - static_cast<int64_t>(samples.size())), seconds)}};
  addLogprobs(json, first, tokenizer);
  if (samples.size() > 1) {
    auto list = nlohmann::ordered_json::array();
    for (const Sample &sample : samples) {
      nlohmann::ordered_json one;
      addSample(one, sample);
      addLogprobs(one, sample.completion, tokenizer);
      list.push_back(one);
    }
    json["samples"] = list;
  }
  return json;
}

} // namespace lathe

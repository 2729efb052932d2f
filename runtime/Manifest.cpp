#include "runtime/Manifest.h"

#include "runtime/Abi.h"
#include "runtime/support/Json.h"

#include <algorithm>
#include <charconv>

namespace lathe {
namespace {

constexpr int64_t kMost = int64_t(1) << 48;
constexpr uint64_t kWeightAlign = 64;

std::string hex(uint64_t hash) { return fmt::format("{:016x}", hash); }

bool parseHex(const std::string &text, uint64_t &hash) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), hash, 16);
  return text.size() == 16 && error == std::errc() && end == text.data() + text.size();
}

/// An artifact of another version may have other fields, so versions come before anything else.
Result<void> checkVersions(const Json &document, const std::string &where) {
  auto version = [&](const char *key) -> int64_t {
    auto field = document.find(key);
    return field != document.end() && field->is_number_integer() ? field->get<int64_t>() : -1;
  };
  int64_t artifact = version("artifactVersion"), abi = version("abiVersion");
  if (artifact == -1 || abi == -1)
    return fail(ExitCode::badInput, "{}: artifactVersion and abiVersion: expected integers", where);
  if (artifact != kArtifactVersion)
    return fail(ExitCode::mismatch, "{}: artifact version {}, this lathe reads version {}; compile the model again",
                where, artifact, kArtifactVersion);
  if (abi != kAbiVersion)
    return fail(ExitCode::mismatch, "{}: kernel ABI version {}, this lathe runs version {}; compile the model again",
                where, abi, kAbiVersion);
  return {};
}

void readSampling(JsonReader reader, SamplingDefaults &sampling) {
  reader.only({"source", "temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty", "mirostat",
               "mirostat_tau", "mirostat_eta"});
  sampling.source = reader.string("source");
  eachSamplingDefault(
      sampling,
      [&](const char *key, std::optional<double> &value, double low, double high) {
        if (reader.has(key))
          value = reader.number(key, low, high);
      },
      [&](const char *key, std::optional<int64_t> &value, int64_t low, int64_t high) {
        if (reader.has(key))
          value = reader.integer(key, low, high);
      });
}

} // namespace

std::string printManifest(const Manifest &manifest, const std::vector<Member> &members) {
  using Ordered = nlohmann::ordered_json;
  auto text = [](const Ordered &value) { return value.dump(-1, ' ', false, Ordered::error_handler_t::replace); };
  std::string out = "{\n";
  auto line = [&](const char *key, const Ordered &value) { out += fmt::format("  {}: {},\n", text(key), text(value)); };
  line("artifactVersion", manifest.artifactVersion);
  line("abiVersion", manifest.abiVersion);
  line("compiler", manifest.compiler);
  line("model", manifest.model);
  line("source", manifest.source);
  line("target", manifest.target);
  line("quant", manifest.quant);
  line("tiers", manifest.tiers);
  line("parameters", manifest.parameters);
  line("context", manifest.context);
  line("bosTokenId", manifest.bosTokenId ? Ordered(*manifest.bosTokenId) : Ordered());
  line("eosTokenIds", manifest.eosTokenIds);
  if (!manifest.sampling.source.empty()) {
    Ordered sampling = {{"source", manifest.sampling.source}};
    auto add = [&](const char *key, const auto &value, auto...) {
      if (value)
        sampling[key] = *value;
    };
    eachSamplingDefault(manifest.sampling, add, add);
    line("sampling", sampling);
  }
  out += "  \"members\": {";
  const char *separator = "\n";
  for (const Member &member : members) {
    out += fmt::format("{}    {}: {}", separator, text(member.name),
                       text({{"bytes", member.bytes}, {"xxh3", hex(member.hash)}}));
    separator = ",\n";
  }
  out += "\n  },\n  \"weights\": [";
  separator = "\n";
  for (const PackedWeight &weight : manifest.weights) {
    out += fmt::format(
        "{}    {}", separator,
        text({{"name", weight.name}, {"offset", weight.offset}, {"bytes", weight.bytes}, {"layout", weight.layout}}));
    separator = ",\n";
  }
  return out + "\n  ]\n}\n";
}

Result<ParsedManifest> parseManifest(std::string_view json, const std::string &where) {
  auto document = parseJson(json, where);
  if (!document)
    return propagate(document);
  if (auto versions = checkVersions(*document, where); !versions)
    return propagate(versions);
  std::optional<Error> error;
  JsonReader reader(*document, where, error);
  reader.only({"artifactVersion", "abiVersion", "compiler", "model", "source", "target", "quant", "tiers", "parameters",
               "context", "bosTokenId", "eosTokenIds", "sampling", "members", "weights"});
  ParsedManifest parsed;
  Manifest &manifest = parsed.manifest;
  manifest.abiVersion = kAbiVersion;
  manifest.compiler = reader.string("compiler");
  manifest.model = reader.string("model");
  manifest.source = reader.string("source");
  manifest.target = reader.string("target");
  manifest.quant = reader.string("quant");
  manifest.tiers = reader.strings("tiers");
  manifest.parameters = reader.integer("parameters", 0, kMost);
  manifest.context = reader.integer("context", 1, INT32_MAX);
  if (!(reader.has("bosTokenId") && (*document)["bosTokenId"].is_null()))
    manifest.bosTokenId = reader.integer("bosTokenId", 0, INT32_MAX);
  manifest.eosTokenIds = reader.integers("eosTokenIds", 0, INT32_MAX);
  if (reader.has("sampling"))
    readSampling(JsonReader((*document)["sampling"], where + ": sampling", error), manifest.sampling);
  reader.members("members", [&](const std::string &name, JsonReader &fields) {
    Member member{.name = name, .bytes = static_cast<uint64_t>(fields.integer("bytes", 0, kMost))};
    std::string hash = fields.string("xxh3");
    if (!fields.failed() && !parseHex(hash, member.hash))
      fields.refuse("xxh3", "expected 16 hexadecimal digits");
    parsed.members.push_back(std::move(member));
  });
  reader.objects("weights", [&](JsonReader &fields) {
    PackedWeight weight;
    weight.name = fields.string("name");
    weight.offset = static_cast<uint64_t>(fields.integer("offset", 0, kMost));
    weight.bytes = static_cast<uint64_t>(fields.integer("bytes", 1, kMost));
    weight.layout = fields.string("layout");
    manifest.weights.push_back(std::move(weight));
  });
  if (error)
    return std::unexpected(*error);
  return parsed;
}

Result<void> checkWeightDirectory(const Manifest &manifest, uint64_t weightsBytes, const std::string &where) {
  std::vector<const PackedWeight *> inOrder;
  for (const PackedWeight &weight : manifest.weights) {
    if (weight.offset % kWeightAlign != 0)
      return fail(ExitCode::badInput, "{}: weight {} at byte {} of weights.bin: expected a multiple of {}", where,
                  weight.name, weight.offset, kWeightAlign);
    if (weight.offset > weightsBytes || weight.bytes > weightsBytes - weight.offset)
      return fail(ExitCode::badInput, "{}: weight {}: bytes {} to {} of a weights.bin of {} bytes", where, weight.name,
                  weight.offset, weight.offset + weight.bytes, weightsBytes);
    inOrder.push_back(&weight);
  }
  std::sort(inOrder.begin(), inOrder.end(), [](auto *a, auto *b) { return a->offset < b->offset; });
  for (size_t i = 1; i < inOrder.size(); ++i)
    if (inOrder[i]->offset < inOrder[i - 1]->offset + inOrder[i - 1]->bytes)
      return fail(ExitCode::badInput, "{}: weights {} and {} overlap in weights.bin", where, inOrder[i - 1]->name,
                  inOrder[i]->name);
  std::sort(inOrder.begin(), inOrder.end(), [](auto *a, auto *b) { return a->name < b->name; });
  for (size_t i = 1; i < inOrder.size(); ++i)
    if (inOrder[i]->name == inOrder[i - 1]->name)
      return fail(ExitCode::badInput, "{}: two weights have the name {}", where, inOrder[i]->name);
  return {};
}

} // namespace lathe

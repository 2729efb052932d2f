#include "runtime/Plan.h"

#include "runtime/support/Json.h"

#include <algorithm>
#include <set>

namespace lathe {
namespace {

constexpr int64_t kMost = int64_t(1) << 48, kMostUnitBlock = 1 << 20, kMostScratch = int64_t(1) << 30;
constexpr size_t kMostPlanBytes = 16 << 20; // bounds the memory of parsing

constexpr const char *kUnits[] = {"rows", "logitRows", "partials", "items"};
constexpr const char *kKinds[] = {"activation", "weight", "key", "value", "logits", "tokens"};
constexpr const char *kLibraries[] = {"onednn"};
constexpr const char *kAccesses[] = {"read", "write", "update"};
/// Of CUDA, for any architecture; what one of them allows is runtime/CudaPlan's.
constexpr int64_t kMostThreads = 1024, kMostShared = 1 << 20, kMostForms = 16;
/// A library's numbers are checked when an artifact is loaded, which must not take long.
constexpr int64_t kMostLibraryRows = 4096, kMostLibraryUnit = 1024;

/// One of some names.
template <size_t N>
size_t readIndex(JsonReader &reader, const char *key, const char *const (&names)[N], size_t allowed) {
  std::string text = reader.string(key);
  for (size_t i = 0; i < allowed; ++i)
    if (text == names[i])
      return i;
  reader.refuse(key, fmt::format("expected one of {}, found '{}'", fmt::join(names, names + allowed, ", "), text));
  return 0;
}

template <typename Enum, size_t N>
Enum readName(JsonReader &reader, const char *key, const char *const (&names)[N], size_t allowed = N) {
  return static_cast<Enum>(readIndex(reader, key, names, allowed));
}

/// What the linker would take for a symbol; anything else could not be looked up.
bool isSymbol(const std::string &text) {
  return !text.empty() && text.size() <= 512 &&
         text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.$") ==
             std::string::npos;
}

void readSlot(JsonReader &reader, Plan &plan) {
  reader.only({"unit", "bytesPerUnit"});
  Slot slot;
  slot.unit = readName<Unit>(reader, "unit", kUnits, 3);
  slot.bytesPerUnit = reader.integer("bytesPerUnit", 1, kMost);
  plan.slots.push_back(slot);
}

void readBuffer(JsonReader &reader, Plan &plan) {
  Buffer buffer;
  buffer.name = reader.string("name");
  buffer.kind = readName<Buffer::Kind>(reader, "kind", kKinds);
  switch (buffer.kind) {
  case Buffer::Kind::activation:
    reader.only({"name", "kind", "slot"});
    buffer.slot = reader.integer("slot", 0, static_cast<int64_t>(plan.slots.size()) - 1);
    break;
  case Buffer::Kind::weight:
    reader.only({"name", "kind", "tensor"});
    buffer.tensor = reader.string("tensor");
    if (buffer.tensor.empty())
      reader.refuse("tensor", "expected the name of a weight");
    break;
  case Buffer::Kind::key:
  case Buffer::Kind::value:
    reader.only({"name", "kind", "layer"});
    buffer.layer = reader.integer("layer", 0, plan.layers - 1);
    break;
  case Buffer::Kind::logits:
  case Buffer::Kind::tokens:
    reader.only({"name", "kind"});
    break;
  }
  plan.buffers.push_back(std::move(buffer));
}

/// The functions of a CUDA variant.
std::vector<KernelForm> readForms(JsonReader &reader) {
  std::vector<KernelForm> forms;
  reader.objects("forms", [&](JsonReader &fields) {
    fields.only(
        {"symbol", "mostUnits", "unitsPerBlock", "tilesPerBlock", "threads", "sharedBytes", "waits", "triggers"});
    KernelForm form;
    form.symbol = fields.string("symbol");
    if (!isSymbol(form.symbol))
      fields.refuse("symbol", "expected a symbol of letters, digits, '_', '.' and '$'");
    form.mostUnits = fields.integer("mostUnits", 0, INT32_MAX);
    form.unitsPerBlock = fields.integer("unitsPerBlock", 1, kMostUnitBlock);
    form.tilesPerBlock = fields.integer("tilesPerBlock", 1, INT32_MAX);
    form.threads = fields.integer("threads", 1, kMostThreads);
    form.sharedBytes = fields.integer("sharedBytes", 0, kMostShared);
    form.waits = fields.boolean("waits");
    form.triggers = fields.boolean("triggers");
    if (!forms.empty() && (forms.back().mostUnits == 0 || (form.mostUnits && form.mostUnits <= forms.back().mostUnits)))
      fields.refuse("mostUnits",
                    fmt::format("expected more than {} of the form before it, or 0 in the last form, found {}",
                                forms.back().mostUnits, form.mostUnits));
    forms.push_back(std::move(form));
  });
  if (forms.empty() || forms.size() > kMostForms || forms.back().mostUnits != 0)
    reader.refuse("forms", fmt::format("expected 1 to {}, the last for any number of units (mostUnits 0)", kMostForms));
  return forms;
}

void readParameter(JsonReader &reader, Kernel &kernel) {
  reader.only({"name", "access", "unit", "bytes"});
  Parameter parameter;
  parameter.name = reader.string("name");
  parameter.access = readName<Access>(reader, "access", kAccesses);
  if (reader.has("unit"))
    parameter.unit = readName<Unit>(reader, "unit", kUnits, 3);
  parameter.bytes = reader.integer("bytes", 1, kMost);
  kernel.parameters.push_back(std::move(parameter));
}

void readEdge(JsonReader &reader, Plan &plan) {
  reader.only({"from", "to", "programmatic"});
  Edge edge;
  edge.to = reader.integer("to", 1, static_cast<int64_t>(plan.launches.size()) - 1);
  edge.from = reader.integer("from", 0, edge.to - 1);
  edge.programmatic = reader.boolean("programmatic");
  plan.edges.push_back(edge);
}

void readKernel(JsonReader &reader, Plan &plan) {
  reader.only({"symbol", "unit", "tiles", "bytesPerTile", "flopsPerUnit", "variants", "provenance", "parameters",
               "counters", "feeds"});
  Kernel kernel;
  kernel.symbol = reader.string("symbol");
  if (!isSymbol(kernel.symbol))
    reader.refuse("symbol", "expected a symbol of letters, digits, '_', '.' and '$'");
  kernel.unit = readName<Unit>(reader, "unit", kUnits);
  if (kernel.unit == Unit::partials)
    reader.refuse("unit", "expected one of rows, logitRows, items, found 'partials'");
  kernel.tiles = reader.integer("tiles", 1, INT32_MAX);
  kernel.bytesPerTile = reader.integer("bytesPerTile", 0, kMost);
  kernel.flopsPerUnit = reader.integer("flopsPerUnit", 0, kMost);
  reader.members("variants", [&](const std::string &tier, JsonReader &fields) {
    if (fields.has("forms")) {
      fields.only({"forms"});
      kernel.variants[tier].forms = readForms(fields);
      return;
    }
    fields.only({"unitBlock", "scratchBytes", "library", "libraryRows", "libraryK", "libraryUnit"});
    KernelVariant variant{fields.integer("unitBlock", 1, kMostUnitBlock),
                          fields.integer("scratchBytes", 0, kMostScratch)};
    if (fields.has("library")) {
      variant.library = {kLibraries[readIndex(fields, "library", kLibraries, 1)],
                         fields.integer("libraryRows", 2, variant.unitBlock), fields.integer("libraryK", 1, INT32_MAX),
                         fields.integer("libraryUnit", 0, INT32_MAX)};
      if (variant.unitBlock > kMostLibraryRows || variant.library->unit > kMostLibraryUnit)
        fields.refuse("library",
                      fmt::format("expected calls of at most {} rows and units of at most {}, found {} and {}",
                                  kMostLibraryRows, kMostLibraryUnit, variant.unitBlock, variant.library->unit));
    }
    kernel.variants[tier] = std::move(variant);
  });
  kernel.provenance = reader.string("provenance");
  if (reader.has("parameters"))
    reader.objects("parameters", [&](JsonReader &fields) { readParameter(fields, kernel); });
  kernel.counters = reader.has("counters") && reader.boolean("counters");
  kernel.feeds = reader.has("feeds") && reader.boolean("feeds");
  if (kernel.variants.empty())
    reader.refuse("variants", "expected at least one ISA tier");
  plan.kernels.push_back(std::move(kernel));
}

void readLaunch(JsonReader &reader, Plan &plan) {
  reader.only({"kernel", "args", "barrier"});
  Launch launch;
  launch.kernel = reader.integer("kernel", 0, static_cast<int64_t>(plan.kernels.size()) - 1);
  launch.args = reader.integers("args", 0, static_cast<int64_t>(plan.buffers.size()) - 1);
  launch.barrier = reader.boolean("barrier");
  plan.launches.push_back(std::move(launch));
}

/// Rules that span several fields.
void checkWhole(JsonReader &reader, const Plan &plan) {
  __int128 page = __int128(plan.kvHeads) * (plan.dimPadded + 8) * plan.pageTokens * plan.kvElementBytes();
  if (page > kMost || page * plan.layers * 2 > kMost)
    return reader.refuse(fmt::format("a KV page of {} layers, {} heads, {} dimensions and {} tokens is too large",
                                     plan.layers, plan.kvHeads, plan.dimPadded, plan.pageTokens));
  auto count = [&](Buffer::Kind kind) { return std::ranges::count(plan.buffers, kind, &Buffer::kind); };
  if (int64_t logits = count(Buffer::Kind::logits); logits != 1)
    return reader.refuse("buffers", fmt::format("expected one of kind logits, found {}", logits));
  if (int64_t tokens = count(Buffer::Kind::tokens); tokens > 1)
    return reader.refuse("buffers", fmt::format("expected at most one of kind tokens, found {}", tokens));
  std::set<std::string_view> symbols;
  std::set<std::pair<std::string_view, std::string_view>> functions; // of an architecture
  for (const Kernel &kernel : plan.kernels) {
    for (const auto &[tier, variant] : kernel.variants)
      for (const KernelForm &form : variant.forms)
        if (!functions.insert({tier, form.symbol}).second)
          return reader.refuse("kernels", fmt::format("two forms for {} have the symbol {}", tier, form.symbol));
    if (__int128(kernel.tiles) * kernel.bytesPerTile > kMost)
      return reader.refuse("kernels", fmt::format("{}: {} tiles of {} bytes are too large", kernel.symbol, kernel.tiles,
                                                  kernel.bytesPerTile));
    if (!symbols.insert(kernel.symbol).second)
      return reader.refuse("kernels", fmt::format("two have the symbol {}", kernel.symbol));
  }
  if (plan.launches.empty())
    return reader.refuse("launches", "expected at least one");
}

} // namespace

int64_t Plan::tokensBuffer() const {
  auto found = std::ranges::find(buffers, Buffer::Kind::tokens, &Buffer::kind);
  return found == buffers.end() ? -1 : found - buffers.begin();
}

std::string printPlan(const Plan &plan) {
  using Ordered = nlohmann::ordered_json;
  auto text = [](const Ordered &value) { return value.dump(-1, ' ', false, Ordered::error_handler_t::replace); };
  std::string out = "{\n";
  auto line = [&](const char *key, const Ordered &value) { out += fmt::format("  {}: {},\n", text(key), text(value)); };
  // One element a line, so that a person can read it and a diff shows what moved.
  auto list = [&](const char *key, const auto &elements, const auto &describe, const char *end) {
    out += fmt::format("  {}: [", text(key));
    const char *separator = "\n";
    for (const auto &element : elements) {
      out += fmt::format("{}    {}", separator, text(describe(element)));
      separator = ",\n";
    }
    out += fmt::format("\n  ]{}\n", end);
  };
  line("vocab", plan.vocab);
  line("logitStride", plan.logitStride);
  line("context", plan.context);
  line("attentionRows", plan.attentionRows);
  line("chunkTokens", plan.chunkTokens);
  line("layers", plan.layers);
  line("kvHeads", plan.kvHeads);
  line("dimPadded", plan.dimPadded);
  line("pageTokens", plan.pageTokens);
  line("kvElement", plan.kvElement);
  auto name = [](const auto &names, auto value) { return names[static_cast<size_t>(value)]; };
  list(
      "slots", plan.slots,
      [&](const Slot &slot) { return Ordered{{"unit", name(kUnits, slot.unit)}, {"bytesPerUnit", slot.bytesPerUnit}}; },
      ",");
  list(
      "buffers", plan.buffers,
      [&](const Buffer &buffer) {
        Ordered json{{"name", buffer.name}, {"kind", name(kKinds, buffer.kind)}};
        if (buffer.kind == Buffer::Kind::activation)
          json["slot"] = buffer.slot;
        if (buffer.kind == Buffer::Kind::weight)
          json["tensor"] = buffer.tensor;
        if (buffer.kind == Buffer::Kind::key || buffer.kind == Buffer::Kind::value)
          json["layer"] = buffer.layer;
        return json;
      },
      ",");
  list(
      "kernels", plan.kernels,
      [&](const Kernel &kernel) {
        Ordered variants = Ordered::object();
        for (const auto &[tier, variant] : kernel.variants) {
          for (const KernelForm &form : variant.forms)
            variants[tier]["forms"].push_back({{"symbol", form.symbol},
                                               {"mostUnits", form.mostUnits},
                                               {"unitsPerBlock", form.unitsPerBlock},
                                               {"tilesPerBlock", form.tilesPerBlock},
                                               {"threads", form.threads},
                                               {"sharedBytes", form.sharedBytes},
                                               {"waits", form.waits},
                                               {"triggers", form.triggers}});
          if (!variant.forms.empty())
            continue;
          variants[tier] = {{"unitBlock", variant.unitBlock}, {"scratchBytes", variant.scratchBytes}};
          if (const auto &library = variant.library)
            variants[tier].update({{"library", library->name},
                                   {"libraryRows", library->rows},
                                   {"libraryK", library->k},
                                   {"libraryUnit", library->unit}});
        }
        Ordered json{{"symbol", kernel.symbol},
                     {"unit", name(kUnits, kernel.unit)},
                     {"tiles", kernel.tiles},
                     {"bytesPerTile", kernel.bytesPerTile},
                     {"flopsPerUnit", kernel.flopsPerUnit},
                     {"variants", variants},
                     {"provenance", kernel.provenance}};
        for (const Parameter &parameter : kernel.parameters) {
          Ordered described{{"name", parameter.name}, {"access", name(kAccesses, parameter.access)}};
          if (parameter.unit)
            described["unit"] = name(kUnits, *parameter.unit);
          described["bytes"] = parameter.bytes;
          json["parameters"].push_back(described);
        }
        if (kernel.counters)
          json["counters"] = true;
        if (kernel.feeds)
          json["feeds"] = true;
        return json;
      },
      ",");
  list(
      "launches", plan.launches,
      [&](const Launch &launch) {
        return Ordered{{"kernel", launch.kernel}, {"args", launch.args}, {"barrier", launch.barrier}};
      },
      plan.edges.empty() ? "" : ",");
  if (!plan.edges.empty())
    list(
        "edges", plan.edges,
        [&](const Edge &edge) {
          return Ordered{{"from", edge.from}, {"to", edge.to}, {"programmatic", edge.programmatic}};
        },
        "");
  return out + "}\n";
}

Result<Plan> parsePlan(std::string_view json) {
  if (json.size() > kMostPlanBytes)
    return fail(ExitCode::badInput, "plan.json: expected at most {} bytes, found {}", kMostPlanBytes, json.size());
  auto document = parseJson(json, "plan.json");
  if (!document)
    return propagate(document);
  std::optional<Error> error;
  JsonReader reader(*document, "plan.json", error);
  reader.only({"vocab", "logitStride", "context", "attentionRows", "chunkTokens", "layers", "kvHeads", "dimPadded",
               "pageTokens", "kvElement", "slots", "buffers", "kernels", "launches", "edges"});
  Plan plan;
  plan.vocab = reader.integer("vocab", 1, INT32_MAX);
  plan.logitStride = reader.integer("logitStride", plan.vocab, int64_t(INT32_MAX) + 4096);
  plan.context = reader.integer("context", 1, INT32_MAX);
  plan.attentionRows = reader.integer("attentionRows", 1, kMostUnitBlock);
  plan.chunkTokens = reader.integer("chunkTokens", 1, 1 << 20);
  plan.layers = reader.integer("layers", 1, 1 << 20);
  plan.kvHeads = reader.integer("kvHeads", 1, 1 << 20);
  plan.dimPadded = reader.integer("dimPadded", 1, 1 << 20);
  plan.pageTokens = reader.integer("pageTokens", 1, 1 << 20);
  plan.kvElement = reader.string("kvElement");
  if (plan.kvElement != "f32" && plan.kvElement != "bf16" && plan.kvElement != "int8")
    reader.refuse("kvElement", fmt::format("expected f32, bf16 or int8, found '{}'", plan.kvElement));
  if (plan.kvElement == "int8" && (plan.dimPadded % 4 != 0 || plan.pageTokens % 4 != 0))
    reader.refuse(fmt::format("int8 KV: expected dimPadded and pageTokens of a multiple of 4, found {} and {}",
                              plan.dimPadded, plan.pageTokens));
  reader.objects("slots", [&](JsonReader &fields) { readSlot(fields, plan); });
  reader.objects("buffers", [&](JsonReader &fields) { readBuffer(fields, plan); });
  reader.objects("kernels", [&](JsonReader &fields) { readKernel(fields, plan); });
  reader.objects("launches", [&](JsonReader &fields) { readLaunch(fields, plan); });
  if (reader.has("edges"))
    reader.objects("edges", [&](JsonReader &fields) { readEdge(fields, plan); });
  if (!error)
    checkWhole(reader, plan);
  if (error)
    return std::unexpected(*error);
  return plan;
}

} // namespace lathe

//===- Stages.cpp - the stages side by side -----------------------------------===//
#include "compiler/Weights.h"
#include "compiler/inspect/html/Parts.h"

#include "mlir/IR/AsmState.h"
#include "mlir/IR/OperationSupport.h"

#include <map>

using namespace mlir;

namespace lathe::html {
namespace {

/// The model's words as numbers, which take less of the page.
class Words {
public:
  /// Of what stands at a place: its words; of a weight, which has its own name in each layer, that.
  std::string numbers(Operation *op) {
    std::string text;
    auto weight = dyn_cast<lm::WeightOp>(op);
    for (std::string word : weight ? std::vector{weight.getSource().str()} : wordsOf(op->getLoc())) {
      if (word.starts_with("kv")) // "kv7" of a layer is "kv" of the kernel that the layers share
        llvm::erase_if(word, llvm::isDigit);
      text += fmt::format("{}{}", text.empty() ? "" : " ", numbering.try_emplace(word, numbering.size()).first->second);
    }
    return text;
  }

private:
  std::map<std::string, size_t> numbering;
};

/// The decoder layers of the step's ops: that of its weights, its keys and values, else of what it reads. Ops that are
/// in no layer are left out, and so are kernels, which layers share.
class Layers {
public:
  explicit Layers(Operation *stage) {
    stage->walk([&](func::FuncOp function) {
      int64_t caches = 0;
      for (BlockArgument argument : function.getArguments())
        if (isa<lm::KvType>(argument.getType()))
          states[argument] = caches++;
      if (!function->hasAttr("lm.kernel") && caches > 0)
        for (Operation &op : function.getBody().getOps())
          place(op);
    });
  }

  int64_t of(Operation *op) const {
    auto found = layers.find(op);
    return found == layers.end() ? -1 : found->second;
  }

private:
  void place(Operation &op) {
    if (op.hasTrait<OpTrait::IsTerminator>())
      return;
    int64_t owned = -1, read = -1;
    bool weighted = false, state = true;
    if (auto weight = dyn_cast<lm::WeightOp>(op)) {
      owned = layerOf(weight.getSource());
      weighted = true;
    }
    for (Value operand : op.getOperands()) {
      auto found = states.find(operand);
      state &= found != states.end();
      if (found != states.end())
        owned = std::max(owned, found->second), weighted = true;
      else if (Operation *source = operand.getDefiningOp())
        read = std::max(read, of(source));
    }
    int64_t layer = weighted ? owned : read;
    if (layer >= 0)
      layers[&op] = layer;
    for (Value result : op.getResults())
      if (isa<lm::KvType>(result.getType()) || (state && weighted)) // of weights and nothing else: a weight
        states[result] = layer;
  }

  llvm::DenseMap<Value, int64_t> states; ///< weights, keys and values
  llvm::DenseMap<Operation *, int64_t> layers;
};

/// A stage, a span a line; a line where an op begins has the words of its location. Lines of a layer stand together.
std::string stageLines(Operation *stage, Words &words) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  AsmState::LocationMap where;
  AsmState state(stage, OpPrintingFlags().printNameLocAsPrefix(true).useLocalScope(), &where);
  stage->print(stream, state);
  std::map<unsigned, Operation *> ops; // by line from 1
  for (auto [op, place] : where)
    if (auto [it, fresh] = ops.try_emplace(place.first, op); !fresh && op->isProperAncestor(it->second))
      it->second = op;
  Layers layers(stage);
  std::string html;
  unsigned number = 0;
  int64_t open = -1;
  for (llvm::StringRef line : llvm::split(llvm::StringRef(text), '\n')) {
    auto op = ops.find(++number);
    if (int64_t layer = op == ops.end() ? -1 : layers.of(op->second); layer != open) {
      html += open < 0 ? "" : "</code>";
      html += layer < 0 ? "" : fmt::format("<code data-layer=\"{}\">", layer);
      open = layer;
    }
    std::string numbers = op == ops.end() || isa<ModuleOp>(op->second) ? "" : words.numbers(op->second);
    html += numbers.empty() ? "<span>" : "<span data-w=\"" + numbers + "\">";
    html += escape(line) + "</span>\n";
  }
  return html + (open < 0 ? "" : "</code>");
}

} // namespace

Result<std::string> stagesSection(const Subject &subject) {
  const std::pair<const char *, const char *> stages[] = {
      {"00", "the model"}, {"10", "fused"}, {"20", "the programs of tiles"}};
  std::string html =
      "<section id=\"stages\"><h2>Stages</h2>\n<p>The IR after each stage. Point at a line to mark what it became in "
      "the "
      "other one, by the locations that the passes carry; click to keep the mark and to go there. Kernels serve all "
      "layers; above, one layer can be chosen, and the lines and "
      "launches of the others are left out.</p>\n<div "
      "class=\"choice\">";
  for (const char *side : {"left", "right"}) {
    html += fmt::format("<label>{} <select>", side);
    int64_t number = 0;
    for (auto [stage, name] : stages)
      html += fmt::format("<option value=\"{}\">{} {}</option>", number++, stage, name);
    html += "</select></label>";
  }
  html += "</div>\n<div class=\"panes\">\n";
  Words words;
  for (auto [stage, name] : stages) {
    auto module = subject.inspection.stage(stage);
    if (!module)
      return propagate(module);
    Operation *shown = *module;
    std::string of;
    if (auto tier = module->lookupSymbol<ModuleOp>(subject.tier.name))
      shown = tier, of = ", " + subject.tier.name;
    html += fmt::format("<div class=\"pane\"><h3 id=\"stage-{0}\">{0} {1}{2}</h3><pre>{3}</pre></div>\n", stage, name,
                        escape(of), stageLines(shown, words));
  }
  return html + "</div></section>\n";
}

} // namespace lathe::html

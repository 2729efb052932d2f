//===- Stages.cpp - the stages side by side -----------------------------------===//
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

/// A stage, a span a line; a line where an op begins has the words of its location.
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
  std::string html;
  unsigned number = 0;
  for (llvm::StringRef line : llvm::split(llvm::StringRef(text), '\n')) {
    auto op = ops.find(++number);
    std::string numbers = op == ops.end() || isa<ModuleOp>(op->second) ? "" : words.numbers(op->second);
    html += numbers.empty() ? "<span>" : "<span data-w=\"" + numbers + "\">";
    html += escape(line) + "</span>\n";
  }
  return html;
}

} // namespace

Result<std::string> stagesSection(const Subject &subject) {
  const std::pair<const char *, const char *> stages[] = {
      {"00", "the model"}, {"10", "fused"}, {"20", "the programs of tiles"}};
  std::string html =
      "<section id=\"stages\"><h2>Stages</h2>\n<p>The IR after each stage. Point at a line to mark what it became in "
      "the "
      "other one, by the locations that the passes carry; click to keep the mark and to go there.</p>\n<div "
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
    if (auto tier = module->lookupSymbol<ModuleOp>(subject.tier))
      shown = tier, of = ", " + subject.tier;
    html += fmt::format("<div class=\"pane\"><h3 id=\"stage-{0}\">{0} {1}{2}</h3><pre>{3}</pre></div>\n", stage, name,
                        escape(of), stageLines(shown, words));
  }
  return html + "</div></section>\n";
}

} // namespace lathe::html

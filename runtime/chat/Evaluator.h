//===- Evaluator.h - walks the tree of a template -------------------------===//
#pragma once

#include "runtime/chat/Run.h"
#include "runtime/chat/Syntax.h"

namespace lathe::chat {

/// Names of one block; a lookup goes on in `outer`.
struct Scope {
  std::shared_ptr<Scope> outer;
  std::vector<std::pair<std::string, Value>> names;
};
using ScopePtr = std::shared_ptr<Scope>;

class Evaluator {
public:
  Evaluator(Run &run, const Dict &variables) : run(run), variables(variables) {}
  ~Evaluator();

  /// Writes what a template renders to; after an error in `run` the output means nothing.
  void render(const Block &block, Text &output);

private:
  friend struct Macro;
  enum class Flow { on, breakLoop, continueLoop };
  class Level;

  Run &run;
  const Dict &variables;
  ScopePtr scope;
  Text *out = nullptr;
  /// Scopes that macros refer to, kept and at last emptied from here: a macro may stand in the scope it refers to.
  std::vector<ScopePtr> captured;

  // Statements (Evaluator.cpp).
  Flow execute(const Block &block);
  Flow execute(const Node &node);
  Flow executeLoop(const Node &node);
  void executeCallBlock(const Node &node);
  void write(const Text &text);
  void assign(const Node &target, Value value);
  void define(const std::string &name, Value value);
  /// Renders a block with names of its own, and gives its text.
  Text capture(const Block &block);
  Flow inScope(const Block &block);
  Value makeMacro(const Node &node, size_t firstDefault);
  Value callMacro(struct Macro &macro, Arguments &arguments);
  void bindParameters(struct Macro &macro, Arguments &arguments);

  // Expressions (Expressions.cpp).
  Value evaluate(const Node &node);
  Value evaluateKind(const Node &node);
  Value lookup(const std::string &name);
  Value evaluateItems(const Node &node);
  Value evaluateDict(const Node &node);
  Value evaluateCompare(const Node &node);
  bool compareOnce(const std::string &op, const Value &left, const Value &right);
  Value evaluateConcat(const Node &node);
  Value evaluateSlice(const Node &node);
  Value evaluateSign(const Node &node);
  Value evaluateCall(const Node &node, Arguments &extra);
  /// The arguments of a call, behind what `arguments` has.
  void evaluateArguments(const Node &node, Arguments &arguments);
  Value evaluateFilter(const Node &node, const Value *input);
  Value evaluateTest(const Node &node);
};

struct Macro : Callable {
  Evaluator &evaluator;
  const Node &node;
  size_t firstDefault; ///< where its defaults begin among the node's children
  ScopePtr scope;

  Macro(Evaluator &evaluator, const Node &node, size_t firstDefault, ScopePtr scope)
      : evaluator(evaluator), node(node), firstDefault(firstDefault), scope(std::move(scope)) {}
  const char *typeName() const override { return "macro"; }
  Value call(Run &, Arguments &arguments) override { return evaluator.callMacro(*this, arguments); }
};

/// Counts evaluation within evaluation.
class Evaluator::Level {
public:
  explicit Level(Run &run) : run(run) {
    if (++run.depth > run.limits.depth)
      run.fail(fmt::format("expected at most {} levels of evaluation: does a macro call itself without end?",
                           run.limits.depth));
  }
  ~Level() { --run.depth; }

private:
  Run &run;
};

} // namespace lathe::chat

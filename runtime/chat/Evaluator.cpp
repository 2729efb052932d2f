#include "runtime/chat/Evaluator.h"

#include "runtime/tokenizer/Utf8.h"

#include <algorithm>

namespace lathe::chat {

using Kind = Node::Kind;

namespace {

/// The `loop` of a body: where the walk stands.
struct Loop : WithAttributes {
  std::shared_ptr<const Sequence> walked;
  size_t index = 0;
  std::optional<Value> changedFrom;
  std::weak_ptr<Object> self;

  const char *typeName() const override { return "loop"; }
  int depth() const override { return walked->depth + 1; }

  static Value cycle(Run &run, const Value &self, Arguments &arguments) {
    if (arguments.values.empty() || !arguments.named.empty())
      return run.fail("loop.cycle: expected items, and no keywords");
    return arguments.values[self.as<Loop>()->index % arguments.values.size()];
  }
  static Value changed(Run &run, const Value &self, Arguments &arguments) {
    Value now = Value::tuple(arguments.values);
    auto *loop = self.as<Loop>();
    if (!run.accept(now) || (loop->changedFrom && run.equal(*loop->changedFrom, now)))
      return false;
    loop->changedFrom = now;
    return true;
  }

  std::optional<Value> attribute(Run &, std::string_view name) override {
    const std::vector<Value> &items = walked->items;
    auto at = static_cast<int64_t>(index), count = static_cast<int64_t>(items.size());
    if (name == "index")
      return at + 1;
    if (name == "index0")
      return at;
    if (name == "revindex")
      return count - at;
    if (name == "revindex0")
      return count - at - 1;
    if (name == "first")
      return at == 0;
    if (name == "last")
      return at + 1 == count;
    if (name == "length")
      return count;
    if (name == "depth" || name == "depth0") // counts the calls of a recursive loop, which there are none of
      return int64_t(name == "depth");
    if (name == "previtem")
      return at > 0 ? items[index - 1] : Value::undefined("there is no previous item");
    if (name == "nextitem")
      return at + 1 < count ? items[index + 1] : Value::undefined("there is no next item");
    if (name == "cycle" || name == "changed")
      return Value(
          std::make_shared<Function>(std::string(name), name == "cycle" ? cycle : changed, Value(self.lock())));
    return std::nullopt;
  }
};

} // namespace

Evaluator::~Evaluator() {
  // One after the other, each kept by its list meanwhile: what refers to each other in a ring or a long chain neither
  // stays for ever nor ends in recursion.
  for (const ScopePtr &each : captured) {
    each->outer.reset();
    std::exchange(each->names, {});
  }
  for (const auto &each : run.namespaces)
    each->items = {};
}

void Evaluator::render(const Block &block, Text &output) {
  scope = std::make_shared<Scope>();
  out = &output;
  execute(block);
}

void Evaluator::write(const Text &text) {
  if (!run.charge(1 + text.size() / 16))
    return;
  if (out->size() + text.size() > run.limits.outputBytes)
    run.fail(fmt::format("expected at most {} bytes of output", run.limits.outputBytes));
  else
    out->append(text);
}

Evaluator::Flow Evaluator::execute(const Block &block) {
  for (const NodePtr &node : block)
    if (Flow flow = execute(*node); flow != Flow::on || run.failed())
      return flow;
  return Flow::on;
}

Evaluator::Flow Evaluator::execute(const Node &node) {
  Level level(run);
  run.at = node.offset;
  if (!run.charge())
    return Flow::on;
  switch (node.kind) {
  case Kind::data:
    write(node.constant.text());
    break;
  case Kind::print: {
    Value value = evaluate(*node.children[0]);
    run.at = node.children[0]->offset;
    write(run.str(value));
    break;
  }
  case Kind::branch:
    for (size_t i = 0; i < node.children.size(); ++i)
      if (evaluate(*node.children[i]).truthy() || run.failed())
        return run.failed() ? Flow::on : execute(node.blocks[i]);
    return node.blocks.size() > node.children.size() ? execute(node.blocks.back()) : Flow::on;
  case Kind::loop:
    return executeLoop(node);
  case Kind::set:
    assign(*node.children[0], evaluate(*node.children[1]));
    break;
  case Kind::setBlock: {
    Value text(capture(node.blocks[0]));
    assign(*node.children[0], node.children[1] ? evaluateFilter(*node.children[1], &text) : text);
    break;
  }
  case Kind::macro:
    define(node.text, makeMacro(node, 0));
    break;
  case Kind::callBlock:
    executeCallBlock(node);
    break;
  case Kind::filterBlock: {
    Value text(capture(node.blocks[0]));
    Value filtered = evaluateFilter(*node.children[0], &text);
    write(run.str(filtered));
    break;
  }
  case Kind::with: {
    std::vector<Value> values; // all are evaluated outside, none sees another
    for (size_t i = 1; i < node.children.size(); i += 2)
      values.push_back(evaluate(*node.children[i]));
    ScopePtr outer = scope;
    scope = std::make_shared<Scope>(Scope{outer, {}});
    for (size_t i = 0; i < values.size(); ++i)
      assign(*node.children[2 * i], values[i]);
    Flow flow = execute(node.blocks[0]);
    scope = outer;
    return flow;
  }
  case Kind::scope:
    return inScope(node.blocks[0]);
  case Kind::breakLoop:
    return Flow::breakLoop;
  case Kind::continueLoop:
    return Flow::continueLoop;
  default:
    run.fail("an expression where a statement belongs");
  }
  return Flow::on;
}

Evaluator::Flow Evaluator::inScope(const Block &block) {
  ScopePtr outer = scope;
  scope = std::make_shared<Scope>(Scope{outer, {}});
  Flow flow = execute(block);
  scope = outer;
  return flow;
}

Text Evaluator::capture(const Block &block) {
  Text text;
  Text *outer = std::exchange(out, &text);
  inScope(block);
  out = outer;
  return text;
}

void Evaluator::define(const std::string &name, Value value) {
  run.charge(scope->names.size() / 8);
  for (auto &[known, old] : scope->names)
    if (known == name) {
      old = std::move(value);
      return;
    }
  scope->names.emplace_back(name, std::move(value));
}

void Evaluator::assign(const Node &target, Value value) {
  if (run.failed())
    return;
  run.at = target.offset;
  if (target.kind == Kind::name)
    return define(target.text, std::move(value));
  if (target.kind == Kind::namespaceItem) {
    Value found = lookup(target.text);
    auto *place = found.as<Namespace>();
    if (!place)
      run.fail(fmt::format("{} is no namespace: only a namespace's items can be set", quote(target.text)));
    else
      place->items.set(target.names[0], std::move(value));
    return;
  }
  auto items = run.iterate(value);
  if (!run.failed() && items.size() != target.children.size())
    run.fail(fmt::format("expected {} values to assign, found {}", target.children.size(), items.size()));
  for (size_t i = 0; i < target.children.size() && !run.failed(); ++i)
    assign(*target.children[i], items[i]);
}

Evaluator::Flow Evaluator::executeLoop(const Node &node) {
  const Node &target = *node.children[0];
  const Node *condition = node.children[2].get();
  auto items = run.iterate(evaluate(*node.children[1]));
  ScopePtr outer = scope;
  auto enter = [&](const Value &item) {
    scope = std::make_shared<Scope>(Scope{outer, {}});
    assign(target, item);
  };
  if (condition && node.flag) { // `loop` counts what passes
    std::vector<Value> passing;
    for (const Value &item : items) {
      enter(item);
      if (run.failed())
        break;
      if (evaluate(*condition).truthy())
        passing.push_back(item);
    }
    items = Sequence::make(Sequence::Form::list, std::move(passing));
    condition = nullptr;
  }
  auto loop = std::make_shared<Loop>();
  loop->walked = items.sequence();
  loop->self = loop;
  bool any = false;
  for (size_t i = 0; i < items.size() && run.charge(); ++i) {
    enter(items[i]);
    if (condition && !evaluate(*condition).truthy())
      continue;
    any = true;
    loop->index = i;
    if (node.flag)
      define("loop", std::shared_ptr<Object>(loop));
    if (execute(node.blocks[0]) == Flow::breakLoop)
      break;
  }
  scope = outer;
  return !any && node.blocks.size() > 1 && !run.failed() ? inScope(node.blocks[1]) : Flow::on;
}

Value Evaluator::makeMacro(const Node &node, size_t firstDefault) {
  if (captured.empty() || captured.back() != scope)
    captured.push_back(scope);
  return std::shared_ptr<Object>(std::make_shared<Macro>(*this, node, firstDefault, scope));
}

void Evaluator::executeCallBlock(const Node &node) {
  Arguments caller;
  caller.named.emplace_back("caller", makeMacro(node, 1));
  Value text = evaluateCall(*node.children[0], caller);
  write(run.str(text));
}

/// In the macro's own scope: parameters, defaults for those that are missing, then varargs, kwargs and caller.
void Evaluator::bindParameters(Macro &macro, Arguments &arguments) {
  const Node &node = macro.node;
  auto refuse = [&](std::string why) { run.fail(fmt::format("macro {}: {}", quote(node.text), why)); };
  std::vector<bool> taken(arguments.named.size());
  size_t defaults = node.children.size() - macro.firstDefault, count = node.names.size();
  for (size_t i = 0; i < count && !run.failed(); ++i) {
    const std::string &name = node.names[i];
    std::optional<Value> value;
    if (i < arguments.values.size())
      value = arguments.values[i];
    for (size_t j = 0; j < arguments.named.size(); ++j)
      if (arguments.named[j].first == name) {
        if (value)
          return refuse(fmt::format("the argument {} is given twice", quote(name)));
        value = arguments.named[j].second, taken[j] = true;
      }
    if (!value && i + defaults >= count)
      value = evaluate(*node.children[macro.firstDefault + i + defaults - count]);
    define(name, value ? *value : Value::undefined(fmt::format("the parameter {} is not given", quote(name))));
  }
  if (arguments.values.size() > count && !node.usesVarargs)
    return refuse(fmt::format("expected at most {} arguments, found {}", count, arguments.values.size()));
  auto more = std::make_shared<Dict>();
  std::optional<Value> caller;
  for (size_t i = 0; i < arguments.named.size(); ++i) {
    if (taken[i])
      continue;
    const auto &[name, value] = arguments.named[i];
    if (name == "caller" && node.usesCaller)
      caller = value;
    else if (node.usesKwargs)
      more->set(name, value);
    else
      return refuse(fmt::format("no argument is called {}", quote(name)));
  }
  if (node.usesCaller && std::ranges::find(node.names, "caller") == node.names.end())
    define("caller", caller ? *caller : Value::undefined("no call block calls this macro"));
  if (node.usesKwargs)
    define("kwargs", std::shared_ptr<const Dict>(std::move(more)));
  size_t extra = std::min(count, arguments.values.size());
  if (node.usesVarargs)
    define("varargs", Value::tuple({arguments.values.begin() + static_cast<ptrdiff_t>(extra), arguments.values.end()}));
}

Value Evaluator::callMacro(Macro &macro, Arguments &arguments) {
  Level level(run);
  Text text;
  ScopePtr outer = std::exchange(scope, std::make_shared<Scope>(Scope{macro.scope, {}}));
  Text *written = std::exchange(out, &text);
  bindParameters(macro, arguments);
  if (!run.failed())
    execute(macro.node.blocks[0]);
  out = written;
  scope = outer;
  return text;
}

} // namespace lathe::chat

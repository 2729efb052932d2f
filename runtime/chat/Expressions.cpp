#include "runtime/chat/Evaluator.h"

#include "runtime/tokenizer/Utf8.h"

namespace lathe::chat {

using Kind = Node::Kind;

Value Evaluator::evaluate(const Node &node) {
  Level level(run);
  run.at = node.offset;
  if (!run.charge())
    return {};
  Value value = evaluateKind(node);
  run.accept(value);
  return value;
}

Value Evaluator::evaluateKind(const Node &node) {
  auto child = [&](size_t index) { return evaluate(*node.children[index]); };
  switch (node.kind) {
  case Kind::constant:
    return node.constant;
  case Kind::name:
    return lookup(node.text);
  case Kind::tuple:
  case Kind::list:
    return evaluateItems(node);
  case Kind::dict:
    return evaluateDict(node);
  case Kind::conditional:
    if (child(0).truthy())
      return child(1);
    return node.children[2] ? child(2)
                            : Value::undefined("the value of an 'if' without 'else', whose condition is false");
  case Kind::logicalOr: {
    Value left = child(0);
    return left.truthy() || run.failed() ? left : child(1);
  }
  case Kind::logicalAnd: {
    Value left = child(0);
    return left.truthy() && !run.failed() ? child(1) : left;
  }
  case Kind::logicalNot:
    return !child(0).truthy();
  case Kind::compare:
    return evaluateCompare(node);
  case Kind::arithmetic: {
    Value left = child(0), right = child(1);
    run.at = node.offset;
    return run.failed() ? Value() : run.arithmetic(node.text, left, right);
  }
  case Kind::sign:
    return evaluateSign(node);
  case Kind::concat:
    return evaluateConcat(node);
  case Kind::attribute: {
    Value object = child(0);
    run.at = node.offset;
    return run.failed() ? Value() : run.attribute(object, node.text);
  }
  case Kind::item: {
    Value object = child(0), index = child(1);
    run.at = node.offset;
    return run.failed() ? Value() : run.item(object, index);
  }
  case Kind::slice:
    return evaluateSlice(node);
  case Kind::call: {
    Arguments none;
    return evaluateCall(node, none);
  }
  case Kind::filter:
    return evaluateFilter(node, nullptr);
  case Kind::test:
    return evaluateTest(node);
  default:
    return run.fail("a statement where an expression belongs");
  }
}

Value Evaluator::lookup(const std::string &name) {
  for (const Scope *each = scope.get(); each; each = each->outer.get()) {
    if (!run.charge(1 + each->names.size() / 8))
      return {};
    for (const auto &[known, value] : each->names)
      if (known == name)
        return value;
  }
  if (const Value *found = variables.find(name))
    return *found;
  if (auto global = findGlobal(name))
    return *global;
  return Value::undefined(fmt::format("{} is undefined", quote(name)));
}

Value Evaluator::evaluateItems(const Node &node) {
  std::vector<Value> items;
  for (const NodePtr &child : node.children)
    items.push_back(evaluate(*child));
  return node.kind == Kind::tuple ? Value::tuple(std::move(items)) : Value::list(std::move(items));
}

Value Evaluator::evaluateDict(const Node &node) {
  auto dict = std::make_shared<Dict>();
  for (size_t i = 0; i + 1 < node.children.size() && !run.failed(); i += 2) {
    Value key = evaluate(*node.children[i]), value = evaluate(*node.children[i + 1]);
    run.at = node.children[i]->offset;
    if (!key.hashable())
      return run.fail(fmt::format("a {} is no key of a dict", key.typeName()));
    if (run.charge(key.weight()))
      dict->set(std::move(key), std::move(value));
  }
  return std::shared_ptr<const Dict>(std::move(dict));
}

bool Evaluator::compareOnce(const std::string &op, const Value &left, const Value &right) {
  if (op == "==")
    return run.equal(left, right);
  if (op == "!=")
    return !run.equal(left, right);
  if (op == "in")
    return run.contains(right, left);
  if (op == "not in")
    return !run.contains(right, left);
  bool swapped = op[0] == '>';
  const Value &small = swapped ? right : left, &large = swapped ? left : right;
  if (run.less(small, large))
    return true;
  return op.size() == 2 && !run.failed() && run.equal(left, right);
}

/// a < b < c is a < b and b < c, with b evaluated once.
Value Evaluator::evaluateCompare(const Node &node) {
  Value left = evaluate(*node.children[0]);
  for (size_t i = 0; i < node.names.size() && !run.failed(); ++i) {
    Value right = evaluate(*node.children[i + 1]);
    run.at = node.offset;
    if (run.failed() || !compareOnce(node.names[i], left, right))
      return false;
    left = std::move(right);
  }
  return true;
}

Value Evaluator::evaluateConcat(const Node &node) {
  Text joined;
  for (const NodePtr &child : node.children) {
    Text part = run.str(evaluate(*child));
    if (!run.charge(1 + part.size() / 16))
      return {};
    joined.append(part);
  }
  return joined;
}

Value Evaluator::evaluateSlice(const Node &node) {
  Value parts[4];
  for (size_t i = 0; i < 4; ++i)
    parts[i] = node.children[i] ? evaluate(*node.children[i]) : Value(None());
  run.at = node.offset;
  return run.failed() ? Value() : run.slice(parts[0], parts[1], parts[2], parts[3]);
}

Value Evaluator::evaluateSign(const Node &node) {
  Value value = evaluate(*node.children[0]);
  run.at = node.offset;
  if (run.failed())
    return {};
  if (!value.isNumber())
    return run.fail(value.isUndefined() ? value.whyUndefined() : fmt::format("the sign of a {}", value.typeName()));
  if (value.isReal())
    return node.text == "-" ? -value.number() : value.number();
  return run.arithmetic(node.text, Value(int64_t(0)), value);
}

void Evaluator::evaluateArguments(const Node &node, Arguments &arguments) {
  size_t positional = node.children.size() - node.names.size();
  for (size_t i = 1; i < positional; ++i)
    arguments.values.push_back(evaluate(*node.children[i]));
  if (node.star) {
    auto items = run.iterate(evaluate(*node.star));
    arguments.values.insert(arguments.values.end(), items.begin(), items.end());
  }
  for (size_t i = 0; i < node.names.size(); ++i)
    arguments.named.emplace_back(node.names[i], evaluate(*node.children[positional + i]));
  if (node.doubleStar) {
    Value more = evaluate(*node.doubleStar);
    if (!more.isDict()) {
      run.fail(fmt::format("'**' needs a dict, found {}", more.typeName()));
      return;
    }
    for (const auto &[key, value] : more.dict().entries) {
      if (!key.isText() || !run.charge()) {
        run.fail("'**' needs a dict whose keys are texts");
        return;
      }
      arguments.named.emplace_back(std::string(key.view()), value);
    }
  }
}

Value Evaluator::evaluateCall(const Node &node, Arguments &extra) {
  Value callee = evaluate(*node.children[0]);
  Arguments arguments;
  evaluateArguments(node, arguments);
  for (auto &named : extra.named)
    arguments.named.push_back(std::move(named));
  run.at = node.offset;
  return run.failed() ? Value() : run.call(callee, arguments);
}

/// `input`: what the innermost of the filters gets where no value stands before it.
Value Evaluator::evaluateFilter(const Node &node, const Value *input) {
  const Node *value = node.children[0].get();
  Arguments arguments;
  if (!value)
    arguments.values.push_back(input ? *input : Value());
  else
    arguments.values.push_back(value->kind == Kind::filter && input ? evaluateFilter(*value, input) : evaluate(*value));
  evaluateArguments(node, arguments);
  run.at = node.offset;
  return run.failed() ? Value() : run.filter(node.text, arguments);
}

Value Evaluator::evaluateTest(const Node &node) {
  Arguments arguments;
  arguments.values.push_back(evaluate(*node.children[0]));
  evaluateArguments(node, arguments);
  run.at = node.offset;
  return !run.failed() && run.test(node.text, arguments) != node.flag;
}

} // namespace lathe::chat

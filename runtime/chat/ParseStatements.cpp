#include "runtime/chat/Parser.h"

#include "runtime/tokenizer/Utf8.h"

#include <algorithm>

namespace lathe::chat {

using Kind = Node::Kind;

Result<Block> Parser::parse(std::string_view source, std::string_view name) {
  auto tokens = tokenize(source, name);
  if (!tokens)
    return propagate(tokens);
  Parser parser(source, name, std::move(*tokens));
  Block block = parser.parseUntil({});
  if (parser.error)
    return std::unexpected(*parser.error);
  return block;
}

NodePtr Parser::makeAt(Kind kind, uint32_t offset) const {
  auto node = std::make_unique<Node>();
  node->kind = kind;
  node->offset = offset;
  return node;
}

void Parser::refuse(size_t offset, std::string message) {
  if (!error)
    error = Error{ExitCode::badInput, fmt::format("{}: {}", placeInSource(source, offset, name), message)};
}

void Parser::unexpected(const char *wanted) {
  refuse(current().offset, fmt::format("expected {}, found {}", wanted, describe(current())));
}

void Parser::adopt(Node &parent, NodePtr child) {
  if (child && (parent.depth = std::max(parent.depth, child->depth + 1)) > kMaxSyntaxDepth)
    refuse(child->offset, fmt::format("nested too deeply: expected at most {} levels", kMaxSyntaxDepth));
  parent.children.push_back(std::move(child));
}

void Parser::adopt(Node &parent, Block block) {
  for (const NodePtr &child : block)
    if ((parent.depth = std::max(parent.depth, child->depth + 1)) > kMaxSyntaxDepth)
      refuse(child->offset, fmt::format("nested too deeply: expected at most {} levels", kMaxSyntaxDepth));
  parent.blocks.push_back(std::move(block));
}

bool Parser::skipSymbol(std::string_view symbol) {
  bool found = current().isSymbol(symbol);
  if (found)
    next();
  return found;
}

bool Parser::skipName(std::string_view word) {
  bool found = current().isName(word);
  if (found)
    next();
  return found;
}

void Parser::expectSymbol(std::string_view symbol) {
  if (!skipSymbol(symbol))
    unexpected(fmt::format("'{}'", symbol).c_str());
}

void Parser::expectName(std::string_view word) {
  if (!skipName(word))
    unexpected(fmt::format("'{}'", word).c_str());
}

std::string Parser::expectIdentifier(const char *what) {
  if (current().kind != Token::Kind::name) {
    unexpected(what);
    return {};
  }
  std::string identifier = current().text;
  next();
  return identifier;
}

void Parser::expectBlockEnd() {
  if (current().kind != Token::Kind::blockEnd)
    return unexpected("'%}'");
  next();
}

/// Nodes up to a tag whose name is one of `ends`, which stays the current token; with no ends, to the end of all.
Block Parser::parseUntil(Names ends) {
  Block block;
  uint32_t begin = current().offset;
  while (!error) {
    const Token &token = current();
    if (token.kind == Token::Kind::data) {
      NodePtr node = make(Kind::data);
      node->constant = Value::literal(token.text);
      next();
      block.push_back(std::move(node));
    } else if (token.kind == Token::Kind::variableBegin) {
      NodePtr node = make(Kind::print);
      next();
      adopt(*node, parseTuple(false, true, false));
      if (current().kind != Token::Kind::variableEnd)
        unexpected("'}}'");
      next();
      block.push_back(std::move(node));
    } else if (token.kind == Token::Kind::blockBegin) {
      next();
      if (std::ranges::any_of(ends, [&](std::string_view end) { return current().isName(end); }))
        return block;
      block.push_back(parseStatement());
      expectBlockEnd();
    } else {
      break;
    }
  }
  if (ends.size() > 0)
    refuse(begin, fmt::format("a block without an end: expected '{}'", fmt::join(ends, "' or '")));
  return block;
}

Block Parser::parseBody(Names ends) {
  skipSymbol(":");
  expectBlockEnd();
  return parseUntil(ends);
}

NodePtr Parser::parseStatement() {
  constexpr std::pair<std::string_view, NodePtr (Parser::*)()> tags[] = {
      {"for", &Parser::parseFor},        {"if", &Parser::parseIf},
      {"set", &Parser::parseSet},        {"macro", &Parser::parseMacro},
      {"call", &Parser::parseCallBlock}, {"filter", &Parser::parseFilterBlock},
      {"with", &Parser::parseWith},      {"generation", &Parser::parseGeneration}};
  if (nesting >= kMaxSyntaxDepth / 2)
    refuse(current().offset, fmt::format("nested too deeply: expected at most {} blocks", kMaxSyntaxDepth / 2));
  uint32_t offset = current().offset;
  for (const auto &[word, parse] : tags)
    if (!error && skipName(word)) {
      ++nesting;
      NodePtr node = (this->*parse)();
      --nesting;
      node->offset = offset;
      return node;
    }
  if (current().isName("break"))
    return parseLoopControl(Kind::breakLoop);
  if (current().isName("continue"))
    return parseLoopControl(Kind::continueLoop);
  if (current().kind != Token::Kind::name)
    unexpected("the name of a tag");
  else
    refuse(current().offset, fmt::format("the tag {} is not supported here; supported: for, if, set, macro, call, "
                                         "filter, with, generation, raw, break, continue",
                                         quote(current().text)));
  return make(Kind::scope);
}

NodePtr Parser::parseLoopControl(Kind kind) {
  NodePtr node = make(kind);
  if (loops == 0)
    refuse(current().offset, fmt::format("'{}' outside of a loop", current().text));
  next();
  return node;
}

void Parser::checkTarget(const Node &target) {
  bool names = target.kind == Kind::tuple && !target.children.empty();
  if (target.kind != Kind::name && target.kind != Kind::namespaceItem && !names)
    refuse(target.offset, "expected a name to assign to");
  for (const NodePtr &child : target.children)
    checkTarget(*child);
}

NodePtr Parser::parseTarget(bool withNamespace) {
  NodePtr target;
  if (withNamespace && current().kind == Token::Kind::name && ahead().isSymbol(".")) {
    target = make(Kind::namespaceItem);
    target->text = current().text;
    next();
    next();
    target->names.push_back(expectIdentifier("the name of a namespace's item"));
    return target;
  }
  target = parseTuple(true, false, false);
  checkTarget(*target);
  return target;
}

NodePtr Parser::parseFor() {
  NodePtr node = make(Kind::loop);
  adopt(*node, parseTarget(false));
  expectName("in");
  adopt(*node, parseTuple(false, false, false));
  adopt(*node, skipName("if") ? parseExpression() : nullptr);
  if (current().isName("recursive"))
    refuse(current().offset, "recursive loops are not supported; use a macro");
  ++loops;
  size_t begin = at;
  adopt(*node, parseBody({"endfor", "else"}));
  for (size_t i = begin; i < at; ++i)
    node->flag = node->flag || tokens[i].isName("loop");
  --loops;
  if (skipName("else"))
    adopt(*node, parseBody({"endfor"}));
  next();
  return node;
}

NodePtr Parser::parseIf() {
  NodePtr node = make(Kind::branch);
  do {
    adopt(*node, parseTuple(false, false, false));
    adopt(*node, parseBody({"elif", "else", "endif"}));
  } while (skipName("elif") && !error);
  if (skipName("else"))
    adopt(*node, parseBody({"endif"}));
  next();
  return node;
}

NodePtr Parser::parseSet() {
  NodePtr node = make(Kind::set);
  adopt(*node, parseTarget(true));
  if (skipSymbol("=")) {
    adopt(*node, parseTuple(false, true, false));
    return node;
  }
  node->kind = Kind::setBlock;
  NodePtr filter;
  while (skipSymbol("|") && !error)
    filter = parseFilter(std::move(filter));
  adopt(*node, std::move(filter));
  adopt(*node, parseBody({"endset"}));
  next();
  return node;
}

void Parser::parseSignature(Node &macro) {
  expectSymbol("(");
  while (!current().isSymbol(")") && !error) {
    macro.names.push_back(expectIdentifier("the name of a parameter"));
    if (skipSymbol("="))
      adopt(macro, parseExpression());
    else if (macro.children.size() > (macro.kind == Kind::callBlock))
      refuse(current().offset, "a parameter without a default behind one with");
    if (!current().isSymbol(")"))
      expectSymbol(",");
  }
  expectSymbol(")");
}

void Parser::parseMacroBody(Node &macro, std::string_view end) {
  size_t begin = at;
  int outer = std::exchange(loops, 0);
  adopt(macro, parseBody({end}));
  loops = outer;
  for (size_t i = begin; i < at; ++i) {
    macro.usesVarargs = macro.usesVarargs || tokens[i].isName("varargs");
    macro.usesKwargs = macro.usesKwargs || tokens[i].isName("kwargs");
    macro.usesCaller = macro.usesCaller || tokens[i].isName("caller");
  }
  next();
}

NodePtr Parser::parseMacro() {
  NodePtr node = make(Kind::macro);
  node->text = expectIdentifier("the name of a macro");
  parseSignature(*node);
  parseMacroBody(*node, "endmacro");
  return node;
}

NodePtr Parser::parseCallBlock() {
  NodePtr node = make(Kind::callBlock);
  node->text = "caller";
  node->children.push_back(nullptr); // the call stands behind the parameters
  if (current().isSymbol("("))
    parseSignature(*node);
  NodePtr call = parseExpression();
  if (call->kind != Kind::call)
    refuse(call->offset, "expected a call in a call block");
  node->depth = std::max(node->depth, call->depth + 1);
  node->children[0] = std::move(call);
  parseMacroBody(*node, "endcall");
  return node;
}

NodePtr Parser::parseFilterBlock() {
  NodePtr node = make(Kind::filterBlock);
  NodePtr filter = parseFilter(nullptr);
  while (skipSymbol("|") && !error)
    filter = parseFilter(std::move(filter));
  adopt(*node, std::move(filter));
  adopt(*node, parseBody({"endfilter"}));
  next();
  return node;
}

NodePtr Parser::parseWith() {
  NodePtr node = make(Kind::with);
  while (current().kind != Token::Kind::blockEnd && !error) {
    if (!node->children.empty())
      expectSymbol(",");
    NodePtr target = makeAt(Kind::name, current().offset);
    target->text = expectIdentifier("a name");
    adopt(*node, std::move(target));
    expectSymbol("=");
    adopt(*node, parseExpression());
  }
  adopt(*node, parseBody({"endwith"}));
  next();
  return node;
}

/// Marks what a model wrote, for training: its text stands in the output as any other.
NodePtr Parser::parseGeneration() {
  NodePtr node = make(Kind::scope);
  adopt(*node, parseBody({"endgeneration"}));
  next();
  return node;
}

} // namespace lathe::chat

#include "runtime/chat/Parser.h"

#include "runtime/tokenizer/Utf8.h"

#include <charconv>

namespace lathe::chat {

using Kind = Node::Kind;

/// Counts how deep the parser is in itself, and stops it where that is too deep.
struct Parser::Nesting {
  Parser &parser;
  explicit Nesting(Parser &parser) : parser(parser) {
    if (++parser.nesting > kMaxSyntaxDepth)
      parser.refuse(parser.current().offset,
                    fmt::format("nested too deeply: expected at most {} levels", kMaxSyntaxDepth));
  }
  ~Nesting() { --parser.nesting; }
  explicit operator bool() const { return !parser.error; }
};

NodePtr Parser::binary(Kind kind, NodePtr left, NodePtr right, const Token &op) {
  NodePtr node = makeAt(kind, op.offset);
  node->text = op.text;
  adopt(*node, std::move(left));
  adopt(*node, std::move(right));
  return node;
}

NodePtr Parser::parseConditional() {
  Nesting nesting(*this);
  if (!nesting)
    return make(Kind::constant);
  NodePtr value = parseOr();
  while (current().isName("if") && !error) {
    NodePtr node = make(Kind::conditional);
    next();
    adopt(*node, parseOr());
    adopt(*node, std::move(value));
    adopt(*node, skipName("else") ? parseConditional() : nullptr);
    value = std::move(node);
  }
  return value;
}

NodePtr Parser::parseOr() {
  NodePtr left = parseAnd();
  while (current().isName("or") && !error) {
    Token op = current();
    next();
    left = binary(Kind::logicalOr, std::move(left), parseAnd(), op);
  }
  return left;
}

NodePtr Parser::parseAnd() {
  NodePtr left = parseNot();
  while (current().isName("and") && !error) {
    Token op = current();
    next();
    left = binary(Kind::logicalAnd, std::move(left), parseNot(), op);
  }
  return left;
}

NodePtr Parser::parseNot() {
  if (!current().isName("not"))
    return parseCompare();
  Nesting nesting(*this);
  NodePtr node = make(Kind::logicalNot);
  next();
  if (nesting)
    adopt(*node, parseNot());
  return node;
}

NodePtr Parser::parseCompare() {
  NodePtr first = parseSum(), node;
  while (!error) {
    std::string op;
    for (std::string_view symbol : {"==", "!=", "<", "<=", ">", ">="})
      if (current().isSymbol(symbol))
        op = symbol;
    if (current().isName("in"))
      op = "in";
    else if (current().isName("not") && ahead().isName("in"))
      op = "not in", next();
    if (op.empty())
      break;
    if (!node) {
      node = make(Kind::compare);
      adopt(*node, std::move(first));
    }
    next();
    node->names.push_back(op);
    adopt(*node, parseSum());
  }
  return node ? std::move(node) : std::move(first);
}

NodePtr Parser::parseSum() {
  NodePtr left = parseConcat();
  while ((current().isSymbol("+") || current().isSymbol("-")) && !error) {
    Token op = current();
    next();
    left = binary(Kind::arithmetic, std::move(left), parseConcat(), op);
  }
  return left;
}

NodePtr Parser::parseConcat() {
  NodePtr first = parseProduct(), node;
  while (current().isSymbol("~") && !error) {
    if (!node) {
      node = make(Kind::concat);
      adopt(*node, std::move(first));
    }
    next();
    adopt(*node, parseProduct());
  }
  return node ? std::move(node) : std::move(first);
}

NodePtr Parser::parseProduct() {
  NodePtr left = parsePower();
  while ((current().isSymbol("*") || current().isSymbol("/") || current().isSymbol("//") || current().isSymbol("%")) &&
         !error) {
    Token op = current();
    next();
    left = binary(Kind::arithmetic, std::move(left), parsePower(), op);
  }
  return left;
}

NodePtr Parser::parsePower() {
  NodePtr left = parseUnary(true);
  while (current().isSymbol("**") && !error) {
    Token op = current();
    next();
    left = binary(Kind::arithmetic, std::move(left), parseUnary(true), op);
  }
  return left;
}

NodePtr Parser::parseUnary(bool withFilter) {
  Nesting nesting(*this);
  if (!nesting)
    return make(Kind::constant);
  NodePtr node;
  if (current().isSymbol("-") || current().isSymbol("+")) {
    node = make(Kind::sign);
    node->text = current().text;
    next();
    adopt(*node, parseUnary(false));
  } else {
    node = parsePrimary();
  }
  node = parsePostfix(std::move(node));
  return withFilter ? parseFilters(std::move(node)) : std::move(node);
}

NodePtr Parser::parseNumber() {
  NodePtr node = make(Kind::constant);
  const std::string &text = current().text;
  if (current().kind == Token::Kind::real) {
    double real = 0;
    std::from_chars(text.data(), text.data() + text.size(), real);
    node->constant = real;
  } else {
    bool based = text.size() > 2 && text[0] == '0' && (text[1] | 32) >= 'a';
    int base = !based ? 10 : (text[1] | 32) == 'x' ? 16 : (text[1] | 32) == 'o' ? 8 : 2;
    int64_t integer = 0;
    auto [stop, code] = std::from_chars(text.data() + (based ? 2 : 0), text.data() + text.size(), integer, base);
    if (code != std::errc() || stop != text.data() + text.size())
      refuse(current().offset, fmt::format("the number {}: expected one of 64 bits", quote(text)));
    node->constant = integer;
  }
  next();
  return node;
}

NodePtr Parser::parsePrimary() {
  const Token token = current();
  NodePtr node = make(Kind::constant);
  if (token.kind == Token::Kind::name) {
    next();
    if (token.text == "true" || token.text == "True")
      node->constant = true;
    else if (token.text == "false" || token.text == "False")
      node->constant = false;
    else if (token.text == "none" || token.text == "None")
      node->constant = None();
    else
      node->kind = Kind::name, node->text = token.text;
    return node;
  }
  if (token.kind == Token::Kind::string) {
    std::string text;
    for (; current().kind == Token::Kind::string; next())
      text += current().text;
    node->constant = Value::literal(std::move(text));
    return node;
  }
  if (token.kind == Token::Kind::integer || token.kind == Token::Kind::real)
    return parseNumber();
  if (token.isSymbol("(")) {
    next();
    node = parseTuple(false, true, true);
    expectSymbol(")");
    return node;
  }
  if (token.isSymbol("["))
    return parseList();
  if (token.isSymbol("{"))
    return parseDict();
  unexpected("an expression");
  return node;
}

NodePtr Parser::parseTuple(bool simple, bool conditional, bool parenthesized) {
  NodePtr node = make(Kind::tuple);
  bool commas = false;
  while (!error) {
    const Token &token = current();
    if (token.kind == Token::Kind::variableEnd || token.kind == Token::Kind::blockEnd || token.isSymbol(")") ||
        (simple && token.isName("in")))
      break;
    adopt(*node, simple ? parsePrimary() : conditional ? parseConditional() : parseOr());
    if (!skipSymbol(","))
      break;
    commas = true;
  }
  if (commas || (parenthesized && node->children.empty()))
    return node;
  if (node->children.empty()) {
    unexpected("an expression");
    return node;
  }
  return std::move(node->children[0]);
}

NodePtr Parser::parseList() {
  NodePtr node = make(Kind::list);
  next();
  while (!current().isSymbol("]") && !error) {
    adopt(*node, parseConditional());
    if (!current().isSymbol("]"))
      expectSymbol(",");
  }
  expectSymbol("]");
  return node;
}

NodePtr Parser::parseDict() {
  NodePtr node = make(Kind::dict);
  next();
  while (!current().isSymbol("}") && !error) {
    adopt(*node, parseConditional());
    expectSymbol(":");
    adopt(*node, parseConditional());
    if (!current().isSymbol("}"))
      expectSymbol(",");
  }
  expectSymbol("}");
  return node;
}

NodePtr Parser::parsePostfix(NodePtr node) {
  while (!error) {
    if (current().isSymbol(".") || current().isSymbol("["))
      node = parseSubscript(std::move(node));
    else if (current().isSymbol("("))
      node = parseCall(std::move(node));
    else
      break;
  }
  return node;
}

NodePtr Parser::parseFilters(NodePtr node) {
  while (!error) {
    if (current().isSymbol("|")) {
      next();
      node = parseFilter(std::move(node));
    } else if (current().isName("is")) {
      node = parseTest(std::move(node));
    } else if (current().isSymbol("(")) {
      node = parseCall(std::move(node));
    } else {
      break;
    }
  }
  return node;
}

NodePtr Parser::parseSubscript(NodePtr object) {
  const Token token = current();
  next();
  if (token.isSymbol(".")) {
    NodePtr node = makeAt(Kind::attribute, token.offset);
    adopt(*node, std::move(object));
    if (current().kind == Token::Kind::integer) {
      node->kind = Kind::item;
      adopt(*node, parseNumber());
    } else {
      node->text = expectIdentifier("a name or a number behind '.'");
    }
    return node;
  }
  // An index, or begin:end:step where each may be left out.
  NodePtr parts[3];
  int count = 0;
  auto part = [&] {
    if (!current().isSymbol(":") && !current().isSymbol("]"))
      parts[count] = parseConditional();
    ++count;
  };
  part();
  while (count < 3 && skipSymbol(":"))
    part();
  if (count == 1 && (!parts[0] || current().isSymbol(","))) { // none or several make a tuple
    NodePtr tuple = makeAt(Kind::tuple, token.offset);
    if (parts[0])
      adopt(*tuple, std::move(parts[0]));
    while (skipSymbol(",") && !error)
      adopt(*tuple, parseConditional());
    parts[0] = std::move(tuple);
  }
  NodePtr node = makeAt(count > 1 ? Kind::slice : Kind::item, token.offset);
  adopt(*node, std::move(object));
  for (int i = 0; i < (count > 1 ? 3 : 1); ++i)
    adopt(*node, std::move(parts[i]));
  expectSymbol("]");
  return node;
}

/// From "(" to ")": positional arguments, keywords, *args and **kwargs.
void Parser::parseArguments(Node &call) {
  expectSymbol("(");
  std::vector<NodePtr> values;
  while (!current().isSymbol(")") && !error) {
    uint32_t offset = current().offset;
    if (skipSymbol("**")) {
      if (call.doubleStar)
        refuse(offset, "a second '**' argument");
      call.doubleStar = parseConditional();
      call.depth = std::max(call.depth, call.doubleStar->depth + 1);
    } else if (skipSymbol("*")) {
      if (call.star || call.doubleStar)
        refuse(offset, "a '*' argument behind another with stars");
      call.star = parseConditional();
      call.depth = std::max(call.depth, call.star->depth + 1);
    } else if (current().kind == Token::Kind::name && ahead().isSymbol("=")) {
      if (call.doubleStar)
        refuse(offset, "a keyword argument behind '**'");
      call.names.push_back(current().text);
      next();
      next();
      values.push_back(parseConditional());
    } else {
      if (!call.names.empty() || call.star || call.doubleStar)
        refuse(offset, "a positional argument behind keywords");
      adopt(call, parseConditional());
    }
    if (!current().isSymbol(")"))
      expectSymbol(",");
  }
  expectSymbol(")");
  for (NodePtr &value : values)
    adopt(call, std::move(value));
}

NodePtr Parser::parseCall(NodePtr callee) {
  NodePtr node = makeAt(Kind::call, callee->offset);
  adopt(*node, std::move(callee));
  parseArguments(*node);
  return node;
}

NodePtr Parser::parseFilter(NodePtr value) {
  NodePtr node = make(Kind::filter);
  node->text = expectIdentifier("the name of a filter");
  adopt(*node, std::move(value));
  if (current().isSymbol("("))
    parseArguments(*node);
  return node;
}

NodePtr Parser::parseTest(NodePtr value) {
  next();
  NodePtr node = make(Kind::test);
  node->flag = skipName("not");
  node->offset = current().offset;
  node->text = expectIdentifier("the name of a test");
  adopt(*node, std::move(value));
  const Token &token = current();
  bool operand = token.kind == Token::Kind::name || token.kind == Token::Kind::string ||
                 token.kind == Token::Kind::integer || token.kind == Token::Kind::real || token.isSymbol("[") ||
                 token.isSymbol("{");
  if (token.isSymbol("(")) {
    parseArguments(*node);
  } else if (token.isName("is")) {
    refuse(token.offset, "a test behind a test: write 'and' between them");
  } else if (operand && !token.isName("else") && !token.isName("or") && !token.isName("and")) {
    adopt(*node, parsePostfix(parsePrimary()));
  }
  return node;
}

} // namespace lathe::chat

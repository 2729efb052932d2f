//===- Parser.h - tokens to a tree ----------------------------------------===//
//
// Precedence and grammar are jinja2's (jinja2/parser.py): `or`, `and`, `not`, comparison, `+ -`, `~`, `* / // %`, `**`,
// signs, then postfixes, filters and tests.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/chat/Lexer.h"
#include "runtime/chat/Syntax.h"

#include <initializer_list>
#include <optional>

namespace lathe::chat {

/// A tree of a normalized source, or what is wrong with it at "name:line:column".
class Parser {
public:
  static Result<Block> parse(std::string_view source, std::string_view name);

private:
  Parser(std::string_view source, std::string_view name, std::vector<Token> tokens)
      : source(source), name(name), tokens(std::move(tokens)) {}

  std::string_view source, name;
  std::vector<Token> tokens;
  size_t at = 0;
  int nesting = 0, loops = 0;
  std::optional<Error> error; ///< the first; parsing then runs on to its end without effect

  struct Nesting;

  const Token &current() const { return tokens[at]; }
  const Token &ahead() const { return tokens[std::min(at + 1, tokens.size() - 1)]; }
  void next() { at += at + 1 < tokens.size(); }
  bool skipSymbol(std::string_view symbol);
  bool skipName(std::string_view word);
  void expectSymbol(std::string_view symbol);
  void expectName(std::string_view word);
  std::string expectIdentifier(const char *what);
  void expectBlockEnd();
  void refuse(size_t offset, std::string message);
  void unexpected(const char *wanted);
  NodePtr make(Node::Kind kind) const { return makeAt(kind, current().offset); }
  NodePtr makeAt(Node::Kind kind, uint32_t offset) const;
  /// Adds a child and keeps the depth of both within its limit.
  void adopt(Node &parent, NodePtr child);
  void adopt(Node &parent, Block block);

  // Statements (Statements.cpp).
  using Names = std::initializer_list<std::string_view>;
  Block parseBody(Names ends);
  Block parseUntil(Names ends);
  NodePtr parseStatement();
  NodePtr parseFor();
  NodePtr parseIf();
  NodePtr parseSet();
  NodePtr parseMacro();
  NodePtr parseCallBlock();
  NodePtr parseFilterBlock();
  NodePtr parseWith();
  NodePtr parseGeneration();
  NodePtr parseLoopControl(Node::Kind kind);
  NodePtr parseTarget(bool withNamespace);
  void checkTarget(const Node &target);
  void parseSignature(Node &macro);
  void parseMacroBody(Node &macro, std::string_view end);

  // Expressions (Expressions.cpp).
  NodePtr parseExpression() { return parseConditional(); }
  NodePtr parseConditional();
  NodePtr parseOr();
  NodePtr parseAnd();
  NodePtr parseNot();
  NodePtr parseCompare();
  NodePtr parseSum();
  NodePtr parseConcat();
  NodePtr parseProduct();
  NodePtr parsePower();
  NodePtr parseUnary(bool withFilter);
  NodePtr parsePrimary();
  NodePtr parsePostfix(NodePtr node);
  NodePtr parseFilters(NodePtr node);
  NodePtr parseFilter(NodePtr node);
  NodePtr parseTest(NodePtr node);
  NodePtr parseSubscript(NodePtr node);
  NodePtr parseCall(NodePtr node);
  void parseArguments(Node &call);
  NodePtr parseList();
  NodePtr parseDict();
  NodePtr parseNumber();
  /// One expression, or several with commas as a tuple. `simple`: operands only, as in a target.
  NodePtr parseTuple(bool simple, bool conditional, bool parenthesized);
  NodePtr binary(Node::Kind kind, NodePtr left, NodePtr right, const Token &op);
};

} // namespace lathe::chat

//===- Syntax.h - a template as a tree ------------------------------------===//
#pragma once

#include "runtime/chat/Value.h"

#include <memory>
#include <string>
#include <vector>

namespace lathe::chat {

struct Node;
using NodePtr = std::unique_ptr<Node>;
using Block = std::vector<NodePtr>;

/// An expression or a statement. Which fields a kind uses stands behind it; a child that is left out is null.
struct Node {
  enum class Kind {
    // expressions
    constant,    ///< constant
    name,        ///< text
    tuple,       ///< children
    list,        ///< children
    dict,        ///< children: key, value, key, value, …
    conditional, ///< children: condition, value, other value or null
    logicalOr,   ///< two children
    logicalAnd,  ///< two children
    logicalNot,  ///< one child
    compare,     ///< children: operands; names: the operators between them
    arithmetic,  ///< text: operator; two children
    sign,        ///< text: + or -; one child
    concat,      ///< children
    attribute,   ///< one child; text: its name
    item,        ///< children: object, index
    slice,       ///< children: object, begin, end, step; the last three may be null
    call,        ///< children: callee, arguments
    filter,      ///< text: name; children: value (null where a block is filtered), arguments
    test,        ///< text: name; children: value, arguments; flag: "is not"
    // statements
    data,        ///< constant: the text
    print,       ///< one child
    branch,      ///< children: conditions; blocks: theirs, then perhaps the else
    loop,        ///< children: target, what is walked, condition or null; blocks: body, else; flag: `loop` is used
    set,         ///< children: target, value
    setBlock,    ///< children: target, filter or null; blocks: body
    macro,       ///< text: name; names: parameters; children: defaults of the last ones; blocks: body
    callBlock,   ///< children: call, then as macro
    filterBlock, ///< children: filter; blocks: body
    with,        ///< children: target, value, target, value, …; blocks: body
    scope,       ///< blocks: body
    breakLoop,
    continueLoop,
    namespaceItem, ///< a target: text: the name; names[0]: its item
  };
  Kind kind;
  uint32_t offset = 0; ///< into the source
  int depth = 1;       ///< of the tree below
  std::string text = {};
  Value constant = {};
  std::vector<NodePtr> children = {};
  std::vector<std::string> names = {}; ///< of a call: its keywords, whose values are the last arguments
  std::vector<Block> blocks = {};
  NodePtr star = {}, doubleStar = {}; ///< of a call: *args, **kwargs
  bool flag = false;
  bool usesVarargs = false, usesKwargs = false, usesCaller = false; ///< of a macro
};

/// Trees nest at most so deep, so that walking one recursively is safe.
inline constexpr int kMaxSyntaxDepth = 200;

} // namespace lathe::chat

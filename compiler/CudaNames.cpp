#include "compiler/CudaNames.h"

#include "dialects/kern/KernDialect.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

namespace lathe {
namespace {

/// Words that the text has a use for: C++'s, the device library's.
constexpr llvm::StringLiteral reserved[] = {
    "batch",  "memory", "thread", "lane",  "group",  "block",  "min",      "max",      "fma",     "dot",
    "page",   "code",   "f16",    "float", "int",    "bool",   "const",    "return",   "if",      "else",
    "for",    "while",  "bf16",   "auto",  "char",   "double", "long",     "short",    "signed",  "new",
    "this",   "true",   "false",  "union", "using",  "void",   "class",    "struct",   "exp",     "sqrt",
    "arrive", "switch", "case",   "break", "static", "inline", "template", "typename", "operator"};

/// A name in a location, as an identifier; "" where there is none.
std::string wordOf(Value value) {
  auto named = value.getLoc()->findInstanceOf<NameLoc>();
  std::string word;
  for (char c : named ? named.getName().getValue() : StringRef())
    word += llvm::isAlnum(c) ? c : '_';
  if (!word.empty() && llvm::isDigit(word.front()))
    word = "_" + word;
  return word;
}

/// What an op makes, in a word; of a load, what its memory is called.
std::string wordFor(Operation *op) {
  return llvm::TypeSwitch<Operation *, std::string>(op)
      .Case<arith::AddFOp, arith::AddIOp, math::FmaOp>([](auto) { return "sum"; })
      .Case<arith::SubFOp, arith::SubIOp>([](auto) { return "difference"; })
      .Case<arith::MulFOp, arith::MulIOp>([](auto) { return "product"; })
      .Case<arith::DivFOp, arith::DivUIOp>([](auto) { return "quotient"; })
      .Case<arith::RemUIOp>([](auto) { return "rest"; })
      .Case<arith::SelectOp>([](auto) { return "chosen"; })
      .Case<arith::CmpIOp, arith::CmpFOp, arith::AndIOp>([](auto) { return "holds"; })
      .Case<arith::MinSIOp>([](auto) { return "smaller"; })
      .Case<arith::MaxSIOp, arith::MaximumFOp>([](auto) { return "larger"; })
      .Case<math::ExpOp>([](auto) { return "power"; })
      .Case<kern::ReduceOp>([](auto) { return "total"; })
      .Case<kern::ArriveOp>([](auto) { return "last_item"; })
      .Case<kern::GatherPagesOp>([](auto) { return "page_number"; })
      .Case([](kern::BatchOp x) { return stringifyField(x.getField()).str(); })
      .Case<vector::LoadOp, vector::MaskedLoadOp>([](auto x) { return wordOf(x.getBase()); })
      .Case([](memref::LoadOp x) { return wordOf(x.getMemRef()); })
      .Case([](kern::LoadCodesOp) { return "code"; })
      .Case([](kern::LoadAlongOp x) { return wordOf(x.getMemref()); })
      .Case<arith::TruncFOp>([](auto) { return "rounded"; })
      .Default([](Operation *) { return "value"; });
}

} // namespace

CudaNames::CudaNames(func::FuncOp kernel) {
  taken[kernel.getName()] = 1;
  for (StringRef word : reserved)
    taken[word] = 1;
}

std::string CudaNames::unused(StringRef word) {
  std::string name = word.str();
  while (taken.contains(name))
    name = (word + "_" + Twine(++taken[word])).str();
  taken[name] = 1;
  return name;
}

const std::string &CudaNames::take(Value value, StringRef word) {
  std::string &name = names[value];
  if (name.empty()) {
    std::string own = wordOf(value);
    name = unused(own.empty() ? word : StringRef(own));
  }
  return name;
}

const std::string &CudaNames::call(Value value, StringRef word) {
  std::string &name = names[value];
  name = unused(word);
  return name;
}

const std::string &CudaNames::of(Value value) {
  auto found = names.find(value);
  if (found != names.end())
    return found->second;
  Operation *op = value.getDefiningOp();
  // An op's location is that of the kernel's anchor, whose word says nothing about one of its ops.
  if (op)
    return call(value, wordFor(op));
  auto argument = cast<BlockArgument>(value);
  bool induction = isa<scf::ForOp>(argument.getOwner()->getParentOp()) && argument.getArgNumber() == 0;
  return induction ? take(value, "i") : call(value, "running");
}

} // namespace lathe

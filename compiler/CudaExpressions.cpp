#include "compiler/CudaExpressions.h"

#include "passes/kern/KernPasses.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "llvm/ADT/TypeSwitch.h"

#include <fmt/format.h>

using namespace mlir;

namespace lathe {

using namespace kern;

std::string CudaExpressions::typeOf(Type type) {
  if (auto vector = dyn_cast<VectorType>(type))
    type = vector.getElementType();
  if (type.isF32())
    return "float";
  if (type.isBF16())
    return "bf16";
  if (type.isF16())
    return "f16";
  if (type.isInteger(8))
    return "signed char";
  if (type.isInteger(1))
    return "bool";
  if (type.isIndex() || type.isInteger(32))
    return "int";
  std::string name;
  llvm::raw_string_ostream(name) << type;
  wrong("no CUDA type for " + name);
  return "?";
}

std::string CudaExpressions::use(Value value, Strength around) {
  auto found = inlined.find(value);
  if (found == inlined.end())
    return names.of(value);
  return found->second.strength < around ? "(" + found->second.text + ")" : found->second.text;
}

std::string CudaExpressions::element(Value memref, ValueRange indices, Type vector) {
  return elementAlong(memref, indices, static_cast<int64_t>(indices.size()) - 1, 1, vector);
}

std::string CudaExpressions::elementAlong(Value memref, ValueRange indices, int64_t dim, int64_t stride, Type vector) {
  std::string text = use(memref) + "(";
  for (auto [i, index] : llvm::enumerate(indices)) {
    text += i ? ", " : "";
    if (!vector || static_cast<int64_t>(i) != dim) {
      text += use(index);
      continue;
    }
    std::string lane = stride == 1 ? lanesOf(vector) : fmt::format("{} * {}", stride, lanesOf(vector));
    text += offset(index, lane);
  }
  return text + ")";
}

std::string CudaExpressions::constant(TypedAttr value) {
  if (auto dense = dyn_cast<DenseElementsAttr>(value)) {
    if (dense.isSplat())
      return constant(cast<TypedAttr>(dense.getSplatValue<Attribute>()));
    wrong("a constant whose lanes differ");
    return "?";
  }
  if (auto integer = dyn_cast<IntegerAttr>(value))
    return value.getType().isInteger(1) ? (integer.getValue().isZero() ? "false" : "true")
                                        : std::to_string(integer.getInt());
  std::string text = fmt::format("{}", cast<FloatAttr>(value).getValue().convertToFloat());
  if (text.find_first_of(".en") == std::string::npos)
    text += ".0";
  text += "f";
  return value.getType().isBF16() ? "to_bf16(" + text + ")" : text;
}

/// Whether a value that was read may be read where its statement stands instead: nothing is stored in between.
bool CudaExpressions::readsLater(Operation &load) {
  for (Operation *op = &load; op->hasOneUse();) {
    Operation *user = *op->getUsers().begin();
    if (user->getBlock() != load.getBlock() || isa<scf::ForOp, scf::IfOp>(user))
      return false;
    for (Operation *between = op->getNextNode(); between != user; between = between->getNextNode())
      if (between->getNumRegions() || !(isMemoryEffectFree(between) || isRead(*between)))
        return false;
    if (user->getNumResults() == 0 || !standsInline(*user))
      return true;
    op = user;
  }
  return false;
}

/// Whether what is made of a sum of all threads is said in the very next statement, and there without a condition.
bool CudaExpressions::reducesInPlace(Operation &reduce) {
  for (Operation *op = &reduce; op->hasOneUse();) {
    Operation *user = *op->getUsers().begin();
    if (user != op->getNextNode())
      return false;
    if (isa<scf::YieldOp>(user))
      return user->getNumOperands() == 1;
    if (!isa<arith::AddFOp, arith::MulFOp, arith::DivFOp, math::SqrtOp, vector::BroadcastOp>(user))
      return false;
    if (!standsInline(*user))
      return true;
    op = user;
  }
  return false;
}

/// Arithmetic of a name and a constant says more than a name for it would.
static bool isPlaceBeside(Operation &op) {
  if (!isa<arith::AddIOp, arith::SubIOp, arith::MulIOp, arith::DivUIOp, arith::RemUIOp>(op) ||
      !op.getResult(0).getType().isIndex() || !matchPattern(op.getOperand(1), m_Constant()))
    return false;
  // What a loop carries is another value at another place.
  Value place = op.getOperand(0);
  if (auto argument = dyn_cast<BlockArgument>(place))
    return isa<scf::ForOp>(argument.getOwner()->getParentOp()) && argument.getArgNumber() == 0;
  return !isa<scf::ForOp, scf::IfOp>(place.getDefiningOp());
}

bool CudaExpressions::standsInline(Operation &op) {
  if (op.getNumResults() != 1)
    return false;
  if (isPlaceBeside(op) && !(op.getOperand(0).getDefiningOp() && isPlaceBeside(*op.getOperand(0).getDefiningOp())))
    return true;
  if (isRead(op))
    return readsLater(op);
  if (isa<ReduceOp>(op))
    return reducesInPlace(op);
  if (isa<ArriveOp>(op))
    return op.getResult(0).hasOneUse() && *op.getUsers().begin() == op.getNextNode();
  if (isa<arith::ConstantOp, vector::BroadcastOp, vector::StepOp, vector::ConstantMaskOp, LaneIdOp, GroupIdOp,
          arith::IndexCastOp>(op))
    return true;
  if (!op.getResult(0).hasOneUse() || !isMemoryEffectFree(&op))
    return false;
  Operation *user = *op.getResult(0).getUsers().begin();
  if (isa<BatchOp, GatherPagesOp>(op) && isa<scf::ForOp>(user)) // read once, not in each turn of the loop
    return false;
  // A loop's start is worked out once, an index of a loop's body each time.
  return user->getBlock() == op.getBlock() && (!isa<scf::YieldOp>(user) || user->getNumOperands() == 1);
}

std::optional<CudaExpressions::Expression> CudaExpressions::expression(Operation &op) {
  auto compare = [&](const char *sign) { return binary(op, sign, comparison); };
  return llvm::TypeSwitch<Operation *, std::optional<Expression>>(&op)
      .Case([&](arith::ConstantOp x) { return Expression{constant(cast<TypedAttr>(x.getValue()))}; })
      .Case([&](vector::BroadcastOp x) { return Expression{use(x.getSource(), atom)}; })
      .Case([&](arith::IndexCastOp x) { return Expression{use(x.getIn(), atom)}; })
      .Case([&](vector::StepOp x) { return Expression{lanesOf(x.getType())}; })
      .Case([&](vector::ConstantMaskOp x) {
        return Expression{fmt::format("{} < {}", lanesOf(x.getType()), x.getMaskDimSizes()[0]), comparison};
      })
      .Case<arith::AddFOp, arith::AddIOp>([&](auto) { return binary(op, "+", sum); })
      .Case<arith::SubFOp, arith::SubIOp>([&](auto) { return binary(op, "-", sum); })
      .Case<arith::MulFOp, arith::MulIOp>([&](auto) { return binary(op, "*", product); })
      .Case<arith::DivFOp, arith::DivUIOp, arith::DivSIOp>([&](auto) { return binary(op, "/", product); })
      .Case<arith::RemUIOp, arith::RemSIOp>([&](auto) { return binary(op, "%", product); })
      .Case([&](arith::NegFOp) { return Expression{"-" + use(op.getOperand(0), atom), product}; })
      .Case([&](arith::AndIOp) { return binary(op, "&&", both); })
      .Case<arith::MinSIOp, arith::MinUIOp>([&](auto) { return call("min", op.getOperands()); })
      .Case<arith::MaxSIOp, arith::MaxUIOp>([&](auto) { return call("max", op.getOperands()); })
      .Case([&](arith::MaximumFOp) { return call("larger", op.getOperands()); })
      .Case([&](arith::MaxNumFOp) { return call("fmaxf", op.getOperands()); })
      .Case([&](arith::SelectOp x) {
        return Expression{fmt::format("{} ? {} : {}", use(x.getCondition(), both), use(x.getTrueValue(), both),
                                      use(x.getFalseValue(), choice)),
                          choice};
      })
      .Case([&](arith::CmpIOp x) -> std::optional<Expression> {
        switch (x.getPredicate()) {
        case arith::CmpIPredicate::eq:
          return compare("==");
        case arith::CmpIPredicate::ne:
          return compare("!=");
        case arith::CmpIPredicate::slt:
        case arith::CmpIPredicate::ult:
          return compare("<");
        case arith::CmpIPredicate::sle:
        case arith::CmpIPredicate::ule:
          return compare("<=");
        case arith::CmpIPredicate::sgt:
        case arith::CmpIPredicate::ugt:
          return compare(">");
        case arith::CmpIPredicate::sge:
        case arith::CmpIPredicate::uge:
          return compare(">=");
        }
        return std::nullopt;
      })
      .Case([&](arith::CmpFOp x) -> std::optional<Expression> {
        switch (x.getPredicate()) {
        case arith::CmpFPredicate::OGT:
          return compare(">");
        case arith::CmpFPredicate::OLT:
          return compare("<");
        case arith::CmpFPredicate::OGE:
          return compare(">=");
        case arith::CmpFPredicate::OLE:
          return compare("<=");
        case arith::CmpFPredicate::OEQ:
          return compare("==");
        case arith::CmpFPredicate::UNE:
          return compare("!=");
        default:
          return std::nullopt;
        }
      })
      .Case([&](math::FmaOp) { return call("fma", op.getOperands()); })
      .Case([&](math::SqrtOp) { return call("sqrtf", op.getOperands()); })
      .Case([&](math::AbsFOp) { return call("fabsf", op.getOperands()); })
      .Case([&](math::RoundEvenOp) { return call("rintf", op.getOperands()); })
      .Case([&](arith::FPToSIOp x) { return call("static_cast<" + typeOf(x.getType()) + ">", op.getOperands()); })
      .Case([&](math::ExpOp) { return call("exponential", op.getOperands()); })
      .Case([&](arith::ExtFOp) { return call("to_float", op.getOperands()); })
      .Case([&](arith::TruncFOp) { return call("to_bf16", op.getOperands()); })
      .Case([&](LaneIdOp) { return Expression{"lane()"}; })
      .Case([&](GroupIdOp) { return Expression{"group()"}; })
      .Case([&](BatchOp x) {
        StringRef field = x.getField() == Field::token_ids ? "token_id" : stringifyField(x.getField());
        return Expression{fmt::format("batch.{}({})", field.str(), use(x.getIndex()))};
      })
      .Case([&](GatherPagesOp x) {
        return Expression{fmt::format("batch.page({}, {})", use(x.getSequence()), use(x.getLogical()))};
      })
      .Case([&](ReduceOp x) {
        std::string kind = x.getKind() == Combine::add ? "sum" : "max";
        return x.getPartial()
                   ? Expression{fmt::format("block_{}({}, {})", kind, use(x.getInput()), use(x.getPartial()))}
                   : Expression{fmt::format("group_{}({})", kind, use(x.getInput()))};
      })
      .Case([&](ArriveOp x) {
        return Expression{fmt::format("arrive(batch.counter({}), {})", use(x.getCounter()), use(x.getCount()))};
      })
      .Case([&](memref::LoadOp x) { return Expression{element(x.getMemRef(), x.getIndices())}; })
      .Case([&](vector::LoadOp x) { return Expression{element(x.getBase(), x.getIndices(), x.getType())}; })
      .Case([&](LoadAlongOp x) {
        return Expression{elementAlong(x.getMemref(), x.getIndices(), x.getDim(), x.getStride(), x.getType())};
      })
      .Case([&](LoadCodesOp x) {
        return Expression{fmt::format("code({}, {}, {}, {}, {})", use(x.getCodes()), use(x.getPanel()),
                                      use(x.getBlock()), use(x.getFeature()), offset(x.getElement(), "lane()"))};
      })
      .Case([&](vector::MaskedLoadOp x) {
        // An element's proxy and a number have no type in common.
        std::string value = element(x.getBase(), x.getIndices(), x.getType());
        return Expression{fmt::format("{} ? {}({}) : {}", use(x.getMask(), both), typeOf(x.getType()), value,
                                      use(x.getPassThru(), choice)),
                          choice};
      })
      .Default([](Operation *) -> std::optional<Expression> { return std::nullopt; });
}

std::string CudaExpressions::lanesOf(Type vector) {
  return cast<VectorType>(vector).getDimSize(0) == blockThreads ? "thread()" : "lane()";
}

bool CudaExpressions::isRead(Operation &op) {
  return isa<memref::LoadOp, vector::LoadOp, vector::MaskedLoadOp, LoadAlongOp, LoadCodesOp>(op);
}

std::string CudaExpressions::offset(Value index, const std::string &lane) {
  return matchPattern(index, m_Zero()) ? lane : use(index, sum) + " + " + lane;
}

std::string CudaExpressions::stored(Value value) {
  Operation *op = value.getDefiningOp();
  bool element = op && isRead(*op) && inlined.contains(value);
  return element ? typeOf(value.getType()) + "(" + use(value) + ")" : use(value);
}

void CudaExpressions::wrong(const std::string &what) {
  if (problem.empty())
    problem = fmt::format("kernel {}: {}", kernel.getName().str(), what);
}

CudaExpressions::Expression CudaExpressions::binary(Operation &op, const char *sign, Strength strength) {
  return {use(op.getOperand(0), strength) + " " + sign + " " + use(op.getOperand(1), Strength(strength + 1)), strength};
}

CudaExpressions::Expression CudaExpressions::call(const std::string &function, ValueRange operands) {
  std::string text = function + "(";
  for (auto [i, operand] : llvm::enumerate(operands))
    text += (i ? ", " : "") + use(operand);
  return {text + ")"};
}

} // namespace lathe

//===- LowerLibraryDot.cpp - products that a library makes -------------------===//
//
//   floats: the panel as f32, which f32 is as it stands, once a call
//           library->floats(rows, k, input, panel, into)
//   bytes:  the panel's codes as 32 rows of signed bytes, once a call
//           for each group of the weight:
//             library->bytes(…) for each of its units      exact sums of all rows
//             for each row: into = fma(…, into)            the same as in LowerDot
//
// The library is LatheStep's; runtime/MatrixLibrary has made sure that its numbers are those of LowerDot.
//
//===----------------------------------------------------------------------===//
#include "passes/kern/LowerDot.h"

#include "runtime/Abi.h"

#include <cstddef>

using namespace mlir;
using namespace lathe;
using namespace lathe::kern;

static_assert(sumSpan == kSumSpan);

namespace {

class LibraryDot : DotBuilder {
public:
  LibraryDot(DotOp dot, OpBuilder &builder, const TierProducts &tier, Value library,
             llvm::function_ref<Value(int64_t)> allocate, Base base)
      : DotBuilder(builder, dot, tier, base), dot(dot), library(library), allocate(allocate) {}

  void floats() {
    auto into = cast<MemRefType>(dot.getInto().getType());
    bool asIs = cast<MemRefType>(weight[0].getType()).getElementType().isF32();
    Value floats = asIs ? at(weight[0], {panel, m.index(0), m.index(0)}) : spreadFloats();
    call(offsetof(LatheLibrary, floats),
         {number(dot.getCount()), number(dot.getK()), inputAt(0, 0, m.index(0)), number(inputStride()), floats,
          at(dot.getInto(), {m.index(0), dot.getColumn()}), number(into.getDimSize(1))});
  }

  void bytes() {
    int64_t group = dot.getCoding()->getGroup(), k = dot.getK();
    plain = allocate(panelWidth * codeStride());
    sums = allocate(group / unit() * dot.getMaxCount() * panelWidth * 4);
    spreadCodes();
    Value zero = zeros();
    each(dot.getCount(), [&](Value slot) {
      for (int64_t lane = 0; lane < panelWidth; lane += lanes)
        m.store(zero, at(dot.getInto(), {slot, add(dot.getColumn(), lane)}));
    });
    if (k >= group)
      each(m.index(k / group), [&](Value g) { oneGroup(g, group); });
    if (k % group != 0)
      oneGroup(m.index(k / group), k % group);
  }

private:
  using DotBuilder::add;
  Value mul(Value x, int64_t y) { return arith::MulIOp::create(b, x, m.index(y)); }
  Value number(int64_t value) { return arith::ConstantOp::create(b, b.getI64IntegerAttr(value)); }
  Value number(Value index) { return arith::IndexCastOp::create(b, b.getI64Type(), index); }
  int64_t inputStride() { return cast<MemRefType>(input[0].getType()).getDimSize(1); }
  void each(Value count, llvm::function_ref<void(Value)> body) {
    loop(m.index(0), count, {}, [&](Value i, ValueRange) {
      body(i);
      return SmallVector<Value>();
    });
  }

  /// Calls the library's function at `offset`.
  void call(size_t offset, ArrayRef<Value> arguments) {
    Value function = m.load(library.getType(), m.offset(library, m.index(static_cast<int64_t>(offset))));
    SmallVector<Value> operands{function, library};
    SmallVector<Type> types{library.getType()};
    for (Value argument : arguments) {
      operands.push_back(argument);
      types.push_back(argument.getType());
    }
    auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(b.getContext()), types);
    LLVM::CallOp::create(b, type, operands);
  }

  int64_t codeStride() { return roundUp(dot.getK(), 4); }

  /// The panel as f32, [k][column].
  Value spreadFloats() {
    int64_t span = stepElements(), steps = ceilDiv(dot.getK(), span);
    Value floats = allocate(steps * span * panelWidth * 4);
    each(m.index(steps), [&](Value step) {
      for (int64_t lane = 0; lane < panelWidth; lane += lanes)
        for (auto [j, value] : llvm::enumerate(values(step, lane))) {
          Value k = add(mul(step, span), static_cast<int64_t>(j));
          m.store(value, m.offset(floats, add(mul(k, panelWidth * 4), lane * 4)));
        }
    });
    return floats;
  }

  /// plain[column][k], signed, from the panel's quads of u8.
  void spreadCodes() {
    Value bias = arith::ConstantOp::create(b, b.getI32IntegerAttr(static_cast<int32_t>(0x80808080u)));
    each(m.index(codeStride() / 4), [&](Value quad) {
      each(m.index(panelWidth), [&](Value column) {
        Value codes = m.load(b.getI32Type(), at(weight[0], {panel, quad, column, m.index(0)}));
        m.store(arith::XOrIOp::create(b, codes, bias), m.offset(plain, add(mul(column, codeStride()), mul(quad, 4))));
      });
    });
  }

  /// The sums of a row by the panel, for a unit's place within its group.
  Value sumsAt(Memory &at, Value place, Value slot) {
    auto mul = [&](Value x, int64_t y) { return arith::MulIOp::create(at.b, x, at.index(y)); };
    Value row = arith::AddIOp::create(at.b, mul(place, dot.getMaxCount()).getResult(), slot);
    return at.offset(sums, mul(row, panelWidth * 4));
  }

  void oneUnit(Value g, Value place, int64_t count) {
    Value first = add(mul(g, dot.getCoding()->getGroup()), mul(place, unit()));
    call(offsetof(LatheLibrary, bytes),
         {number(dot.getCount()), number(count), inputAt(0, 0, first), number(inputStride()), m.offset(plain, first),
          number(codeStride()), sumsAt(m, place, m.index(0))});
  }

  void oneGroup(Value g, int64_t count) {
    int64_t perGroup = dot.getCoding()->getGroup() / unit();
    each(m.index(count / unit()), [&](Value place) { oneUnit(g, place, unit()); });
    if (count % unit() != 0)
      oneUnit(g, m.index(count / unit()), count % unit());
    each(dot.getCount(), [&](Value slot) {
      addGroup(
          dot, b, tier, slot, g, count,
          [&](Memory &inner, Value number) {
            Value before = arith::MulIOp::create(inner.b, g, inner.index(perGroup));
            Value from = sumsAt(inner, arith::SubIOp::create(inner.b, number, before), slot);
            SmallVector<Value> loaded;
            for (int64_t lane = 0; lane < panelWidth; lane += lanes)
              loaded.push_back(inner.load(vec(b.getI32Type()), inner.offset(from, inner.index(lane * 4))));
            return loaded;
          },
          base);
    });
  }

  DotOp dot;
  Value library;
  llvm::function_ref<Value(int64_t)> allocate;
  Value plain, sums;
};

} // namespace

void lathe::kern::lowerLibraryDot(DotOp dot, const TierProducts &tier, Value library,
                                  llvm::function_ref<Value(int64_t)> allocate, DotBuilder::Base base) {
  OpBuilder builder(dot);
  LibraryDot lowering(dot, builder, tier, library, allocate, base);
  if (dot.getCoding())
    lowering.bytes();
  else
    lowering.floats();
  dot.erase();
}

//===- LowerAmxDot.cpp - products in AMX tiles ------------------------------===//
//
// A unit of k (32 codes, say) of R rows by 32 columns is one tile of the input, two of the weight and two products,
// whose i32 sums go through scratch memory to where vectors scale them:
//
//   tilezero   tmm0, tmm1                   R x 16 sums each
//   tileloadd  tmm4 <- input codes          R rows x 32 bytes, as they stand
//   tileloadd  tmm6, tmm7 <- unpacked codes 8 quads of k x 16 columns x 4 bytes
//   tdpbssd    tmm0 += tmm4 * tmm6; tmm1 += tmm4 * tmm7
//   tilestored ring <- tmm0, tmm1
//   for each row: sum = fma(float(ring) * input scale, scale, sum)   the chain of LowerDot.cpp, in registers over all
//   of k
//
// A product takes 52 cycles and its sums some more to where they can be loaded, so the units of a batch are on their
// way while those of the batch before are scaled; every other unit has tiles of its own. For 512 multiply-adds: 3
// vector instructions and 9 / 2R tile instructions.
//
//===----------------------------------------------------------------------===//
#include "passes/kern/LowerDot.h"

#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace lathe::kern;

namespace {

// Numbers of tile registers: sums of the even and the odd units for two vectors of columns, input codes of both, codes
// of two vectors.
constexpr int64_t sumTiles = 0, inputTiles = 4, weightTiles = 6, vectorTiles = 2;

int64_t unitOf(DotOp dot) { return std::min<int64_t>(dot.getCoding()->getGroup(), *dot.getInputGroup()); }

/// Codes along k that a tile holds: a unit, or the largest part that divides it.
int64_t tileCodes(DotOp dot) {
  int64_t unit = unitOf(dot), codes = std::min(unit, amxTileBytes);
  while (unit % codes != 0)
    codes -= lanes;
  return codes;
}

/// Whole groups of the weight that are on their way at once: at least two units.
int64_t batchGroups(DotOp dot) { return int64_t(dot.getCoding()->getGroup()) == unitOf(dot) ? 2 : 1; }
int64_t unitsPerGroup(DotOp dot) { return dot.getCoding()->getGroup() / unitOf(dot); }

int64_t ringUnitBytes(DotOp dot, int64_t columns) { return dot.getMaxCount() * columns * 4; }

void callTile(OpBuilder &b, Location loc, StringRef name, ValueRange operands) {
  LLVM::CallIntrinsicOp::create(b, loc, b.getStringAttr(name), operands);
}

class AmxBuilder : DotBuilder {
public:
  AmxBuilder(DotOp dot, OpBuilder &builder, const TierProducts &tier, int64_t columns, Base base, Value ring)
      : DotBuilder(builder, dot, tier, base), dot(dot), columns(columns), vectors(columns / lanes),
        rows(dot.getMaxCount()), perGroup(unitsPerGroup(dot)), ring(ring) {}

  void build() {
    for (int64_t first = 0; first < panelWidth; first += columns) {
      SmallVector<Value> sums = groups(first);
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t v = 0; v < vectors; ++v)
          m.store(sums[i * vectors + v], at(dot.getInto(), {m.index(i), add(dot.getColumn(), first + v * lanes)}));
    }
  }

private:
  /// A group whose products are on their way, or will be: its units stand in the ring from `slot` on.
  struct Group {
    Value number, slot;
    int64_t units;
  };

  Value times(Value x, int64_t y) { return y == 1 ? x : Value(arith::MulIOp::create(b, x, m.index(y))); }
  Value bytesBehind(Value address, int64_t bytes) { return bytes == 0 ? address : m.offset(address, m.index(bytes)); }
  Value number(int64_t tile) { return arith::ConstantOp::create(b, b.getI8IntegerAttr(tile)); }
  Value stride(int64_t bytes) { return arith::ConstantOp::create(b, b.getI64IntegerAttr(bytes)); }
  int64_t unitBytes() { return ringUnitBytes(dot, columns); }

  /// The half of the ring that a batch has, and its groups.
  SmallVector<Group> batch(Value index) {
    int64_t count = batchGroups(dot);
    Value odd = arith::AndIOp::create(b, index, m.index(1));
    Value begin = m.offset(ring, times(odd, count * perGroup * unitBytes()));
    SmallVector<Group> groups;
    for (int64_t j = 0; j < count; ++j)
      groups.push_back({add(times(index, count), j), bytesBehind(begin, j * perGroup * unitBytes()), perGroup});
    return groups;
  }

  SmallVector<Value> groups(int64_t first) {
    int64_t k = dot.getK(), group = coding->getGroup(), whole = k / group, batches = whole / batchGroups(dot);
    SmallVector<Value> sums(rows * vectors, zeros());
    // What is no whole batch: single groups, and a short one.
    SmallVector<Group> rest = batch(m.index(batches));
    rest.truncate(whole % batchGroups(dot));
    if (k % group != 0) {
      int64_t behind = static_cast<int64_t>(rest.size());
      rest.push_back({m.index(whole), batch(m.index(batches))[behind].slot, ceilDiv(k % group, unit())});
    }
    if (batches != 0) {
      issue(first, batch(m.index(0)));
      if (batches > 1)
        sums = loop(m.index(0), m.index(batches - 1), sums, [&](Value index, ValueRange carried) {
          issue(first, batch(add(index, 1)));
          return scaled(first, batch(index), carried);
        });
    }
    issue(first, rest);
    if (batches != 0)
      sums = scaled(first, batch(m.index(batches - 1)), sums);
    return scaled(first, rest, sums);
  }

  /// Has the products of all units of some groups made and stored to the ring.
  void issue(int64_t first, ArrayRef<Group> groups) {
    SmallVector<std::pair<Value, Value>> units; // number, slot
    for (const Group &group : groups)
      for (int64_t j = 0; j < group.units; ++j)
        units.emplace_back(add(times(group.number, perGroup), j), bytesBehind(group.slot, j * unitBytes()));
    for (size_t i = 0; i < units.size(); i += 2) {
      ArrayRef<std::pair<Value, Value>> pair = ArrayRef(units).slice(i, std::min<size_t>(2, units.size() - i));
      for (auto [parity, unit] : llvm::enumerate(pair))
        multiply(first, parity, unit.first);
      for (auto [parity, unit] : llvm::enumerate(pair))
        for (int64_t v = 0; v < vectors; ++v)
          callTile(b, b.getLoc(), "llvm.x86.tilestored64",
                   {number(sumTiles + vectorTiles * parity + v), bytesBehind(unit.second, v * rows * amxTileBytes),
                    stride(amxTileBytes)});
    }
  }

  void multiply(int64_t first, int64_t parity, Value u) {
    int64_t codes = tileCodes(dot);
    auto input = cast<MemRefType>(dot.getInput()[0].getType());
    for (int64_t v = 0; v < vectors; ++v)
      callTile(b, b.getLoc(), "llvm.x86.tilezero", {number(sumTiles + vectorTiles * parity + v)});
    for (int64_t c = 0; c < unit(); c += codes) {
      callTile(b, b.getLoc(), "llvm.x86.tileloadd64",
               {number(inputTiles + parity), inputAt(0, 0, add(times(u, unit()), c)), stride(input.getDimSize(1))});
      for (int64_t v = 0; v < vectors; ++v) {
        Value quad = add(times(u, unit() / 4), c / 4);
        callTile(b, b.getLoc(), "llvm.x86.tileloadd64",
                 {number(weightTiles + v),
                  at(dot.getUnpacked(), {dot.getPlace(), quad, m.index(first + v * lanes), m.index(0)}),
                  stride(panelWidth * 4)});
        callTile(b, b.getLoc(), "llvm.x86.tdpbssd",
                 {number(sumTiles + vectorTiles * parity + v), number(inputTiles + parity), number(weightTiles + v)});
      }
    }
  }

  /// Adds groups whose products stand in the ring.
  SmallVector<Value> scaled(int64_t first, ArrayRef<Group> groups, ValueRange carried) {
    SmallVector<Value> sums(carried);
    auto unitSum = [&](const Group &group, int64_t j, int64_t i, int64_t v) -> Value {
      Value ints =
          m.load(vec(b.getI32Type()), bytesBehind(group.slot, j * unitBytes() + (v * rows + i) * amxTileBytes));
      return arith::SIToFPOp::create(b, vec(b.getF32Type()), ints);
    };
    SmallVector<SmallVector<Value>> scales, minima; // [group][vector]
    for (const Group &group : groups) {
      scales.push_back(factors(Part::scales, Part::sub_scales, group.number, first, vectors));
      if (coding->getMinimum())
        minima.push_back(factors(Part::minima, Part::sub_minima, group.number, first, vectors));
    }
    // A row takes all groups before the next one does, so that no sum between two groups needs a register.
    for (int64_t i = 0; i < rows; ++i)
      for (auto [number, group] : llvm::enumerate(groups)) {
        MutableArrayRef<Value> row = MutableArrayRef(sums).slice(i * vectors, vectors);
        SmallVector<Value> inputScales;
        for (int64_t j = 0; j < group.units; ++j)
          inputScales.push_back(inputScale(i, add(times(group.number, perGroup), j)));
        for (int64_t v = 0; v < vectors; ++v) {
          Value scaledSum;
          if (perGroup == 1) {
            scaledSum = arith::MulFOp::create(b, unitSum(group, 0, i, v), inputScales[0]);
          } else {
            scaledSum = zeros();
            for (int64_t j = 0; j < group.units; ++j)
              scaledSum = math::FmaOp::create(b, unitSum(group, j, i, v), inputScales[j], scaledSum);
          }
          row[v] = math::FmaOp::create(b, scaledSum, scales[number][v], row[v]);
        }
        if (coding->getMinimum())
          addMinima(row, minima[number], i, group.number);
      }
    return sums;
  }

  DotOp dot;
  int64_t columns, vectors, rows, perGroup;
  Value ring;
};

class UnpackBuilder : DotBuilder {
public:
  UnpackBuilder(UnpackOp op, OpBuilder &builder, const TierProducts &tier, Base base)
      : DotBuilder(builder, op, tier, base), op(op) {}

  void build() {
    int64_t k = op.getK(), whole = k / unit();
    if (whole != 0)
      loop(m.index(0), m.index(whole), {}, [&](Value u, ValueRange) {
        oneUnit(u, unit());
        return SmallVector<Value>();
      });
    if (k % unit() != 0)
      oneUnit(m.index(whole), k % unit());
  }

private:
  void oneUnit(Value u, int64_t count) {
    int64_t span = coding->loadSpan(), perUnit = unit() / 4;
    auto bytes = vec(b.getI8Type(), 4 * lanes);
    auto constant = [&](int64_t value) -> Value {
      return arith::ConstantOp::create(b, DenseElementsAttr::get(bytes, static_cast<int8_t>(value)));
    };
    for (int64_t q = 0; q < perUnit; q += span / 4)
      for (int64_t lane = 0; lane < panelWidth; lane += lanes) {
        SmallVector<Value> codes(span / 4, constant(0));
        if (4 * q < count)
          codes = quads(u, m.index(4 * q / span), lane);
        for (auto [i, code] : llvm::enumerate(codes)) {
          if (4 * q < count && coding->getBias() != 0)
            code = arith::SubIOp::create(b, code, constant(coding->getBias()));
          Value quad = add(arith::MulIOp::create(b, u, m.index(perUnit)).getResult(), q + i);
          m.store(code, at(op.getInto(), {op.getPlace(), quad, m.index(lane), m.index(0)}));
        }
      }
  }

  UnpackOp op;
};

} // namespace

SmallVector<uint8_t> lathe::kern::amxShapes(DotOp dot) {
  SmallVector<uint8_t> shapes(64, 0);
  auto set = [&](int64_t tile, int64_t rows, int64_t bytes) {
    shapes[16 + 2 * tile] = static_cast<uint8_t>(bytes);
    shapes[48 + tile] = static_cast<uint8_t>(rows);
  };
  shapes[0] = 1; // palette
  int64_t rows = dot.getMaxCount(), codes = tileCodes(dot);
  for (int64_t tile = sumTiles; tile < inputTiles; ++tile)
    set(tile, rows, amxTileBytes);
  for (int64_t tile = inputTiles; tile < weightTiles; ++tile)
    set(tile, rows, codes);
  for (int64_t tile = weightTiles; tile < weightTiles + vectorTiles; ++tile)
    set(tile, codes / 4, amxTileBytes);
  return shapes;
}

int64_t lathe::kern::amxRingBytes(DotOp dot, int64_t columns) {
  return 2 * batchGroups(dot) * unitsPerGroup(dot) * ringUnitBytes(dot, columns);
}

void lathe::kern::buildAmxDot(DotOp dot, OpBuilder &builder, const TierProducts &tier, int64_t columns,
                              DotBuilder::Base base, Value tileRing) {
  AmxBuilder(dot, builder, tier, columns, base, tileRing).build();
}

void lathe::kern::lowerUnpack(UnpackOp unpack, const TierProducts &tier, DotBuilder::Base base) {
  OpBuilder builder(unpack);
  UnpackBuilder(unpack, builder, tier, base).build();
  unpack.erase();
}

void lathe::kern::configureTiles(Memory &m, ArrayRef<uint8_t> shapes, Value address) {
  auto bytes = VectorType::get({static_cast<int64_t>(shapes.size())}, m.b.getI8Type());
  ArrayRef<int8_t> values(reinterpret_cast<const int8_t *>(shapes.data()), shapes.size());
  m.store(arith::ConstantOp::create(m.b, DenseElementsAttr::get(bytes, values)), address);
  callTile(m.b, m.b.getLoc(), "llvm.x86.ldtilecfg", address);
}

void lathe::kern::releaseTiles(Memory &m) { callTile(m.b, m.b.getLoc(), "llvm.x86.tilerelease", {}); }

//===- FloatAttention.cpp - attention's products over pages of f32 or bf16 ---===//
#include "passes/kern/AttentionProducts.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::kern;

namespace {

class FloatProducts : public AttentionProducts {
public:
  explicit FloatProducts(AttentionScope &scope) : s(scope), e(scope.e) {}

  void allocate(int64_t) override {}
  void prepare(Value) override {}
  void scorePages(int64_t rows, Value first, Value firstPage, Value pages) override;
  SmallVector<Value> weighValues(int64_t rows, Value firstPage, Value pages) override;

private:
  SmallVector<Value> weighColumns(int64_t rows, Value firstPage, Value pages, int64_t j0, int64_t columns);

  AttentionScope &s;
  Emitter &e;
};

} // namespace

/// One multiply-add for 16 positions, the head's columns in order. Several pages at a time where a tile of few queries
/// leaves registers empty.
void FloatProducts::scorePages(int64_t rows, Value first, Value firstPage, Value pages) {
  int64_t pieces = s.page / lanes, atOnce = std::clamp<int64_t>(s.accumulators / (2 * rows * pieces), 1, 4);
  Value lastPage = e.sub(e.add(firstPage, pages), e.index(1));
  auto clamped = [&](Value logical) { return e.minIndex(logical, lastPage); };
  e.loop(s.zero, pages, atOnce, [&](Value number) {
    // Behind the last page it is done again, with the same result in the same place.
    SmallVector<Value> logical, physical, next;
    for (int64_t n = 0; n < atOnce; ++n) {
      Value at = e.add(firstPage, e.add(number, e.index(n)));
      logical.push_back(clamped(at));
      physical.push_back(s.physicalPage(logical.back()));
      if (s.decodes(rows))
        next.push_back(s.physicalPage(clamped(e.add(at, e.index(atOnce)))));
    }
    SmallVector<Value> sum(atOnce * rows * pieces, e.splat(0.0f));
    sum = e.loop(s.zero, e.index(s.dim), 1, sum, [&](Value d, ValueRange carried) {
      SmallVector<Value> result(carried), x;
      for (int64_t r = 0; r < rows; ++r)
        x.push_back(e.splat(e.loadScalar(s.queries, {e.add(first, e.index(r)), d})));
      for (int64_t n = 0; n < atOnce; ++n) {
        if (s.decodes(rows)) {
          e.prefetch(s.keys, {next[n], s.kvHead, d, s.zero}, 3);
          // The values take as much room as the keys, `page` elements for each of the head's columns. A chunk of them
          // would fill L1 before it is used.
          Value at = e.mul(d, e.index(s.page));
          e.prefetch(s.values, {physical[n], s.kvHead, s.divide(at, s.paddedDim), s.remainder(at, s.paddedDim)}, 2);
        }
        for (int64_t p = 0; p < pieces; ++p) {
          Value key = e.load(s.keys, {physical[n], s.kvHead, d, e.index(p * lanes)});
          for (int64_t r = 0; r < rows; ++r) {
            Value &to = result[(n * rows + r) * pieces + p];
            to = e.fma(x[r], key, to);
          }
        }
      }
      return result;
    });
    for (int64_t n = 0; n < atOnce; ++n) {
      Value column = e.mul(e.sub(logical[n], firstPage), e.index(s.page));
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t p = 0; p < pieces; ++p)
          e.store(sum[(n * rows + r) * pieces + p], s.scores, {e.index(r), e.add(column, e.index(p * lanes))});
    }
  });
}

SmallVector<Value> FloatProducts::weighValues(int64_t rows, Value firstPage, Value pages) {
  return byColumns(s, rows, 1,
                   [&](int64_t j0, int64_t columns) { return weighColumns(rows, firstPage, pages, j0, columns); });
}

/// `columns` vectors from column j0 on, kept in registers over all positions.
SmallVector<Value> FloatProducts::weighColumns(int64_t rows, Value firstPage, Value pages, int64_t j0,
                                               int64_t columns) {
  SmallVector<Value> sum(rows * columns, e.splat(0.0f));
  return e.loop(s.zero, pages, 1, sum, [&](Value number, ValueRange outer) {
    Value logical = e.add(firstPage, number), physical = s.physicalPage(logical);
    Value column = e.mul(number, e.index(s.page));
    // Slots behind the last position hold nothing of this sequence: they are not even multiplied by zero.
    Value written =
        e.minIndex(e.index(s.page), e.sub(e.add(s.lastPosition, e.index(1)), e.mul(logical, e.index(s.page))));
    // Scores are done with before the values begin: meanwhile the next chunk's keys come nearer.
    bool prefetches = s.decodes(rows) && j0 == 0;
    int64_t lines = ceilDiv(s.paddedDim, s.page);
    Value ahead;
    if (prefetches)
      ahead = s.nextChunk(logical);
    return e.loop(s.zero, written, 1, outer, [&](Value t, ValueRange carried) {
      SmallVector<Value> next, value;
      for (int64_t line = 0; prefetches && line < lines; ++line)
        e.prefetch(s.keys, {ahead, s.kvHead, e.add(e.mul(t, e.index(lines)), e.index(line)), s.zero}, 2);
      for (int64_t c = 0; c < columns; ++c)
        value.push_back(e.load(s.values, {physical, s.kvHead, t, e.index(j0 + c * lanes)}));
      Value at = e.add(column, t);
      for (int64_t r = 0; r < rows; ++r) {
        Value weight = e.splat(e.loadScalar(s.scores, {e.index(r), at}));
        for (int64_t c = 0; c < columns; ++c)
          next.push_back(e.fma(weight, value[c], carried[r * columns + c]));
      }
      return next;
    });
  });
}

std::unique_ptr<AttentionProducts> kern::floatProducts(AttentionScope &scope) {
  return std::make_unique<FloatProducts>(scope);
}

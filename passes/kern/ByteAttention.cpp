//===- ByteAttention.cpp - attention's products over pages of int8 ----------===//
//
//   query:   q8, its scale and -128 Σ q8 per head, once
//   scores:  (vpdpbusd of 4 columns by 16 positions, exact) * query scale * key scale
//   weights: w = p * value scale; w8 = w in 0..255 of the page's largest w, for each query and page
//   values:  output = fma(vpdpbusd of 4 positions by 16 columns, exact, page's weight scale, output), page by page
//
// Both scales of a position stand behind its key. A page's position in its chunk decides everything, not how the work
// is cut.
//
//===----------------------------------------------------------------------===//
#include "passes/kern/AttentionProducts.h"
#include "passes/kern/ByteCodes.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::kern;

namespace {

class ByteProducts : public AttentionProducts {
public:
  explicit ByteProducts(AttentionScope &scope)
      : s(scope), e(scope.e), pieces(s.page / lanes), quads(s.paddedDim / 4), pageQuads(s.page / 4) {}

  void allocate(int64_t queries) override;
  void prepare(Value query) override;
  void scorePages(int64_t rows, Value first, Value firstPage, Value pages) override;
  SmallVector<Value> weighValues(int64_t rows, Value firstPage, Value pages) override;

private:
  void scoreSomePages(int64_t rows, Value first, ArrayRef<Value> columns, ArrayRef<Value> physical,
                      ArrayRef<Value> next);
  void quantizeWeights(int64_t rows, Value firstPage, Value pages);
  SmallVector<Value> weighColumns(int64_t rows, Value firstPage, Value pages, int64_t j0, int64_t columns);

  /// 16 positions' scales of their keys or values.
  Value scales(Value physical, int64_t piece, bool ofKeys) {
    Value bytes =
        loadQuads(e, s.keys, {physical, s.kvHead, e.index(quads + (ofKeys ? 0 : 1)), e.index(piece * lanes), s.zero});
    return vector::BitCastOp::create(e.b, e.vec(), bytes);
  }
  Value byteDot(Value sum, Value unsignedBytes, Value signedBytes) {
    return ByteDotOp::create(e.b, sum.getType(), sum, unsignedBytes, signedBytes);
  }
  Value toFloat(Value ints) { return arith::SIToFPOp::create(e.b, e.vec(), ints); }
  void prefetchKeys(Value physical, Value quad, unsigned locality) {
    for (int64_t p = 0; p < pieces; ++p)
      e.prefetch(s.keys, {physical, s.kvHead, quad, e.index(p * lanes), s.zero}, locality);
  }

  AttentionScope &s;
  Emitter &e;
  int64_t pieces;                              ///< vectors of 16 positions of a page
  int64_t quads, pageQuads;                    ///< of a head's columns, of a page's positions
  Value queryCodes, queryScales, queryOffsets; ///< scratch, one row a query; codes four an element
  Value weightCodes, weightScales;             ///< scratch, one row a query of the tile; a scale a page
};

} // namespace

void ByteProducts::allocate(int64_t queries) {
  Type i32 = e.b.getI32Type();
  queryCodes = e.scratch({queries, quads}, i32);
  queryScales = e.scratch({queries, 1}, e.f32());
  queryOffsets = e.scratch({queries, 1}, i32);
  weightCodes = e.scratch({s.tileRows, chunkTokens / 4}, i32);
  weightScales = e.scratch({s.tileRows, s.chunkPages}, e.f32());
}

/// 16 codes as four elements of a memref of i32.
static void storeCodes(Emitter &e, Value bytes, Value memref, ValueRange indices) {
  auto elements = VectorType::get({lanes / 4}, e.b.getI32Type());
  vector::StoreOp::create(e.b, vector::BitCastOp::create(e.b, elements, bytes).getResult(), memref, indices);
}

void ByteProducts::prepare(Value query) {
  SmallVector<Value> vectors;
  for (int64_t j = 0; j < s.paddedDim; j += lanes)
    vectors.push_back(e.load(s.queries, {query, e.index(j)}));
  ByteCodes coded(e, vectors, 127.0f);
  for (size_t v = 0; v < vectors.size(); ++v)
    storeCodes(e, coded.bytes(e, v), queryCodes, {query, e.index(v * lanes / 4)});
  e.storeScalar(coded.scale, queryScales, {query, s.zero});
  // Keys are biased by 128: a score starts at what that adds too much.
  Value minus128 = arith::ConstantOp::create(e.b, e.b.getI32IntegerAttr(-128));
  e.storeScalar(e.mul(coded.sum(e), minus128), queryOffsets, {query, s.zero});
}

/// Several pages at a time where a tile of few queries leaves registers empty.
void ByteProducts::scorePages(int64_t rows, Value first, Value firstPage, Value pages) {
  int64_t atOnce = std::clamp<int64_t>(s.accumulators / (2 * rows * pieces), 1, 4);
  Value lastPage = e.sub(e.add(firstPage, pages), e.index(1));
  auto clamped = [&](Value logical) { return e.minIndex(logical, lastPage); };
  e.loop(s.zero, pages, atOnce, [&](Value number) {
    // Behind the last page it is done again, with the same result in the same place.
    SmallVector<Value> columns, physical, next;
    for (int64_t n = 0; n < atOnce; ++n) {
      Value at = e.add(firstPage, e.add(number, e.index(n))), logical = clamped(at);
      columns.push_back(e.mul(e.sub(logical, firstPage), e.index(s.page)));
      physical.push_back(s.physicalPage(logical));
      if (s.decodes(rows))
        next.push_back(s.physicalPage(clamped(e.add(at, e.index(atOnce)))));
    }
    scoreSomePages(rows, first, columns, physical, next);
  });
}

/// `columns` says where the scores of each page go.
void ByteProducts::scoreSomePages(int64_t rows, Value first, ArrayRef<Value> columns, ArrayRef<Value> physical,
                                  ArrayRef<Value> next) {
  int64_t count = physical.size();
  auto ints = VectorType::get({lanes}, e.b.getI32Type());
  SmallVector<Value> sum, queryScale;
  for (int64_t n = 0; n < count; ++n)
    for (int64_t r = 0; r < rows; ++r)
      sum.append(pieces, vector::BroadcastOp::create(e.b, ints,
                                                     e.loadScalar(queryOffsets, {e.add(first, e.index(r)), s.zero})));
  for (Value page : next)
    for (int64_t quad = quads; quad < quads + scaleQuads; ++quad)
      prefetchKeys(page, e.index(quad), 3);
  sum = e.loop(s.zero, e.index(ceilDiv(s.dim, 4)), 1, sum, [&](Value quad, ValueRange carried) {
    SmallVector<Value> result(carried), x;
    for (int64_t r = 0; r < rows; ++r)
      x.push_back(spreadQuad(e, e.loadScalar(queryCodes, {e.add(first, e.index(r)), quad})));
    for (int64_t n = 0; n < count; ++n) {
      if (!next.empty()) {
        prefetchKeys(next[n], quad, 3);
        // The values take as many lines as the codes of the keys. A chunk of them would fill L1 before it is used.
        for (int64_t p = 0; p < pieces; ++p) {
          Value line = e.add(e.mul(quad, e.index(pieces)), e.index(p));
          int64_t perRow = s.paddedDim / lanes;
          e.prefetch(
              s.values,
              {physical[n], s.kvHead, s.divide(line, perRow), e.mul(s.remainder(line, perRow), e.index(lanes)), s.zero},
              2);
        }
      }
      for (int64_t p = 0; p < pieces; ++p) {
        Value key = loadQuads(e, s.keys, {physical[n], s.kvHead, quad, e.index(p * lanes), s.zero});
        for (int64_t r = 0; r < rows; ++r) {
          Value &to = result[(n * rows + r) * pieces + p];
          to = byteDot(to, key, x[r]);
        }
      }
    }
    return result;
  });
  for (int64_t r = 0; r < rows; ++r)
    queryScale.push_back(e.splat(e.loadScalar(queryScales, {e.add(first, e.index(r)), s.zero})));
  for (int64_t n = 0; n < count; ++n)
    for (int64_t p = 0; p < pieces; ++p) {
      Value keyScale = scales(physical[n], p, true), column = e.add(columns[n], e.index(p * lanes));
      for (int64_t r = 0; r < rows; ++r) {
        Value score = e.mul(e.mul(toFloat(sum[(n * rows + r) * pieces + p]), queryScale[r]), keyScale);
        e.store(score, s.scores, {e.index(r), column});
      }
    }
}

/// The weights of each page as codes of its own scale, so that a page of small weights keeps its bits beside one of
/// large weights.
void ByteProducts::quantizeWeights(int64_t rows, Value firstPage, Value pages) {
  Value none = e.splat(0.0f);
  e.loop(s.zero, pages, 1, [&](Value number) {
    Value logical = e.add(firstPage, number), physical = s.physicalPage(logical);
    Value column = e.mul(number, e.index(s.page));
    SmallVector<Value> valueScale;
    for (int64_t p = 0; p < pieces; ++p)
      valueScale.push_back(scales(physical, p, false));
    for (int64_t r = 0; r < rows; ++r) {
      SmallVector<Value> weights;
      for (int64_t p = 0; p < pieces; ++p) {
        Value weight = e.load(s.scores, {e.index(r), e.add(column, e.index(p * lanes))});
        // A slot behind the last position has weight 0, and a scale that may be NaN.
        Value seen = arith::CmpFOp::create(e.b, arith::CmpFPredicate::OGT, weight, none);
        weights.push_back(e.select(seen, e.mul(weight, valueScale[p]), none));
      }
      ByteCodes coded(e, weights, 255.0f);
      Value at = e.mul(number, e.index(pageQuads));
      for (int64_t p = 0; p < pieces; ++p)
        storeCodes(e, coded.bytes(e, p), weightCodes, {e.index(r), e.add(at, e.index(p * lanes / 4))});
      e.storeScalar(coded.scale, weightScales, {e.index(r), number});
    }
  });
}

SmallVector<Value> ByteProducts::weighValues(int64_t rows, Value firstPage, Value pages) {
  quantizeWeights(rows, firstPage, pages);
  // Every column keeps two accumulators: the page's sum in i32 and the chunk's in f32.
  return byColumns(s, rows, 2,
                   [&](int64_t j0, int64_t columns) { return weighColumns(rows, firstPage, pages, j0, columns); });
}

/// `columns` vectors from column j0 on, kept in registers over all positions.
SmallVector<Value> ByteProducts::weighColumns(int64_t rows, Value firstPage, Value pages, int64_t j0, int64_t columns) {
  auto ints = VectorType::get({lanes}, e.b.getI32Type());
  Value nothing = arith::ConstantOp::create(e.b, DenseElementsAttr::get(ints, 0));
  SmallVector<Value> total(rows * columns, e.splat(0.0f));
  return e.loop(s.zero, pages, 1, total, [&](Value number, ValueRange outer) {
    Value logical = e.add(firstPage, number), physical = s.physicalPage(logical);
    Value at = e.mul(number, e.index(pageQuads));
    // Scores are done with before the values begin: meanwhile the next chunk's keys come nearer.
    bool prefetches = s.decodes(rows) && j0 == 0;
    int64_t perQuad = (quads + scaleQuads) / pageQuads;
    Value ahead;
    if (prefetches) {
      ahead = s.nextChunk(logical);
      for (int64_t quad = perQuad * pageQuads; quad < quads + scaleQuads; ++quad)
        prefetchKeys(ahead, e.index(quad), 2);
    }
    SmallVector<Value> sum(rows * columns, nothing);
    // Slots behind the last position are multiplied by 0: they are bytes, so that makes 0 of whatever they hold.
    sum = e.loop(s.zero, e.index(pageQuads), 1, sum, [&](Value quad, ValueRange carried) {
      SmallVector<Value> next, value;
      for (int64_t i = 0; prefetches && i < perQuad; ++i)
        prefetchKeys(ahead, e.add(e.mul(quad, e.index(perQuad)), e.index(i)), 2);
      for (int64_t c = 0; c < columns; ++c)
        value.push_back(loadQuads(e, s.values, {physical, s.kvHead, quad, e.index(j0 + c * lanes), s.zero}));
      for (int64_t r = 0; r < rows; ++r) {
        Value weight = spreadQuad(e, e.loadScalar(weightCodes, {e.index(r), e.add(at, quad)}));
        for (int64_t c = 0; c < columns; ++c)
          next.push_back(byteDot(carried[r * columns + c], weight, value[c]));
      }
      return next;
    });
    SmallVector<Value> result;
    for (int64_t r = 0; r < rows; ++r) {
      Value scale = e.splat(e.loadScalar(weightScales, {e.index(r), number}));
      for (int64_t c = 0; c < columns; ++c)
        result.push_back(e.fma(toFloat(sum[r * columns + c]), scale, outer[r * columns + c]));
    }
    return result;
  });
}

std::unique_ptr<AttentionProducts> kern::byteProducts(AttentionScope &scope) {
  return std::make_unique<ByteProducts>(scope);
}

//===- BlockAttentionKernel.cpp - attention as the program of a GPU's block --===//
//
//   an item and a KV head a block; the item's queries, scaled, into shared memory
//   for each chunk:
//     kern.block_scores                    all queries by the chunk's keys
//     for each query, a group of threads:  mask, maximum, weights, sum
//     kern.block_weigh                     all weights by the chunk's values
//     for each query, a group of threads:  its state takes the chunk in, or the chunk is stored as a partial result
//   O / L, or the join of the partial results (AttentionSoftmax.h)
//
// A query belongs to one group throughout, so its state needs no barrier.
//
//===----------------------------------------------------------------------===//
#include "passes/kern/AttentionSoftmax.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::kern;

namespace {

class BlockAttention : AttentionSoftmax {
public:
  explicit BlockAttention(KernelContext &k) : AttentionSoftmax(k) {}
  LogicalResult run();

private:
  void readQueries();
  void chunk(Value index, Value split, Value record);

  Value products;         ///< scratch [query][paddedDim]: weighted values of a chunk
  Value largestOf, sumOf; ///< scratch, a number a query: what the chunk's softmax gave
};

} // namespace

LogicalResult BlockAttention::run() {
  if (failed(prepare()))
    return failure();
  bool codes = kv.getElement().isInteger(8);
  // Rows are padded so that those of a tile lie in different banks.
  int64_t most = roundUp(k.schedule.getUnitBlock() * group, deviceTileRows);
  queries = e.scratch({most, paddedDim % 64 == 0 ? paddedDim + 32 : paddedDim},
                      codes ? Type(e.b.getBF16Type()) : kv.getElement());
  scores = e.scratch({most, chunkTokens + 4}, e.f32());
  products = e.scratch({most, paddedDim}, e.f32());
  allocate(most);
  largestOf = e.scratch({most, e.ownColumns()}, e.f32());
  sumOf = e.scratch({most, e.ownColumns()}, e.f32());
  if (codes)
    valueScales = e.scratch({chunkTokens}, e.f32());
  for (auto [value, word] :
       {std::pair(queries, "queries"), std::pair(scores, "scores"), std::pair(products, "products"),
        std::pair(outputs, "outputs"), std::pair(maxima, "maxima"), std::pair(sums, "sums"),
        std::pair(largestOf, "chunk_maxima"), std::pair(sumOf, "chunk_sums"), std::pair(valueScales, "value_scales")})
    name(value, word);

  Type i = e.b.getIndexType();
  auto range = ProgramIdOp::create(e.b, TypeRange{i, i, i, i});
  kvHead = range.getTileBegin();
  Value number = range.getUnitBegin(); // a block has one item
  begin(number);
  readQueries();
  e.sync(Scope::block);
  Value split = e.compare(arith::CmpIPredicate::sgt, e.batch(Field::item_count, number), e.index(1));
  chunks(number, [&](Value index, Value record) { chunk(index, split, record); });
  Value ready = e.choose(
      split, [&] { return arrive(number); }, [&] { return arith::ConstantOp::create(e.b, e.b.getBoolAttr(true)); });
  name(ready, "ready");
  e.when(ready, [&] {
    auto [begin, end] = chunksSeen();
    Value from = begin, to = end; // structured bindings cannot be captured
    e.share(zero, count, [&](Value q) {
      name(q, "q");
      e.when(split, [&] { join(q, e.batch(Field::item_record, number), from, to); });
      finish(q);
    });
  });
  return success();
}

void BlockAttention::readQueries() {
  Value scale = e.splat(static_cast<float>(op.getScale().convertToDouble()));
  e.share(zero, count, [&](Value q) {
    name(q, "q");
    Value row = queryRow(q), column = queryColumn(q);
    e.columns(dim, [&](const Emitter::Column &c) {
      Value at = e.at(c);
      e.store(e.mul(e.loadValid(query, {row, e.add(column, at)}, c.valid), scale), queries, {q, at});
    });
    for (int64_t j = roundUp(dim, lanes); j < paddedDim; j += lanes)
      e.store(e.splat(0.0f), queries, {q, e.index(j)});
    startState(q);
  });
}

void BlockAttention::chunk(Value index, Value split, Value record) {
  auto [begin, some] = pagesOf(index);
  Value firstPage = begin, pages = some, endPage = e.add(begin, some); // structured bindings cannot be captured
  scoresBegin = e.mul(e.sub(firstPage, e.mul(index, e.index(chunkPages))), e.index(page));
  BlockScoresOp::create(e.b, count, queries, keys, sequence, kvHead, index, firstPage, endPage, scores, valueScales);
  e.sync(Scope::block);
  e.share(zero, count, [&](Value q) {
    name(q, "q");
    SmallVector<Value> sum, largest = softmax(1, q, firstPage, pages, sum);
    e.storeScalar(largest[0], largestOf, {q, e.own()});
    e.storeScalar(sum[0], sumOf, {q, e.own()});
  });
  e.sync(Scope::block);
  BlockWeighOp::create(e.b, count, scores, values, sequence, kvHead, index, firstPage, endPage,
                       e.add(lastPosition, e.index(1)), products);
  e.sync(Scope::block);
  e.share(zero, count, [&](Value q) {
    name(q, "q");
    State part{e.loadScalar(largestOf, {q, e.own()}), e.loadScalar(sumOf, {q, e.own()}),
               [&](const Emitter::Column &c) { return e.load(products, {q, e.at(c)}); }};
    e.either(split, [&] { storePartial(record, q, part); }, [&] { takeIn(q, part); });
  });
}

LogicalResult kern::buildBlockAttention(KernelContext &k) { return BlockAttention(k).run(); }

//===- MergeLinears.cpp - lm-merge-linears ---------------------------------===//
//
// Linears of one input become one: those whose results meet in one attention (query, key, value) with their weights
// one below the other, those whose results meet in one gated op with their weights alternating, so that a tile of
// columns holds gate and up of the same features.
//
//   %q = lm.linear %n, %wq                         %w = lm.stack %wq, %wk, %wv
//   %k = lm.linear %n, %wk                         %qkv = lm.linear %n, %w
//   %v = lm.linear %n, %wv                         %q, %k, %v = lm.split %qkv
//
//   %g = lm.linear %n, %wg                         %w = lm.stack %wg, %wu interleave 16
//   %u = lm.linear %n, %wu                         %gu = lm.linear %n, %w
//                                                  %g, %u = lm.split %gu interleave 16
//
//===----------------------------------------------------------------------===//
#include "passes/lm/FusionUtils.h"
#include "passes/lm/LmPasses.h"
#include "passes/lm/StoredFormat.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Builders.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringExtras.h"

#define DEBUG_TYPE "lm-merge-linears"

namespace lathe::lm {
#define GEN_PASS_DEF_LMMERGELINEARS
#include "passes/lm/LmPasses.h.inc"
} // namespace lathe::lm

using namespace mlir;
using namespace lathe::lm;

/// Gate and up alternate in blocks of the vector width of the CPU kernels.
static constexpr int64_t gateInterleave = 16;

/// The linear that a query, key or value comes from, through norms and rotations.
static LinearOp linearBehind(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    if (auto linear = dyn_cast<LinearOp>(op))
      return linear;
    if (!isa<RopeOp, NormOp>(op))
      break;
    value = op->getOperand(0);
  }
  return nullptr;
}

/// Why these linears (of one input) cannot become one.
static Refusal refuseMerge(ArrayRef<LinearOp> linears) {
  LinearOp first = linears.front();
  auto like = cast<RankedTensorType>(first.getWeight().getType());
  for (LinearOp linear : linears) {
    auto type = cast<RankedTensorType>(linear.getWeight().getType());
    if (type.getElementType() != like.getElementType() || type.getEncoding() != like.getEncoding())
      return "the weights have different elements";
    for (Value weight : {linear.getWeight(), linear.getBias()})
      if (weight && weight.getDefiningOp() && !weight.getDefiningOp<WeightOp>())
        return "a weight is computed";
  }
  return std::nullopt;
}

/// Kept weights of different encodings, or floats, get a type that holds them all exactly.
static void agree(ArrayRef<LinearOp> linears) {
  SmallVector<RankedTensorType> types;
  for (LinearOp linear : linears)
    types.push_back(cast<RankedTensorType>(linear.getWeight().getType()));
  if (llvm::all_equal(llvm::map_range(
          types, [](RankedTensorType type) { return std::pair(type.getElementType(), type.getEncoding()); })))
    return;
  QuantAttr common = commonFormat(types);
  bool floats = llvm::all_of(types, [](RankedTensorType type) { return isStoredFloat(type.getElementType()); });
  bool own = llvm::all_of(linears, [](LinearOp linear) {
    return linear.getWeight().getDefiningOp<WeightOp>() && linear.getWeight().hasOneUse();
  });
  if (!own || (!common && !floats))
    return;
  MLIRContext *context = types.front().getContext();
  Type element = floats ? Type(Float32Type::get(context)) : IntegerType::get(context, 8);
  for (auto [linear, type] : llvm::zip(linears, types))
    LinearOp(linear).getWeight().setType(RankedTensorType::get(type.getShape(), element, common));
}

/// The weights below one another (or alternating), in front of the first linear.
static Value stack(OpBuilder &builder, Location loc, ArrayRef<Value> weights, IntegerAttr interleave) {
  auto like = cast<RankedTensorType>(weights.front().getType());
  SmallVector<int64_t> shape(like.getShape());
  shape[0] = 0;
  for (Value weight : weights)
    shape[0] += cast<RankedTensorType>(weight.getType()).getDimSize(0);
  auto type = RankedTensorType::get(shape, like.getElementType(), like.getEncoding());
  return StackOp::create(builder, loc, type, weights, interleave);
}

/// "qkv", "gate_up": the names of the parts, at the place of the first.
static NameLoc mergedLoc(ArrayRef<LinearOp> linears) {
  LinearOp first = linears.front();
  SmallVector<std::string> words;
  SmallVector<Location> locs;
  for (LinearOp linear : linears) {
    words.push_back(wordOf(linear));
    locs.push_back(linear.getLoc());
  }
  bool letters = llvm::all_of(words, [](const std::string &word) { return word.size() == 1; });
  MLIRContext *context = first.getContext();
  return NameLoc::get(StringAttr::get(context, llvm::join(words, letters ? "" : "_")), FusedLoc::get(context, locs));
}

static NameLoc suffixed(NameLoc loc, StringRef suffix) {
  return NameLoc::get(StringAttr::get(loc.getContext(), loc.getName().strref() + suffix), loc.getChildLoc());
}

/// The bias of a linear that has none, beside others that have one.
static Value zeros(OpBuilder &builder, LinearOp linear) {
  auto type =
      RankedTensorType::get(cast<RankedTensorType>(linear.getWeight().getType()).getDimSize(0), builder.getF32Type());
  return arith::ConstantOp::create(builder, linear.getLoc(), DenseElementsAttr::get(type, 0.0f));
}

static void merge(ArrayRef<LinearOp> linears, IntegerAttr interleave) {
  LinearOp first = *llvm::min_element(linears, [](LinearOp a, LinearOp b) { return a->isBeforeInBlock(b); });
  NameLoc loc = mergedLoc(linears);
  OpBuilder builder(first);
  SmallVector<Value> weights, biases;
  SmallVector<Type> types;
  bool biased = llvm::any_of(linears, [](LinearOp linear) { return static_cast<bool>(linear.getBias()); });
  for (LinearOp linear : linears) {
    types.push_back(linear.getType());
    weights.push_back(linear.getWeight());
    if (biased)
      biases.push_back(linear.getBias() ? linear.getBias() : zeros(builder, linear));
  }
  for (Value weight : llvm::concat<Value>(weights, biases))
    if (Operation *op = weight.getDefiningOp(); op && first->isBeforeInBlock(op))
      op->moveBefore(first);

  Value weight = stack(builder, suffixed(loc, "_weight"), weights, interleave);
  Value bias = biases.empty() ? Value() : stack(builder, suffixed(loc, "_bias"), biases, interleave);
  int64_t width = cast<RankedTensorType>(weight.getType()).getDimSize(0);
  auto type =
      RankedTensorType::get({ShapedType::kDynamic, width}, cast<RankedTensorType>(first.getType()).getElementType());
  Value merged = LinearOp::create(builder, loc, type, first.getInput(), weight, bias);
  auto split = SplitOp::create(builder, suffixed(loc, "_parts"), types, merged, interleave);
  for (auto [index, linear] : llvm::enumerate(llvm::to_vector(linears))) {
    linear.getResult().replaceAllUsesWith(split.getResult(index));
    linear.erase();
  }
}

namespace {
struct MergeLinears : lathe::lm::impl::LmMergeLinearsBase<MergeLinears> {
  using LmMergeLinearsBase::LmMergeLinearsBase;

  void runOnOperation() override {
    report = {.remarks = remarks};
    for (GatedOp gated : opsIn<GatedOp>(getOperation()))
      mergeGateUp(gated);
    for (AttentionOp attention : opsIn<AttentionOp>(getOperation()))
      mergeHeads(attention);
    report.summarize(getOperation(), getArgument());
  }

  void mergeGateUp(GatedOp gated) {
    auto gate = gated.getGate().getDefiningOp<LinearOp>(), up = gated.getUp().getDefiningOp<LinearOp>();
    if (!gate || !up || gate == up)
      return;
    if (gate.getInput() != up.getInput())
      return report.refuse(gated, "not merged: gate and up have different inputs");
    if (!gate->hasOneUse() || !up->hasOneUse())
      return report.refuse(gated, "not merged: gate or up is used elsewhere");
    tryMerge({gate, up}, gateInterleave);
  }

  void mergeHeads(AttentionOp attention) {
    SetVector<Operation *> linears;
    auto add = [&](Value value) {
      if (LinearOp linear = linearBehind(value))
        linears.insert(linear);
    };
    add(attention.getQuery());
    if (auto append = attention.getKv().getDefiningOp<KvAppendOp>()) {
      add(append.getKey());
      add(append.getValue());
    }
    llvm::MapVector<Value, SmallVector<LinearOp>> byInput;
    for (Operation *op : linears)
      byInput[cast<LinearOp>(op).getInput()].push_back(cast<LinearOp>(op));
    if (byInput.size() > 1)
      report.refuse(attention, "not all merged: query, key and value have different inputs");
    for (auto &[input, group] : byInput)
      if (group.size() > 1)
        tryMerge(group, std::nullopt);
  }

  void tryMerge(ArrayRef<LinearOp> linears, std::optional<int64_t> interleave) {
    agree(linears);
    if (Refusal reason = refuseMerge(linears))
      return report.refuse(linears.front(), "not merged: " + *reason);
    ++report.formed;
    report.absorbed += linears.size();
    Builder builder(&getContext());
    merge(linears, interleave ? builder.getI64IntegerAttr(*interleave) : IntegerAttr());
  }

  FusionReport report;
};
} // namespace

//===- KernelArguments.cpp - the buffers of a kernel ------------------------===//
#include "passes/kern/KernelArguments.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::kern;

BlockArgument kern::argumentOf(Value value) {
  auto argument = dyn_cast<BlockArgument>(value);
  return argument && isa<func::FuncOp>(argument.getOwner()->getParentOp()) ? argument : BlockArgument();
}

int64_t KernelSignature::find(Argument::Kind kind, int64_t number, Part part) const {
  for (auto [i, argument] : llvm::enumerate(arguments))
    if (argument.kind == kind && argument.number == number && argument.part == part)
      return i;
  return -1;
}

namespace {

struct Analysis {
  KernelSignature &s;
  Builder b;
  int64_t context;

  Analysis(KernelSignature &s, int64_t context) : s(s), b(s.function.getContext()), context(context) {}

  MemRefType rows(int64_t width) {
    return MemRefType::get({ShapedType::kDynamic, roundUp(width, panelWidth)}, b.getF32Type());
  }

  /// The arrays of a quantised weight, or the one of a float weight, in panels.
  LogicalResult addPanels(BlockArgument weight, int64_t panels, PackAttr pack) {
    auto type = cast<RankedTensorType>(weight.getType());
    int64_t k = type.getDimSize(1);
    Argument a{.kind = Argument::Kind::weight, .type = {}, .number = weight.getArgNumber(), .pack = pack, .k = k};
    if (s.device && !isDeviceWeight(type))
      return s.anchor->emitOpError() << "expected a weight in f32, bf16 or codes of 8 bits in groups of a multiple of "
                                        "32 without minima on a GPU, found "
                                     << type;
    if ((a.coding = codingOf(type))) {
      for (Part part : a.coding.parts()) {
        a.part = part;
        a.type = s.device ? deviceTypeOf(a.coding, part, panels * (panelWidth / devicePanel), k)
                          : a.coding.typeOf(part, panels, k);
        s.arguments.push_back(a);
        s.tileBytes += a.type.getNumElements() / panels * (a.type.getElementTypeBitWidth() / 8);
      }
    } else {
      a.type = s.device ? deviceValuesType(type.getElementType(), panels * (panelWidth / devicePanel), k)
                        : valuesType(type.getElementType(), panels, k);
      s.arguments.push_back(a);
      s.tileBytes = a.type.getNumElements() / panels * (a.type.getElementTypeBitWidth() / 8);
    }
    return success();
  }

  LogicalResult addVector(Value value, int64_t width, PackAttr pack) {
    if (!value)
      return success();
    auto argument = argumentOf(value);
    if (!argument)
      return emitError(value.getLoc()) << "expected a gain or bias that is an argument of the kernel";
    s.arguments.push_back({.kind = Argument::Kind::weight,
                           .type = MemRefType::get({width}, b.getF32Type()),
                           .number = argument.getArgNumber(),
                           .part = Part::vector,
                           .pack = pack,
                           .k = 1});
    return success();
  }

  void addRope(lm::RopeOp rope) {
    int64_t pairs = roundUp(rope.getDim() / 2, lanes);
    for (const Argument &a : s.arguments)
      if (a.rope == rope.getRope() && a.k == static_cast<int64_t>(rope.getDim()))
        return;
    auto add = [&](Part part, int64_t count) {
      s.arguments.push_back({.kind = Argument::Kind::weight,
                             .type = MemRefType::get({2, count, pairs}, b.getF32Type()),
                             .part = part,
                             .k = static_cast<int64_t>(rope.getDim()),
                             .rope = rope.getRope()});
    };
    add(Part::rope_low, ropeSpan);
    add(Part::rope_high, ceilDiv(context, ropeSpan));
  }

  void addPages(BlockArgument kv) {
    auto type = cast<lm::KvType>(kv.getType());
    int64_t dim = paddedHead(type.getDim(), s.device), page = type.getPage();
    SmallVector<int64_t> keys{ShapedType::kDynamic, type.getHeads()}, values = keys;
    bool codes = type.getElement().isInteger(8);
    if (s.device && codes) {
      keys.append({dim + scaleBytes, page});
      values.append({dim, page});
    } else if (s.device) {
      keys.append({page, dim});
      values.append({dim, page});
    } else if (codes) {
      keys.append({dim / 4 + scaleQuads, page, 4});
      values.append({page / 4, dim, 4});
    } else {
      keys.append({dim, page});
      values.append({page, dim});
    }
    for (auto &[kind, shape] : {std::pair(Argument::Kind::keys, keys), std::pair(Argument::Kind::values, values)})
      s.arguments.push_back(
          {.kind = kind, .type = MemRefType::get(shape, type.getElement()), .number = kv.getArgNumber()});
  }

  /// How the output features of the anchor are put into panels: by the epilogues' column spans.
  LogicalResult shapeLinear(lm::LinearOp linear) {
    MLIRContext *context = b.getContext();
    lm::SplitOp split;
    int64_t head = 0;
    for (Operation &op : s.fused.getBody().front().without_terminator()) {
      if (auto found = dyn_cast<lm::SplitOp>(op))
        split = found;
      auto fusable = dyn_cast<lm::FusableOpInterface>(op);
      if (!fusable || !linear->isBeforeInBlock(&op))
        continue;
      int64_t span = fusable.fusionRole().span;
      if (span > 1 && head != 0 && head != span)
        return op.emitOpError() << "expected epilogues of one column span, found " << head << " and " << span;
      if (span > 1)
        head = span;
    }
    SmallVector<int64_t> widths;
    if (split)
      for (Value result : split.getResults())
        widths.push_back(widthOf(result));
    else
      widths.push_back(widthOf(linear.getResult()));

    if (split && split.getInterleave()) {
      if (static_cast<int64_t>(*split.getInterleave()) != lanes || widths.size() != 2 || head != 0)
        return split.emitOpError() << "expected two results interleaved by " << lanes << " and no epilogue over heads";
      s.pack = PackAttr::get(context, Order::interleaved, lanes);
      s.panelsPerTile = 1;
      s.segmentTiles = {ceilDiv(widths[0], lanes)};
    } else if (head != 0) {
      s.pack = PackAttr::get(context, Order::heads, head);
      s.panelsPerTile = ceilDiv(head, panelWidth);
      for (int64_t width : widths)
        s.segmentTiles.push_back(width / head);
    } else if (widths.size() == 1) {
      s.pack = PackAttr::get(context, Order::flat, 1);
      s.panelsPerTile = 1;
      s.segmentTiles = {ceilDiv(widths[0], panelWidth)};
    } else {
      // Parts without a head: each begins a new panel. `heads` with the whole part as its head says just that when they
      // are equal.
      for (int64_t width : widths)
        if (width != widths[0])
          return split.emitOpError() << "expected equal parts where no epilogue works on heads";
      s.pack = PackAttr::get(context, Order::heads, widths[0]);
      s.panelsPerTile = ceilDiv(widths[0], panelWidth);
      s.segmentTiles.assign(widths.size(), 1);
    }
    s.tiles = 0;
    for (int64_t tiles : s.segmentTiles)
      s.tiles += tiles;
    return success();
  }

  LogicalResult run() {
    Block &body = s.fused.getBody().front();
    bool selects = false;
    for (Operation &op : body.without_terminator()) {
      if (auto fusable = dyn_cast<lm::FusableOpInterface>(op); fusable && fusable.fusionRole().anchor)
        s.anchor = &op;
      selects |= isa<lm::SelectRowsOp>(op);
    }
    if (!s.anchor)
      return s.fused.emitOpError() << "expected an anchor (linear, attention or embed): the CPU target has no kernel "
                                      "of elementwise ops alone";
    s.unit = isa<lm::AttentionOp>(s.anchor) ? Unit::items : selects ? Unit::logit_rows : Unit::rows;

    for (BlockArgument argument : s.function.getArguments())
      if (auto type = dyn_cast<RankedTensorType>(argument.getType());
          type && type.getRank() == 2 && type.isDynamicDim(0)) {
        if (!type.getElementType().isF32())
          return s.fused.emitOpError() << "expected activations in f32 between kernels, found " << type;
        s.arguments.push_back(
            {.kind = Argument::Kind::activation, .type = rows(type.getDimSize(1)), .number = argument.getArgNumber()});
      }

    if (auto linear = dyn_cast<lm::LinearOp>(s.anchor)) {
      if (failed(shapeLinear(linear)))
        return failure();
      auto weight = argumentOf(linear.getWeight());
      if (!weight)
        return linear.emitOpError() << "expected the weight to be an argument of the kernel";
      if (failed(addPanels(weight, s.tiles * s.panelsPerTile, s.pack)))
        return failure();
      s.tileBytes *= s.panelsPerTile;
      if (failed(addVector(linear.getBias(), s.tiles * s.panelsPerTile * panelWidth, s.pack)))
        return failure();
      s.unitFlops = 2 * widthOf(linear.getInput()) * widthOf(linear.getResult());
    } else if (auto embed = dyn_cast<lm::EmbedOp>(s.anchor)) {
      auto table = argumentOf(embed.getTable());
      if (!table)
        return embed.emitOpError() << "expected the table to be an argument of the kernel";
      int64_t rows = cast<RankedTensorType>(table.getType()).getDimSize(0);
      if (failed(addPanels(table, ceilDiv(rows, panelWidth), PackAttr::get(b.getContext(), Order::flat, 1))))
        return failure();
      s.tileBytes = 0; // a row a unit, not the table
    } else if (auto attention = dyn_cast<lm::AttentionOp>(s.anchor)) {
      auto kv = argumentOf(attention.getKv());
      if (!kv)
        return attention.emitOpError() << "expected the KV to be an argument of the kernel";
      s.tiles = cast<lm::KvType>(kv.getType()).getHeads();
      s.unitFlops = 4 * widthOf(attention.getQuery());
      addPages(kv);
      int64_t dim = cast<lm::KvType>(kv.getType()).getDim(), heads = widthOf(attention.getQuery()) / dim;
      s.arguments.push_back(
          {.kind = Argument::Kind::partials, .type = rows(heads * (paddedHead(dim, s.device) + lanes))});
    }
    for (Operation &op : body.without_terminator()) {
      if (auto norm = dyn_cast<lm::NormOp>(op)) {
        int64_t padded = roundUp(widthOf(norm.getGain()), lanes);
        if (failed(addVector(norm.getGain(), padded, {})) || failed(addVector(norm.getBias(), padded, {})))
          return failure();
      } else if (auto rope = dyn_cast<lm::RopeOp>(op)) {
        addRope(rope);
      } else if (auto append = dyn_cast<lm::KvAppendOp>(op)) {
        auto kv = argumentOf(append.getKv());
        if (!kv)
          return append.emitOpError() << "expected the KV to be an argument of the kernel";
        addPages(kv);
      }
    }
    for (auto [i, result] : llvm::enumerate(s.fused.getResults()))
      if (auto type = dyn_cast<RankedTensorType>(result.getType()))
        s.arguments.push_back(
            {.kind = Argument::Kind::output, .type = rows(type.getDimSize(1)), .number = static_cast<int64_t>(i)});
    return success();
  }
};

} // namespace

CodingAttr kern::codingOf(RankedTensorType weight) {
  auto quant = lm::quantOf(weight);
  if (!quant)
    return {};
  // Signed codes are stored with 128 added.
  int64_t bits = weight.getElementTypeBitWidth(), bias = bits == 8 ? 128 + quant.getBias() : quant.getBias();
  return CodingAttr::get(weight.getContext(), bits, quant.getGroup(), quant.getScale(), bias, quant.getMinimum(),
                         quant.getSuper(),
                         StringAttr::get(weight.getContext(), lm::stringifyQuantMethod(quant.getMethod())));
}

bool kern::isDeviceWeight(RankedTensorType weight) {
  CodingAttr coding = codingOf(weight);
  return coding ? isDeviceCoding(coding) : weight.getElementType().isF32() || weight.getElementType().isBF16();
}

Type kern::deviceRowElement(lm::LinearOp linear) {
  Type element = cast<RankedTensorType>(linear.getWeight().getType()).getElementType();
  return element.isF32() ? element : BFloat16Type::get(linear.getContext());
}

int64_t kern::deviceRowBytes(lm::LinearOp linear) {
  Type element = cast<RankedTensorType>(linear.getWeight().getType()).getElementType();
  int64_t width = roundUp(widthOf(linear.getInput()), std::max(2 * lanes, deviceBlock(element)));
  return width * deviceRowElement(linear).getIntOrFloatBitWidth() / 8;
}

bool kern::readsGlobalRows(lm::LinearOp linear, int64_t rows) {
  // Nothing is said of what stands in the padding of activations.
  bool plain = argumentOf(linear.getInput()) && widthOf(linear.getInput()) % panelWidth == 0;
  return plain && rows * deviceRowBytes(linear) > deviceRowsBudget;
}

FailureOr<KernelSignature> kern::signatureOf(func::FuncOp function, int64_t context, bool device) {
  KernelSignature signature;
  signature.device = device;
  signature.function = function;
  signature.fused = function.isExternal() ? lm::FusedOp() : dyn_cast<lm::FusedOp>(function.getBody().front().front());
  if (!signature.fused || !isa<func::ReturnOp>(signature.fused->getNextNode()))
    return function.emitOpError() << "expected one lm.fused and its return in a kernel's function";
  if (failed(Analysis(signature, context).run()))
    return failure();
  return signature;
}

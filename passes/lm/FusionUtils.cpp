//===- FusionUtils.cpp - growing lm.fused regions --------------------------===//
#include "passes/lm/FusionUtils.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Builders.h"
#include "mlir/Transforms/RegionUtils.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace lathe::lm;

Block *lathe::lm::stepOf(func::FuncOp function) {
  bool step = !function->hasAttr(kernelAttribute) && function.getBody().hasOneBlock();
  return step ? &function.getBody().front() : nullptr;
}

Operation *lathe::lm::anchorOf(FusedOp region) {
  for (Operation &op : region.getBody().front())
    if (auto role = roleOf(&op); role && role->anchor)
      return &op;
  return nullptr;
}

std::optional<FusionRole> lathe::lm::roleOf(Operation *op) {
  if (auto fusable = dyn_cast<FusableOpInterface>(op))
    return fusable.fusionRole();
  bool elementwise = isa_and_nonnull<arith::ArithDialect>(op->getDialect()) &&
                     llvm::all_of(op->getResultTypes(), llvm::IsaPred<RankedTensorType>);
  if (elementwise && op->getNumOperands() > 0)
    return FusionRole{.prologue = true, .epilogue = true};
  return std::nullopt;
}

SetVector<Value> lathe::lm::inputsOf(Operation *op) {
  SetVector<Value> inputs(op->operand_begin(), op->operand_end());
  getUsedValuesDefinedAbove(op->getRegions(), inputs);
  return inputs;
}

//===----------------------------------------------------------------------===//
// Names
//===----------------------------------------------------------------------===//

static std::string identifier(StringRef text) {
  std::string word(text.empty() || llvm::isDigit(text[0]) ? 1 : 0, '_');
  for (char c : text)
    word += llvm::isAlnum(c) ? c : '_';
  return word;
}

/// "q" of "model.layers.0.self_attn.q_proj.weight", "gate_up" of stacks.
static std::string wordOfWeight(Value weight) {
  Operation *op = weight.getDefiningOp();
  if (auto stack = dyn_cast_or_null<StackOp>(op)) {
    SmallVector<std::string> words;
    for (Value input : stack.getInputs())
      words.push_back(wordOfWeight(input));
    bool letters = llvm::all_of(words, [](const std::string &word) { return word.size() == 1; });
    return llvm::join(words, letters ? "" : "_");
  }
  auto named = dyn_cast_or_null<WeightOp>(op);
  if (!named)
    return "linear";
  // A tied head has the name of the table.
  if (llvm::any_of(named->getUsers(), llvm::IsaPred<EmbedOp>))
    return "head";
  StringRef source = named.getSource();
  source.consume_back(".weight");
  source = source.substr(source.rfind('.') + 1);
  source.consume_back("_proj"); // all linears of a layer have it
  return identifier(source);
}

std::string lathe::lm::wordOf(LinearOp linear) {
  if (auto loc = dyn_cast<NameLoc>(linear.getLoc())) {
    StringRef name = loc.getName().strref();
    return identifier(name.substr(name.rfind('.') + 1));
  }
  return wordOfWeight(linear.getWeight());
}

/// "norm_qkv_rope_append": what people call the ops of a region, in order, without those that only move or round.
static std::string describe(Block &body) {
  SmallVector<std::string> words;
  auto add = [&](const std::string &word) {
    if (words.empty() || words.back() != word)
      words.push_back(word);
  };
  bool anchored = false;
  for (Operation &op : body.without_terminator()) {
    if (auto linear = dyn_cast<LinearOp>(op)) {
      add(wordOf(linear));
      anchored = true;
    } else if (auto attention = dyn_cast<AttentionOp>(op)) {
      add(attention.getWindow() ? "attention_window_" + std::to_string(*attention.getWindow()) : "attention");
    } else if (isa<KvAppendOp>(op)) {
      add("append");
    } else if (isa<arith::AddFOp>(op)) {
      add(anchored ? "residual" : "add");
    } else if (!isa<QuantizeOp, SelectRowsOp, SplitOp>(op)) {
      add(op.getName().stripDialect().str());
    }
  }
  if (words.empty())
    return identifier(body.front().getName().stripDialect());
  // A linear alone would carry the bare name of a weight.
  return words.size() == 1 && anchored ? words[0] + "_linear" : llvm::join(words, "_");
}

//===----------------------------------------------------------------------===//
// Regions
//===----------------------------------------------------------------------===//

/// Closes a body whose values are used directly outside: a new op with the results that are needed takes it over.
static FusedOp close(FusedOp open) {
  Block &body = open.getBody().front();
  SmallVector<Value> escaping;
  for (Operation &op : body.without_terminator())
    for (Value result : op.getResults())
      if (llvm::any_of(result.getUsers(), [&](Operation *user) { return !open->isProperAncestor(user); }))
        escaping.push_back(result);

  OpBuilder builder(open);
  // A dump reads best when a single result has its own name.
  Operation *anchor = anchorOf(open);
  Location loc = escaping.size() == 1 ? escaping[0].getLoc() : (anchor ? anchor : &body.front())->getLoc();
  auto closed = FusedOp::create(builder, loc, TypeRange(ValueRange(escaping)), describe(body));
  closed.getBody().takeBody(open.getBody());
  body.getTerminator()->setOperands(escaping);
  for (auto [value, result] : llvm::zip_equal(escaping, closed.getResults()))
    value.replaceUsesWithIf(result, [&](OpOperand &use) { return !closed->isProperAncestor(use.getOwner()); });
  open.erase();
  return closed;
}

/// Lets the readers of a region use the body's values directly, until close().
static FusedOp open(FusedOp region) {
  auto yield = cast<YieldOp>(region.getBody().front().getTerminator());
  region->replaceAllUsesWith(yield.getValues());
  return region;
}

FusedOp lathe::lm::formRegion(Operation *op) {
  OpBuilder builder(op);
  auto region = FusedOp::create(builder, op->getLoc(), TypeRange(), "");
  Block &body = region.getBody().emplaceBlock();
  op->moveBefore(&body, body.end());
  builder.setInsertionPointToEnd(&body);
  YieldOp::create(builder, op->getLoc(), ValueRange());
  return close(region);
}

FusedOp lathe::lm::regionAround(Operation *op, FusionReport &report) {
  if (FusedOp region = regionOf(op))
    return region;
  ++report.formed;
  return formRegion(op);
}

Value lathe::lm::insideOf(Value value) {
  auto region = value.getDefiningOp<FusedOp>();
  if (!region)
    return value;
  return region.getBody().front().getTerminator()->getOperand(cast<OpResult>(value).getResultNumber());
}

SmallVector<Operation *> lathe::lm::consumersOf(Operation *op) {
  Operation *source = regionOf(op) ? regionOf(op).getOperation() : op;
  SetVector<Operation *> consumers;
  for (Operation *user : source->getUsers())
    consumers.insert(source->getBlock()->findAncestorOpInBlock(*user));
  SmallVector<Operation *> ordered = consumers.takeVector();
  llvm::sort(ordered, [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
  return ordered;
}

//===----------------------------------------------------------------------===//
// Producers
//===----------------------------------------------------------------------===//

/// Does everything that reads the op end in the input of a linear, by way of prologues only? Gives a reader that does
/// not.
static Operation *otherReader(Operation *op) {
  for (OpOperand &use : op->getUses()) {
    Operation *user = use.getOwner();
    if (auto linear = dyn_cast<LinearOp>(user)) {
      if (use.get() == linear.getInput())
        continue;
      return user;
    }
    if (!isa<NormOp, QuantizeOp, SelectRowsOp>(user) || use.getOperandNumber() != 0 || !roleOf(user)->prologue)
      return user;
    if (Operation *other = regionOf(user) ? nullptr : otherReader(user))
      return other;
  }
  return nullptr;
}

Refusal lathe::lm::refuseProducer(Operation *op) {
  auto role = roleOf(op);
  if (!role || !role->prologue)
    return (op->getName().getStringRef() + " cannot be a prologue").str();
  if (Operation *other = otherReader(op))
    return ("its value is needed by " + other->getName().getStringRef() + " as well, not by linears only").str();
  return std::nullopt;
}

Operation *lathe::lm::absorbProducer(FusedOp region, Operation *op) {
  Block &body = region.getBody().front();
  bool shared = llvm::any_of(op->getUsers(), [&](Operation *user) { return !region->isProperAncestor(user); });
  if (shared) {
    OpBuilder builder = OpBuilder::atBlockBegin(&body);
    Operation *clone = builder.clone(*op);
    op->replaceUsesWithIf(clone, [&](OpOperand &use) { return region->isProperAncestor(use.getOwner()); });
    op = clone;
  } else {
    op->moveBefore(&body, body.begin());
  }
  region.setName(describe(body));
  return op;
}

//===----------------------------------------------------------------------===//
// Consumers
//===----------------------------------------------------------------------===//

/// The ops between the region and `end` that need a result of the region, directly or not, in order.
static SetVector<Operation *> dependentsBefore(FusedOp region, Operation *end) {
  SetVector<Operation *> dependents;
  auto depends = [&](Value input) {
    Operation *producer = input.getDefiningOp();
    return producer && (producer == region || dependents.contains(producer));
  };
  for (Operation *op = region->getNextNode(); op != end; op = op->getNextNode())
    if (llvm::any_of(inputsOf(op), depends))
      dependents.insert(op);
  return dependents;
}

Refusal lathe::lm::refuseConsumer(FusedOp region, Operation *op) {
  StringRef name = op->getName().getStringRef();
  auto role = roleOf(op);
  bool anchored = anchorOf(region) != nullptr;
  if (anchored && role && role->epilogue && role->span == 0)
    return (name + " needs a whole row, an epilogue sees a tile of columns").str();
  if (!role || role->anchor || (anchored && !role->epilogue))
    return (name + " cannot be an epilogue").str();
  SetVector<Operation *> dependents = dependentsBefore(region, op);
  for (Value operand : op->getOperands())
    if (Operation *producer = operand.getDefiningOp(); producer && dependents.contains(producer))
      return ("an operand of " + name + " is computed outside from a result of the region").str();
  return std::nullopt;
}

std::string lathe::lm::whyApart(FusedOp region, Operation *reader) {
  std::string name = reader->getName().getStringRef().str();
  Operation *own = anchorOf(region), *other = regionOf(reader) ? anchorOf(regionOf(reader)) : nullptr;
  auto role = roleOf(reader);
  if (own && role && role->anchor)
    return "a region has one anchor, and " + name + " is one beside " + own->getName().getStringRef().str();
  if (own && role && role->span == 0)
    return name + " needs a whole row, an epilogue sees a tile of columns";
  if (other && reader->isBeforeInBlock(other))
    return name + " prepares the input of " + other->getName().getStringRef().str() + ", the anchor of its region";
  if (other)
    return name + " takes the result of " + other->getName().getStringRef().str() + ", the anchor of its region";
  return name + " cannot be an epilogue";
}

FusedOp lathe::lm::absorbConsumer(FusedOp region, Operation *op) {
  bool ready = llvm::all_of(op->getOperands(), [&](Value operand) {
    Operation *producer = operand.getDefiningOp();
    return !producer || producer == region || producer->isBeforeInBlock(region);
  });
  if (!ready) {
    Operation *last = op;
    SetVector<Operation *> dependents = dependentsBefore(region, op);
    region->moveBefore(op);
    for (Operation *dependent : dependents) {
      dependent->moveAfter(last);
      last = dependent;
    }
  }
  open(region);
  op->moveBefore(region.getBody().front().getTerminator());
  return close(region);
}

//===- Reference.cpp - walks lm IR and evaluates it op by op --------------===//
#include "compiler/Reference.h"

#include "compiler/Half.h"
#include "compiler/ReferenceOps.h"
#include "dialects/lm/LmDialect.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

namespace lathe {
namespace {

std::string text(auto printable) {
  std::string result;
  llvm::raw_string_ostream stream(result);
  stream << printable;
  return result;
}

/// Evaluates one function body.
template <typename T> class Evaluation {
  using Tensor = ReferenceTensor<T>;
  using Kv = ReferenceKv<T>;
  using Ops = ReferenceOps<T>;
  using Held = ReferenceValue<T>;

public:
  Evaluation(ModuleOp module, const WeightSource *weights, int depth)
      : module(module), weights(weights), depth(depth) {}

  Result<std::vector<Held>> run(func::FuncOp function, std::vector<Held> arguments);

private:
  Result<void> evaluate(Operation &op);
  Result<void> evaluateBlock(Block &block);
  Result<Tensor> weight(lm::WeightOp op);
  Result<Tensor> elementwise(Operation &op, llvm::function_ref<T(T, T)> combine);
  Result<void> callFunction(func::CallOp op);

  const Tensor &tensor(mlir::Value value) { return *std::get<0>(held.at(value)); }
  const Tensor *tensorOrNull(mlir::Value value) { return value ? &tensor(value) : nullptr; }
  const Kv &kv(mlir::Value value) { return *std::get<1>(held.at(value)); }
  const ReferenceBatch &batch(mlir::Value value) { return *std::get<2>(held.at(value)); }

  /// Values are dropped after the last op that uses them, or a model's weights would all be held at once.
  void define(mlir::Value value, Held what) {
    Operation *last = nullptr;
    for (Operation *user : value.getUsers())
      if (Operation *ancestor = value.getParentBlock()->findAncestorOpInBlock(*user);
          !last || last->isBeforeInBlock(ancestor))
        last = ancestor;
    if (!last)
      return;
    held.insert_or_assign(value, std::move(what));
    dropAfter[last].push_back(value);
  }
  void drop(Operation *op) {
    for (mlir::Value value : dropAfter.lookup(op))
      held.erase(value);
  }
  Result<void> define(mlir::Value value, Result<Tensor> &&tensor) {
    if (!tensor)
      return propagate(tensor);
    define(value, std::make_shared<const Tensor>(std::move(*tensor)));
    return {};
  }

  ModuleOp module;
  const WeightSource *weights;
  int depth; ///< of calls
  llvm::DenseMap<mlir::Value, Held> held;
  llvm::DenseMap<Operation *, SmallVector<mlir::Value>> dropAfter;
};

template <typename T> Result<ReferenceTensor<T>> Evaluation<T>::weight(lm::WeightOp op) {
  std::string name = op.getSource().str();
  auto type = cast<RankedTensorType>(op.getType());
  const SourceTensor *source = weights ? weights->find(name) : nullptr;
  if (!source)
    return fail(ExitCode::badInput, "{}: expected a weight of this name in the source, found none", name);
  if (ArrayRef<int64_t>(source->shape) != type.getShape())
    return fail(ExitCode::badInput, "{}: expected shape [{}], found [{}]", name, fmt::join(type.getShape(), ", "),
                fmt::join(source->shape, ", "));
  if (lm::QuantAttr quant = lm::quantOf(type); quant && quant.getMethod() == lm::QuantMethod::search)
    return fail(ExitCode::usage, "{}: the reference does not know the codes of method search", name);
  // Read and quantised in float whatever T is: codes and scales are those of the artifact, bit for bit.
  auto exact = ReferenceTensor<float>::zeros(source->shape);
  if (auto read = weights->read(name, 0, exact.rows(), exact.values); !read)
    return propagate(read);
  if (type.getElementType().isBF16())
    std::ranges::transform(exact.values, exact.values.begin(), roundToBf16);
  if (type.getElementType().isF16())
    for (float &value : exact.values)
      value = halfToFloat(floatToHalf(value));
  lm::QuantAttr quant = lm::quantOf(type);
  if (!quant || quant.getMethod() == lm::QuantMethod::kept)
    return Tensor{.shape = exact.shape, .values = std::vector<T>(exact.values.begin(), exact.values.end())};
  auto codes = ReferenceOps<float>::quantize(exact, quant.getGroup(), quant.getScale().isBF16());
  return Tensor{
      .shape = codes.shape, .group = codes.group, .codes = std::move(codes.codes), .scales = std::move(codes.scales)};
}

template <typename T>
Result<ReferenceTensor<T>> Evaluation<T>::elementwise(Operation &op, llvm::function_ref<T(T, T)> combine) {
  if (!isa<RankedTensorType>(op.getResult(0).getType()))
    return fail(ExitCode::internal, "the reference evaluates {} on tensors only, found {}", text(op.getName()),
                text(op.getResult(0).getType()));
  const Tensor &a = tensor(op.getOperand(0)), &b = tensor(op.getOperand(1));
  if (a.shape != b.shape)
    return fail(ExitCode::badInput, "expected operands of equal rows, found {} and {}", a.rows(), b.rows());
  Tensor result = Tensor::zeros(a.shape);
  for (size_t i = 0; i < a.values.size(); ++i)
    result.values[i] = combine(a.values[i], b.values[i]);
  return result;
}

template <typename T> Result<void> Evaluation<T>::callFunction(func::CallOp op) {
  auto callee = module.lookupSymbol<func::FuncOp>(op.getCallee());
  // Deeper than any outlining goes: a function that calls itself.
  if (depth >= 16)
    return fail(ExitCode::badInput, "expected calls at most 16 deep, found more at @{}", op.getCallee());
  std::vector<Held> arguments;
  for (mlir::Value operand : op.getOperands())
    arguments.push_back(held.at(operand));
  auto results = Evaluation(module, weights, depth + 1).run(callee, std::move(arguments));
  if (!results)
    return propagate(results);
  for (auto [value, result] : llvm::zip(op.getResults(), *results))
    define(value, std::move(result));
  return {};
}

template <typename T> Result<void> Evaluation<T>::evaluate(Operation &op) {
  for (Type type : op.getResultTypes()) {
    auto tensor = dyn_cast<RankedTensorType>(type);
    if (tensor &&
        (tensor.getRank() < 1 || tensor.getRank() > 2 ||
         !(lm::quantOf(tensor) ? lm::isCode(tensor.getElementType()) : lm::isStoredFloat(tensor.getElementType()))))
      return fail(
          ExitCode::internal,
          "the reference knows tensors of rank 1 or 2 in f32, bf16 or f16, or i8, i6 or i4 with #lm.quant, found {}",
          text(type));
  }
  return llvm::TypeSwitch<Operation *, Result<void>>(&op)
      .Case([&](lm::WeightOp op) { return define(op, weight(op)); })
      .Case([&](lm::StackOp op) {
        std::vector<const Tensor *> inputs;
        for (mlir::Value input : op.getInputs())
          inputs.push_back(&tensor(input));
        return define(op, Ops::stack(inputs, op.getInterleave().value_or(0)));
      })
      .Case([&](lm::SplitOp op) -> Result<void> {
        std::vector<int64_t> widths;
        for (mlir::Value result : op.getResults())
          widths.push_back(cast<RankedTensorType>(result.getType()).getDimSize(1));
        std::vector<Tensor> parts = Ops::split(tensor(op.getInput()), widths, op.getInterleave().value_or(0));
        for (auto [value, part] : llvm::zip(op.getResults(), parts))
          define(value, std::make_shared<const Tensor>(std::move(part)));
        return {};
      })
      .Case([&](lm::EmbedOp op) { return define(op, Ops::embed(tensor(op.getTable()), batch(op.getBatch()))); })
      .Case(
          [&](lm::SelectRowsOp op) { return define(op, Ops::selectRows(tensor(op.getInput()), batch(op.getBatch()))); })
      .Case([&](lm::NormOp op) {
        const Tensor &x = tensor(op.getInput());
        return define(op, Ops::norm(op.getKind(), x, tensor(op.getGain()), tensorOrNull(op.getBias()),
                                    op.getEps().convertToDouble(), op.getPer().value_or(x.width())));
      })
      .Case([&](lm::LinearOp op) {
        return define(op, Ops::linear(tensor(op.getInput()), tensor(op.getWeight()), tensorOrNull(op.getBias())));
      })
      .Case([&](lm::QuantizeOp op) {
        lm::QuantAttr quant = lm::quantOf(op.getType());
        return define(op, Ops::quantize(tensor(op.getInput()), quant.getGroup(), quant.getScale().isBF16()));
      })
      .Case([&](lm::RopeOp op) {
        return define(op, Ops::rope(tensor(op.getInput()), batch(op.getBatch()), op.getDim(), op.getRope()));
      })
      .Case([&](lm::KvAppendOp op) -> Result<void> {
        auto result = Ops::append(tensor(op.getKey()), tensor(op.getValue()), kv(op.getKv()), batch(op.getBatch()));
        if (!result)
          return propagate(result);
        define(op, std::make_shared<const Kv>(std::move(*result)));
        return {};
      })
      .Case([&](lm::AttentionOp op) {
        return define(op, Ops::attention(tensor(op.getQuery()), kv(op.getKv()), batch(op.getBatch()),
                                         op.getScale().convertToDouble(), op.getWindow().value_or(0)));
      })
      .Case([&](lm::GatedOp op) {
        return define(op, elementwise(*op, [&](T gate, T up) { return Ops::activation(op.getKind(), gate) * up; }));
      })
      .Case([&](arith::ConstantOp op) -> Result<void> {
        auto dense = dyn_cast<DenseFPElementsAttr>(op.getValue());
        if (!dense)
          return fail(ExitCode::badInput, "expected a tensor of floats");
        Tensor result = Tensor::zeros(std::vector<int64_t>(dense.getType().getShape()));
        for (auto [to, from] : llvm::zip(result.values, dense.getValues<APFloat>()))
          to = T(from.convertToDouble());
        return define(op, std::move(result));
      })
      .Case([&](arith::AddFOp op) { return define(op, elementwise(*op, [](T a, T b) { return a + b; })); })
      .Case([&](arith::SubFOp op) { return define(op, elementwise(*op, [](T a, T b) { return a - b; })); })
      .Case([&](arith::MulFOp op) { return define(op, elementwise(*op, [](T a, T b) { return a * b; })); })
      .Case([&](arith::DivFOp op) { return define(op, elementwise(*op, [](T a, T b) { return a / b; })); })
      .Case([&](lm::FusedOp op) -> Result<void> {
        Block &body = op.getBody().front();
        if (auto done = evaluateBlock(body); !done)
          return done;
        for (auto [value, yielded] : llvm::zip(op.getResults(), body.getTerminator()->getOperands()))
          define(value, held.at(yielded));
        drop(body.getTerminator());
        return {};
      })
      .Case([&](func::CallOp op) { return callFunction(op); })
      .Default([](Operation *op) -> Result<void> {
        return fail(ExitCode::internal, "the reference cannot evaluate this op");
      });
}

template <typename T> Result<void> Evaluation<T>::evaluateBlock(Block &block) {
  for (Operation &op : block.without_terminator()) {
    if (auto done = evaluate(op); !done) {
      // A callee's error names its own op and place already.
      if (isa<lm::FusedOp, func::CallOp>(op))
        return done;
      return fail(done.error().code, "{}: {} at {}", text(op.getName()), done.error().message, text(op.getLoc()));
    }
    drop(&op);
  }
  return {};
}

template <typename T>
Result<std::vector<ReferenceValue<T>>> Evaluation<T>::run(func::FuncOp function, std::vector<Held> arguments) {
  if (function.isExternal() || !function.getBody().hasOneBlock())
    return fail(ExitCode::badInput, "@{}: expected a body of one block", function.getSymName());
  for (auto [value, argument] : llvm::zip(function.getArguments(), arguments))
    define(value, std::move(argument));
  Block &body = function.getBody().front();
  if (auto done = evaluateBlock(body); !done)
    return propagate(done);
  std::vector<Held> results;
  for (mlir::Value value : body.getTerminator()->getOperands())
    results.push_back(held.at(value));
  return results;
}

KvElement elementOf(lm::KvType kv) {
  return kv.getElement().isF32() ? KvElement::f32 : kv.getElement().isBF16() ? KvElement::bf16 : KvElement::int8;
}

/// Whether a value fits a type of the IR; `?` fits any number of rows.
template <typename T> bool fits(const ReferenceValue<T> &value, Type type) {
  if (auto batch = std::get_if<2>(&value))
    return *batch && isa<lm::BatchType>(type);
  if (auto kv = std::get_if<1>(&value)) {
    auto expected = dyn_cast<lm::KvType>(type);
    return *kv && expected && (*kv)->heads == expected.getHeads() && (*kv)->dim == expected.getDim() &&
           (*kv)->element == elementOf(expected);
  }
  auto &tensor = std::get<0>(value);
  auto expected = dyn_cast<RankedTensorType>(type);
  if (!tensor || !expected || int64_t(tensor->shape.size()) != expected.getRank())
    return false;
  int64_t count = 1;
  for (auto [size, want] : llvm::zip(tensor->shape, expected.getShape())) {
    if (size < 0 || (!ShapedType::isDynamic(want) && size != want))
      return false;
    count *= size;
  }
  lm::QuantAttr quant = lm::quantOf(type);
  if (!quant || quant.getMethod() != lm::QuantMethod::absmax) // others hold the values that their codes stand for
    return tensor->group == 0 && int64_t(tensor->values.size()) == count;
  return tensor->group == quant.getGroup() && int64_t(tensor->codes.size()) == count &&
         int64_t(tensor->scales.size()) == tensor->rows() * tensor->groups();
}

} // namespace

template <typename T> ReferenceValue<T> Reference<T>::emptyKv(Type type) {
  auto kv = cast<lm::KvType>(type);
  return std::make_shared<const ReferenceKv<T>>(
      ReferenceKv<T>{.heads = kv.getHeads(), .dim = kv.getDim(), .element = elementOf(kv)});
}

template <typename T>
Result<std::vector<ReferenceValue<T>>> Reference<T>::call(StringRef name, std::vector<Value> arguments) const {
  // The handle is const, what it points to is only read.
  auto function = ModuleOp(module).lookupSymbol<func::FuncOp>(name);
  if (!function)
    return fail(ExitCode::badInput, "expected a function @{} in the module, found none", name);
  if (arguments.size() != function.getNumArguments())
    return fail(ExitCode::badInput, "@{}: expected {} arguments, found {}", name, function.getNumArguments(),
                arguments.size());
  for (size_t i = 0; i < arguments.size(); ++i)
    if (!fits<T>(arguments[i], function.getArgumentTypes()[i]))
      return fail(ExitCode::badInput, "@{}: expected argument {} to be of type {}", name, i,
                  text(function.getArgumentTypes()[i]));
  return Evaluation<T>(module, weights.get(), 0).run(function, std::move(arguments));
}

template <typename T> Result<std::vector<float>> Reference<T>::step(const ReferenceBatch &batch) {
  auto function = module.lookupSymbol<func::FuncOp>("step");
  if (!function)
    return fail(ExitCode::badInput, "expected a function @step in the module, found none");
  std::vector<Value> arguments;
  size_t kvs = 0;
  for (Type type : function.getArgumentTypes()) {
    if (isa<lm::BatchType>(type)) {
      arguments.push_back(std::make_shared<const ReferenceBatch>(batch));
    } else if (isa<lm::KvType>(type)) {
      if (kvs == state.size())
        state.push_back(emptyKv(type));
      arguments.push_back(state[kvs++]);
    } else {
      return fail(ExitCode::badInput, "@step: expected arguments !lm.batch and !lm.kv, found {}", text(type));
    }
  }
  auto results = call("step", std::move(arguments));
  if (!results)
    return propagate(results);
  std::vector<float> logits;
  std::vector<Value> next;
  for (Value &value : *results) {
    if (auto tensor = std::get_if<0>(&value))
      logits.assign((*tensor)->values.begin(), (*tensor)->values.end());
    else if (std::get_if<1>(&value))
      next.push_back(std::move(value));
  }
  if (next.size() != state.size())
    return fail(ExitCode::badInput, "@step: expected as many !lm.kv results as arguments, {}, found {}", state.size(),
                next.size());
  state = std::move(next);
  return logits;
}

template class Reference<float>;
template class Reference<double>;

} // namespace lathe

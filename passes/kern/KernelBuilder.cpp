//===- KernelBuilder.cpp - bodies of kernels --------------------------------===//
#include "passes/kern/KernelBuilder.h"

#include "passes/kern/KernPasses.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::kern;

bool kern::isStoredTo(Value buffer) {
  return llvm::any_of(
      buffer.getUsers(),
      llvm::IsaPred<memref::StoreOp, vector::StoreOp, vector::MaskedStoreOp, StoreAlongOp, StoreCodesOp, StoreScaleOp>);
}

Value KernelContext::buffer(Argument::Kind kind, Value lmValue, Part part) {
  auto argument = argumentOf(lmValue);
  int64_t at = argument ? signature.find(kind, argument.getArgNumber(), part) : -1;
  return at < 0 ? Value() : Value(kernel.getArgument(at));
}

SmallVector<Value> KernelContext::weight(Value lmValue) {
  CodingAttr coding = codingOf(cast<RankedTensorType>(lmValue.getType()));
  SmallVector<Value> arrays;
  for (Part part : coding ? coding.parts() : SmallVector<Part>{Part::values})
    if (Value array = buffer(Argument::Kind::weight, lmValue, part))
      arrays.push_back(array);
  return arrays;
}

Value KernelContext::ropeTable(lm::RopeOp rope, Part part) {
  for (auto [i, argument] : llvm::enumerate(signature.arguments))
    if (argument.part == part && argument.rope == rope.getRope() && argument.k == static_cast<int64_t>(rope.getDim()))
      return kernel.getArgument(i);
  return {};
}

Value KernelContext::output(int64_t result) {
  int64_t at = signature.find(Argument::Kind::output, result);
  return at < 0 ? Value() : Value(kernel.getArgument(at));
}

Value KernelContext::partials() {
  int64_t at = signature.find(Argument::Kind::partials, -1);
  return at < 0 ? Value() : Value(kernel.getArgument(at));
}

/// Each op's kind, the model's word for what it makes, and where the config says so.
static ArrayAttr sourcesOf(const KernelSignature &signature) {
  Builder b(signature.anchor->getContext());
  SmallVector<Attribute> sources;
  for (Operation &op : signature.body().without_terminator()) {
    std::string text = op.getName().stripDialect().str();
    if (auto word = op.getLoc()->findInstanceOf<NameLoc>())
      text += " " + word.getName().str();
    if (auto place = op.getLoc()->findInstanceOf<FileLineColLoc>())
      text += ", " + place.getFilename().str() + ":" + std::to_string(place.getLine());
    sources.push_back(b.getStringAttr(text));
  }
  return b.getArrayAttr(sources);
}

FailureOr<func::FuncOp> kern::buildKernel(ModuleOp module, const KernelSignature &signature, ScheduleAttr schedule) {
  MLIRContext *mlir = module.getContext();
  func::FuncOp lmFunction = signature.function;
  OpBuilder builder(mlir);
  builder.setInsertionPointToEnd(module.getBody());
  SmallVector<Type> types;
  for (const Argument &argument : signature.arguments)
    types.push_back(argument.type);
  bool many = schedule.getLeastRows() != 0;
  auto kernel = func::FuncOp::create(builder, lmFunction.getLoc(), (lmFunction.getName() + (many ? "_many" : "")).str(),
                                     builder.getFunctionType(types, {}));
  if (many)
    kernel->setAttr(formOfAttr, builder.getStringAttr(lmFunction.getName()));
  kernel->setAttr(scheduleAttr, schedule);
  kernel->setAttr(unitAttr, kern::UnitAttr::get(mlir, signature.unit));
  kernel->setAttr(tilesAttr, builder.getI64IntegerAttr(signature.tiles));
  kernel->setAttr(tileBytesAttr, builder.getI64IntegerAttr(signature.tileBytes));
  kernel->setAttr(unitFlopsAttr, builder.getI64IntegerAttr(signature.unitFlops));
  std::string fused;
  for (Operation &op : signature.body().without_terminator())
    fused += (fused.empty() ? "" : ", ") + op.getName().stripDialect().str();
  kernel->setAttr(fusedAttr, builder.getStringAttr(fused));
  if (signature.device)
    kernel->setAttr(sourcesAttr, sourcesOf(signature));
  Block *entry = kernel.addEntryBlock();
  for (auto [i, argument] : llvm::enumerate(signature.arguments)) {
    Value value = entry->getArgument(i);
    if (argument.number >= 0 && argument.kind != Argument::Kind::output)
      value.setLoc(lmFunction.getArgument(argument.number).getLoc());
    // Words for what the model has none for.
    switch (argument.kind) {
    case Argument::Kind::keys:
      name(value, "keys");
      break;
    case Argument::Kind::values:
      name(value, "values");
      break;
    case Argument::Kind::partials:
      name(value, "partials");
      break;
    case Argument::Kind::output:
      if (argument.number >= 0)
        value.setLoc(signature.body().getTerminator()->getOperand(argument.number).getLoc());
      break;
    case Argument::Kind::weight:
      if (argument.rope)
        name(value, stringifyPart(argument.part));
      else if (auto word = value.getLoc()->findInstanceOf<NameLoc>(); signature.device && argument.part == Part::scales)
        name(value, word ? word.getName().str() + "_scales" : "scales");
      break;
    case Argument::Kind::activation:
      break;
    }
  }

  KernelContext context(signature, schedule, kernel);
  context.e.b.setInsertionPointToStart(entry);
  using Build = LogicalResult (*)(KernelContext &);
  constexpr Build builders[][2] = {
      {buildLinear, buildBlockLinear}, {buildAttention, buildBlockAttention}, {buildEmbed, buildBlockEmbed}};
  int kind = isa<lm::LinearOp>(signature.anchor) ? 0 : isa<lm::AttentionOp>(signature.anchor) ? 1 : 2;
  LogicalResult built = many ? buildBlockGemm(context) : builders[kind][signature.device](context);
  if (failed(built))
    return failure();
  func::ReturnOp::create(context.e.b);
  return kernel;
}

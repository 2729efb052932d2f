//===- CudaPrinter.cpp - kernels of the CUDA target as text -----------------===//
#include "compiler/CudaPrinter.h"

#include "compiler/CudaExpressions.h"
#include "passes/kern/KernPasses.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "llvm/ADT/TypeSwitch.h"

#include <fmt/format.h>

using namespace mlir;

namespace lathe {

using namespace kern;

namespace {

/// Statements, and the file around them.
class Printer : CudaExpressions {
public:
  explicit Printer(func::FuncOp kernel) : CudaExpressions(kernel) {}
  Result<CudaText> print();

private:
  // Statements.
  void line(const std::string &text) { body += std::string(depth * 2, ' ') + text + "\n"; }
  /// Says what the model calls what is being made, where that changes.
  void heading(Operation &op);
  void block(Block &block);
  void statement(Operation &op);
  void define(Operation &op, Expression expression);
  void assign(ValueRange variables, ValueRange values);
  void loop(scf::ForOp op);
  void choose(scf::IfOp op);
  /// What `print` prints, a step further in.
  std::string inside(llvm::function_ref<void()> print);
  /// `head` with a statement or, in braces, several, and perhaps with an else and its own.
  void wrap(const std::string &head, const std::string &inside, std::optional<std::string> otherwise = {});
  void programId(ProgramIdOp op);
  std::string header(int64_t sharedBytes);
  std::string memory(int64_t &bytes);
  std::string parameters();

  llvm::DenseMap<Operation *, std::string> sums; ///< of products: the member of Memory for their spans' sums
  std::string body;
  StringRef current; ///< the model's word for what is being made
  int64_t depth = 1;
};

} // namespace

void Printer::define(Operation &op, Expression expression) {
  Value result = op.getResult(0);
  if (standsInline(op)) {
    keep(result, std::move(expression));
    return;
  }
  if (result.use_empty())
    return;
  line(fmt::format("const {} {} = {};", typeOf(result.getType()), names.of(result), expression.text));
}

void Printer::assign(ValueRange variables, ValueRange values) {
  for (auto [variable, value] : llvm::zip(variables, values))
    if (std::string text = use(value); text != names.of(variable))
      line(fmt::format("{} = {};", names.of(variable), text));
}

void Printer::loop(scf::ForOp op) {
  for (auto [carried, initial, result] : llvm::zip(op.getRegionIterArgs(), op.getInitArgs(), op.getResults())) {
    names.same(result, carried);
    line(fmt::format("{} {} = {};", typeOf(carried.getType()), names.of(carried), use(initial)));
  }
  std::string i = names.of(op.getInductionVar());
  std::string head = fmt::format("for (int {} = {}; {} < {}; {} += {})", i, use(op.getLowerBound()), i,
                                 use(op.getUpperBound(), sum), i, use(op.getStep()));
  auto yield = cast<scf::YieldOp>(op.getBody()->getTerminator());
  // One after another would do wrong only where a variable is another one's next value.
  for (Value value : yield.getOperands())
    if (yield.getNumOperands() > 1 && llvm::is_contained(op.getRegionIterArgs(), value))
      wrong(fmt::format("a loop whose variables change places in {}", op->getName().getStringRef().str()));
  wrap(head, inside([&] {
         block(*op.getBody());
         assign(op.getRegionIterArgs(), yield.getOperands());
       }));
}

std::string Printer::inside(llvm::function_ref<void()> print) {
  std::string before = std::exchange(body, {});
  ++depth;
  print();
  --depth;
  return std::exchange(body, std::move(before));
}

void Printer::wrap(const std::string &head, const std::string &inside, std::optional<std::string> otherwise) {
  auto statement = [](const std::string &text) {
    return llvm::count(text, '\n') == 1 && !llvm::StringRef(text).ltrim().starts_with("if"); // whose else would it be?
  };
  bool bare = otherwise ? statement(inside) && statement(*otherwise) : llvm::count(inside, '\n') == 1;
  line(head + (bare ? "" : " {"));
  body += inside;
  if (otherwise) {
    line(bare ? "else" : "} else {");
    body += *otherwise;
  }
  if (!bare)
    line("}");
}

void Printer::choose(scf::IfOp op) {
  for (Value result : op.getResults())
    line(fmt::format("{} {};", typeOf(result.getType()), names.take(result, "value")));
  bool otherwise = op.elseBlock() && (!op.elseBlock()->without_terminator().empty() || op.getNumResults());
  std::string head = "if (" + use(op.getCondition()) + ")";
  std::string then = inside([&] {
    block(*op.thenBlock());
    assign(op.getResults(), op.thenYield().getOperands());
  });
  std::optional<std::string> other;
  if (otherwise)
    other = inside([&] {
      block(*op.elseBlock());
      assign(op.getResults(), op.elseYield().getOperands());
    });
  wrap(head, then, other);
}

void Printer::programId(ProgramIdOp op) {
  auto unit = kernel->getAttrOfType<kern::UnitAttr>(unitAttr).getValue();
  int64_t rows = unit == kern::Unit::items ? 1 : kernel->getAttrOfType<ScheduleAttr>(scheduleAttr).getUnitBlock();
  if (!op.getUnitBegin().use_empty()) {
    std::string begin = names.call(op.getUnitBegin(), "first"), end = names.call(op.getUnitEnd(), "last");
    line(fmt::format("const int {} = block_y() * {};", begin, rows));
    line(fmt::format("const int {} = min({} + {}, batch.{}());", end, begin, rows, stringifyUnit(unit).str()));
    line(fmt::format("if ({} >= {}) return;", begin, end));
  }
  auto tilesPerBlock = kernel->getAttrOfType<IntegerAttr>(tilesPerBlockAttr);
  int64_t tiles = tilesPerBlock ? tilesPerBlock.getInt() : 1;
  std::string place = tiles == 1 ? "block_x()" : fmt::format("block_x() * {}", tiles);
  if (!op.getTileBegin().use_empty())
    line(fmt::format("const int {} = {};", names.call(op.getTileBegin(), tiles == 1 ? "tile" : "first_tile"), place));
  if (!op.getTileEnd().use_empty()) // where it begins may be what a program_id before it said
    line(fmt::format("const int {} = min({} + {}, {});", names.call(op.getTileEnd(), "last_tile"), place, tiles,
                     kernel->getAttrOfType<IntegerAttr>(tilesAttr).getInt()));
}

void Printer::heading(Operation &op) {
  auto word = op.getLoc()->findInstanceOf<NameLoc>();
  if (!word || word.getName() == current || isa<scf::YieldOp, scf::IfOp, func::ReturnOp, ScratchOp, ProgramIdOp>(op) ||
      isRead(op) || llvm::any_of(op.getResultTypes(), llvm::IsaPred<IndexType>)) // where something is, not what
    return;
  current = word.getName();
  line("// " + current.str());
}

void Printer::statement(Operation &op) {
  if (op.getNumResults() == 0 || (!standsInline(op) && !op.use_empty()))
    heading(op);
  bool printed =
      llvm::TypeSwitch<Operation *, bool>(&op)
          .Case([&](scf::ForOp x) { return loop(x), true; })
          .Case([&](scf::IfOp x) { return choose(x), true; })
          .Case<scf::YieldOp, func::ReturnOp, ScratchOp>([](auto) { return true; })
          .Case([&](ProgramIdOp x) { return programId(x), true; })
          .Case([&](PrefetchOp x) {
            line(fmt::format("prefetch_weight<{}>({}, {});", x.getColumns(), use(x.getWeight()), use(x.getPanel())));
            return true;
          })
          .Case([&](DependencyWaitOp) { return line("dependency_wait();"), true; })
          .Case([&](DependencyTriggerOp) { return line("dependency_trigger();"), true; })
          .Case([&](BarrierOp x) { return line(stringifyScope(x.getScope()).str() + "_barrier();"), true; })
          .Case([&](memref::StoreOp x) {
            return line(element(x.getMemRef(), x.getIndices()) + " = " + stored(x.getValue()) + ";"), true;
          })
          .Case([&](vector::StoreOp x) {
            return line(element(x.getBase(), x.getIndices(), x.getVectorType()) + " = " + stored(x.getValueToStore()) +
                        ";"),
                   true;
          })
          .Case([&](vector::MaskedStoreOp x) {
            line("if (" + use(x.getMask()) + ")");
            line("  " + element(x.getBase(), x.getIndices(), x.getValueToStore().getType()) + " = " +
                 stored(x.getValueToStore()) + ";");
            return true;
          })
          .Case([&](StoreAlongOp x) {
            line(elementAlong(x.getMemref(), x.getIndices(), x.getDim(), x.getStride(), x.getValue().getType()) +
                 " = " + stored(x.getValue()) + ";");
            return true;
          })
          .Case([&](StoreCodesOp x) {
            line(fmt::format("store_{}_code({}, {}, {}, {}, {}, {});", x.getKeys() ? "key" : "value", use(x.getPages()),
                             use(x.getPage()), use(x.getHead()), use(x.getPlace()), offset(x.getColumn(), "lane()"),
                             use(x.getCodes())));
            return true;
          })
          .Case([&](StoreScaleOp x) {
            line(fmt::format("store_{}_scale({}, {}, {}, {}, {});", x.getKeys() ? "key" : "value", use(x.getPages()),
                             use(x.getPage()), use(x.getHead()), use(x.getPlace()), use(x.getScale())));
            return true;
          })
          .Case([&](BlockDotOp x) {
            std::string weight;
            for (Value array : x.getWeight())
              weight += use(array) + ", ";
            std::string input = use(x.getInput()) + (x.getRow() ? ", " + use(x.getRow()) : "");
            line(fmt::format("dot({}, {}, {}{}, {}, {});", use(x.getCount()), input, weight, use(x.getPanel()),
                             use(x.getInto()), "memory." + sums.lookup(&op)));
            return true;
          })
          .Case([&](GemmStartOp x) {
            auto sums = cast<MemRefType>(x.getSums().getType());
            std::string weight;
            for (Value array : x.getWeight())
              weight += use(array) + ", ";
            int64_t panels = cast<MemRefType>(x.getWeight().front().getType()).getDimSize(0);
            line(fmt::format("auto {} = start_gemm<{}, {}>({}{}, {});", names.call(x.getSums(), "sums"),
                             sums.getDimSize(0), sums.getDimSize(1), weight, use(x.getPanel()), panels));
            return true;
          })
          .Case([&](GemmPieceOp x) {
            line(fmt::format("add_piece({}, {}, {}, {}, {});", use(x.getSums()), use(x.getCount()), use(x.getInput()),
                             use(x.getStage()), use(x.getPiece())));
            return true;
          })
          .Case([&](GemmStoreOp x) {
            line(fmt::format("store_gemm({}, {}, {});", use(x.getSums()), use(x.getCount()), use(x.getInto())));
            return true;
          })
          .Case([&](BlockScoresOp x) {
            line(fmt::format("score_chunk(batch, {}, {}, {}, {}, {}, {}, {}, {}, {}{});", use(x.getKeys()),
                             use(x.getSequence()), use(x.getHead()), use(x.getChunk()), use(x.getFirstPage()),
                             use(x.getEndPage()), use(x.getCount()), use(x.getQueries()), use(x.getInto()),
                             x.getScales() ? ", " + use(x.getScales()) : ""));
            return true;
          })
          .Case([&](BlockWeighOp x) {
            line(fmt::format("weigh_chunk(batch, {}, {}, {}, {}, {}, {}, {}, {}, {}, {});", use(x.getValues()),
                             use(x.getSequence()), use(x.getHead()), use(x.getChunk()), use(x.getFirstPage()),
                             use(x.getEndPage()), use(x.getPositions()), use(x.getCount()), use(x.getWeights()),
                             use(x.getInto())));
            return true;
          })
          .Default([](Operation *) { return false; });
  if (printed)
    return;
  if (auto made = expression(op))
    define(op, std::move(*made));
  else
    wrong(fmt::format("nothing that CUDA C++ can say in {}", op.getName().getStringRef().str()));
}

void Printer::block(Block &block) {
  for (Operation &op : block)
    statement(op);
}

std::string Printer::header(int64_t sharedBytes) {
  auto schedule = kernel->getAttrOfType<ScheduleAttr>(scheduleAttr);
  auto integer = [&](StringRef name) { return kernel->getAttrOfType<IntegerAttr>(name).getInt(); };
  std::string text = "// " + kernel.getName().str() + "\n";
  if (auto sources = kernel->getAttrOfType<ArrayAttr>(sourcesAttr))
    for (auto source : sources.getAsRange<StringAttr>())
      text += "//   " + source.getValue().str() + "\n";
  int64_t tiles = integer(tilesAttr), bytes = integer(tileBytesAttr);
  bool attends = kernel->getAttrOfType<kern::UnitAttr>(unitAttr).getValue() == kern::Unit::items;
  auto tilesPerBlock = kernel->getAttrOfType<IntegerAttr>(tilesPerBlockAttr);
  text += fmt::format(
      "// a block: {}, {} bytes of shared memory{}\n",
      attends
          ? "a KV head of an item"
          : fmt::format("{} rows by {} of {} column tiles", schedule.getUnitBlock(),
                        tilesPerBlock && tilesPerBlock.getInt() > 1 ? std::to_string(tilesPerBlock.getInt()) : "one",
                        tiles),
      sharedBytes, schedule.getLeastRows() ? fmt::format("; for {} rows and more", schedule.getLeastRows()) : "");
  int64_t flops = integer(unitFlopsAttr);
  if (bytes)
    text += fmt::format("// weights: {} bytes, {} a tile{}", tiles * bytes, bytes, flops ? "; " : "\n");
  if (flops)
    text += fmt::format("{}operations: {} a {}\n", bytes ? "" : "// ", flops, attends ? "row and position" : "row");
  if (schedule.getOrigin())
    text += "// schedule: " + schedule.getOrigin().getValue().str() + "\n";
  return text;
}

std::string Printer::memory(int64_t &bytes) {
  std::string members;
  kernel.walk([&](ScratchOp op) {
    auto type = cast<MemRefType>(op.getResult().getType());
    std::string member = names.take(op.getResult(), "scratch"), sizes;
    for (int64_t size : type.getShape())
      sizes += ", " + std::to_string(size);
    members += fmt::format("  Shared<{}{}> {};\n", typeOf(type.getElementType()), sizes, member);
    keep(op.getResult(), {"memory." + member});
    bytes += roundUp(type.getNumElements() * type.getElementTypeBitWidth() / 8, 16);
  });
  kernel.walk([&](BlockDotOp op) {
    auto into = cast<MemRefType>(op.getInto().getType());
    std::string member = names.unused("sums");
    members += fmt::format("  DotSums<{}, {}> {};\n", into.getDimSize(0), into.getDimSize(1), member);
    sums[op] = member;
    bytes += roundUp(op.sumBytes(), 16);
  });
  return members.empty() ? "" : "struct Memory {\n" + members + "};\n";
}

std::string Printer::parameters() {
  std::string text = "Batch batch";
  size_t width = 60; // of the line so far, with what stands before it
  for (Value argument : kernel.getArguments()) {
    auto type = cast<MemRefType>(argument.getType());
    std::string sizes;
    for (int64_t size : type.getShape().drop_front())
      sizes += ", " + std::to_string(size);
    std::string parameter = fmt::format("Global<{}{}{}> {}", isStoredTo(argument) ? "" : "const ",
                                        typeOf(type.getElementType()), sizes, names.take(argument, "buffer"));
    bool fits = width + parameter.size() + 2 < 150;
    text += (fits ? ", " : ",\n    ") + parameter;
    width = (fits ? width + 2 : 4) + parameter.size();
  }
  return text;
}

Result<CudaText> Printer::print() {
  CudaText result{.name = kernel.getName().str()};
  std::string members = memory(result.sharedBytes), arguments = parameters();
  block(kernel.getBody().front());
  if (!problem.empty())
    return fail(ExitCode::internal, "{}", problem);
  std::string text = header(result.sharedBytes) + "#include \"lathe/kernel.cuh\"\nusing namespace lathe::device;\n\n";
  text += fmt::format("namespace {{\nconstexpr int kThreads = {};\n{}}} // namespace\n\n", blockThreads, members);
  text +=
      fmt::format("extern \"C\" __global__ __launch_bounds__(kThreads, 1) void {}({}) {{\n", result.name, arguments);
  if (!members.empty())
    text += "  Memory &memory = shared_memory<Memory>();\n";
  result.text = text + body + "}\n";
  return result;
}

Result<CudaText> printCuda(func::FuncOp kernel) { return Printer(kernel).print(); }

} // namespace lathe

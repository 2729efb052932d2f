//===- ReferenceTest.cpp - walking IR: regions, calls, state, errors ------===//
#include "ReferenceTesting.h"

using namespace lathe;
using Tensor = ReferenceTensor<double>;
using Value = ReferenceValue<double>;

namespace {

Value valueOf(Tensor tensor) { return std::make_shared<const Tensor>(std::move(tensor)); }
const Tensor &tensorIn(const Value &value) { return *std::get<0>(value); }

std::string errorOf(Ir &ir, const std::string &text, std::vector<Value> arguments,
                    std::shared_ptr<const WeightSource> weights = nullptr) {
  auto module = ir.parse(text);
  auto result = Reference<double>(*module, weights).call("f", std::move(arguments));
  return result ? "no error" : result.error().message;
}

// One computation in three forms: plain ops, a fused region that captures, an outlined function called with its
// weights.
TEST(Reference, FusedAndOutlinedFormsEqualThePlainOne) {
  Ir ir;
  auto module = ir.parse(R"(
    func.func @plain(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
      %g = lm.weight "g" : tensor<8xf32>
      %w = lm.weight "w" : tensor<8x8xf32>
      %n = lm.norm rms %x, %g eps 1.0e-5 : tensor<?x8xf32>, tensor<8xf32> -> tensor<?x8xf32>
      %y = lm.linear %n, %w : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
      %s = arith.addf %y, %x : tensor<?x8xf32>
      return %s : tensor<?x8xf32>
    }
    func.func @fused(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
      %g = lm.weight "g" : tensor<8xf32>
      %w = lm.weight "w" : tensor<8x8xf32>
      %s, %again = lm.fused "norm_linear_residual" {
        %n = lm.norm rms %x, %g eps 1.0e-5 : tensor<?x8xf32>, tensor<8xf32> -> tensor<?x8xf32>
        %y = lm.linear %n, %w : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
        %sum = arith.addf %y, %x : tensor<?x8xf32>
        lm.yield %sum, %x : tensor<?x8xf32>, tensor<?x8xf32>
      } : tensor<?x8xf32>, tensor<?x8xf32>
      return %s : tensor<?x8xf32>
    }
    func.func @outlined(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
      %g = lm.weight "g" : tensor<8xf32>
      %w = lm.weight "w" : tensor<8x8xf32>
      %s = call @kernel(%x, %g, %w) : (tensor<?x8xf32>, tensor<8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
      return %s : tensor<?x8xf32>
    }
    func.func private @kernel(%x: tensor<?x8xf32>, %g: tensor<8xf32>, %w: tensor<8x8xf32>) -> tensor<?x8xf32> {
      %s = lm.fused "norm_linear_residual" {
        %n = lm.norm rms %x, %g eps 1.0e-5 : tensor<?x8xf32>, tensor<8xf32> -> tensor<?x8xf32>
        %y = lm.linear %n, %w : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
        %sum = arith.addf %y, %x : tensor<?x8xf32>
        lm.yield %sum : tensor<?x8xf32>
      } : tensor<?x8xf32>
      return %s : tensor<?x8xf32>
    })");
  auto weights = std::make_shared<MapWeights>();
  weights->add("g", {8}, randomFloats(8, 1));
  weights->add("w", {8, 8}, randomFloats(64, 2));
  Reference<double> reference(*module, weights);
  Tensor x = randomTensor({3, 8}, 3);
  auto plain = reference.call("plain", {valueOf(x)});
  ASSERT_TRUE(plain) << plain.error().message;
  Tensor norm = ReferenceOps<double>::norm(
      lm::NormKind::rms, x, tensorOf({8}, {tensorIn(valueOf(randomTensor({8}, 1))).values}), nullptr, 1e-5, 8);
  Tensor linear = ReferenceOps<double>::linear(norm, randomTensor({8, 8}, 2), nullptr);
  for (size_t i = 0; i < x.values.size(); ++i)
    EXPECT_EQ(tensorIn((*plain)[0]).values[i], linear.values[i] + x.values[i]);
  for (const char *form : {"fused", "outlined"}) {
    auto result = reference.call(form, {valueOf(x)});
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_EQ(tensorIn((*result)[0]).values, tensorIn((*plain)[0]).values) << form;
  }
}

TEST(Reference, ElementwiseArith) {
  Ir ir;
  auto module = ir.parse(R"(
    func.func @f(%a: tensor<?x2xf32>, %b: tensor<?x2xf32>) -> (tensor<?x2xf32>, tensor<?x2xf32>, tensor<?x2xf32>, tensor<?x2xf32>, tensor<?x2xf32>) {
      %0 = arith.addf %a, %b : tensor<?x2xf32>
      %1 = arith.subf %a, %b : tensor<?x2xf32>
      %2 = arith.mulf %a, %b : tensor<?x2xf32>
      %3 = arith.divf %a, %b : tensor<?x2xf32>
      %4 = lm.gated relu %a, %b : tensor<?x2xf32>
      return %0, %1, %2, %3, %4 : tensor<?x2xf32>, tensor<?x2xf32>, tensor<?x2xf32>, tensor<?x2xf32>, tensor<?x2xf32>
    })");
  auto results = Reference<double>(*module, nullptr)
                     .call("f", {valueOf(tensorOf({1, 2}, {-6, 8})), valueOf(tensorOf({1, 2}, {3, 4}))});
  ASSERT_TRUE(results);
  std::vector<std::vector<double>> expected = {{-3, 12}, {-9, 4}, {-18, 32}, {-2, 2}, {0, 32}};
  for (size_t i = 0; i < 5; ++i)
    EXPECT_EQ(tensorIn((*results)[i]).values, expected[i]);
}

// Weights are quantised in float as the artifact's are, whatever the arithmetic is.
TEST(Reference, QuantisedWeightsAreTheSameInDoubleAndFloat) {
  Ir ir;
  auto module = ir.parse(R"(
    func.func @f() -> tensor<6x20xi8, #lm.quant<group = 8, scale = bf16>> {
      %w = lm.weight "w" : tensor<6x20xi8, #lm.quant<group = 8, scale = bf16>>
      return %w : tensor<6x20xi8, #lm.quant<group = 8, scale = bf16>>
    })");
  auto weights = std::make_shared<MapWeights>();
  weights->add("w", {6, 20}, randomFloats(120, 4));
  auto inDouble = Reference<double>(*module, weights).call("f", {});
  auto inFloat = Reference<float>(*module, weights).call("f", {});
  ASSERT_TRUE(inDouble && inFloat);
  EXPECT_EQ(std::get<0>((*inDouble)[0])->codes, std::get<0>((*inFloat)[0])->codes);
  EXPECT_EQ(std::get<0>((*inDouble)[0])->scales, std::get<0>((*inFloat)[0])->scales);
  EXPECT_EQ(std::get<0>((*inDouble)[0])->scales.size(), 18u);
}

TEST(Reference, StepKeepsKvValuesAndAnErrorLeavesThemAlone) {
  Ir ir;
  auto module = ir.parse(R"(
    !kv = !lm.kv<heads = 1, dim = 4, page = 16, element = f32>
    func.func @step(%batch: !lm.batch, %kv: !kv) -> (tensor<?x4xf32>, !kv) {
      %table = lm.weight "table" : tensor<9x4xf32>
      %x = lm.embed %table at %batch : tensor<9x4xf32> -> tensor<?x4xf32>
      %kv1 = lm.kv_append %x, %x into %kv at %batch : tensor<?x4xf32>, tensor<?x4xf32>, !kv
      %a = lm.attention %x over %kv1 at %batch scale 1.0 causal : tensor<?x4xf32>, !kv -> tensor<?x4xf32>
      %y = lm.select_rows %a at %batch : tensor<?x4xf32>
      return %y, %kv1 : tensor<?x4xf32>, !kv
    })");
  auto weights = std::make_shared<MapWeights>();
  weights->add("table", {9, 4}, randomFloats(36, 5));
  Reference<double> whole(*module, weights), chunked(*module, weights);
  auto all = whole.step(wholeSequence({1, 2, 3, 4, 5}));
  ASSERT_TRUE(all) << all.error().message;
  auto first = chunked.step(wholeSequence({1, 2}));
  ASSERT_TRUE(first);
  EXPECT_FALSE(chunked.step(wholeSequence({3, 9}, 2)));
  EXPECT_FALSE(chunked.step(wholeSequence({4}, 3)));
  auto second = chunked.step(wholeSequence({3, 4, 5}, 2));
  ASSERT_TRUE(second) << second.error().message;
  first->insert(first->end(), second->begin(), second->end());
  EXPECT_EQ(*first, *all);
  // Going back forgets what came after.
  auto other = chunked.step(wholeSequence({8}, 2)), back = chunked.step(wholeSequence({3, 4, 5}, 2));
  ASSERT_TRUE(other && back);
  EXPECT_EQ(*back, *second);
}

TEST(Reference, ErrorsSayWhichOpWhereAndWhy) {
  Ir ir;
  Value x = valueOf(randomTensor({2, 4}, 6)), three = valueOf(randomTensor({3, 4}, 7));
  EXPECT_EQ(errorOf(ir, R"(func.func @f(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
      %y = arith.negf %x : tensor<?x4xf32> loc("y"("model.toml":3:1))
      return %y : tensor<?x4xf32> })",
                    {x}),
            "arith.negf: the reference cannot evaluate this op at loc(\"y\"(\"model.toml\":3:1))");
  EXPECT_EQ(errorOf(ir, R"(func.func @f(%x: tensor<?x4xf32>, %z: tensor<?x4xf32>) -> tensor<?x4xf32> {
      %y = arith.addf %x, %z : tensor<?x4xf32> loc("y")
      return %y : tensor<?x4xf32> })",
                    {x, three}),
            "arith.addf: expected operands of equal rows, found 2 and 3 at loc(\"y\")");
  EXPECT_EQ(errorOf(ir, R"(func.func @f(%x: tensor<?x4xf64>) -> tensor<?x4xf64> {
      %y = arith.addf %x, %x : tensor<?x4xf64> loc("y")
      return %y : tensor<?x4xf64> })",
                    {x}),
            "arith.addf: the reference knows tensors of rank 1 or 2 in f32, bf16 or f16, or i8, i6 or i4 with "
            "#lm.quant, found "
            "tensor<?x4xf64> at loc(\"y\")");
  EXPECT_EQ(errorOf(ir, R"(func.func @f(%x: tensor<?x4xf32>) -> f32 {
      %0 = arith.constant 1.0 : f32 loc("c")
      return %0 : f32 })",
                    {x}),
            "arith.constant: expected a tensor of floats at loc(\"c\")");
  EXPECT_EQ(errorOf(ir, R"(func.func @f(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
      %0 = arith.negf %x : tensor<?x4xf32> loc("n")
      return %0 : tensor<?x4xf32> })",
                    {x}),
            "arith.negf: the reference cannot evaluate this op at loc(\"n\")");
}

TEST(Reference, WeightErrorsNameTheWeight) {
  Ir ir;
  const char *text = R"(func.func @f() -> tensor<2x4xf32> {
      %w = lm.weight "model.norm.weight" : tensor<2x4xf32> loc("w")
      return %w : tensor<2x4xf32> })";
  EXPECT_EQ(errorOf(ir, text, {}),
            "lm.weight: model.norm.weight: expected a weight of this name in the source, found none at loc(\"w\")");
  auto weights = std::make_shared<MapWeights>();
  weights->add("model.norm.weight", {4, 2}, randomFloats(8, 8));
  EXPECT_EQ(errorOf(ir, text, {}, weights),
            "lm.weight: model.norm.weight: expected shape [2, 4], found [4, 2] at loc(\"w\")");
}

TEST(Reference, CallErrors) {
  Ir ir;
  const char *identity = "func.func @f(%x: tensor<?x4xf32>) -> tensor<?x4xf32> { return %x : tensor<?x4xf32> }";
  auto module = ir.parse(identity);
  auto missing = Reference<double>(*module, nullptr).call("g", {});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().message, "expected a function @g in the module, found none");
  EXPECT_EQ(errorOf(ir, identity, {}), "@f: expected 1 arguments, found 0");
  EXPECT_EQ(errorOf(ir, identity, {valueOf(randomTensor({2, 5}, 9))}),
            "@f: expected argument 0 to be of type tensor<?x4xf32>");
  EXPECT_EQ(errorOf(ir, identity, {std::make_shared<const ReferenceBatch>()}),
            "@f: expected argument 0 to be of type tensor<?x4xf32>");
  EXPECT_EQ(errorOf(ir, "func.func private @f(tensor<?x4xf32>)", {valueOf(randomTensor({2, 4}, 9))}),
            "@f: expected a body of one block");
  EXPECT_EQ(errorOf(ir, "func.func @f() { call @f() : () -> () loc(\"again\") return }", {}),
            "expected calls at most 16 deep, found more at @f");

  auto step = Reference<double>(*module, nullptr).step({});
  ASSERT_FALSE(step);
  EXPECT_EQ(step.error().message, "expected a function @step in the module, found none");
  auto strange = ir.parse("func.func @step(%x: tensor<?x4xf32>) { return }");
  auto wrong = Reference<double>(*strange, nullptr).step({});
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().message, "@step: expected arguments !lm.batch and !lm.kv, found tensor<?x4xf32>");
  auto lossy =
      ir.parse("func.func @step(%b: !lm.batch, %kv: !lm.kv<heads = 1, dim = 4, page = 16, element = f32>) { return }");
  auto lost = Reference<double>(*lossy, nullptr).step({});
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().message, "@step: expected as many !lm.kv results as arguments, 1, found 0");
}

} // namespace

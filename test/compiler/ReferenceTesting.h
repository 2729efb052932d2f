//===- ReferenceTesting.h - what the tests of the reference share ---------===//
#pragma once

#include "compiler/Reference.h"
#include "compiler/ReferenceOps.h"
#include "dialects/lm/LmDialect.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"
#include "test/MapWeights.h"

#include <gtest/gtest.h>

#include <random>

namespace lathe {

inline std::vector<float> randomFloats(int64_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> result(count);
  for (float &x : result)
    x = normal(generator);
  return result;
}

inline ReferenceTensor<double> randomTensor(std::vector<int64_t> shape, unsigned seed) {
  auto result = ReferenceTensor<double>::zeros(std::move(shape));
  std::vector<float> values = randomFloats(result.values.size(), seed);
  result.values.assign(values.begin(), values.end());
  return result;
}

inline ReferenceTensor<double> tensorOf(std::vector<int64_t> shape, std::vector<double> values) {
  return {.shape = std::move(shape), .values = std::move(values)};
}

/// A context with the dialects of lm IR, and modules in it.
struct Ir {
  Ir() { context.loadDialect<lm::LmDialect, mlir::arith::ArithDialect, mlir::func::FuncDialect>(); }
  mlir::OwningOpRef<mlir::ModuleOp> parse(const std::string &text) {
    auto module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
    EXPECT_TRUE(module) << text;
    return module;
  }
  mlir::MLIRContext context;
};

/// One sequence from position `start`, all rows wanted.
inline ReferenceBatch wholeSequence(std::vector<int64_t> tokens, int64_t start = 0, int64_t id = 0) {
  ReferenceBatch batch;
  for (size_t i = 0; i < tokens.size(); ++i)
    batch.wanted.push_back(i);
  batch.sequences.push_back({.id = id, .tokens = std::move(tokens), .start = start});
  return batch;
}

template <typename A, typename B> double largestDifference(const A &a, const B &b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = a.size() == b.size() ? 0 : INFINITY;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    double difference = std::abs(double(a[i]) - double(b[i]));
    // NaN must not pass.
    if (!(difference <= largest))
      largest = difference;
  }
  return largest;
}

} // namespace lathe

// oneDNN is taken only when it is there, starts no threads, and gives the numbers of our own kernels.
#include "runtime/MatrixLibrary.h"

#include "test/runtime/ToyModel.h"

#include <cstdlib>
#include <filesystem>
#include <gtest/gtest.h>

namespace lathe {
namespace {

const LibraryUse kFloats{"onednn", 2, 600, 0}, kBytes{"onednn", 3, 70, 32};

/// What the stand-in does from now on.
void behave(const char *how) { setenv("FAKE_ONEDNN", how, 1); }

std::unique_ptr<MatrixLibrary> opened() {
  auto library = MatrixLibrary::open(FAKE_ONEDNN);
  EXPECT_TRUE(library) << library.error().message;
  return std::move(*library);
}

std::string errorOf(const Result<void> &result) {
  EXPECT_FALSE(result);
  EXPECT_EQ(result ? ExitCode::ok : result.error().code, ExitCode::mismatch);
  return result ? "" : result.error().message;
}

std::string openError(const std::string &path) {
  auto library = MatrixLibrary::open(path);
  return errorOf(library ? Result<void>() : propagate(library));
}

} // namespace

TEST(MatrixLibrary, RightNumbersPass) {
  behave("");
  auto library = opened();
  EXPECT_EQ(library->name(), "oneDNN 3.7.1");
  for (int64_t most : {3, 64, 100}) {
    EXPECT_TRUE(library->check(kFloats, most));
    EXPECT_TRUE(library->check(kBytes, most));
  }
  EXPECT_EQ(library->failed(), 0);
}

// Spans are chains of their own whose sums are added in order: here with numbers where that matters.
TEST(MatrixLibrary, FloatsAreAddedInSpans) {
  behave("");
  auto library = opened();
  const int64_t k = kSumSpan + 2;
  std::vector<float> input(2 * k, 1.0f), weight(k * 32, 0.0f), into(2 * 40, -7.0f);
  weight[0] = 0x1p24f;              // column 0: the first span is 2^24,
  weight[(k - 2) * 32] = 1.0f;      // the second 1 + 1: one by one they would be lost
  weight[(k - 1) * 32] = 1.0f;      //
  weight[(k - 1) * 32 + 31] = 3.0f; // column 31
  library->floats(library.get(), 2, k, input.data(), k, weight.data(), into.data(), 40);
  for (int64_t row = 0; row < 2; ++row) {
    EXPECT_EQ(into[row * 40], 0x1p24f + 2.0f);
    EXPECT_EQ(into[row * 40 + 1], 0.0f);
    EXPECT_EQ(into[row * 40 + 31], 3.0f);
    EXPECT_EQ(into[row * 40 + 32], -7.0f) << "what lies between the rows is not touched";
  }
}

TEST(MatrixLibrary, OtherNumbersAreRefused) {
  behave("backwards");
  auto library = opened();
  std::string message = errorOf(library->check(kFloats, 40));
  EXPECT_EQ(message.find("oneDNN 3.7.1 adds up products of 2 rows of 600 floats in another order"), 0u) << message;
  EXPECT_TRUE(library->check(kBytes, 40)) << "bytes are still exact";
  behave("saturate");
  message = errorOf(library->check(kBytes, 40));
  EXPECT_EQ(message.find("oneDNN 3.7.1 does not add up products of 3 rows of 32 bytes exactly"), 0u) << message;
  EXPECT_TRUE(library->check(kFloats, 40));
}

TEST(MatrixLibrary, OthersThanOneDnnAreRefused) {
  behave("openmp");
  EXPECT_EQ(
      openError(FAKE_ONEDNN).find("oneDNN 3.7.1 brings threads of its own that cannot be held back (CPU runtime 2)"),
      0u);
  behave("tbb");
  EXPECT_NE(openError(FAKE_ONEDNN).find("(CPU runtime 4)"), std::string::npos);
  behave("old");
  EXPECT_NE(openError(FAKE_ONEDNN).find("expected oneDNN 3, found oneDNN 2.7.1"), std::string::npos);
  EXPECT_NE(openError(TOY_KERNELS).find("is not oneDNN 3 with its gemm functions"), std::string::npos);
  std::string absent = openError("/absent/libdnnl.so.3");
  EXPECT_EQ(absent.find("/absent/libdnnl.so.3 cannot be loaded: /absent/libdnnl.so.3: cannot open"), 0u) << absent;
}

TEST(MatrixLibrary, AFailedProductIsRemembered) {
  behave("fail 1");
  auto library = opened();
  int8_t byte[32] = {};
  int32_t into[32];
  library->bytes(library.get(), 1, 1, byte, 1, byte, 1, into);
  library->bytes(library.get(), 1, 1, byte, 1, byte, 1, into);
  EXPECT_EQ(library->failed(), 1);
}

// A library that needs another one finds it in its own folder, as in the wheels of PyPI.
TEST(MatrixLibrary, NeighboursAreFound) {
  behave("");
  EXPECT_TRUE(std::filesystem::exists(FAKE_ONEDNN_NEEDY));
  auto library = MatrixLibrary::open(FAKE_ONEDNN_NEEDY);
  ASSERT_TRUE(library) << library.error().message;
  EXPECT_TRUE((*library)->check(kBytes, 8));
}

} // namespace lathe

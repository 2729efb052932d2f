//===- MatrixLibrary.h - products that oneDNN makes for kernels -----------===//
//
// A schedule may leave the products of many rows to oneDNN (configs/targets/cpu.toml, `library`). The library is opened
// when an artifact that wants it is loaded, and never otherwise. Its gemm functions run on the worker that calls them:
// the threads it would start (TBB's) are held back. They are used only where their numbers are those of our own
// kernels, bit for bit, which is tried out here for each shape; so a step's result does not depend on who multiplied.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Abi.h"
#include "runtime/Plan.h"
#include "runtime/support/Error.h"

#include <atomic>
#include <memory>
#include <string>

namespace lathe {

class MatrixLibrary : public LatheLibrary {
public:
  /// The library of this process, opened on first use and kept. It is looked for at $LATHE_ONEDNN (a path to
  /// libdnnl.so.3, the libraries it needs beside it), else where the loader looks, else in $VIRTUAL_ENV/lib.
  /// ExitCode::mismatch: it is not there, or has threads of its own.
  static Result<const MatrixLibrary *> load();
  /// The same, once it has given the right numbers for what a kernel leaves to it in calls of up to `mostRows` rows.
  /// ExitCode::mismatch too where its numbers are others on this machine.
  static Result<const MatrixLibrary *> loadFor(const LibraryUse &use, int64_t mostRows);

  /// The same of one file, without the search. The library stays loaded.
  static Result<std::unique_ptr<MatrixLibrary>> open(const std::string &path);
  /// Tries the products that a kernel leaves to it.
  Result<void> check(const LibraryUse &use, int64_t mostRows) const;

  /// "oneDNN 3.13.2".
  const std::string &name() const { return title; }
  /// The status of a product that went wrong, 0 while all went well.
  int failed() const { return status.load(); }

private:
  MatrixLibrary() = default;
  Result<void> checkFloats(const LibraryUse &use, int64_t mostRows) const;
  Result<void> checkBytes(const LibraryUse &use, int64_t k, int64_t mostRows) const;

  // As oneapi/dnnl/dnnl.h declares them; matrices are row-major, sizes dnnl_dim_t.
  using Sgemm = int (*)(char transA, char transB, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                        int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
  using GemmS8 = int (*)(char transA, char transB, char offsetC, int64_t m, int64_t n, int64_t k, float alpha,
                         const int8_t *a, int64_t lda, int8_t ao, const int8_t *b, int64_t ldb, int8_t bo, float beta,
                         int32_t *c, int64_t ldc, const int32_t *co);
  Sgemm sgemm = nullptr;
  GemmS8 gemmS8 = nullptr;
  std::string title;
  mutable std::atomic<int> status{0};
};

} // namespace lathe

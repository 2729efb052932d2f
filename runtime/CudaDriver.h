//===- CudaDriver.h - the CUDA driver, opened when a GPU is wanted -----------===//
//
// Nothing links to CUDA: libcuda.so.1 is opened on first use. All that Lathe does with a GPU goes through the table of
// its functions, so tests put a stand-in there (test/cuda/FakeDriver.h).
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/CudaApi.h"
#include "runtime/support/Error.h"

#include <memory>
#include <string>
#include <string_view>

namespace lathe {

class CudaDriver {
public:
  /// The driver of this process, opened and initialised on first use and kept. ExitCode::mismatch: there is none, it
  /// is older than CUDA 12.3, or it sees no GPU; the message says what to do.
  static Result<const CudaDriver *> load();
  /// The same of one file, `$LATHE_CUDA` or libcuda.so.1.
  static Result<std::unique_ptr<CudaDriver>> open(const std::string &path);
  /// Over a table that somebody else filled; initialised here.
  static Result<std::unique_ptr<CudaDriver>> over(const cuda::Calls &calls);

  /// Makes one call: `driver.call<&cuda::Calls::memoryFree>("the KV pool", address)`. An error is one line that names
  /// the driver's function, `what` it was for, the error and what to do.
  template <auto Member, typename... Arguments> Result<void> call(std::string_view what, Arguments... arguments) const {
    int result = (table.*Member)(arguments...);
    if (result == cuda::kSuccess) [[likely]]
      return {};
    return std::unexpected(error(nameOf(&(table.*Member)), result, what));
  }
  /// For destructors, which can tell nobody.
  template <auto Member, typename... Arguments> void release(Arguments... arguments) const {
    (void)(table.*Member)(arguments...);
  }

  /// 13000 for CUDA 13.0.
  int version() const { return cudaVersion; }

private:
  explicit CudaDriver(const cuda::Calls &calls) : table(calls) {}
  const char *nameOf(const void *member) const;
  Error error(const char *function, int result, std::string_view what) const;

  cuda::Calls table;
  int cudaVersion = 0;
};

} // namespace lathe

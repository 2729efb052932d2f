// Our declarations of the driver's interface against NVIDIA's headers. There is nothing to run: it compiles or not.
#include "runtime/CudaApi.h"

#include <cstddef>
#include <cuda.h>
#include <cudaTypedefs.h>
#include <gtest/gtest.h>
#include <type_traits>

namespace lathe::cuda {
namespace {

/// Whether values go the same way through a call: pointers, or integers and enumerations of one size.
template <typename A, typename B> constexpr bool sameArgument() {
  if constexpr (std::is_pointer_v<A> || std::is_pointer_v<B>)
    return std::is_pointer_v<A> && std::is_pointer_v<B>;
  else
    return sizeof(A) == sizeof(B) && std::is_floating_point_v<A> == std::is_floating_point_v<B>;
}
template <typename Ours, typename Theirs> struct SameCall : std::false_type {};
template <typename R, typename... A, typename S, typename... B>
  requires(sizeof...(A) == sizeof...(B))
struct SameCall<R (*)(A...), S (*)(B...)>
    : std::bool_constant<sizeof(R) == sizeof(S) && (sameArgument<A, B>() && ...)> {};

#define CHECK_CALL(name, symbol, version, ...)                                                                         \
  static_assert(SameCall<decltype(Calls::name), PFN_##symbol##_v##version>::value, #symbol);
LATHE_CUDA_CALLS(CHECK_CALL)
#undef CHECK_CALL

// What no rule of conversion would show: handles of the right kind in the right places.
static_assert(std::is_same_v<Context, CUcontext> && std::is_same_v<Function, CUfunction> &&
              std::is_same_v<KernelHandle, CUkernel> && std::is_same_v<Library, CUlibrary> &&
              std::is_same_v<Stream, CUstream> && std::is_same_v<Event, CUevent> && std::is_same_v<Graph, CUgraph> &&
              std::is_same_v<GraphNode, CUgraphNode> && std::is_same_v<GraphExec, CUgraphExec> &&
              std::is_same_v<Address, CUdeviceptr>);

#define CHECK_MEMBER(Ours, ours, Theirs, theirs)                                                                       \
  static_assert(offsetof(Ours, ours) == offsetof(Theirs, theirs) && sizeof(Ours::ours) == sizeof(Theirs::theirs))
using Node = CUDA_KERNEL_NODE_PARAMS_v2;
static_assert(sizeof(KernelNodeParams) == sizeof(Node));
CHECK_MEMBER(KernelNodeParams, function, Node, func);
CHECK_MEMBER(KernelNodeParams, gridX, Node, gridDimX);
CHECK_MEMBER(KernelNodeParams, gridY, Node, gridDimY);
CHECK_MEMBER(KernelNodeParams, gridZ, Node, gridDimZ);
CHECK_MEMBER(KernelNodeParams, blockX, Node, blockDimX);
CHECK_MEMBER(KernelNodeParams, blockY, Node, blockDimY);
CHECK_MEMBER(KernelNodeParams, blockZ, Node, blockDimZ);
CHECK_MEMBER(KernelNodeParams, sharedBytes, Node, sharedMemBytes);
CHECK_MEMBER(KernelNodeParams, parameters, Node, kernelParams);
CHECK_MEMBER(KernelNodeParams, extra, Node, extra);
CHECK_MEMBER(KernelNodeParams, kernel, Node, kern);
CHECK_MEMBER(KernelNodeParams, context, Node, ctx);
static_assert(sizeof(EdgeData) == sizeof(CUgraphEdgeData));
CHECK_MEMBER(EdgeData, fromPort, CUgraphEdgeData, from_port);
CHECK_MEMBER(EdgeData, toPort, CUgraphEdgeData, to_port);
CHECK_MEMBER(EdgeData, type, CUgraphEdgeData, type);
static_assert(sizeof(InstantiateParams) == sizeof(CUDA_GRAPH_INSTANTIATE_PARAMS));
CHECK_MEMBER(InstantiateParams, flags, CUDA_GRAPH_INSTANTIATE_PARAMS, flags);
CHECK_MEMBER(InstantiateParams, uploadStream, CUDA_GRAPH_INSTANTIATE_PARAMS, hUploadStream);
CHECK_MEMBER(InstantiateParams, errorNode, CUDA_GRAPH_INSTANTIATE_PARAMS, hErrNode_out);
CHECK_MEMBER(InstantiateParams, result, CUDA_GRAPH_INSTANTIATE_PARAMS, result_out);
#undef CHECK_MEMBER

TEST(CudaApi, ConstantsAreThoseOfTheHeaders) {
  EXPECT_EQ(int(kSuccess), CUDA_SUCCESS);
  EXPECT_EQ(int(kInvalidValue), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(int(kOutOfMemory), CUDA_ERROR_OUT_OF_MEMORY);
  EXPECT_EQ(int(kNotInitialized), CUDA_ERROR_NOT_INITIALIZED);
  EXPECT_EQ(int(kNoDevice), CUDA_ERROR_NO_DEVICE);
  EXPECT_EQ(int(kInvalidDevice), CUDA_ERROR_INVALID_DEVICE);
  EXPECT_EQ(int(kInvalidImage), CUDA_ERROR_INVALID_IMAGE);
  EXPECT_EQ(int(kInvalidContext), CUDA_ERROR_INVALID_CONTEXT);
  EXPECT_EQ(int(kNoBinaryForGpu), CUDA_ERROR_NO_BINARY_FOR_GPU);
  EXPECT_EQ(int(kInvalidPtx), CUDA_ERROR_INVALID_PTX);
  EXPECT_EQ(int(kUnsupportedPtxVersion), CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
  EXPECT_EQ(int(kInvalidHandle), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_EQ(int(kNotFound), CUDA_ERROR_NOT_FOUND);
  EXPECT_EQ(int(kIllegalAddress), CUDA_ERROR_ILLEGAL_ADDRESS);
  EXPECT_EQ(int(kLaunchFailed), CUDA_ERROR_LAUNCH_FAILED);
  EXPECT_EQ(int(kSystemNotReady), CUDA_ERROR_SYSTEM_NOT_READY);
  EXPECT_EQ(int(kSystemDriverMismatch), CUDA_ERROR_SYSTEM_DRIVER_MISMATCH);
  EXPECT_EQ(int(kCompatNotSupported), CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE);
  EXPECT_EQ(kMultiprocessors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
  EXPECT_EQ(kL2Bytes, CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE);
  EXPECT_EQ(kCapabilityMajor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
  EXPECT_EQ(kCapabilityMinor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
  EXPECT_EQ(kSharedPerBlockOptin, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
  EXPECT_EQ(kFunctionSharedBytes, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES);
  EXPECT_EQ(kFunctionRegisters, CU_FUNC_ATTRIBUTE_NUM_REGS);
  EXPECT_EQ(kFunctionMaxDynamicShared, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
  EXPECT_EQ(kStreamNonBlocking, static_cast<unsigned>(CU_STREAM_NON_BLOCKING));
  EXPECT_EQ(kEventDisableTiming, static_cast<unsigned>(CU_EVENT_DISABLE_TIMING));
  EXPECT_EQ(kHostPortable, static_cast<unsigned>(CU_MEMHOSTALLOC_PORTABLE));
  EXPECT_EQ(kProcLegacyStream, static_cast<uint64_t>(CU_GET_PROC_ADDRESS_LEGACY_STREAM));
  EXPECT_EQ(kInstantiateUpload, static_cast<uint64_t>(CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD));
  EXPECT_EQ(kPortProgrammatic, CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC);
  EXPECT_EQ(kTypeProgrammatic, CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC);
}

} // namespace
} // namespace lathe::cuda

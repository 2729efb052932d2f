//===- CudaApi.h - what is used of the CUDA driver's interface ---------------===//
//
// Declared here, so that Lathe builds without the CUDA toolkit: types, constants and functions of cuda.h and
// cudaTypedefs.h of CUDA 13.0, each in the version that its name says; test/cuda/CudaApiTest.cpp compares them with the
// headers where they are installed. The newest is of CUDA 12.3 (dependencies with edge data).
//
//===----------------------------------------------------------------------===//
#pragma once

#include <cstddef>
#include <cstdint>

// The tags of cuda.h.
struct CUctx_st;
struct CUfunc_st;
struct CUkern_st;
struct CUlib_st;
struct CUstream_st;
struct CUevent_st;
struct CUgraph_st;
struct CUgraphNode_st;
struct CUgraphExec_st;

namespace lathe::cuda {

using Context = CUctx_st *;
using Function = CUfunc_st *;
using KernelHandle = CUkern_st *;
using Library = CUlib_st *;
using Stream = CUstream_st *;
using Event = CUevent_st *;
using Graph = CUgraph_st *;
using GraphNode = CUgraphNode_st *;
using GraphExec = CUgraphExec_st *;
using Address = unsigned long long; ///< CUdeviceptr

/// CUDA_KERNEL_NODE_PARAMS_v2. `parameters` are copied by the call that gets them.
struct KernelNodeParams {
  Function function;
  unsigned gridX, gridY, gridZ, blockX, blockY, blockZ;
  unsigned sharedBytes;
  void **parameters;
  void **extra;
  KernelHandle kernel; ///< where `function` is null
  Context context;
};

/// CUgraphEdgeData.
struct EdgeData {
  unsigned char fromPort, toPort, type, reserved[5];
};
inline constexpr unsigned char kPortProgrammatic = 1; ///< CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC
inline constexpr unsigned char kTypeProgrammatic = 1; ///< CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC

/// CUDA_GRAPH_INSTANTIATE_PARAMS.
struct InstantiateParams {
  uint64_t flags;
  Stream uploadStream;
  GraphNode errorNode;
  int result;
};
inline constexpr uint64_t kInstantiateUpload = 2; ///< CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD

/// CUresult.
enum ErrorCode {
  kSuccess = 0,
  kInvalidValue = 1,
  kOutOfMemory = 2,
  kNotInitialized = 3,
  kNoDevice = 100,
  kInvalidDevice = 101,
  kInvalidImage = 200,
  kInvalidContext = 201,
  kNoBinaryForGpu = 209,
  kInvalidPtx = 218,
  kUnsupportedPtxVersion = 222,
  kInvalidHandle = 400,
  kNotFound = 500,
  kIllegalAddress = 700,
  kLaunchFailed = 719,
  kSystemNotReady = 802,
  kSystemDriverMismatch = 803,
  kCompatNotSupported = 804
};

// CUdevice_attribute, CUfunction_attribute and flags.
inline constexpr int kMultiprocessors = 16, kL2Bytes = 38, kCapabilityMajor = 75, kCapabilityMinor = 76,
                     kSharedPerBlockOptin = 97;
inline constexpr int kFunctionSharedBytes = 1, kFunctionRegisters = 4, kFunctionMaxDynamicShared = 8;
inline constexpr unsigned kStreamNonBlocking = 1, kEventDisableTiming = 2, kHostPortable = 1;
inline constexpr uint64_t kProcLegacyStream = 1; ///< CU_GET_PROC_ADDRESS_LEGACY_STREAM

/// The functions: a name, the driver's, the version of CUDA whose function of that name it is, parameters. All return
/// CUresult.
// clang-format off
#define LATHE_CUDA_CALLS(CALL)                                                                                         \
  CALL(init, cuInit, 2000, unsigned flags)                                                                             \
  CALL(driverVersion, cuDriverGetVersion, 2020, int *version)                                                          \
  CALL(errorName, cuGetErrorName, 6000, int error, const char **name)                                                  \
  CALL(errorText, cuGetErrorString, 6000, int error, const char **text)                                                \
  CALL(deviceCount, cuDeviceGetCount, 2000, int *count)                                                                \
  CALL(deviceGet, cuDeviceGet, 2000, int *device, int ordinal)                                                         \
  CALL(deviceName, cuDeviceGetName, 2000, char *name, int bytes, int device)                                           \
  CALL(deviceAttribute, cuDeviceGetAttribute, 2000, int *value, int attribute, int device)                             \
  CALL(contextRetain, cuDevicePrimaryCtxRetain, 7000, Context *context, int device)                                    \
  CALL(contextRelease, cuDevicePrimaryCtxRelease, 11000, int device)                                                   \
  CALL(contextSet, cuCtxSetCurrent, 4000, Context context)                                                             \
  CALL(memoryInfo, cuMemGetInfo, 3020, size_t *free, size_t *total)                                                    \
  CALL(memoryAlloc, cuMemAlloc, 3020, Address *address, size_t bytes)                                                  \
  CALL(memoryFree, cuMemFree, 3020, Address address)                                                                   \
  CALL(hostAlloc, cuMemHostAlloc, 2020, void **memory, size_t bytes, unsigned flags)                                   \
  CALL(hostFree, cuMemFreeHost, 2000, void *memory)                                                                    \
  CALL(copyIn, cuMemcpyHtoDAsync, 3020, Address to, const void *from, size_t bytes, Stream stream)                     \
  CALL(copyOut, cuMemcpyDtoHAsync, 3020, void *to, Address from, size_t bytes, Stream stream)                          \
  CALL(copyWithin, cuMemcpyDtoDAsync, 3020, Address to, Address from, size_t bytes, Stream stream)                     \
  CALL(fill, cuMemsetD8Async, 3020, Address to, unsigned char value, size_t bytes, Stream stream)                      \
  CALL(streamCreate, cuStreamCreate, 2000, Stream *stream, unsigned flags)                                             \
  CALL(streamDestroy, cuStreamDestroy, 4000, Stream stream)                                                            \
  CALL(streamSynchronize, cuStreamSynchronize, 2000, Stream stream)                                                    \
  CALL(eventCreate, cuEventCreate, 2000, Event *event, unsigned flags)                                                 \
  CALL(eventDestroy, cuEventDestroy, 4000, Event event)                                                                \
  CALL(eventRecord, cuEventRecord, 2000, Event event, Stream stream)                                                   \
  CALL(eventSynchronize, cuEventSynchronize, 2000, Event event)                                                        \
  CALL(eventElapsed, cuEventElapsedTime, 2000, float *milliseconds, Event start, Event end)                            \
  CALL(libraryLoad, cuLibraryLoadData, 12000, Library *library, const void *code, int *jitOptions,                     \
       void **jitOptionValues, unsigned jitOptionCount, int *options, void **optionValues, unsigned optionCount)       \
  CALL(libraryUnload, cuLibraryUnload, 12000, Library library)                                                         \
  CALL(libraryKernel, cuLibraryGetKernel, 12000, KernelHandle *kernel, Library library, const char *name)                    \
  CALL(kernelAttribute, cuKernelGetAttribute, 12000, int *value, int attribute, KernelHandle kernel, int device)             \
  CALL(kernelSetAttribute, cuKernelSetAttribute, 12000, int attribute, int value, KernelHandle kernel, int device)           \
  CALL(graphCreate, cuGraphCreate, 10000, Graph *graph, unsigned flags)                                                \
  CALL(graphDestroy, cuGraphDestroy, 10000, Graph graph)                                                               \
  CALL(graphAddKernel, cuGraphAddKernelNode, 12000, GraphNode *node, Graph graph, const GraphNode *dependencies,       \
       size_t dependencyCount, const KernelNodeParams *params)                                                         \
  CALL(graphAddEdges, cuGraphAddDependencies, 12030, Graph graph, const GraphNode *from, const GraphNode *to,          \
       const EdgeData *data, size_t count)                                                                             \
  CALL(graphInstantiate, cuGraphInstantiateWithParams, 12000, GraphExec *exec, Graph graph, InstantiateParams *params) \
  CALL(execDestroy, cuGraphExecDestroy, 10000, GraphExec exec)                                                         \
  CALL(execSetKernel, cuGraphExecKernelNodeSetParams, 12000, GraphExec exec, GraphNode node,                           \
       const KernelNodeParams *params)                                                                                 \
  CALL(graphLaunch, cuGraphLaunch, 10000, GraphExec exec, Stream stream)
// clang-format on

/// Pointers to them.
struct Calls {
#define LATHE_CUDA_MEMBER(name, symbol, version, ...) int (*name)(__VA_ARGS__) = nullptr;
  LATHE_CUDA_CALLS(LATHE_CUDA_MEMBER)
#undef LATHE_CUDA_MEMBER
};

} // namespace lathe::cuda

# CUDA C++ text to machine code. Builds without the CUDA toolkit: NVRTC is opened when it is wanted. No MLIR.
find_package(Threads REQUIRED)
add_library(lathe_nvrtc STATIC KernelCache.cpp KernelCompiler.cpp Nvrtc.cpp)
target_link_libraries(lathe_nvrtc PUBLIC lathe_support Threads::Threads PRIVATE ${CMAKE_DL_LIBS})

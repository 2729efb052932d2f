# The MLIR side of the compiler.
lathe_mlir_library(lathe_model ModelBuilder.cpp Reference.cpp ReferenceOps.cpp)
target_link_libraries(lathe_model PUBLIC lathe_lm lathe_front)

lathe_mlir_library(lathe_compiler CodedRows.cpp Compiler.cpp CpuCodegen.cpp CudaCodegen.cpp CudaNames.cpp CudaPrinter.cpp KernelCheck.cpp Programs.cpp Target.cpp Disassembly.cpp Explain.cpp Packing.cpp PlanWriter.cpp Tuner.cpp)
target_link_libraries(lathe_compiler PUBLIC lathe_model lathe_lm_passes lathe_kern_passes lathe_front lathe_runtime lathe_device_text lathe_nvrtc)

# The MLIR side of the compiler.
lathe_mlir_library(lathe_model ModelBuilder.cpp Reference.cpp ReferenceOps.cpp)
target_link_libraries(lathe_model PUBLIC lathe_lm lathe_front)

lathe_mlir_library(lathe_compiler CodedRows.cpp Compiler.cpp CpuCodegen.cpp CudaCodegen.cpp CudaExpressions.cpp CudaFacts.cpp CudaNames.cpp CudaPrinter.cpp KernelCheck.cpp Nvdisasm.cpp Programs.cpp Target.cpp Disassembly.cpp Packing.cpp PlanWriter.cpp SampleKernel.cpp StageReader.cpp Tuner.cpp)
target_link_libraries(lathe_compiler PUBLIC lathe_model lathe_lm_passes lathe_kern_passes lathe_front lathe_runtime lathe_device_text lathe_executor_bytes lathe_nvrtc)

# What lathe inspect shows of an artifact, with the style and the script of its page.
set(page ${CMAKE_CURRENT_SOURCE_DIR}/inspect/html)
set(PAGE_PARTS ${CMAKE_CURRENT_BINARY_DIR}/PageParts.cpp)
add_custom_command(OUTPUT ${PAGE_PARTS}
  COMMAND ${CMAKE_COMMAND} -D FOLDER=${page} -D OUTPUT=${PAGE_PARTS} -P ${page}/Embed.cmake
  DEPENDS ${page}/page.css ${page}/page.js ${page}/Embed.cmake VERBATIM)
lathe_mlir_library(lathe_inspect
  inspect/CudaUsage.cpp inspect/Difference.cpp inspect/Explanation.cpp inspect/Inspection.cpp inspect/Loops.cpp
  inspect/Provenance.cpp inspect/UnifiedDiff.cpp
  inspect/html/Kernels.cpp inspect/html/Memory.cpp inspect/html/Page.cpp inspect/html/Stages.cpp ${PAGE_PARTS})
target_link_libraries(lathe_inspect PUBLIC lathe_compiler)

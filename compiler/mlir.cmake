# The MLIR side of the compiler.
lathe_mlir_library(lathe_model ModelBuilder.cpp Reference.cpp ReferenceOps.cpp)
target_link_libraries(lathe_model PUBLIC lathe_lm lathe_front)

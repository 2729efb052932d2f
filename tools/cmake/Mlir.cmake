# Finds LLVM/MLIR 22 and offers lathe_mlir_library(): a library against the shared MLIR and LLVM, never
# the component archives (mixing both registers every option twice).
include_guard(GLOBAL)
find_package(MLIR REQUIRED CONFIG HINTS /usr/lib/llvm-22/lib/cmake/mlir)
if(NOT LLVM_VERSION_MAJOR EQUAL 22)
  message(FATAL_ERROR "expected LLVM 22, found ${LLVM_VERSION} in ${LLVM_DIR}: run tools/setup")
endif()
list(APPEND CMAKE_MODULE_PATH "${MLIR_CMAKE_DIR}" "${LLVM_CMAKE_DIR}")
include(TableGen)
include(AddLLVM)
include(AddMLIR)

set(LATHE_MLIR_FLAGS -Wno-deprecated-declarations)
include_directories(SYSTEM ${MLIR_INCLUDE_DIRS}) # mlir-tblgen takes its search path from the directory

# One precompiled header for every MLIR-heavy target; the first target builds it, the others reuse it.
function(lathe_mlir_library name)
  add_library(${name} STATIC ${ARGN})
  target_include_directories(${name} SYSTEM PUBLIC ${MLIR_INCLUDE_DIRS} ${LLVM_INCLUDE_DIRS})
  target_compile_options(${name} PUBLIC ${LATHE_MLIR_FLAGS})
  target_link_libraries(${name} PUBLIC MLIR LLVM)
  if(NOT TARGET lathe_mlir_pch)
    file(WRITE ${CMAKE_BINARY_DIR}/lathe_mlir_pch.cpp "")
    add_library(lathe_mlir_pch STATIC ${CMAKE_BINARY_DIR}/lathe_mlir_pch.cpp)
    target_include_directories(lathe_mlir_pch SYSTEM PUBLIC ${MLIR_INCLUDE_DIRS} ${LLVM_INCLUDE_DIRS})
    target_compile_options(lathe_mlir_pch PUBLIC ${LATHE_MLIR_FLAGS})
    target_precompile_headers(lathe_mlir_pch PUBLIC
      <mlir/Dialect/Arith/IR/Arith.h> <mlir/Dialect/Func/IR/FuncOps.h> <mlir/Dialect/SCF/IR/SCF.h>
      <mlir/Dialect/Math/IR/Math.h> <mlir/Dialect/LLVMIR/LLVMDialect.h> <mlir/Dialect/Vector/IR/VectorOps.h>
      <mlir/IR/Builders.h> <mlir/IR/BuiltinOps.h> <mlir/IR/BuiltinTypes.h> <mlir/IR/PatternMatch.h>
      <mlir/Pass/Pass.h> <mlir/Pass/PassManager.h> <mlir/Transforms/DialectConversion.h> <mlir/Interfaces/FunctionInterfaces.h>)
  endif()
  target_precompile_headers(${name} REUSE_FROM lathe_mlir_pch)
endfunction()

# The front: configs, importers, weights. No MLIR.
find_package(PkgConfig REQUIRED)
pkg_check_modules(FRONT_UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
find_path(TOMLPLUSPLUS_INCLUDE toml++/toml.h REQUIRED)

# The compiler finds its tables of schedules from any folder: they are part of it.
foreach(target CPU CUDA)
  string(TOLOWER ${target} name)
  set(table ${CMAKE_SOURCE_DIR}/configs/targets/${name}.toml)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${table})
  file(READ ${table} LATHE_${target}_SCHEDULES)
endforeach()
configure_file(SchedulesBuiltIn.h.in ${CMAKE_BINARY_DIR}/compiler/SchedulesBuiltIn.h @ONLY)

# TOML and the words of messages: the settings file of the programs is read with them too.
add_library(lathe_toml STATIC ConfigDiagnostics.cpp TomlFile.cpp)
target_link_libraries(lathe_toml PUBLIC lathe_support PRIVATE PkgConfig::FRONT_UTF8PROC)
target_include_directories(lathe_toml SYSTEM PUBLIC ${TOMLPLUSPLUS_INCLUDE})
# The header-only form of toml++: the shared library throws.
target_compile_definitions(lathe_toml PUBLIC TOML_HEADER_ONLY=1 TOML_EXCEPTIONS=0)

add_library(lathe_front STATIC
  Config.cpp
  ConfigPrinter.cpp
  ConfigReader.cpp
  Importance.cpp
  Quantizer.cpp
  Schedules.cpp
  TuneCandidates.cpp
  Weights.cpp
  WeightsRandom.cpp
  importers/Dequantize.cpp
  importers/GenerationConfig.cpp
  importers/GgufConfig.cpp
  importers/GgufFile.cpp
  importers/GgufReader.cpp
  importers/GgufShards.cpp
  importers/GgufTokenizer.cpp
  importers/GgufWeights.cpp
  importers/HuggingFace.cpp
  importers/HuggingFaceJson.cpp
  importers/HuggingFaceTokenizer.cpp
  importers/Import.cpp
  importers/Json.cpp
  importers/MappedWeights.cpp
  importers/OscConfig.cpp
  importers/OscSyntax.cpp
  importers/RopeFactors.cpp
  importers/Safetensors.cpp
  importers/SentencePiece.cpp
  importers/TokenizerJson.cpp
  importers/VocabularyFiles.cpp)
target_link_libraries(lathe_front PUBLIC lathe_support lathe_toml PRIVATE PkgConfig::FRONT_UTF8PROC)
# The same bits on every machine: a fused multiply-add would round once where the definition rounds twice.
target_compile_options(lathe_front PRIVATE -ffp-contract=off)

//===- Disassembly.cpp - generated code as text -------------------------------===//
#include "compiler/Disassembly.h"

#include "compiler/CpuCodegen.h"

#include "llvm-c/Disassembler.h"
#include "llvm/Object/ELFObjectFile.h"
#include "llvm/Support/TargetSelect.h"

#include <algorithm>

namespace lathe {

/// The bytes of an exported symbol.
static Result<llvm::StringRef> codeOf(const llvm::object::ELFObjectFileBase &object, const std::string &kernel) {
  for (llvm::object::ELFSymbolRef symbol : object.getDynamicSymbolIterators()) {
    auto name = symbol.getName();
    auto section = symbol.getSection();
    auto address = symbol.getAddress();
    if (!name || !section || !address) {
      llvm::consumeError(name.takeError());
      llvm::consumeError(section.takeError());
      llvm::consumeError(address.takeError());
      continue;
    }
    if (*name != kernel || *section == object.section_end())
      continue;
    auto contents = (*section)->getContents();
    if (!contents)
      return fail(ExitCode::badInput, "kernel '{}': {}", kernel, llvm::toString(contents.takeError()));
    return contents->substr(*address - (*section)->getAddress(), symbol.getSize());
  }
  return fail(ExitCode::usage, "no kernel '{}' in this tier's code", kernel);
}

/// A line of LLVM's with blanks for its tabs and without "{vex}", and where a jump leads.
static Instruction instruction(llvm::StringRef line, uint64_t offset, uint64_t bytes) {
  std::string text = line.trim().str();
  std::ranges::replace(text, '\t', ' ');
  if (text.starts_with("{"))
    text.erase(0, text.find(' ') + 1);
  Instruction result{.offset = offset, .bytes = bytes, .text = std::move(text)};
  auto [mnemonic, operand] = llvm::StringRef(result.text).split(' ');
  int64_t distance = 0;
  if (mnemonic.starts_with("j") && !operand.getAsInteger(0, distance))
    result.target = offset + bytes + distance;
  return result;
}

Result<std::vector<Instruction>> disassemble(std::string_view sharedObject, const std::string &kernel,
                                             const std::string &tierName) {
  llvm::InitializeNativeTarget();
  llvm::InitializeNativeTargetDisassembler();
  const CpuTier *tier = findTier(tierName);
  if (!tier)
    return fail(ExitCode::usage, "no tier '{}'", tierName);
  auto binary = llvm::object::ObjectFile::createELFObjectFile(
      llvm::MemoryBufferRef({sharedObject.data(), sharedObject.size()}, tierName));
  if (!binary)
    return fail(ExitCode::badInput, "kernels/{}.so: {}", tierName, llvm::toString(binary.takeError()));
  auto code = codeOf(llvm::cast<llvm::object::ELFObjectFileBase>(**binary), kernel);
  if (!code)
    return propagate(code);
  LLVMDisasmContextRef context = LLVMCreateDisasmCPUFeatures("x86_64-unknown-linux-gnu", tier->cpu.c_str(),
                                                             tier->features.c_str(), nullptr, 0, nullptr, nullptr);
  if (!context)
    return fail(ExitCode::internal, "LLVM has no x86-64 disassembler");
  LLVMSetDisasmOptions(context, LLVMDisassembler_Option_AsmPrinterVariant | LLVMDisassembler_Option_PrintImmHex);
  std::vector<Instruction> instructions;
  for (size_t at = 0; at < code->size();) {
    char line[256];
    auto *bytes = reinterpret_cast<uint8_t *>(const_cast<char *>(code->data())) + at;
    size_t length = LLVMDisasmInstruction(context, bytes, code->size() - at, at, line, sizeof line);
    if (length == 0)
      break;
    instructions.push_back(instruction(line, at, length));
    at += length;
  }
  LLVMDisasmDispose(context);
  return instructions;
}

} // namespace lathe

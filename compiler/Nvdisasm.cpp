#include "compiler/Nvdisasm.h"

#include "compiler/Programs.h"
#include "runtime/support/CudaToolkit.h"

namespace lathe {

Result<std::string> disassembleCubin(std::string_view cubin) {
  auto program = findNvdisasm();
  if (!program)
    return propagate(program);
  auto folder = TemporaryFolder::make();
  if (!folder)
    return propagate(folder);
  std::string file = (*folder)->file("kernel.cubin");
  if (auto written = writeFile(file, cubin); !written)
    return propagate(written);
  auto text = runProgram(*program, {"-c", file});
  if (!text)
    return fail(ExitCode::runtime, "nvdisasm failed: {}", text.error().message);
  return *text + "\n";
}

} // namespace lathe

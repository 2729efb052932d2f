#include "test/cuda/Cubin.h"

#include <cstdint>
#include <cstring>
#include <elf.h>
#include <string_view>

namespace lathe::cuda {
namespace {

constexpr std::string_view kInfo = ".nv.info.";
/// A record of .nv.info: format, attribute, then for this format the size of what follows. A parameter's has its index
/// in the second half word and its size in the upper 14 bits of the last word, as `cuobjdump -elf` prints them.
constexpr uint8_t kSizedFormat = 4, kParameterAttribute = 0x17;
constexpr unsigned kSizeShift = 18;

template <typename T> T at(const std::byte *from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

} // namespace

std::optional<std::map<std::string, std::vector<size_t>>> kernelsOfCubin(const std::byte *image) {
  if (std::memcmp(image, ELFMAG, SELFMAG) != 0)
    return std::nullopt;
  auto header = at<Elf64_Ehdr>(image);
  auto section = [&](size_t i) { return at<Elf64_Shdr>(image + header.e_shoff + i * header.e_shentsize); };
  const auto *names = reinterpret_cast<const char *>(image + section(header.e_shstrndx).sh_offset);
  std::map<std::string, std::vector<size_t>> kernels;
  for (size_t i = 0; i < header.e_shnum; ++i) {
    Elf64_Shdr info = section(i);
    std::string_view name = names + info.sh_name;
    if (!name.starts_with(kInfo))
      continue;
    std::vector<size_t> &sizes = kernels[std::string(name.substr(kInfo.size()))];
    for (uint64_t offset = 0; offset + 4 <= info.sh_size;) {
      const std::byte *record = image + info.sh_offset + offset;
      bool sized = at<uint8_t>(record) == kSizedFormat;
      if (sized && at<uint8_t>(record + 1) == kParameterAttribute) {
        size_t index = at<uint16_t>(record + 8);
        sizes.resize(std::max(sizes.size(), index + 1));
        sizes[index] = at<uint32_t>(record + 12) >> kSizeShift;
      }
      offset += 4 + (sized ? at<uint16_t>(record + 2) : 0);
    }
  }
  return kernels;
}

} // namespace lathe::cuda

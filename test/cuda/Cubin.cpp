#include "test/cuda/Cubin.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <elf.h>
#include <regex>
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

std::optional<std::map<std::string, std::vector<size_t>>> kernelsOfPtx(const char *text) {
  std::string all(text);
  if (all.find(".version ") == all.npos)
    return std::nullopt;
  static const std::regex parameter(R"(\.param ([^,\n]*) \w+(\[(\d+)\])?)"), width(R"(\.[a-z](\d+)( |$))");
  std::map<std::string, std::vector<size_t>> kernels;
  constexpr std::string_view kEntry = ".entry ";
  for (size_t at = 0; (at = all.find(kEntry, at)) != all.npos;) {
    at += kEntry.size();
    size_t open = all.find('(', at), close = all.find(')', open);
    std::vector<size_t> &sizes = kernels[all.substr(at, open - at)];
    std::string list = all.substr(open, close - open);
    for (std::sregex_iterator found(list.begin(), list.end(), parameter), end; found != end; ++found) {
      std::string type = (*found)[1].str();
      std::smatch bits;
      size_t bytes = std::regex_search(type, bits, width) ? std::stoul(bits[1]) / 8 : 0;
      sizes.push_back((*found)[3].matched ? bytes * std::stoul((*found)[3]) : bytes);
    }
    at = close;
  }
  return kernels;
}

} // namespace lathe::cuda

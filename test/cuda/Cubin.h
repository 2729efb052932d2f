// What a cubin says of its kernels: the sizes of their parameters, which the driver copies when a launch is described.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace lathe::cuda {

/// By name, in order; nothing where the image is no ELF file.
std::optional<std::map<std::string, std::vector<size_t>>> kernelsOfCubin(const std::byte *image);

} // namespace lathe::cuda

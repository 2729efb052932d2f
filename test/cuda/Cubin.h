// What a cubin, or PTX, says of its kernels: the sizes of their parameters, which the driver copies when a launch is
// described.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace lathe::cuda {

/// By name, in order; nothing where the image is no ELF file.
std::optional<std::map<std::string, std::vector<size_t>>> kernelsOfCubin(const std::byte *image);

/// The same of PTX, text that ends with a 0; nothing where it does not begin as PTX does.
std::optional<std::map<std::string, std::vector<size_t>>> kernelsOfPtx(const char *text);

} // namespace lathe::cuda

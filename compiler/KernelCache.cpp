#include "compiler/KernelCache.h"

#include "runtime/support/AtomicFile.h"
#include "runtime/support/Json.h"
#include "runtime/support/MappedFile.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <mutex>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>
#include <xxhash.h>

namespace lathe {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMagic = "lathe kernel 1 ";
constexpr std::string_view kSuffix = ".kernel";
constexpr size_t kHashDigits = 16;
constexpr int64_t kMostEntry = int64_t(1) << 30;

/// The members of an entry's header that are numbers of the usage.
constexpr std::pair<const char *, int64_t KernelUsage::*> kUsage[] = {
    {"registers", &KernelUsage::registers},     {"stackBytes", &KernelUsage::stackBytes},
    {"spillStores", &KernelUsage::spillStores}, {"spillLoads", &KernelUsage::spillLoads},
    {"sharedBytes", &KernelUsage::sharedBytes}, {"constantBytes", &KernelUsage::constantBytes},
    {"barriers", &KernelUsage::barriers}};

std::string hashOf(std::string_view data) {
  return fmt::format("{:016x}", static_cast<uint64_t>(XXH3_64bits(data.data(), data.size())));
}

/// An entry: "lathe kernel 1 HASH\n", then what HASH is of: a line of JSON, the image, the log.
std::string printEntry(const DeviceCode &code) {
  nlohmann::ordered_json header{{"image", code.image.size()}, {"log", code.log.size()}};
  for (const auto &[name, member] : kUsage)
    header[name] = code.usage.*member;
  std::string body = header.dump() + "\n" + code.image + code.log;
  return fmt::format("{}{}\n{}", kMagic, hashOf(body), body);
}

std::optional<DeviceCode> parseEntry(std::string_view text) {
  size_t head = kMagic.size() + kHashDigits;
  if (!text.starts_with(kMagic) || text.size() <= head || text[head] != '\n')
    return {};
  std::string_view hash = text.substr(kMagic.size(), kHashDigits), body = text.substr(head + 1);
  size_t line = body.find('\n');
  if (hash != hashOf(body) || line == std::string_view::npos)
    return {};
  auto header = parseJson(body.substr(0, line), "kernel");
  if (!header)
    return {};
  std::optional<Error> error;
  JsonReader reader(*header, "kernel", error);
  DeviceCode code;
  auto image = static_cast<size_t>(reader.integer("image", 1, kMostEntry));
  auto log = static_cast<size_t>(reader.integer("log", 0, kMostEntry));
  for (const auto &[name, member] : kUsage)
    code.usage.*member = reader.integer(name, 0, kMostEntry);
  body.remove_prefix(line + 1);
  if (error || body.size() != image + log)
    return {};
  code.image = body.substr(0, image);
  code.log = body.substr(image);
  return code;
}

std::mutex &warnings() {
  static std::mutex mutex;
  return mutex;
}

} // namespace

std::string KernelCache::defaultFolder() {
  auto variable = [](const char *name) {
    const char *value = std::getenv(name);
    return std::string(value ? value : "");
  };
  if (std::string folder = variable("LATHE_CACHE"); !folder.empty())
    return folder + "/kernels";
  // The XDG base directory specification says that a relative path is to be ignored.
  if (std::string folder = variable("XDG_CACHE_HOME"); folder.starts_with('/'))
    return folder + "/lathe/kernels";
  if (std::string home = variable("HOME"); home.starts_with('/'))
    return home + "/.cache/lathe/kernels";
  return "";
}

KernelCache KernelCache::open(const std::string &folder, int64_t mostBytes) {
  KernelCache cache;
  cache.mostBytes = mostBytes;
  std::string why;
  if (folder.empty()) {
    why = "none of LATHE_CACHE, XDG_CACHE_HOME and HOME names a folder";
  } else {
    std::error_code error;
    fs::path made(folder);
    if (!fs::is_directory(made, error)) {
      fs::create_directories(made.parent_path(), error);
      if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST)
        why = fmt::format("{}: {}", folder, std::strerror(errno));
    }
    if (why.empty() && !fs::is_directory(made, error))
      why = fmt::format("{} is no folder", folder);
    else if (why.empty() && access(folder.c_str(), R_OK | W_OK | X_OK) != 0)
      why = fmt::format("{}: {}", folder, std::strerror(errno));
  }
  if (why.empty())
    cache.path = folder;
  else
    cache.trouble =
        fmt::format("compiled kernels are not kept ({}); set LATHE_CACHE to a folder that can be written", why);
  return cache;
}

std::string KernelCache::key(const KernelSource &kernel, std::span<const KernelHeader> headers,
                             std::span<const std::string> options, std::string_view nvrtcVersion) {
  std::string all;
  auto add = [&](std::string_view text) { // sizes keep parts apart
    all += fmt::format("{} ", text.size());
    all += text;
  };
  add(kMagic);
  add(nvrtcVersion);
  add(fmt::format("{} {}", options.size(), headers.size()));
  for (const std::string &option : options)
    add(option);
  add(kernel.name);
  add(kernel.text);
  for (const KernelHeader &header : headers)
    add(header.name), add(header.text);
  XXH128_hash_t hash = XXH3_128bits(all.data(), all.size());
  return fmt::format("{:016x}{:016x}", static_cast<uint64_t>(hash.high64), static_cast<uint64_t>(hash.low64));
}

std::optional<DeviceCode> KernelCache::find(const std::string &key) const {
  if (path.empty())
    return {};
  std::string file = fmt::format("{}/{}{}", path, key, kSuffix);
  if (access(file.c_str(), R_OK) != 0)
    return {};
  auto mapped = MappedFile::open(file);
  if (!mapped)
    return {};
  auto code = parseEntry((*mapped)->text());
  if (code)
    utimensat(AT_FDCWD, file.c_str(), nullptr, 0); // used now; where that cannot be noted nothing is lost
  return code;
}

void KernelCache::store(const std::string &key, const DeviceCode &code) {
  if (path.empty())
    return;
  auto write = [&]() -> Result<void> {
    auto file = AtomicFile::create(fmt::format("{}/{}{}", path, key, kSuffix));
    if (!file)
      return propagate(file);
    if (auto written = (*file)->write(printEntry(code)); !written)
      return written;
    return (*file)->commit();
  };
  if (auto written = write(); !written) {
    std::lock_guard lock(warnings());
    if (trouble.empty())
      trouble = fmt::format("a compiled kernel is not kept: {}", written.error().message);
  }
}

void KernelCache::trim() {
  if (path.empty())
    return;
  struct Entry {
    std::string file;
    int64_t bytes;
    timespec used;
  };
  std::vector<Entry> entries;
  int64_t total = 0;
  std::error_code ignored;
  for (const auto &item : fs::directory_iterator(path, ignored)) {
    std::string name = item.path().filename().string();
    struct stat info;
    if (!name.ends_with(kSuffix) || stat(item.path().c_str(), &info) != 0 || !S_ISREG(info.st_mode))
      continue;
    entries.push_back({item.path().string(), info.st_size, info.st_mtim});
    total += info.st_size;
  }
  std::ranges::sort(entries, [](const Entry &a, const Entry &b) {
    return std::pair(a.used.tv_sec, a.used.tv_nsec) < std::pair(b.used.tv_sec, b.used.tv_nsec);
  });
  for (const Entry &entry : entries) {
    if (total <= mostBytes)
      return;
    if (unlink(entry.file.c_str()) == 0 || errno == ENOENT) // another process may clean up as well
      total -= entry.bytes;
  }
}

} // namespace lathe

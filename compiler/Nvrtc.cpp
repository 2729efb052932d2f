#include "compiler/Nvrtc.h"

#include "runtime/support/CudaToolkit.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <dlfcn.h>
#include <elf.h>
#include <mutex>
#include <optional>

namespace lathe {
namespace {

/// Before that there is no cache to switch off.
constexpr int kCacheMajor = 12, kCacheMinor = 9;

/// nvrtcResult, in order from 0 (nvrtc.h).
constexpr const char *kResults[] = {"NVRTC_SUCCESS",
                                    "NVRTC_ERROR_OUT_OF_MEMORY",
                                    "NVRTC_ERROR_PROGRAM_CREATION_FAILURE",
                                    "NVRTC_ERROR_INVALID_INPUT",
                                    "NVRTC_ERROR_INVALID_PROGRAM",
                                    "NVRTC_ERROR_INVALID_OPTION",
                                    "NVRTC_ERROR_COMPILATION",
                                    "NVRTC_ERROR_BUILTIN_OPERATION_FAILURE"};
constexpr int kOutOfMemory = 1, kCompilation = 6;

std::vector<std::string_view> partsOf(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    size_t end = std::min(text.find(separator), text.size());
    parts.push_back(text.substr(0, end));
    text.remove_prefix(std::min(text.size(), end + 1));
  }
  return parts;
}

std::vector<std::string_view> linesOf(std::string_view text) { return partsOf(text, '\n'); }

/// The number before ` bytes smem` and the like; "used 1 barriers" as well as "32 registers".
int64_t numberBefore(std::string_view line, std::string_view what) {
  size_t end = line.find(what);
  if (end == std::string_view::npos)
    return 0;
  size_t begin = end;
  while (begin > 0 && line[begin - 1] >= '0' && line[begin - 1] <= '9')
    --begin;
  int64_t number = 0;
  std::from_chars(line.data() + begin, line.data() + end, number);
  return number;
}

/// NVRTC writes "NAME.cu(12): error: …", "NAME.cu(12): catastrophic error: …" or "ptxas error   : …".
std::string firstError(std::string_view log, std::string_view kernel) {
  std::string first;
  int64_t count = 0;
  for (std::string_view line : linesOf(log)) {
    size_t at = line.find("error");
    bool source = at != std::string_view::npos && (line.find("): error") != std::string_view::npos ||
                                                   line.find("): catastrophic error") != std::string_view::npos);
    if (!source && !(line.starts_with("ptxas") && at != std::string_view::npos))
      continue;
    if (count++ > 0)
      continue;
    size_t colon = line.find(':', at);
    std::string_view why = colon == std::string_view::npos ? line : line.substr(colon + 1);
    why.remove_prefix(std::min(why.find_first_not_of(' '), why.size()));
    size_t open = line.find('('), close = line.find(')');
    if (source && open < close)
      first = fmt::format("{}:{}: {}", line.substr(0, open), line.substr(open + 1, close - open - 1), why);
    else
      first = fmt::format("{}.cu: ptxas: {}", kernel, why);
  }
  if (count > 1)
    first += fmt::format(" (the first of {} errors)", count);
  return first;
}

/// The log without what ptxas -v adds: warnings.
std::string warningsOf(std::string_view log) {
  std::string warnings;
  bool properties = false; // the next line has a function's
  for (std::string_view line : linesOf(log)) {
    bool verbose = line.starts_with("ptxas info") || properties;
    properties = line.find("Function properties for") != std::string_view::npos;
    if (!verbose && line.find_first_not_of(" \t\r") != std::string_view::npos)
      warnings.append(line) += '\n';
  }
  return warnings;
}

std::optional<int> capabilityOf(std::string_view architecture) {
  std::string_view digits = architecture;
  for (std::string_view prefix : {"sm_", "compute_"})
    if (digits.starts_with(prefix))
      digits.remove_prefix(prefix.size());
  if (digits.size() == architecture.size())
    return {};
  if (digits.ends_with('a') || digits.ends_with('f')) // features of this capability alone, or of its family
    digits.remove_suffix(1);
  int capability = 0;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), capability);
  if (error != std::errc() || end != digits.data() + digits.size() || digits.empty())
    return {};
  return capability;
}

} // namespace

struct Nvrtc::Functions {
  int (*version)(int *major, int *minor);
  int (*archCount)(int *count);
  int (*archs)(int *capabilities);
  int (*create)(Program *program, const char *text, const char *name, int headers, const char *const *headerTexts,
                const char *const *headerNames);
  int (*destroy)(Program *program);
  int (*compile)(Program program, int options, const char *const *optionTexts);
  int (*ptxSize)(Program program, size_t *size);
  int (*ptx)(Program program, char *text);
  int (*cubinSize)(Program program, size_t *size);
  int (*cubin)(Program program, char *bytes);
  int (*logSize)(Program program, size_t *size);
  int (*log)(Program program, char *text);
};

std::string Nvrtc::errorName(int result) const {
  if (result >= 0 && result < static_cast<int>(std::size(kResults)))
    return kResults[result];
  return fmt::format("nvrtcResult {}", result);
}

Result<std::unique_ptr<Nvrtc>> Nvrtc::open(const std::string &path) {
  void *handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    const char *why = dlerror();
    return fail(ExitCode::mismatch, "{} cannot be loaded: {}", path, why ? why : "unknown reason");
  }
  auto functions = std::make_shared<Functions>();
  const char *missing = nullptr;
  auto find = [&](const char *name, auto &function) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(handle, name));
    if (!function && !missing)
      missing = name;
  };
  find("nvrtcVersion", functions->version);
  find("nvrtcGetNumSupportedArchs", functions->archCount);
  find("nvrtcGetSupportedArchs", functions->archs);
  find("nvrtcCreateProgram", functions->create);
  find("nvrtcDestroyProgram", functions->destroy);
  find("nvrtcCompileProgram", functions->compile);
  find("nvrtcGetPTXSize", functions->ptxSize);
  find("nvrtcGetPTX", functions->ptx);
  find("nvrtcGetCUBINSize", functions->cubinSize);
  find("nvrtcGetCUBIN", functions->cubin);
  find("nvrtcGetProgramLogSize", functions->logSize);
  find("nvrtcGetProgramLog", functions->log);
  if (missing)
    return fail(ExitCode::mismatch, "{} is not NVRTC of CUDA 12 or 13: {} is missing", path, missing);
  std::unique_ptr<Nvrtc> nvrtc(new Nvrtc);
  nvrtc->functions = functions;
  nvrtc->file = path;
  Dl_info where;
  if (dladdr(reinterpret_cast<const void *>(functions->version), &where) && where.dli_fname)
    nvrtc->file = where.dli_fname;
  int count = 0;
  if (functions->version(&nvrtc->major, &nvrtc->minor) != 0 || functions->archCount(&count) != 0 || count < 1)
    return fail(ExitCode::mismatch, "{} does not say its version", path);
  nvrtc->capabilities.resize(static_cast<size_t>(count));
  if (functions->archs(nvrtc->capabilities.data()) != 0)
    return fail(ExitCode::mismatch, "{} does not list its architectures", path);
  nvrtc->versionText = fmt::format("{}.{}", nvrtc->major, nvrtc->minor);
  return nvrtc;
}

Result<const Nvrtc *> Nvrtc::load() {
  static std::mutex mutex;
  static std::unique_ptr<Nvrtc> loaded;
  std::lock_guard lock(mutex);
  if (loaded)
    return loaded.get();
  std::string why;
  for (const std::string &place : nvrtcPlaces()) {
    auto opened = open(place);
    if (opened) {
      loaded = std::move(*opened);
      return loaded.get();
    }
    why += (why.empty() ? "" : "; ") + opened.error().message;
  }
  return fail(ExitCode::mismatch,
              "NVRTC, which compiles CUDA kernels, was not found ({}): install the CUDA toolkit, or pip install "
              "nvidia-cuda-nvrtc into $VIRTUAL_ENV, or set LATHE_NVRTC to libnvrtc.so.13",
              why);
}

Result<void> Nvrtc::checkArchitecture(const std::string &architecture) const {
  auto capability = capabilityOf(architecture);
  if (capability && std::ranges::find(capabilities, *capability) != capabilities.end())
    return {};
  return fail(ExitCode::usage, "architecture '{}': expected sm_ or compute_ and one of {}, which NVRTC {} knows",
              architecture, fmt::join(capabilities, ", "), versionText);
}

std::vector<std::string> Nvrtc::options(const std::string &architecture) const {
  // A multiply and an add stay two roundings: what is to be fused is written as fma.
  std::vector<std::string> options{"--gpu-architecture=" + architecture, "-std=c++17", "-fmad=false", "-lineinfo",
                                   "--ptxas-options=-v"};
  if (std::pair(major, minor) >= std::pair(kCacheMajor, kCacheMinor))
    options.push_back("--no-cache"); // compiler/KernelCache is ours, and what theirs finds comes without a log
  return options;
}

Result<DeviceCode> Nvrtc::compile(const KernelSource &kernel, std::span<const KernelHeader> headers,
                                  const std::string &architecture) const {
  if (auto known = checkArchitecture(architecture); !known)
    return propagate(known);
  std::string name = kernel.name + ".cu";
  std::vector<const char *> texts, names, optionTexts;
  for (const KernelHeader &header : headers)
    texts.push_back(header.text.c_str()), names.push_back(header.name.c_str());
  Program created = nullptr;
  if (int result = functions->create(&created, kernel.text.c_str(), name.c_str(), static_cast<int>(headers.size()),
                                     texts.data(), names.data()))
    return fail(result == kOutOfMemory ? ExitCode::resource : ExitCode::internal, "{}: nvrtcCreateProgram: {}", name,
                errorName(result));
  auto destroy = [this](Program program) { functions->destroy(&program); };
  std::unique_ptr<std::remove_pointer_t<Program>, decltype(destroy)> owner(created, destroy);

  std::vector<std::string> given = options(architecture);
  for (const std::string &option : given)
    optionTexts.push_back(option.c_str());
  int compiled = functions->compile(created, static_cast<int>(optionTexts.size()), optionTexts.data());
  std::string log;
  if (size_t size = 0; functions->logSize(created, &size) == 0 && size > 1) {
    log.resize(size);
    if (functions->log(created, log.data()) != 0)
      log.clear();
    log.resize(std::min(log.size(), log.find('\0'))); // the size counts a terminator
  }
  if (compiled == kCompilation) {
    std::string error = firstError(log, kernel.name);
    if (error.empty())
      error = fmt::format("{}: NVRTC refused it without a message", name);
    return fail(ExitCode::badInput, "{}", error);
  }
  if (compiled != 0)
    return fail(compiled == kOutOfMemory ? ExitCode::resource : ExitCode::internal,
                "{}: nvrtcCompileProgram for {}: {}; log: {}", name, architecture, errorName(compiled),
                log.substr(0, 200));

  bool ptx = architecture.starts_with("compute_");
  DeviceCode code;
  size_t size = 0;
  int got = ptx ? functions->ptxSize(created, &size) : functions->cubinSize(created, &size);
  code.image.resize(size);
  if (got == 0 && size > 0)
    got = ptx ? functions->ptx(created, code.image.data()) : functions->cubin(created, code.image.data());
  if (got != 0 || size == 0)
    return fail(ExitCode::internal, "{}: NVRTC gives no code for {}: {}", name, architecture, errorName(got));
  code.log = warningsOf(log);
  if (ptx) {
    code.image.resize(std::min(size, code.image.find('\0'))); // the size counts a terminator
    return code;
  }
  auto usage = parseUsage(log, kernel.name);
  if (!usage)
    return fail(usage.error().code, "{}: {}", name, usage.error().message);
  code.usage = *usage;
  auto constants = constantBytes(code.image, kernel.name); // ptxas names them for old architectures only
  if (!constants)
    return propagate(constants);
  code.usage.constantBytes = *constants;
  return code;
}

Result<KernelUsage> parseUsage(std::string_view log, std::string_view kernel) {
  constexpr std::string_view kProperties = "Function properties for ";
  KernelUsage usage;
  bool within = false, properties = false, own = false, entered = false;
  std::string quoted = fmt::format("'{}'", kernel);
  for (std::string_view line : linesOf(log)) {
    if (size_t at = line.find("Compiling entry function"); at != std::string_view::npos) {
      within = line.find(quoted, at) != std::string_view::npos;
      entered |= within;
    } else if (!within) {
      continue;
    } else if (at = line.find(kProperties); at != std::string_view::npos) {
      std::string_view name = line.substr(at + kProperties.size());
      own = name.substr(0, name.find_last_not_of(" \r") + 1) == kernel;
      properties = true;
    } else if (properties) {
      // Functions that were not inlined follow: their spills count as the kernel's.
      properties = false;
      usage.spillStores += numberBefore(line, " bytes spill stores");
      usage.spillLoads += numberBefore(line, " bytes spill loads");
      if (own)
        usage.stackBytes = std::max(usage.stackBytes, numberBefore(line, " bytes stack frame"));
    } else if (line.find(": Used ") != std::string_view::npos) {
      usage.registers = numberBefore(line, " registers");
      usage.barriers = numberBefore(line, " barriers");
      usage.sharedBytes = numberBefore(line, " bytes smem");
      usage.stackBytes = std::max(usage.stackBytes, numberBefore(line, " bytes cumulative stack size"));
    }
  }
  if (!entered)
    return fail(ExitCode::badInput, "expected a function extern \"C\" __global__ {}, ptxas names none", kernel);
  if (usage.registers == 0)
    return fail(ExitCode::internal, "ptxas -v does not say how many registers {} takes", kernel);
  return usage;
}

Result<int64_t> constantBytes(std::string_view cubin, std::string_view kernel) {
  auto damaged = [&](const char *what) {
    return fail(ExitCode::internal, "the cubin of {} is no ELF file: {}", kernel, what);
  };
  auto at = [&]<typename T>(uint64_t offset, T &into) {
    if (offset > cubin.size() || cubin.size() - offset < sizeof into)
      return false;
    std::memcpy(&into, cubin.data() + offset, sizeof into);
    return true;
  };
  Elf64_Ehdr header;
  Elf64_Shdr names, section;
  if (!at(0, header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64)
    return damaged("its first bytes are others");
  auto sectionAt = [&](uint64_t index, Elf64_Shdr &into) {
    uint64_t offset = index * sizeof into;
    return header.e_shoff <= cubin.size() && at(header.e_shoff + offset, into);
  };
  if (header.e_shentsize != sizeof section || !sectionAt(header.e_shstrndx, names) || names.sh_offset > cubin.size() ||
      names.sh_size > cubin.size() - names.sh_offset)
    return damaged("its section names lie outside");
  std::string_view strings = cubin.substr(names.sh_offset, names.sh_size);
  std::string wanted = fmt::format(".nv.constant0.{}", kernel);
  for (uint64_t i = 0; i < header.e_shnum; ++i) {
    if (!sectionAt(i, section) || section.sh_name > strings.size())
      return damaged("a section lies outside");
    std::string_view name = strings.substr(section.sh_name);
    if (name.substr(0, name.find('\0')) == wanted)
      return static_cast<int64_t>(section.sh_size);
  }
  return 0;
}

} // namespace lathe

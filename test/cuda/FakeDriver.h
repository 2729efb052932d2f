// A stand-in for the CUDA driver: the same table of functions over the host's memory. It checks handles, bounds and
// arguments as strictly as the driver does or more, runs asynchronous work as late as it may and graphs in a random
// order that their edges allow, records launches, fails on demand, and knows what was not given back.
#pragma once

#include "runtime/CudaDriver.h"

#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace lathe::cuda {

class FakeDriver {
public:
  /// One at a time.
  FakeDriver();
  ~FakeDriver();

  /// A kernel as it was launched.
  struct Launched {
    std::string kernel;
    unsigned gridX, gridY, gridZ, threads, sharedBytes;
    std::vector<std::vector<std::byte>> parameters;
    template <typename T> T parameter(size_t index) const {
      T value{};
      if (parameters[index].size() == sizeof value)
        std::memcpy(&value, parameters[index].data(), sizeof value);
      return value;
    }
  };

  // What the machine is.
  int version = 13000, devices = 1, capability = 90;
  int sharedBytes = 232448;
  uint64_t memory = uint64_t(1) << 34;
  /// What kernels do; runs when the stream gets to them.
  std::function<void(const Launched &)> kernelBody;

  /// An image for cuLibraryLoadData with kernels of these names; sizes of their parameters, in order. Cubins are taken
  /// too.
  using Image = std::map<std::string, std::vector<size_t>>;
  std::vector<std::byte> imageOf(const Image &kernels) const;

  /// Bytes of the piece of memory from an address on; 0: there is none.
  uint64_t room(Address address) const;

  /// The call number `count` from now on (0: the next) that has this name ("" any) gives an error instead.
  void failAt(int64_t count, int result, std::string symbol = "");

  const Calls &calls() const;

  // What has happened.
  std::vector<std::string> log;              ///< names of calls
  std::vector<Launched> launched;            ///< kernels, as they ran
  std::vector<std::vector<Launched>> graphs; ///< nodes of each graph that was instantiated, in order of adding
  struct GraphEdge {
    size_t from, to;
    EdgeData data;
  };
  std::vector<std::vector<GraphEdge>> graphEdges;
  int64_t count(std::string_view symbol) const;
  /// What is still there: "memory of 100 bytes", one line each.
  std::vector<std::string> leaks() const;
  std::vector<std::string> misuse; ///< calls that took away what queued work needs
  std::string name = "Fake GPU";

  struct State;
  std::unique_ptr<State> state;
  std::mt19937_64 random{1};
};

} // namespace lathe::cuda

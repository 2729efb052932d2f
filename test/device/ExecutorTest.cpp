// Each kind of defect is found, in any order of threads and blocks, and reported with kernel, line and thread.
#include "test/device/Launching.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <regex>

using namespace lathe::device;
using namespace lathe::device::testing;

namespace {

constexpr int threads = 64;

/// The line of Defects.cu that says `defect: NAME` last.
int lineOf(const std::string &name) {
  std::ifstream file(DEVICE_KERNELS "/Defects.cu");
  std::string line;
  for (int number = 1; std::getline(file, line); ++number)
    if (line.ends_with("defect: " + name))
      return number;
  ADD_FAILURE() << "no line with the defect " << name;
  return 0;
}

/// "kernel NAME, line N" or "…, line N (in dot.cuh:12)", then thread and block, then `message`, a regular expression.
void expectReport(const std::string &report, const std::string &kernel, const std::vector<int> &lines,
                  const std::string &message) {
  std::smatch match;
  const std::regex form(
      "kernel (\\w+), line (\\d+)( \\(in [\\w.]+:\\d+\\))?, thread (\\d+) of block \\((\\d+), (\\d+)\\): (.*)");
  ASSERT_TRUE(std::regex_match(report, match, form)) << kernel << ": " << report;
  EXPECT_EQ(match[1], kernel);
  EXPECT_TRUE(std::ranges::find(lines, std::stoi(match[2])) != lines.end()) << report;
  EXPECT_LT(std::stoi(match[4]), threads);
  EXPECT_TRUE(std::regex_search(match[7].str(), std::regex(message))) << report;
}

/// Runs under many orders; each has to find it.
void expectDefect(Launch launch, const std::string &name, const std::string &message,
                  std::vector<std::string> lines = {}) {
  std::vector<int> numbers;
  if (lines.empty())
    lines = {name};
  for (const std::string &line : lines)
    numbers.push_back(lineOf(line));
  for (unsigned long long seed = 0; seed < 20; ++seed)
    expectReport(launch.seed(seed).run(), name, numbers, message);
}

struct Io {
  Buffer<float> x = randomFloats(threads * 4, 1), y = Buffer<float>(threads * 4);
  Launch operator()(const char *name, int blocks = 1) {
    Launch launch(name, blocks, 1);
    launch.buffer(x).buffer(y);
    return launch;
  }
  Launch writing(const char *name, int blocks = 1) {
    Launch launch(name, blocks, 1);
    launch.buffer(y);
    return launch;
  }
};

} // namespace

TEST(Executor, RightKernelsHaveNoReportInAnyOrder) {
  Io io;
  for (unsigned long long seed = 0; seed < 20; ++seed) {
    EXPECT_EQ(io("hand_over").seed(seed).run(), "");
    for (size_t i = 0; i < threads; ++i)
      EXPECT_EQ(io.y[i], io.x[threads - 1 - i]);
    EXPECT_EQ(io("group_enough").seed(seed).run(), "");
    EXPECT_EQ(io.writing("bytes_apart").seed(seed).run(), "");
  }
}

TEST(Executor, RacesInSharedMemory) {
  Io io;
  const std::string race = "(reads|writes) byte \\d+ of shared memory, which thread \\d+ (read|wrote) in line \\d+ "
                           "with no barrier in between";
  // Whose turn it is decides whether an element is read before or after it was written.
  const std::string either = race + "|reads byte \\d+ of shared memory, which no thread of the block has written";
  expectDefect(io("missing_barrier"), "missing_barrier", either);
  expectDefect(io("missing_second_barrier"), "missing_second_barrier", race,
               {"missing_second_barrier", "missing_second_barrier, the read"});
  expectDefect(io("write_after_many_reads"), "write_after_many_reads", race,
               {"write_after_many_reads", "write_after_many_reads, the read"});
  expectDefect(io("group_only"), "group_only", either);
  expectDefect(io("warp_only"), "warp_only", either);
  expectDefect(io("shuffle_is_no_barrier"), "shuffle_is_no_barrier", race);
  expectDefect(io.writing("bytes_race"), "bytes_race", either);
  expectDefect(io("inside_of_library"), "inside_of_library", race, {"inside_of_library", "inside_of_library, last"});
  expectDefect(io.writing("matrix_without_barrier"), "matrix_without_barrier", race);
}

TEST(Executor, MissingInitialisation) {
  Io io;
  for (unsigned long long seed = 0; seed < 20; ++seed)
    expectReport(io.writing("uninitialised").seed(seed).run(), "uninitialised", {lineOf("uninitialised")},
                 "reads byte 148 of shared memory, which no thread of the block has written");
  // Nothing is left from the block before.
  EXPECT_EQ(io("hand_over").run(), "");
  expectDefect(io.writing("uninitialised"), "uninitialised", "which no thread of the block has written");
}

TEST(Executor, ThreadsThatDoNotMeet) {
  Io io;
  expectDefect(io.writing("divergent_barrier"), "divergent_barrier",
               "block_barrier waits for ever: thread (4[89]|5\\d|6[0-3]) has ended without it");
  expectDefect(io.writing("barriers_apart"), "barriers_apart",
               "while others of the block are at block_barrier of line \\d+",
               {"barriers_apart", "barriers_apart, the other"});
  expectDefect(io("divergent_shuffle"), "divergent_shuffle",
               "shuffle_xor waits for ever: thread 20 has ended without it");
  expectDefect(io("sums_apart"), "sums_apart", "while others of the block are at block_barrier",
               {"sums_apart", "sums_apart, the other"});
}

TEST(Executor, Bounds) {
  Buffer<int> at(6);
  const Buffer<float> x = randomFloats(10, 1);
  Buffer<float> y(9);
  auto expectAt = [&](std::vector<int> indices, const std::string &line, const std::string &message) {
    for (size_t i = 0; i < 6; ++i)
      at[i] = indices[i];
    for (bool check : {true, false})
      expectReport(Launch("out_of_bounds", 1, 1).buffer(at).buffer(x).buffer(y).check(check).run(), "out_of_bounds",
                   {lineOf(line)}, message);
  };
  const std::string first = "out_of_bounds", second = "out_of_bounds of y";
  expectAt({2, 2, 0, 0, 0, 0}, first,
           "element \\(2, 2\\) is outside of parameter 1, which is \\[\\?, 4\\] and has 10 elements");
  expectAt({0, 4, 0, 0, 0, 0}, first, "element \\(0, 4\\) is outside of parameter 1");
  expectAt({0, -1, 0, 0, 0, 0}, first, "element \\(0, -1\\) is outside of parameter 1");
  expectAt({-1, 0, 0, 0, 0, 0}, first, "element \\(-1, 0\\) is outside of parameter 1");
  expectAt({1 << 30, 0, 0, 0, 0, 0}, first, "element \\(1073741824, 0\\) is outside of parameter 1");
  expectAt({2, 1, 2, 1, 0, 0}, second,
           "element \\(2, 1\\) is outside of parameter 2, which is \\[\\?, 4\\] and has 9 elements");
  expectAt({0, 0, 0, 0, 64, 0}, first, "element \\(64, 0\\) is outside of shared memory, which is \\[64, 4\\]");
  expectAt({0, 0, 0, 0, 0, 4}, first, "element \\(0, 4\\) is outside of shared memory");
  expectAt({0, 0, 0, 0, -1, 3}, first, "element \\(-1, 3\\) is outside of shared memory");
  for (size_t i = 0; i < 6; ++i)
    at[i] = i == 0 || i == 2 ? 2 : 0;
  EXPECT_EQ(Launch("out_of_bounds", 1, 1).buffer(at).buffer(x).buffer(y).run(), "");
}

TEST(Executor, BoundsOfWideLoadsAndOfTheBatch) {
  const Buffer<float> x = randomFloats(10, 1);
  Buffer<int> at(2);
  Buffer<float> y(threads);
  auto load = [&](int row, int column) {
    at[0] = row;
    at[1] = column;
    return Launch("wide_load", 1, 1).buffer(at).buffer(x).buffer(y).run();
  };
  EXPECT_EQ(load(1, 0), "");
  expectReport(load(2, 0), "wide_load", {lineOf("wide_load")},
               "16 bytes at byte 32 of a parameter, which has 40, are outside");
  expectReport(load(0, 1), "wide_load", {lineOf("wide_load")}, "begin at no multiple of 16");
  expectReport(load(0, 4), "wide_load", {lineOf("wide_load")}, "element \\(0, 4\\) is outside of parameter 1");
  auto position = [&](int row) {
    at[0] = row;
    return Launch("batch_bounds", 1, 1).array(kRowPosition, {1, 2, 3}).buffer(at).buffer(y).run();
  };
  EXPECT_EQ(position(2), "");
  EXPECT_EQ(y[0], 3);
  expectReport(position(3), "batch_bounds", {lineOf("batch_bounds")},
               "element 3 of the batch's row_position, which has 3");
  expectReport(position(-1), "batch_bounds", {lineOf("batch_bounds")}, "element -1 of the batch's row_position");
}

TEST(Executor, AsynchronousCopiesLandAtTheirWaitOnly) {
  Io io;
  const std::string underWay = "reads byte \\d+ of shared memory while an async_copy_16 of line \\d+ is under way";
  expectDefect(io("missing_wait"), "missing_wait", underWay);
  expectDefect(io("missing_commit"), "missing_commit", underWay);
  expectDefect(io("wait_too_short"), "wait_too_short", underWay);
  expectDefect(io("write_under_copy"), "write_under_copy",
               "writes byte \\d+ of shared memory while an async_copy_16 of line \\d+ is under way");
  EXPECT_EQ(io("copies_left", 3).run(), "");
  expectDefect(io("wait_without_barrier"), "wait_without_barrier",
               underWay + "|which thread \\d+ wrote in line \\d+ with no barrier|no thread of the block has written");
}

TEST(Executor, RacesBetweenBlocksAndThreads) {
  Io io;
  expectDefect(io.writing("blocks_race", 3), "blocks_race",
               "(reads|writes) element 0 of parameter 0, which thread 3 of block \\(\\d, 0\\) wrote in line "
               "\\d+ with no arrive in between");
  EXPECT_EQ(io.writing("blocks_race", 1).run(), "");
  expectDefect(io("join_without_arrive", 3), "join_without_arrive",
               "element [01] of parameter 0, which thread 0 of block \\([012], 0\\) (wrote|read) in line "
               "\\d+ with no arrive",
               {"join_without_arrive", "join_without_arrive, the write"});
  expectDefect(io("arrive_before_writing", 3).counters(1), "arrive_before_writing",
               "reads element [012] of parameter 0, which thread 0 of block");
  expectDefect(io.writing("threads_race"), "threads_race",
               "element \\d+ of parameter 0, which thread \\d+ (wrote|read) in line \\d+ with no barrier",
               {"threads_race", "threads_race, the write"});
  // In place is no race: a parameter that is only read may be what another one writes.
  Buffer<float> x = randomFloats(threads, 1);
  EXPECT_EQ(Launch("hand_over", 1, 1).buffer(x).buffer(x).run(), "");
  expectReport(Launch("streams_output", 1, 1).buffer(io.x).buffer(io.x).run(), "streams_output",
               {lineOf("streams_output")}, "load_streaming_16 of memory that this launch writes \\(parameter 0\\)");
  EXPECT_EQ(io("streams_output").run(), "");
}

TEST(Executor, WhatKernelsBeforeWroteIsReadBehindTheWait) {
  Io io;
  expectDefect(io("read_before_wait").dependent(), "read_before_wait",
               "reads or writes global memory before dependency_wait");
  expectDefect(io.writing("batch_before_wait").rows(1).dependent(), "batch_before_wait",
               "reads or writes the batch before dependency_wait");
  EXPECT_EQ(io("read_before_wait").run(), "");
  expectDefect(io("prefetch_before_wait").dependent().weights({false, false}), "prefetch_before_wait",
               "reads or writes what is no weight before dependency_wait");
  EXPECT_EQ(io("prefetch_before_wait").dependent().weights({true, false}).run(), "");
  EXPECT_EQ(io("prefetch_before_wait").weights({false, false}).run(), "");
  Buffer<float> x = randomFloats(threads * 4, 1), y(threads * 4);
  Launch streams("streams_output", 1, 1);
  streams.buffer(x).buffer(y).dependent();
  expectReport(streams.weights({false, false}).run(), "streams_output", {lineOf("streams_output")},
               "load_streaming_16, which may go before dependency_wait, of parameter 0, which is no weight");
  const std::string report = Launch("never_waits", 1, 1).buffer(io.x).dependent().run();
  EXPECT_TRUE(std::regex_match(
      report,
      std::regex("kernel never_waits, at its end, thread \\d+ of block \\(0, 0\\): ends without dependency_wait.*")))
      << report;
}

TEST(Executor, SwappedLanesGiveOtherNumbers) {
  const Buffer<uint16_t> a = randomBf16(256, 1), b = randomBf16(128, 2);
  Buffer<float> right(128), swapped(128);
  Buffer<int> swap(2);
  swap[0] = swap[1] = 0;
  ASSERT_EQ(Launch("swapped_lanes", 1, 1).buffer(a).buffer(b).buffer(right).buffer(swap).run(), "");
  for (int i = 0; i < 32; ++i)
    for (int j = 0; j < i; ++j) {
      swap[0] = i;
      swap[1] = j;
      ASSERT_EQ(Launch("swapped_lanes", 1, 1).buffer(a).buffer(b).buffer(swapped).buffer(swap).run(), "");
      int other = 0;
      for (size_t k = 0; k < 128; ++k)
        other += std::abs(swapped[k] - right[k]) > 1e-3f;
      EXPECT_GT(other, 8) << "lanes " << i << " and " << j;
    }
}

TEST(Executor, ALaunchThatDoesNotFitIsRefused) {
  Io io;
  EXPECT_EQ(io("absent").run(), "kernel absent: there is none of this name among the kernels compiled for the host");
  EXPECT_EQ(io.writing("hand_over").run(), "kernel hand_over: expected 2 buffers, found 1");
  EXPECT_EQ(io("hand_over", -1).run(), "kernel hand_over: expected a grid, found (-1, 1)");
  EXPECT_EQ(io("hand_over", 0).run(), "");
}

TEST(Executor, ALaunchAfterADefectRunsAsIfThereWasNone) {
  Io io;
  for (const char *defect : {"missing_barrier", "divergent_barrier", "missing_wait", "blocks_race"})
    for (unsigned long long seed = 0; seed < 3; ++seed) {
      EXPECT_NE((std::string(defect) == "divergent_barrier" || std::string(defect) == "blocks_race"
                     ? io.writing(defect, 2)
                     : io(defect))
                    .seed(seed)
                    .run(),
                "");
      EXPECT_EQ(io("hand_over").seed(seed).run(), "");
      for (size_t i = 0; i < threads; ++i)
        ASSERT_EQ(io.y[i], io.x[threads - 1 - i]);
    }
}

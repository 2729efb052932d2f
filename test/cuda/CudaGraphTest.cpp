// Graphs on the stand-in for the driver: what is launched is what the plan says, kernels see the arrays of their step
// whatever is queued, and an error at any call leaves nothing behind.
#include "runtime/CudaGraph.h"

#include "test/cuda/FakeDriver.h"
#include "test/cuda/TestPlan.h"

#include <algorithm>
#include <deque>
#include <gtest/gtest.h>

namespace lathe::cuda {
namespace {

/// A step with its arrays.
struct Step {
  std::vector<int32_t> tokenIds, rowSequence, rowPosition, pageTable, logitRow, draws, items[7];
  LatheStep step{};

  Step(std::mt19937 &random, int64_t rows, int64_t logitRows, int64_t itemCount, int64_t sequences,
       int64_t pageStride) {
    auto fill = [&](std::vector<int32_t> &array, int64_t count) {
      for (int64_t i = 0; i < count; ++i)
        array.push_back(static_cast<int32_t>(random() & 0x7fffffff));
    };
    fill(tokenIds, rows), fill(rowSequence, rows), fill(rowPosition, rows), fill(pageTable, sequences * pageStride);
    fill(logitRow, logitRows), fill(draws, logitRows * device::kDrawInts);
    for (auto &item : items)
      fill(item, itemCount);
    step = {.rows = rows, .sequences = sequences, .logitRows = logitRows, .items = itemCount, .pageStride = pageStride};
    point();
  }
  Step(Step &&other) noexcept = default; // vectors keep their memory
  void point() {
    step.tokenIds = tokenIds.data(), step.rowSequence = rowSequence.data(), step.rowPosition = rowPosition.data();
    step.pageTable = pageTable.data(), step.logitRow = logitRow.data(), step.draws = draws.data();
    step.itemRow = items[0].data(), step.itemEnd = items[1].data(), step.itemChunk = items[2].data();
    step.itemChunkEnd = items[3].data(), step.itemCount = items[4].data(), step.itemCounter = items[5].data();
    step.itemRecord = items[6].data();
  }
};

constexpr int64_t kSequences = 16, kPages = 128;

class CudaGraphTest : public testing::Test {
protected:
  FakeDriver fake;
  Plan plan = sampledPlan();
  std::string architecture = "sm_90a";
  std::unique_ptr<CudaDriver> driver;
  std::unique_ptr<CudaDevice> device;
  std::vector<cuda::Address> buffers;
  CudaLibrary library;
  std::unique_ptr<CudaGraphs> graphs;
  std::mt19937 random{7};

  void TearDown() override {
    graphs.reset(), library = CudaLibrary(), device.reset();
    EXPECT_EQ(fake.leaks(), std::vector<std::string>());
    EXPECT_EQ(fake.misuse, std::vector<std::string>());
  }

  Result<void> open() {
    auto made = CudaDriver::over(fake.calls());
    if (!made)
      return propagate(made);
    driver = std::move(*made);
    auto opened = CudaDevice::open(*driver);
    if (!opened)
      return propagate(opened);
    device = std::move(*opened);
    FakeDriver::Image image;
    for (const Kernel &kernel : plan.kernels)
      for (const KernelForm &form : kernel.variants.at(architecture).forms) {
        image[form.symbol] = std::vector<size_t>(kernel.parameters.size() + 1, 8);
        image[form.symbol][0] = sizeof(device::BatchData);
      }
    auto loaded = loadLibrary(*device, fake.imageOf(image), "kernels");
    if (!loaded)
      return propagate(loaded);
    library = std::move(*loaded);
    buffers.clear();
    for (size_t i = 0; i < plan.buffers.size(); ++i)
      buffers.push_back(0x1000 * (i + 1)); // no kernel runs, so nothing need be there
    auto find = [&](const KernelForm &form) { return findKernel(*device, library, form.symbol, form.sharedBytes); };
    auto created = CudaGraphs::create(*device, plan, {architecture, kMostUnits, kSequences, kPages}, buffers, find);
    if (!created)
      return propagate(created);
    graphs = std::move(*created);
    return {};
  }
  std::deque<Step> steps;
  size_t seen = 0;   ///< kernels that have run
  int64_t wrong = 0; ///< things that were not as they should be

  /// From now on kernels compare what they get with `steps`, whose kernels run one step after another.
  void expectArrays() {
    fake.kernelBody = [&](const FakeDriver::Launched &launched) {
      const LatheStep &step = steps[seen++ / plan.launches.size()].step;
      auto batch = launched.parameter<device::BatchData>(0);
      auto check = [&](int array, const int32_t *expected, int64_t count) {
        wrong += !std::equal(expected, expected + count, batch.arrays[array]);
      };
      const int32_t counts[] = {static_cast<int32_t>(step.rows), static_cast<int32_t>(step.sequences),
                                static_cast<int32_t>(step.logitRows), static_cast<int32_t>(step.items)};
      check(device::kCounts, counts, 4);
      check(device::kTokenIds, step.tokenIds, step.rows);
      check(device::kRowSequence, step.rowSequence, step.rows);
      check(device::kRowPosition, step.rowPosition, step.rows);
      check(device::kLogitRow, step.logitRow, step.logitRows);
      check(device::kDraws, step.draws, step.logitRows * device::kDrawInts);
      wrong += reinterpret_cast<Address>(batch.drawn) != buffers[static_cast<size_t>(plan.tokensBuffer())];
      check(device::kItemRow, step.itemRow, step.items);
      check(device::kItemEnd, step.itemEnd, step.items);
      check(device::kItemChunk, step.itemChunk, step.items);
      check(device::kItemChunkEnd, step.itemChunkEnd, step.items);
      check(device::kItemCount, step.itemCount, step.items);
      check(device::kItemCounter, step.itemCounter, step.items);
      check(device::kItemRecord, step.itemRecord, step.items);
      for (int64_t sequence = 0; sequence < step.sequences; ++sequence) {
        const int *row = batch.arrays[device::kPageTable] + sequence * batch.pageStride;
        wrong += std::memcmp(row, step.pageTable + sequence * step.pageStride,
                             static_cast<size_t>(step.pageStride) * 4) != 0;
        for (int64_t page = step.pageStride; page < batch.pageStride; ++page)
          wrong += row[page] != 0;
      }
      for (int i = 0; i < 16; ++i)
        wrong += batch.counters[i] != 0;
      // The grid is large enough for what the step has.
      for (const Kernel &kernel : plan.kernels)
        for (const KernelForm &form : kernel.variants.at(architecture).forms)
          if (form.symbol == launched.kernel) {
            int64_t units = kernel.unit == Unit::rows    ? step.rows
                            : kernel.unit == Unit::items ? step.items
                                                         : step.logitRows;
            wrong += launched.gridY * form.unitsPerBlock < units || (form.mostUnits && form.mostUnits < units);
            wrong += launched.gridX * form.tilesPerBlock < kernel.tiles;
          }
    };
  }
  void mustOpen() {
    auto done = open();
    ASSERT_TRUE(done) << done.error().message;
  }
  Result<void> run(int64_t rows, int64_t logitRows = 1, int64_t items = 1, int64_t sequences = 1,
                   int64_t pageStride = 1) {
    Step step(random, rows, logitRows, items, sequences, pageStride);
    return graphs->run(step.step);
  }
};

TEST_F(CudaGraphTest, NodesAndEdgesAreThePlans) {
  for (const char *name : {"sm_90a", "sm_80"}) {
    graphs.reset(), library = CudaLibrary(), device.reset();
    architecture = name;
    fake.graphs.clear(), fake.graphEdges.clear();
    plan.edges[3].programmatic = false;
    mustOpen();
    ASSERT_TRUE(run(70, 5, 30));
    ASSERT_EQ(fake.graphs.size(), 1u);
    CudaUnits room{96, 8, 32, 0};
    ASSERT_EQ(fake.graphs[0].size(), plan.launches.size());
    for (size_t i = 0; i < plan.launches.size(); ++i) {
      const FakeDriver::Launched &node = fake.graphs[0][i];
      LaunchShape shape = shapeOf(plan, plan.launches[i], architecture, room);
      EXPECT_EQ(node.kernel, shape.form->symbol);
      EXPECT_EQ(std::tuple(node.gridX, node.gridY, node.gridZ), std::tuple(shape.gridX, shape.gridY, 1u));
      EXPECT_EQ(node.threads, shape.form->threads);
      EXPECT_EQ(node.sharedBytes, shape.form->sharedBytes);
      ASSERT_EQ(node.parameters.size(), plan.launches[i].args.size() + 1);
      for (size_t j = 0; j < plan.launches[i].args.size(); ++j)
        EXPECT_EQ(node.parameter<Address>(j + 1), buffers[plan.launches[i].args[j]]) << i << " " << j;
    }
    EXPECT_EQ(fake.graphs[0][1].kernel, "norm_qkv_tiled"); // more than 64 rows
    ASSERT_EQ(fake.graphEdges[0].size(), plan.edges.size());
    for (size_t i = 0; i < plan.edges.size(); ++i) {
      const auto &[from, to, data] = fake.graphEdges[0][i];
      EXPECT_EQ(static_cast<int64_t>(from), plan.edges[i].from);
      EXPECT_EQ(static_cast<int64_t>(to), plan.edges[i].to);
      bool programmatic = plan.edges[i].programmatic && architecture == "sm_90a";
      EXPECT_EQ(data.type, programmatic ? kTypeProgrammatic : 0);
      EXPECT_EQ(data.fromPort, programmatic ? kPortProgrammatic : 0);
    }
    ASSERT_TRUE(graphs->wait());
  }
}

// Many steps are queued before the device begins; copies read the staging memory as late as they may.
TEST_F(CudaGraphTest, KernelsSeeTheArraysOfTheirStep) {
  mustOpen();
  expectArrays();
  auto below = [&](int64_t most) { return static_cast<int64_t>(random() % static_cast<unsigned>(most)); };
  for (int i = 0; i < 200; ++i) {
    int64_t rows = random() % 2 ? 1 + below(4) : 1 + below(kMostUnits.rows);
    steps.emplace_back(random, rows, below(kMostUnits.logitRows + 1), 1 + below(random() % 2 ? 10 : kMostUnits.items),
                       1 + below(kSequences), 1 + below(kPages));
    auto done = graphs->run(steps.back().step);
    ASSERT_TRUE(done) << done.error().message;
    if (random() % 8 == 0) {
      ASSERT_TRUE(graphs->wait());
    }
  }
  ASSERT_TRUE(graphs->wait());
  EXPECT_EQ(seen, 200 * plan.launches.size());
  EXPECT_EQ(wrong, 0);
}

// A graph that got other room for some of its launches only is of no use, for steps that would fit the old room either.
TEST_F(CudaGraphTest, AnErrorWhileRoomChangesSpoilsNothing) {
  mustOpen();
  expectArrays();
  auto queue = [&](int64_t items) {
    steps.emplace_back(random, 3, 1, items, 2, 5);
    return graphs->run(steps.back().step);
  };
  ASSERT_TRUE(queue(4));
  fake.failAt(5, kOutOfMemory, "cuGraphExecKernelNodeSetParams");
  ASSERT_FALSE(queue(400));
  steps.pop_back();
  ASSERT_TRUE(queue(4));
  ASSERT_TRUE(queue(400));
  ASSERT_TRUE(graphs->wait());
  EXPECT_EQ(seen, 3 * plan.launches.size());
  EXPECT_EQ(wrong, 0);
}

TEST_F(CudaGraphTest, WhatStillRunsKeepsItsMemory) {
  mustOpen();
  ASSERT_TRUE(run(3));
  size_t before = fake.launched.size();
  graphs.reset(); // TearDown looks for misuse
  EXPECT_EQ(fake.launched.size(), before + plan.launches.size());
}

TEST_F(CudaGraphTest, AStepAllocatesNothing) {
  mustOpen();
  for (int64_t rows : {1, 2, 3, 100, 512})
    ASSERT_TRUE(run(rows, 1, 10, 1, 3));
  EXPECT_EQ(graphs->graphs(), 5);
  ASSERT_TRUE(graphs->wait());
  fake.log.clear();
  for (int64_t rows : {1, 2, 4, 97, 500, 2, 1})
    ASSERT_TRUE(run(rows, 1, 10, 1, 3));
  ASSERT_TRUE(graphs->wait());
  std::vector<std::string> one{"cuEventSynchronize", "cuMemcpyHtoDAsync", "cuEventRecord", "cuGraphLaunch"}, all;
  for (int i = 0; i < 7; ++i)
    all.insert(all.end(), one.begin(), one.end());
  all.push_back("cuStreamSynchronize");
  EXPECT_EQ(fake.log, all);
}

TEST_F(CudaGraphTest, RoomGrowsAtOnceAndShrinksLate) {
  mustOpen();
  auto itemsAfter = [&](int64_t items) {
    EXPECT_TRUE(run(1, 1, items));
    return graphs->layout().units.items;
  };
  EXPECT_EQ(itemsAfter(5), 8);
  EXPECT_EQ(fake.count("cuGraphExecKernelNodeSetParams"), 0);
  EXPECT_EQ(itemsAfter(9), 16);
  EXPECT_EQ(fake.count("cuGraphExecKernelNodeSetParams"), static_cast<int64_t>(plan.launches.size()));
  EXPECT_EQ(itemsAfter(3), 16);
  EXPECT_EQ(itemsAfter(2), 2);
  EXPECT_EQ(itemsAfter(1), 2);
  EXPECT_EQ(itemsAfter(1024), 1024);
  EXPECT_EQ(graphs->graphs(), 1);
  EXPECT_EQ(fake.count("cuGraphInstantiateWithParams"), 1);
  ASSERT_TRUE(run(1, 1, 1, kSequences, kPages));
  EXPECT_EQ(graphs->layout().pageStride, kPages);
  ASSERT_TRUE(run(1, 1, 1, 1, 17));
  EXPECT_EQ(graphs->layout().pageStride, 24);
}

TEST_F(CudaGraphTest, GraphsCanBeBuiltAhead) {
  mustOpen();
  ASSERT_TRUE(graphs->prepare(3));
  ASSERT_TRUE(graphs->prepare(4));
  EXPECT_EQ(graphs->graphs(), 1);
  ASSERT_TRUE(run(4, 4, 4));
  EXPECT_EQ(fake.count("cuGraphInstantiateWithParams"), 1);
  EXPECT_EQ(fake.count("cuGraphExecKernelNodeSetParams"), 0);
  ASSERT_TRUE(graphs->prepare(1000000));
  EXPECT_EQ(graphs->graphs(), 2);
}

TEST_F(CudaGraphTest, StepsThatAreTooLargeAreRefused) {
  mustOpen();
  for (auto [rows, logitRows, items, sequences, pages] : {std::tuple(513, 1, 1, 1, 1),
                                                          {0, 1, 1, 1, 1},
                                                          {1, 65, 1, 1, 1},
                                                          {1, 1, 1025, 1, 1},
                                                          {1, 1, 1, 17, 1},
                                                          {1, 1, 1, 1, 129}}) {
    auto done = run(rows, logitRows, items, sequences, pages);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, ExitCode::internal);
    EXPECT_NE(done.error().message.find("at most 512, 64, 1024, 16 and 128"), std::string::npos)
        << done.error().message;
  }
}

TEST_F(CudaGraphTest, AGraphThatCannotBeMadeNamesItsLaunch) {
  mustOpen();
  fake.failAt(0, kInvalidValue, "cuGraphInstantiateWithParams");
  auto done = run(1);
  ASSERT_FALSE(done);
  EXPECT_NE(done.error().message.find("cuGraphInstantiateWithParams (a step): CUDA_ERROR_INVALID_VALUE"),
            std::string::npos);
  EXPECT_TRUE(done.error().message.ends_with("; at launch 1 (norm_qkv)")) << done.error().message;
}

// Each call fails once, the first, the second … : the error names it, all is given back, and where the device was open
// the next step is right again.
TEST_F(CudaGraphTest, AnErrorAtAnyCallLeavesNothingBehind) {
  auto scenario = [&]() -> Result<void> {
    if (auto done = open(); !done)
      return done;
    for (auto [rows, items] : {std::pair(1, 1), {30, 4}, {1, 9}, {1, 1}})
      if (auto done = run(rows, 1, items); !done)
        return done;
    return graphs->wait();
  };
  ASSERT_TRUE(scenario());
  graphs.reset(), library = CudaLibrary(), device.reset();
  std::vector<std::string> calls = std::move(fake.log);
  ASSERT_GT(calls.size(), 100u);
  int64_t failures = 0;
  for (size_t i = 0; i < calls.size(); ++i) {
    if (calls[i].find("Destroy") != std::string::npos || calls[i].find("Free") != std::string::npos ||
        calls[i].find("Unload") != std::string::npos || calls[i].find("Release") != std::string::npos)
      continue; // what fails to be given back is not
    fake.failAt(static_cast<int64_t>(i), kOutOfMemory);
    auto done = scenario();
    if (!done) { // the last call of all is the destructor's
      ++failures;
      EXPECT_EQ(done.error().message.find(calls[i] + " ("), 0u) << i << ": " << done.error().message;
      if (graphs) {
        EXPECT_TRUE(run(1, 1, 9)) << "after an error of " << calls[i];
        EXPECT_TRUE(run(30, 1, 4));
        EXPECT_TRUE(graphs->wait());
      }
    }
    graphs.reset(), library = CudaLibrary(), device.reset();
    fake.failAt(-1, 0);
    EXPECT_EQ(fake.leaks(), std::vector<std::string>()) << "after an error of " << calls[i];
    fake.log.clear();
  }
  EXPECT_GT(failures, 90);
}

} // namespace
} // namespace lathe::cuda

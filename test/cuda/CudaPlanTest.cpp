// Plans for CUDA: their text, their shapes, and that no order of launches is accepted that could compute something
// else.
#include "test/cuda/PlanInterpreter.h"
#include "test/cuda/TestPlan.h"

#include "runtime/support/Json.h"

#include <gtest/gtest.h>
#include <map>

namespace lathe::cuda {
namespace {

const std::string kNewer = "sm_90a", kOlder = "sm_80";

std::string errorOf(const Plan &plan, const std::string &architecture = kNewer, const CudaUnits &most = kMostUnits) {
  auto right = verifyCudaPlan(plan, architecture, most, testWeight);
  return right ? "" : right.error().message;
}

void expectError(const Plan &plan, std::string_view says, const std::string &architecture = kNewer) {
  std::string message = errorOf(plan, architecture);
  EXPECT_EQ(message.find("plan.json: "), 0u) << message;
  EXPECT_NE(message.find(says), std::string::npos) << message << "\n  does not say " << says;
}

KernelForm &formIn(Plan &plan, size_t kernel, size_t form = 0) {
  return plan.kernels[kernel].variants[kNewer].forms[form];
}

/// All forms of a kernel, on all architectures.
void setForms(Plan &plan, size_t kernel, bool KernelForm::*what, bool value) {
  for (auto &[architecture, variant] : plan.kernels[kernel].variants)
    for (KernelForm &form : variant.forms)
      form.*what = value;
}

TEST(CudaPlan, PrintsAndParsesBack) {
  Plan plan = testPlan();
  std::string text = printPlan(plan);
  auto parsed = parsePlan(text);
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(printPlan(*parsed), text);
  EXPECT_EQ(parsed->edges, plan.edges);
  for (size_t i = 0; i < plan.kernels.size(); ++i) {
    EXPECT_EQ(parsed->kernels[i].parameters, plan.kernels[i].parameters);
    EXPECT_EQ(parsed->kernels[i].counters, plan.kernels[i].counters);
    for (const auto &[architecture, variant] : plan.kernels[i].variants)
      EXPECT_EQ(parsed->kernels[i].variants[architecture].forms, variant.forms);
  }
}

TEST(CudaPlan, EveryFieldIsChecked) {
  struct Change {
    const char *pointer;
    Json value; ///< null removes the key
    const char *says;
  };
  const std::string form = "/kernels/1/variants/sm_90a/forms/0";
  const Change changes[] = {
      {"/symbol", "a b", "forms[0]: symbol: expected a symbol"},
      {"/symbol", "embed", "two forms for sm_90a have the symbol embed"},
      {"/mostUnits", -1, "mostUnits: expected an integer from 0"},
      {"/mostUnits", 0, "mostUnits: expected more than 0 of the form before it, or 0 in the last form"},
      {"/unitsPerBlock", 0, "unitsPerBlock: expected an integer from 1"},
      {"/tilesPerBlock", 0, "tilesPerBlock"},
      {"/threads", 1025, "threads: expected an integer from 1 to 1024"},
      {"/sharedBytes", -1, "sharedBytes"},
      {"/waits", 1, "waits: expected true or false"},
      {"/triggers", nullptr, "triggers: missing"},
      {"/registers", 1, "unknown key \"registers\""},
      {"!/kernels/1/variants/sm_90a/forms", Json::array(), "forms: expected 1 to 16"},
      {"!/kernels/1/variants/sm_90a/forms/1/mostUnits", 100, "forms: expected 1 to 16, the last for any number"},
      {"!/kernels/1/variants/sm_90a/unitBlock", 1, "unknown key \"unitBlock\""},
      {"!/kernels/1/parameters/0/access", "steal", "access: expected one of read, write, update, found 'steal'"},
      {"!/kernels/1/parameters/0/unit", "items", "unit: expected one of rows, logitRows, partials, found 'items'"},
      {"!/kernels/1/parameters/0/bytes", 0, "parameters[0]: bytes"},
      {"!/kernels/1/parameters/0/name", nullptr, "name: missing"},
      {"!/kernels/2/counters", 1, "counters: expected true or false"},
      {"!/edges/0/from", 1, "edges[0]: from: expected an integer from 0 to 0, found 1"},
      {"!/edges/0/to", 0, "edges[0]: to: expected an integer from 1"},
      {"!/edges/0/to", 12, "edges[0]: to: expected an integer from 1 to 11"},
      {"!/edges/0/programmatic", "yes", "programmatic"},
      {"!/edges", 3, "edges: expected a list"},
  };
  const Json good = *parseJson(printPlan(testPlan()), "plan.json");
  for (const Change &change : changes) {
    Json json = good;
    std::string pointer = change.pointer[0] == '!' ? change.pointer + 1 : form + change.pointer;
    Json::json_pointer at(pointer);
    if (change.value.is_null())
      json[at.parent_pointer()].erase(at.back());
    else
      json[at] = change.value;
    auto plan = parsePlan(json.dump());
    ASSERT_FALSE(plan) << pointer;
    EXPECT_NE(plan.error().message.find(change.says), std::string::npos) << pointer << ": " << plan.error().message;
  }
}

TEST(CudaPlan, Architectures) {
  auto parsed = [](const char *name) {
    auto found = CudaArchitecture::parse(name);
    EXPECT_TRUE(found) << name;
    return found.value_or(CudaArchitecture());
  };
  EXPECT_TRUE(parsed("sm_90a").programmatic);
  EXPECT_FALSE(parsed("sm_89").programmatic);
  EXPECT_EQ(parsed("sm_80").sharedBytes, 166912); // what cudaDevAttrMaxSharedMemoryPerBlockOptin says of an A100,
  EXPECT_EQ(parsed("sm_90").sharedBytes, 232448); // of an H100,
  EXPECT_EQ(parsed("sm_86").sharedBytes, 101376); // and of an RTX 3090
  EXPECT_EQ(parsed("compute_80").sharedBytes, 101376);
  EXPECT_FALSE(parsed("compute_80").programmatic);
  struct Case {
    const char *name;
    int device;
    bool runs;
  };
  for (const Case &test : {Case{"sm_80", 80, true},
                           {"sm_80", 86, true},
                           {"sm_80", 89, true},
                           {"sm_80", 90, false},
                           {"sm_86", 80, false},
                           {"sm_90a", 90, true},
                           {"sm_90a", 100, false},
                           {"sm_100", 103, true},
                           {"sm_100a", 103, false},
                           {"compute_80", 120, true},
                           {"compute_90", 80, false},
                           {"compute_90a", 100, false}})
    EXPECT_EQ(parsed(test.name).runsOn(test.device), test.runs) << test.name << " on " << test.device;
  for (const char *name : {"", "sm_", "sm_75", "sm_90ab", "sm_9a0", "90", "compute80", "sm_081"})
    EXPECT_FALSE(CudaArchitecture::parse(name)) << name;
}

TEST(CudaPlan, Buckets) {
  std::vector<int64_t> buckets;
  for (int64_t count = 0; count <= 300; ++count)
    if (int64_t bucket = bucketOf(count, 300); buckets.empty() || bucket != buckets.back())
      buckets.push_back(bucket);
  EXPECT_EQ(buckets, (std::vector<int64_t>{1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 300}));
  EXPECT_EQ(bucketOf(257, 100000), 384);
  EXPECT_EQ(bucketOf(0, 0), 1);
}

TEST(CudaPlan, ShapesFollowUnitsAndForms) {
  Plan plan = testPlan();
  auto shape = [&](size_t launch, const CudaUnits &units) {
    return shapeOf(plan, plan.launches[launch], kNewer, units);
  };
  EXPECT_EQ(shape(1, {1, 1, 1, 0}), (LaunchShape{&formIn(plan, 1, 0), 6, 1}));
  EXPECT_EQ(shape(1, {64, 1, 1, 0}), (LaunchShape{&formIn(plan, 1, 0), 6, 8}));
  EXPECT_EQ(shape(1, {65, 1, 1, 0}), (LaunchShape{&formIn(plan, 1, 1), 3, 2}));
  EXPECT_EQ(shape(2, {4, 1, 37, 0}), (LaunchShape{&formIn(plan, 2), 1, 5}));
  EXPECT_EQ(shape(11, {64, 0, 1, 0}).gridY, 1u); // no logits: a grid cannot be empty
}

TEST(CudaPlan, TheTestPlanIsRight) {
  for (const char *architecture : {"sm_90a", "sm_80", "compute_80"})
    EXPECT_EQ(errorOf(testPlan(3), architecture), "");
  Plan plan = testPlan();
  plan.edges.clear();
  for (int64_t i = 1; i < 12; ++i)
    plan.edges.push_back({i - 1, i, false});
  setForms(plan, 1, &KernelForm::waits, false);
  EXPECT_EQ(errorOf(plan), ""); // nobody need wait behind ordinary edges
  chainLaunches(plan);
  EXPECT_FALSE(plan.edges[0].programmatic); // norm_qkv does not wait
  EXPECT_TRUE(plan.edges[1].programmatic);
  EXPECT_EQ(errorOf(plan), "");
}

// Each class of mistake, and what is said of it.

TEST(CudaPlan, MissingEdges) {
  Plan plan = testPlan();
  plan.edges.clear();
  expectError(plan, "launches[1] (norm_qkv) may read x.0 (slot 0) before launches[0] (embed) has written it");
  plan = testPlan();
  plan.edges.erase(plan.edges.begin() + 10);
  expectError(plan, "launches[11] (head) may read x.2 (slot 0) before launches[10] (down_residual) has written it");
}

TEST(CudaPlan, AnEdgeAroundAKernelThatIsNeeded) {
  Plan plan = testPlan();
  plan.edges[1] = {0, 2, true}; // attention behind embed instead of norm_qkv
  expectError(plan, "launches[2] (attention) may read q.0 (slot 1) before launches[1] (norm_qkv) has written it");
}

// A kernel that does not wait lets the next but one pass the one before it.
TEST(CudaPlan, AKernelThatNeverWaitsLetsOthersPass) {
  Plan plan = testPlan(1);
  setForms(plan, 4, &KernelForm::waits, false);
  expectError(plan,
              "launches[4] (norm_gate_up) may write gated.0 (slot 1) before launches[1] (norm_qkv) has written it");
  plan.edges[3].programmatic = false; // 3 -> 4
  EXPECT_EQ(errorOf(plan), "");
  // A kernel that reads nothing but weights stands between norm_gate_up and down_residual.
  plan = testPlan(1);
  plan.kernels.push_back(plan.kernels[0]);
  for (auto &[architecture, variant] : plan.kernels[7].variants)
    for (KernelForm &form : variant.forms)
      form.symbol += "_again", form.waits = false;
  plan.slots.push_back({Unit::rows, kHidden * 4});
  plan.buffers.push_back({"other", Buffer::Kind::activation, 5, "", -1});
  plan.launches.insert(plan.launches.begin() + 5,
                       {7, {plan.launches[0].args[0], static_cast<int64_t>(plan.buffers.size()) - 1}, true});
  chainLaunches(plan);
  EXPECT_EQ(errorOf(plan), "");
  plan.edges[4].programmatic = true; // 4 -> 5, which does not wait
  expectError(plan, "launches[6] (down_residual) may write x.1 (slot 0) before launches[0] (embed) has written it");
  EXPECT_EQ(errorOf(plan, kOlder), ""); // where no edge is programmatic
}

// A write after a read needs the reader's blocks to have exited, not its writes to be visible.
TEST(CudaPlan, WritesAfterReads) {
  Plan plan = testPlan(1);
  // head reads x.1 (slot 0); another embed behind it writes slot 0, by a programmatic edge, without waiting
  plan.buffers.push_back({"next", Buffer::Kind::activation, 0, "", -1});
  plan.kernels.push_back(plan.kernels[0]);
  for (auto &[architecture, variant] : plan.kernels[7].variants)
    for (KernelForm &form : variant.forms)
      form.symbol += "_next", form.waits = false;
  plan.launches.push_back({7, {plan.launches[0].args[0], static_cast<int64_t>(plan.buffers.size()) - 1}, true});
  chainLaunches(plan);
  EXPECT_EQ(errorOf(plan), "");
  plan.edges.back().programmatic = true;
  expectError(plan, "may write next (slot 0) before launches[5] (down_residual) has written it");
  setForms(plan, 7, &KernelForm::waits, true);
  EXPECT_EQ(errorOf(plan), "");
  // Without a wait, but behind an ordinary edge from down_residual, head's trigger decides.
  setForms(plan, 7, &KernelForm::waits, false);
  plan.edges.push_back({5, 7, false});
  expectError(plan, "launches[7] (embed) may write next (slot 0) before launches[6] (head) has read it");
  setForms(plan, 6, &KernelForm::triggers, false);
  EXPECT_EQ(errorOf(plan), "");
}

TEST(CudaPlan, SlotsHoldOneBufferAtATime) {
  Plan plan = testPlan();
  for (Buffer &buffer : plan.buffers)
    if (buffer.name == "middle.0")
      buffer.slot = 0; // x.0 is read by the launch that writes it
  expectError(plan, "launches[3] (o_residual): x.0 and middle.0 are the same memory, and one is written");
  plan = testPlan();
  for (Buffer &buffer : plan.buffers)
    if (buffer.name == "middle.0")
      buffer.slot = 2, plan.slots[2].bytesPerUnit = kGated * 4;
  expectError(plan, "attended.0 and middle.0 are the same memory");
  plan = testPlan();
  for (Buffer &buffer : plan.buffers)
    if (buffer.name == "q.0")
      buffer.slot = 0;
  expectError(plan, "x.0 and q.0 are the same memory");
  plan = testPlan();
  std::swap(plan.launches[0].args[1], plan.launches[3].args[3]); // embed writes middle.0, which o_residual …
  expectError(plan, "launches[1] (norm_qkv) reads x.0, but no launch before it writes it");
  plan = testPlan();
  for (Buffer &buffer : plan.buffers)
    if (buffer.name == "attended.0")
      buffer.slot = 3;
    else if (buffer.name == "middle.0")
      buffer.slot = 2;
  plan.launches[4].args[0] = plan.launches[3].args[0]; // norm_gate_up reads attended.0, as if it were x
  EXPECT_EQ(errorOf(plan), "");                        // nothing overwrites it
  plan = testPlan();
  plan.launches[6].args[0] = plan.launches[4].args[0]; // the second layer's norm_qkv reads middle.0
  EXPECT_EQ(errorOf(plan), "");
  plan.launches[9].args[0] = plan.launches[4].args[0]; // its norm_gate_up too, but middle.1 is there by then
  expectError(plan, "launches[9] (norm_gate_up) reads middle.0, but its memory holds middle.1, which launches[8] "
                    "(o_residual) wrote last");
}

TEST(CudaPlan, CountersServeOneLaunchAtATime) {
  Plan plan = testPlan(1);
  plan.kernels[1].counters = true; // norm_qkv and attention both count
  EXPECT_EQ(errorOf(plan), "");
  plan.kernels[2].parameters.clear(), plan.launches[2].args.clear();
  plan.kernels[3].parameters[0] = plan.kernels[3].parameters[1], plan.launches[3].args[0] = plan.launches[3].args[1];
  setForms(plan, 2, &KernelForm::waits, false);
  plan.edges = {{0, 1, true},  {0, 2, true}, {0, 3, true}, {1, 3, false},
                {2, 3, false}, {3, 4, true}, {4, 5, true}, {5, 6, true}};
  expectError(plan, "launches[2] (attention) may write the counters of split work before launches[1] (norm_qkv) has "
                    "written it");
}

// What a step draws is for the next: in its own step nobody may take it, and the taker must be done before it is drawn.
TEST(CudaPlan, DrawnTokensAreForTheNextStep) {
  for (const char *architecture : {"sm_90a", "sm_80", "compute_80"})
    EXPECT_EQ(errorOf(sampledPlan(), architecture), "");
  Plan plan = sampledPlan(1);
  auto again = parsePlan(printPlan(plan));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(printPlan(*again), printPlan(plan));
  EXPECT_TRUE(again->kernels[0].feeds && !again->kernels[1].feeds);
  EXPECT_EQ(again->tokensBuffer(), plan.tokensBuffer());
  EXPECT_EQ(testPlan().tokensBuffer(), -1);
  std::string timeline = printTimeline(plan, kNewer, {4, 4, 16, 0});
  EXPECT_NE(timeline.find("after -: embed tokens -> x.0[0]\n"), std::string::npos) << timeline;
  EXPECT_NE(timeline.find("after 6~: logits -> tokens\n"), std::string::npos) << timeline;

  // Another kernel that takes token ids, with nothing between it and what draws them.
  plan.kernels.push_back(plan.kernels[0]);
  plan.kernels.back().symbol = "again";
  for (auto &[architecture, variant] : plan.kernels.back().variants)
    for (KernelForm &form : variant.forms)
      form.symbol += "_again";
  plan.slots.push_back({Unit::rows, kHidden * 4});
  plan.buffers.push_back({"other", Buffer::Kind::activation, 5, "", -1});
  plan.launches.insert(plan.launches.end() - 1,
                       {8, {plan.launches[0].args[0], static_cast<int64_t>(plan.buffers.size()) - 1}, true});
  plan.edges.back() = {6, 7, true};
  plan.edges.push_back({6, 8, true});
  expectError(plan, "launches[8] (sample) may write tokens before launches[7] (again) has read it");
  plan.edges.push_back({7, 8, true});
  EXPECT_EQ(errorOf(plan), "");
  plan = sampledPlan(1);
  plan = sampledPlan(1);
  plan.kernels[6].feeds = true; // head and sample have the same logits, but head is before it
  EXPECT_EQ(errorOf(plan), "");
  plan.launches.push_back(plan.launches[0]);
  chainLaunches(plan);
  expectError(plan, "launches[8] (embed) reads tokens that the step before drew, but launches[7] (sample) draws those "
                    "of this step");
  plan = sampledPlan(1);
  plan.kernels[7].feeds = true;
  expectError(plan, "launches[7] (sample) reads tokens that the step before drew, but it draws those of this step");
  plan = sampledPlan(1);
  plan.kernels[7].parameters[1].access = Access::read;
  expectError(plan, "argument tokens as tokens: expected a kernel that writes 4 bytes a logit row");
  plan = sampledPlan(1);
  plan.buffers.push_back(plan.buffers.back());
  auto two = parsePlan(printPlan(plan));
  ASSERT_FALSE(two);
  EXPECT_NE(two.error().message.find("buffers: expected at most one of kind tokens, found 2"), std::string::npos)
      << two.error().message;
}

TEST(CudaPlan, ArgumentsMustBeWhatKernelsExpect) {
  Plan plan = testPlan();
  plan.launches[3].args.pop_back();
  expectError(plan, "launches[3] (o_residual): expected 4 arguments, found 3");
  plan = testPlan();
  plan.kernels[3].parameters[2].bytes += 16;
  expectError(plan, "argument o as o: the kernel expects 16400 bytes, the weight has 16384");
  plan = testPlan();
  plan.buffers[plan.launches[3].args[2]].tensor = "nothing";
  expectError(plan, "argument o as o: there is no weight nothing");
  plan = testPlan();
  plan.kernels[3].parameters[2].access = Access::update;
  expectError(plan, "argument o as o: a weight is only read");
  plan = testPlan();
  plan.kernels[1].parameters[4].bytes /= 2;
  expectError(plan, "argument keys.0 as keys: the kernel expects 4096 bytes, a page of keys has 8192");
  plan = testPlan();
  plan.kernels[1].parameters[5].unit = Unit::rows;
  expectError(plan, "argument values.0 as values: the kernel expects 8192 bytes a unit");
  plan = testPlan();
  plan.kernels[6].parameters[3].bytes -= 4;
  expectError(plan, "argument logits as logits: the kernel expects rows of 444 bytes, the logits have 448");
  plan = testPlan();
  plan.slots[1].bytesPerUnit -= 4;
  expectError(plan, "the kernel expects 512 bytes a unit, slot 1 has 508");
  plan = testPlan();
  plan.slots[4].unit = Unit::rows;
  expectError(plan, "argument partials.0 as partials: slot 4 holds other units than the kernel expects");
  plan = testPlan();
  plan.kernels[6].parameters[3] = plan.kernels[5].parameters[3];
  expectError(plan, "argument logits as y: the kernel expects rows of 256 bytes, the logits have 448 a logit row");
  plan = testPlan();
  plan.launches.pop_back(), plan.edges.pop_back();
  expectError(plan, "launches: none writes the logits");
}

TEST(CudaPlan, LimitsOfTheArchitecture) {
  Plan plan = testPlan();
  formIn(plan, 1).threads = 100;
  expectError(plan, "kernel norm_qkv for sm_90a: norm_qkv: expected threads in whole warps of 32, found 100");
  plan = testPlan();
  formIn(plan, 1, 1).sharedBytes = 232449;
  expectError(plan, "norm_qkv_tiled: a block takes 232449 bytes of shared memory, there are 232448");
  plan = testPlan();
  plan.kernels[1].variants.erase(kNewer);
  expectError(plan, "kernel norm_qkv for sm_90a: it has no form for this architecture");
  EXPECT_EQ(errorOf(plan, kOlder), "");
  plan = testPlan();
  CudaUnits many = kMostUnits;
  many.items = 65535 * 8;
  EXPECT_EQ(errorOf(plan, kNewer, many), "");
  many.items += 1;
  EXPECT_NE(errorOf(plan, kNewer, many).find("attention: 524281 units in blocks of 8 make a grid of 65536 blocks"),
            std::string::npos);
  EXPECT_NE(errorOf(plan, "sm_70").find("architecture 'sm_70'"), std::string::npos);
}

TEST(CudaPlan, EdgesOfNoUse) {
  Plan plan = testPlan();
  plan.edges.push_back({3, 2, false});
  expectError(plan, "edges: 3 -> 2: expected an earlier and a later one of 12 launches");
  plan = testPlan();
  plan.edges.push_back({1, 2, false});
  expectError(plan, "edges: two lead from launches[1] (norm_qkv) to launches[2] (attention)");
}

TEST(CudaPlan, TimelineForPeople) {
  Plan plan = testPlan(1);
  plan.edges[2].programmatic = false;
  EXPECT_EQ(
      printTimeline(plan, kNewer, {4, 4, 16, 0}),
      "sm_90a: 4 rows, 4 logit rows, 16 attention items; 7 launches\n"
      "   0 embed                    1x1     x256    20000 B  wt  after -: embed -> x.0[0]\n"
      "   1 norm_qkv                 6x1     x256    20000 B  wt  after 0~: x.0[0] gain qkv -> q.0[1] keys.0 values.0\n"
      "   2 attention                1x2     x128    40000 B  wt  after 1~: q.0[1] keys.0 values.0 -> partials.0[4] "
      "attended.0[2]\n"
      "   3 o_residual               2x1     x256    20000 B  wt  after 2: attended.0[2] x.0[0] o -> middle.0[3]\n"
      "   4 norm_gate_up             8x1     x256    20000 B  wt  after 3~: middle.0[3] gain gate_up -> gated.0[1]\n"
      "   5 down_residual            2x1     x256    20000 B  wt  after 4~: gated.0[1] middle.0[3] down -> x.1[0]\n"
      "   6 head                     2x1     x128    40000 B  wt  after 5~: x.1[0] gain embed -> logits\n");
}

// Text from elsewhere with any number anywhere: it is refused or a plan, and nothing goes out of bounds (the sanitizers
// look on).
TEST(CudaPlan, NumbersFromElsewhere) {
  const Json good = *parseJson(printPlan(testPlan()), "plan.json");
  const Json flat = good.flatten();
  std::vector<std::string> pointers;
  for (const auto &[pointer, value] : flat.items())
    if (value.is_number() || value.is_boolean())
      pointers.push_back(pointer);
  std::mt19937_64 random(3);
  const Json values[] = {0,         1,         -1,   2,     31, 33, 1 << 20, INT32_MAX, int64_t(1) << 47,
                         INT64_MAX, INT64_MIN, true, false, 0.5};
  int64_t parsed = 0, right = 0;
  for (int round = 0; round < 3000; ++round) {
    Json json = good;
    for (uint64_t changes = 1 + random() % 2; changes > 0; --changes)
      json[Json::json_pointer(pointers[random() % pointers.size()])] = values[random() % std::size(values)];
    auto plan = parsePlan(json.dump());
    if (!plan)
      continue;
    ++parsed;
    if (!verifyCudaPlan(*plan, kNewer, kMostUnits, testWeight))
      continue;
    ++right;
    EXPECT_FALSE(printTimeline(*plan, kNewer, kMostUnits).empty());
  }
  EXPECT_GT(parsed, 500);
  EXPECT_GT(right, 100);
  EXPECT_LT(right, parsed);
}

/// One random change of a plan; what it was.
std::string mutate(Plan &plan, std::mt19937_64 &random) {
  auto below = [&](size_t count) { return static_cast<size_t>(random() % std::max<size_t>(count, 1)); };
  auto anEdge = [&]() -> Edge * { return plan.edges.empty() ? nullptr : &plan.edges[below(plan.edges.size())]; };
  size_t launch = below(plan.launches.size()), kernel = below(plan.kernels.size());
  switch (random() % 11) {
  case 0:
    if (Edge *edge = anEdge())
      plan.edges.erase(plan.edges.begin() + (edge - plan.edges.data()));
    return "an edge less";
  case 1:
    if (Edge *edge = anEdge())
      edge->programmatic = !edge->programmatic;
    return "an edge of the other kind";
  case 2:
    if (Edge *edge = anEdge())
      edge->from = static_cast<int64_t>(below(static_cast<size_t>(edge->to)));
    return "an edge from elsewhere";
  case 3:
    setForms(plan, kernel, &KernelForm::waits, random() % 2);
    return "a kernel's wait";
  case 4:
    setForms(plan, kernel, &KernelForm::triggers, random() % 2);
    return "a kernel's trigger";
  case 5:
    plan.launches[launch].args[below(plan.launches[launch].args.size())] =
        static_cast<int64_t>(below(plan.buffers.size()));
    return "another argument";
  case 6:
    for (int tries = 0; tries < 8; ++tries)
      if (Buffer &buffer = plan.buffers[below(plan.buffers.size())]; buffer.kind == Buffer::Kind::activation) {
        buffer.slot = static_cast<int64_t>(below(plan.slots.size()));
        break;
      }
    return "another slot";
  case 7:
    std::swap(plan.launches[launch], plan.launches[below(plan.launches.size())]);
    return "two launches swapped";
  case 8:
    if (auto &parameters = plan.kernels[kernel].parameters; !parameters.empty())
      parameters[below(parameters.size())].access = static_cast<Access>(random() % 3);
    return "another access";
  case 9:
    if (random() % 2)
      plan.kernels[kernel].counters = !plan.kernels[kernel].counters;
    else
      plan.kernels[kernel].feeds = !plan.kernels[kernel].feeds;
    return "counters or feeds";
  default:
    size_t to = 1 + below(plan.launches.size() - 1);
    plan.edges.push_back({static_cast<int64_t>(below(to)), static_cast<int64_t>(to), random() % 2 == 0});
    return "an edge more";
  }
}

// Of random changes of a right plan: whatever is accepted computes the same in every order tried, and most of what is
// refused does not.
TEST(CudaPlan, MutantsThatAreAcceptedComputeTheSame) {
  std::mt19937_64 random(20240607);
  int64_t accepted = 0, refused = 0, different = 0;
  std::map<std::string, int64_t> kinds;
  for (int mutant = 0; mutant < 6000; ++mutant) {
    Plan plan = mutant % 4 < 2 ? testPlan(1 + mutant % 2) : sampledPlan(1 + mutant % 2);
    for (Slot &slot : plan.slots)
      slot.bytesPerUnit = kGated * 4; // so that slots can be exchanged
    for (Kernel &kernel : plan.kernels)
      if (!kernel.variants.empty() && random() % 8 == 0)
        setForms(plan, static_cast<size_t>(&kernel - plan.kernels.data()), &KernelForm::triggers, false);
    std::string what;
    for (uint64_t changes = 1 + random() % 3; changes > 0; --changes)
      what += mutate(plan, random) + ", ";
    const std::string &architecture = random() % 4 ? kNewer : kOlder;
    bool right = errorOf(plan, architecture).empty();
    bool comparable = true; // a plan that cannot be run at all says nothing
    for (const Launch &launch : plan.launches)
      comparable &= launch.args.size() == plan.kernels[launch.kernel].parameters.size();
    for (const Edge &edge : plan.edges)
      comparable &= edge.from < edge.to;
    if (!comparable) {
      EXPECT_FALSE(right) << what;
      continue;
    }
    StepResult expected = runInOrder(plan);
    bool same = true;
    for (int order = 0; order < (right ? 40 : 150) && same; ++order)
      same = runHostile(plan, architecture, random) == expected;
    if (right) {
      ++accepted;
      EXPECT_TRUE(same) << "mutant " << mutant << " (" << what << ") for " << architecture << " is accepted:\n"
                        << printTimeline(plan, architecture, {4, 4, 16, 0});
    } else {
      ++refused;
      different += !same;
    }
  }
  RecordProperty("accepted", std::to_string(accepted));
  RecordProperty("refused", std::to_string(refused));
  RecordProperty("refusedAndWrong", std::to_string(different));
  EXPECT_GT(accepted, 1000);
  EXPECT_GT(refused, 1000);
  EXPECT_GT(different * 10, refused * 5) << different << " of "
                                         << refused; // the others are no plans: sizes, accesses of weights
}

} // namespace
} // namespace lathe::cuda

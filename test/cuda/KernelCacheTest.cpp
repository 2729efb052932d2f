// A cache that may lose entries but never gives a wrong one.
#include "compiler/KernelCompiler.h"

#include "test/cuda/TestKernels.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <set>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace lathe {
namespace {

namespace fs = std::filesystem;

class KernelCacheTest : public testing::Test {
protected:
  void SetUp() override {
    folder = fmt::format("{}lathe-cache-{}-{}", testing::TempDir(), getpid(),
                         testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(folder);
  }
  void TearDown() override { fs::remove_all(folder); }
  std::string fileOf(const std::string &key) const { return folder + "/" + key + ".kernel"; }
  std::string folder;
};

DeviceCode codeOf(int number, size_t size = 1000) {
  DeviceCode code;
  for (size_t i = 0; i < size; ++i)
    code.image += static_cast<char>(i * 7 + static_cast<size_t>(number));
  code.log = number % 2 ? "k.cu(3): warning\n" : "";
  code.usage = {.registers = 40 + number, .spillStores = 8, .sharedBytes = 1024, .constantBytes = 400, .barriers = 1};
  return code;
}

std::string keyOf(int number) { return KernelCache::key({"k", std::to_string(number)}, {}, {}, "13.0"); }

bool same(const DeviceCode &a, const DeviceCode &b) {
  return a.image == b.image && a.log == b.log && a.usage == b.usage;
}

std::string read(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write(const std::string &path, std::string_view text) { std::ofstream(path, std::ios::binary) << text; }

TEST(KernelCacheKey, DependsOnAllThatTheCodeDoes) {
  const KernelSource kernel{"k", "text"};
  const std::vector<KernelHeader> headers{{"a.cuh", "one"}, {"b.cuh", "two"}};
  const std::vector<std::string> options{"--gpu-architecture=sm_90a", "-fmad=false"};
  std::set<std::string> keys;
  auto add = [&](const KernelSource &kernel, const std::vector<KernelHeader> &headers,
                 const std::vector<std::string> &options,
                 const char *version) { keys.insert(KernelCache::key(kernel, headers, options, version)); };
  add(kernel, headers, options, "13.0");
  add(kernel, headers, options, "13.0"); // the same
  EXPECT_EQ(keys.size(), 1u);
  EXPECT_EQ(keys.begin()->size(), 32u);
  add({"l", "text"}, headers, options, "13.0");
  add({"k", "text "}, headers, options, "13.0");
  add({"kt", "ext"}, headers, options, "13.0");
  add(kernel, {{"a.cuh", "one!"}, {"b.cuh", "two"}}, options, "13.0");
  add(kernel, {{"c.cuh", "one"}, {"b.cuh", "two"}}, options, "13.0");
  add(kernel, {{"a.cuh", "one"}}, options, "13.0");
  add(kernel, headers, {"--gpu-architecture=sm_80", "-fmad=false"}, "13.0");
  add(kernel, headers, {"--gpu-architecture=sm_90a"}, "13.0");
  add(kernel, headers, options, "12.9");
  EXPECT_EQ(keys.size(), 10u);
}

TEST(KernelCacheFolder, FollowsTheEnvironment) {
  auto with = [](const char *own, const char *xdg, const char *home) {
    std::map<const char *, std::string> before;
    for (auto [name, value] : {std::pair("LATHE_CACHE", own), {"XDG_CACHE_HOME", xdg}, {"HOME", home}}) {
      if (const char *old = getenv(name))
        before[name] = old;
      setenv(name, value, 1);
    }
    std::string folder = KernelCache::defaultFolder();
    for (const char *name : {"LATHE_CACHE", "XDG_CACHE_HOME", "HOME"})
      before.contains(name) ? setenv(name, before[name].c_str(), 1) : unsetenv(name);
    return folder;
  };
  EXPECT_EQ(with("here", "/x", "/h"), "here/kernels");
  EXPECT_EQ(with("", "/x", "/h"), "/x/lathe/kernels");
  EXPECT_EQ(with("", "relative", "/h"), "/h/.cache/lathe/kernels");
  EXPECT_EQ(with("", "", ""), "");
}

TEST_F(KernelCacheTest, KeepsAndFinds) {
  KernelCache cache = KernelCache::open(folder);
  EXPECT_EQ(cache.warning(), "");
  EXPECT_FALSE(cache.find(keyOf(1)));
  for (int i = 0; i < 4; ++i)
    cache.store(keyOf(i), codeOf(i));
  for (int i = 0; i < 4; ++i) {
    auto found = KernelCache::open(folder).find(keyOf(i));
    ASSERT_TRUE(found);
    EXPECT_TRUE(same(*found, codeOf(i)));
  }
  EXPECT_EQ(fs::status(folder).permissions() & fs::perms::others_all, fs::perms::none);
}

TEST_F(KernelCacheTest, NoDamagedEntryIsTaken) {
  KernelCache cache = KernelCache::open(folder);
  cache.store(keyOf(1), codeOf(1, 50));
  std::string whole = read(fileOf(keyOf(1)));
  ASSERT_GT(whole.size(), 100u);
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ 1);
    write(fileOf(keyOf(1)), damaged);
    EXPECT_FALSE(cache.find(keyOf(1))) << "byte " << i;
    write(fileOf(keyOf(1)), whole.substr(0, i));
    EXPECT_FALSE(cache.find(keyOf(1))) << "cut at " << i;
  }
  write(fileOf(keyOf(1)), whole + "x");
  EXPECT_FALSE(cache.find(keyOf(1)));
  cache.store(keyOf(1), codeOf(1, 50));
  EXPECT_TRUE(cache.find(keyOf(1)));
  EXPECT_EQ(cache.warning(), "");
}

TEST_F(KernelCacheTest, AFolderThatCannotBeUsedIsAWarning) {
  write(folder, "a file");
  for (const std::string &place : {folder, folder + "/kernels", std::string()}) {
    KernelCache cache = KernelCache::open(place);
    EXPECT_NE(cache.warning().find("compiled kernels are not kept"), std::string::npos);
    cache.store(keyOf(1), codeOf(1));
    EXPECT_FALSE(cache.find(keyOf(1)));
    cache.trim();
  }
  fs::remove(folder);
  KernelCache cache = KernelCache::open(folder);
  fs::remove_all(folder); // somebody else did
  cache.store(keyOf(1), codeOf(1));
  EXPECT_NE(cache.warning().find("a compiled kernel is not kept: "), std::string::npos) << cache.warning();
}

TEST_F(KernelCacheTest, TheLeastRecentlyUsedGoFirst) {
  KernelCache::open(folder).store(keyOf(0), codeOf(0));
  KernelCache cache = KernelCache::open(folder, static_cast<int64_t>(fs::file_size(fileOf(keyOf(0)))) * 3 + 100);
  for (int i = 0; i < 5; ++i) {
    cache.store(keyOf(i), codeOf(i));
    fs::last_write_time(fileOf(keyOf(i)), fs::file_time_type::clock::now() - std::chrono::hours(10 - i));
  }
  EXPECT_TRUE(cache.find(keyOf(0))); // used now
  cache.trim();                      // 3 fit
  EXPECT_TRUE(cache.find(keyOf(0)));
  EXPECT_FALSE(cache.find(keyOf(1)));
  EXPECT_FALSE(cache.find(keyOf(2)));
  EXPECT_TRUE(cache.find(keyOf(3)));
  EXPECT_TRUE(cache.find(keyOf(4)));
  write(folder + "/not-ours", std::string(10000, 'x'));
  cache.trim();
  EXPECT_TRUE(fs::exists(folder + "/not-ours"));
  EXPECT_TRUE(cache.find(keyOf(3)));
}

// Threads and processes write, read and remove the same entries: what is found is always whole.
TEST_F(KernelCacheTest, AnyNumberOfWriters) {
  KernelCache::open(folder);
  auto work = [&](int seed) {
    KernelCache cache = KernelCache::open(folder, 4000);
    int found = 0;
    for (int round = 0; round < 60; ++round) {
      int i = (round * 7 + seed) % 5;
      cache.store(keyOf(i), codeOf(i));
      if (auto code = cache.find(keyOf((i + seed) % 5))) {
        if (!same(*code, codeOf((i + seed) % 5)))
          return -1;
        ++found;
      }
      if (round % 10 == 9)
        cache.trim();
    }
    return cache.warning().empty() ? found : -2;
  };
  std::vector<pid_t> children;
  for (int child = 0; child < 3; ++child)
    if (children.push_back(fork()); children.back() == 0)
      _exit(work(child) > 0 ? 0 : 1);
  std::atomic<int> wrong = 0;
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < 3; ++thread)
    threads.emplace_back([&, thread] { wrong += work(thread + 3) <= 0; });
  threads.clear();
  for (pid_t child : children) {
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  EXPECT_EQ(wrong, 0);
  for (const auto &file : fs::directory_iterator(folder))
    EXPECT_TRUE(file.path().string().ends_with(".kernel")) << file.path();
}

TEST_F(KernelCacheTest, CompilingFillsItAndRepairsIt) {
  auto nvrtc = Nvrtc::load();
  if (!nvrtc)
    GTEST_SKIP() << "no NVRTC: " << nvrtc.error().message;
  std::vector<KernelSource> kernels = cuda::normKernels(3);
  KernelCache cache = KernelCache::open(folder);
  auto compile = [&](const char *architecture) {
    auto compiled = compileKernels(**nvrtc, kernels, cuda::testHeaders(), architecture, &cache);
    EXPECT_TRUE(compiled) << compiled.error().message;
    return std::move(*compiled);
  };
  CompiledKernels cold = compile("sm_90a"), cached = compile("sm_90a");
  EXPECT_EQ(cold.found, 0);
  EXPECT_EQ(cached.found, 3);
  for (size_t i = 0; i < kernels.size(); ++i)
    EXPECT_TRUE(same(cold.code[i], cached.code[i]));
  EXPECT_EQ(compile("sm_80").found, 0);
  size_t damaged = 0;
  for (const auto &file : fs::directory_iterator(folder))
    if (damaged++ < 2)
      fs::resize_file(file.path(), fs::file_size(file.path()) / 2);
  EXPECT_EQ(compile("sm_90a").found + compile("sm_80").found, 4);
  EXPECT_EQ(compile("sm_90a").found + compile("sm_80").found, 6);
  kernels[1].text += "// another line\n";
  EXPECT_EQ(compile("sm_90a").found, 2);
}

} // namespace
} // namespace lathe

#include "runtime/KvStore.h"

#include "runtime/Sampler.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <map>
#include <numeric>
#include <random>
#include <set>

namespace lathe {
namespace {

std::vector<int32_t> range(int32_t begin, int32_t count) {
  std::vector<int32_t> tokens(count);
  std::iota(tokens.begin(), tokens.end(), begin);
  return tokens;
}

bool write(KvStore &kv, KvStore::Sequence sequence, const std::vector<int32_t> &tokens) {
  std::vector<PageCopy> copies;
  if (!kv.reserve(sequence, static_cast<int64_t>(tokens.size()), copies))
    return false;
  kv.append(sequence, tokens);
  return true;
}

TEST(KvStore, PagesAreTakenAndGivenBack) {
  KvStore kv(4, 4);
  auto a = kv.open();
  EXPECT_EQ(kv.pagesNeeded(a, 5), 2);
  ASSERT_TRUE(write(kv, a, range(0, 5)));
  EXPECT_EQ(kv.pages(a).size(), 2u);
  EXPECT_EQ(kv.freePages(), 2);
  EXPECT_EQ(kv.pagesNeeded(a, 3), 0);
  std::vector<PageCopy> copies;
  EXPECT_FALSE(kv.reserve(a, 12, copies)) << "5 + 12 tokens do not fit 16";
  EXPECT_EQ(kv.pages(a).size(), 2u) << "a refused reservation took pages";
  kv.close(a);
  EXPECT_EQ(kv.freePages(), 4);
}

TEST(KvStore, PrefixesAreSharedAndCounted) {
  KvStore kv(8, 4);
  auto a = kv.open();
  ASSERT_TRUE(write(kv, a, range(0, 10)));
  auto b = kv.open();
  EXPECT_EQ(kv.attach(b, range(0, 10)), 8);
  EXPECT_EQ(kv.pages(b)[1], kv.pages(a)[1]);
  EXPECT_EQ(kv.references(kv.pages(a)[0]), 2);
  auto c = kv.open();
  EXPECT_EQ(kv.attach(c, range(1, 10)), 0) << "other tokens";
  std::vector<int32_t> mixed = range(0, 4);
  mixed.insert(mixed.end(), {4, 5, 6, 99});
  EXPECT_EQ(kv.attach(c, mixed), 4);
  kv.close(a);
  kv.close(b);
  auto d = kv.open();
  EXPECT_EQ(kv.attach(d, range(0, 8)), 8) << "closed sequences leave their full pages findable";
}

// The second page's tokens alone are not enough: what stands before them must be equal too.
TEST(KvStore, APageIsFoundOnlyBehindItsOwnPrefix) {
  KvStore kv(8, 2);
  auto a = kv.open();
  ASSERT_TRUE(write(kv, a, {1, 2, 7, 8}));
  auto b = kv.open();
  ASSERT_TRUE(write(kv, b, {3, 4}));
  kv.close(b);
  auto c = kv.open();
  EXPECT_EQ(kv.attach(c, std::vector<int32_t>{3, 4, 7, 8}), 2);
}

TEST(KvStore, EqualPagesBecomeOne) {
  KvStore kv(4, 2);
  auto a = kv.open(), b = kv.open();
  ASSERT_TRUE(write(kv, a, {1, 2, 3}) && write(kv, b, {1, 2, 4}));
  EXPECT_EQ(kv.pages(a)[0], kv.pages(b)[0]);
  EXPECT_EQ(kv.freePages(), 1);
}

TEST(KvStore, LeastRecentlyUsedGoesFirst) {
  KvStore kv(4, 2);
  for (int32_t first : {10, 20, 30, 40}) {
    auto sequence = kv.open();
    ASSERT_TRUE(write(kv, sequence, {first, first + 1}));
    kv.close(sequence);
  }
  auto again = kv.open(); // 10 is now the most recently used
  EXPECT_EQ(kv.attach(again, std::vector<int32_t>{10, 11}), 2);
  kv.close(again);
  auto fresh = kv.open();
  ASSERT_TRUE(write(kv, fresh, {50, 51, 52}));
  auto look = [&](int32_t first) {
    auto sequence = kv.open();
    int64_t found = kv.attach(sequence, std::vector<int32_t>{first, first + 1});
    kv.close(sequence);
    return found;
  };
  EXPECT_EQ(look(20), 0);
  EXPECT_EQ(look(30), 0);
  EXPECT_EQ(look(40), 2);
  EXPECT_EQ(look(10), 2);
}

TEST(KvStore, APrefixOutlivesWhatBuildsOnIt) {
  KvStore kv(3, 2);
  auto a = kv.open();
  ASSERT_TRUE(write(kv, a, range(0, 6)));
  kv.close(a);
  auto b = kv.open();
  ASSERT_TRUE(write(kv, b, {90}));
  auto c = kv.open();
  EXPECT_EQ(kv.attach(c, range(0, 6)), 4);
}

TEST(KvStore, ForksCopyTheirLastPageOnWrite) {
  KvStore kv(6, 4);
  auto a = kv.open();
  ASSERT_TRUE(write(kv, a, range(0, 6)));
  auto b = kv.fork(a);
  EXPECT_EQ(kv.freePages(), 4);
  std::vector<PageCopy> copies;
  EXPECT_EQ(kv.pagesNeeded(b, 1), 1);
  ASSERT_TRUE(kv.reserve(b, 1, copies));
  ASSERT_EQ(copies.size(), 1u);
  EXPECT_EQ(copies[0].from, kv.pages(a)[1]);
  EXPECT_EQ(copies[0].to, kv.pages(b)[1]);
  kv.append(b, std::vector<int32_t>{50});
  copies.clear();
  ASSERT_TRUE(kv.reserve(a, 1, copies));
  EXPECT_TRUE(copies.empty()) << "the last holder writes in place";
  auto c = kv.open(), d = kv.fork(c);
  kv.close(c), kv.close(d);
}

/// What the store must do, said the slow way: memory as token ids by page and slot.
class Model {
public:
  Model(uint64_t seed, int64_t pages, int64_t pageTokens, bool reuse)
      : random(seed), kv(pages, pageTokens, reuse), memory(pages, std::vector<int32_t>(pageTokens, -1)),
        pageTokens(pageTokens) {}

  void run(int steps) {
    for (int step = 0; step < steps && !testing::Test::HasFatalFailure(); ++step) {
      switch (draw(10)) {
      case 0:
      case 1:
        open();
        break;
      case 2:
        fork();
        break;
      case 3:
      case 4:
        close();
        break;
      default:
        write();
      }
      check();
    }
  }

private:
  int64_t draw(int64_t below) { return static_cast<int64_t>(random() % static_cast<uint64_t>(below)); }
  KvStore::Sequence any() {
    auto entry = history.begin();
    std::advance(entry, draw(static_cast<int64_t>(history.size())));
    return entry->first;
  }

  void open() {
    auto sequence = kv.open();
    ASSERT_FALSE(history.contains(sequence));
    // Few texts, so that prefixes meet: one of three beginnings, then a rare deviation.
    std::vector<int32_t> wanted;
    int32_t text = static_cast<int32_t>(draw(3)) * 1000;
    for (int64_t i = draw(5 * pageTokens); i >= 0; --i)
      wanted.push_back(text + static_cast<int32_t>(wanted.size()) + (draw(40) == 0 ? 500 : 0));
    int64_t found = kv.attach(sequence, wanted);
    ASSERT_EQ(found % pageTokens, 0);
    ASSERT_LE(found, static_cast<int64_t>(wanted.size()));
    history[sequence].assign(wanted.begin(), wanted.begin() + found);
    append(sequence, {wanted.begin() + found, wanted.end()});
  }

  void write() {
    if (history.empty())
      return;
    auto sequence = any();
    std::vector<int32_t> tokens(draw(2 * pageTokens) + 1);
    for (size_t i = 0; i < tokens.size(); ++i)
      tokens[i] = static_cast<int32_t>(history[sequence].size() + i);
    append(sequence, tokens);
  }

  void append(KvStore::Sequence sequence, const std::vector<int32_t> &tokens) {
    std::vector<PageCopy> copies;
    int64_t needed = kv.pagesNeeded(sequence, static_cast<int64_t>(tokens.size())), free = kv.freePages();
    bool room = kv.reserve(sequence, static_cast<int64_t>(tokens.size()), copies);
    ASSERT_EQ(room, needed <= free);
    if (!room)
      return;
    for (const PageCopy &copy : copies)
      memory[copy.to] = memory[copy.from];
    std::vector<int32_t> &known = history[sequence];
    for (int32_t token : tokens) {
      int32_t page = kv.pages(sequence)[known.size() / pageTokens];
      ASSERT_EQ(kv.references(page), 1) << "a page that others read is written";
      memory[page][known.size() % pageTokens] = token;
      known.push_back(token);
    }
    kv.append(sequence, tokens);
  }

  void fork() {
    if (history.empty())
      return;
    auto from = any(), to = kv.fork(from);
    ASSERT_FALSE(history.contains(to));
    history[to] = history[from];
  }

  void close() {
    if (history.empty())
      return;
    auto sequence = any();
    kv.close(sequence);
    history.erase(sequence);
  }

  void check() {
    std::map<int32_t, int64_t> holders;
    for (const auto &[sequence, tokens] : history) {
      ASSERT_EQ(kv.length(sequence), static_cast<int64_t>(tokens.size()));
      ASSERT_GE(kv.capacity(sequence), kv.length(sequence));
      for (int32_t page : kv.pages(sequence))
        ++holders[page];
      for (size_t i = 0; i < tokens.size(); ++i)
        ASSERT_EQ(memory[kv.pages(sequence)[i / pageTokens]][i % pageTokens], tokens[i]) << "position " << i;
    }
    for (int32_t page = 0; page < kv.pageCount(); ++page)
      ASSERT_EQ(kv.references(page), holders.contains(page) ? holders[page] : 0) << "page " << page;
    ASSERT_EQ(kv.freePages(), kv.pageCount() - static_cast<int64_t>(holders.size()));
  }

  std::mt19937_64 random;
  KvStore kv;
  std::vector<std::vector<int32_t>> memory;
  int64_t pageTokens;
  std::map<KvStore::Sequence, std::vector<int32_t>> history;
};

TEST(KvStore, BehavesAsItsModelDoes) {
  for (uint64_t seed = 0; seed < 12; ++seed)
    Model(seed, 10 + static_cast<int64_t>(seed) * 5, 1 + static_cast<int64_t>(seed) % 5, seed % 4 != 3).run(1500);
}

} // namespace
} // namespace lathe

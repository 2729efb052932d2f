#include "runtime/KvStore.h"

#include <algorithm>
#include <xxhash.h>

namespace lathe {

KvStore::KvStore(int64_t pages, int64_t pageTokens, bool reusePrefixes)
    : pageTokens_(pageTokens), reusePrefixes(reusePrefixes), pageStates(pages) {
  if (reusePrefixes)
    pageTokenIds.resize(pages * pageTokens);
  for (int64_t page = pages - 1; page >= 0; --page)
    unused.push_back(static_cast<int32_t>(page)); // low pages first, so that memory is touched densely
}

KvStore::Sequence KvStore::open() {
  Sequence sequence = static_cast<Sequence>(sequences.size());
  if (closed.empty()) {
    sequences.emplace_back();
  } else {
    sequence = closed.back();
    closed.pop_back();
  }
  sequences[sequence] = SequenceState();
  sequences[sequence].open = true;
  return sequence;
}

uint64_t KvStore::chain(uint64_t hash, std::span<const int32_t> tokens) const {
  return XXH3_64bits_withSeed(tokens.data(), tokens.size_bytes(), hash);
}

int32_t KvStore::find(Serial parent, uint64_t hash, std::span<const int32_t> tokens) const {
  auto [begin, end] = index.equal_range(hash);
  for (auto entry = begin; entry != end; ++entry)
    if (pageStates[entry->second].parent == parent && std::ranges::equal(tokensOf(entry->second), tokens))
      return entry->second;
  return -1;
}

/// One more holder; a page that nobody held leaves the eviction list.
void KvStore::hold(int32_t page) {
  Page &state = pageStates[page];
  if (state.references++ > 0 || state.serial == 0)
    return;
  (state.older < 0 ? oldest : pageStates[state.older].newer) = state.newer;
  (state.newer < 0 ? newest : pageStates[state.newer].older) = state.older;
  state.older = state.newer = -1;
  --evictable;
}

void KvStore::release(int32_t page) {
  Page &state = pageStates[page];
  if (--state.references > 0)
    return;
  if (state.serial == 0) {
    unused.push_back(page);
    return;
  }
  state.older = newest;
  (newest < 0 ? oldest : pageStates[newest].newer) = page;
  newest = page;
  ++evictable;
}

/// Takes a page out of the index. Pages behind it become unreachable, since its serial never returns.
void KvStore::forget(int32_t page) {
  auto [begin, end] = index.equal_range(pageStates[page].hash);
  for (auto entry = begin; entry != end; ++entry)
    if (entry->second == page) {
      index.erase(entry);
      break;
    }
  pageStates[page].serial = 0;
}

/// A page with one holder; the caller has made sure that there is one.
int32_t KvStore::takePage() {
  int32_t page;
  if (!unused.empty()) {
    page = unused.back();
    unused.pop_back();
    pageStates[page].references = 1;
  } else {
    page = oldest;
    hold(page);
    forget(page);
  }
  return page;
}

int64_t KvStore::attach(Sequence sequence, std::span<const int32_t> tokens) {
  SequenceState &state = sequences[sequence];
  if (!reusePrefixes || state.length != 0 || !state.pages.empty())
    return 0;
  while (state.length + pageTokens_ <= static_cast<int64_t>(tokens.size())) {
    std::span<const int32_t> part = tokens.subspan(state.length, pageTokens_);
    uint64_t hash = chain(state.hash, part);
    int32_t page = find(state.last, hash, part);
    if (page < 0)
      break;
    hold(page);
    state.pages.push_back(page);
    state.length += pageTokens_;
    state.last = pageStates[page].serial;
    state.hash = hash;
  }
  return state.length;
}

KvStore::Sequence KvStore::fork(Sequence sequence) {
  Sequence copy = open();
  sequences[copy] = sequences[sequence];
  SequenceState &state = sequences[copy];
  // Reserved room beyond the contents stays with the original alone.
  state.pages.resize((state.length + pageTokens_ - 1) / pageTokens_);
  for (int32_t page : state.pages)
    hold(page);
  return copy;
}

void KvStore::close(Sequence sequence) {
  SequenceState &state = sequences[sequence];
  if (!state.open)
    return;
  // Last page first: a prefix is then never evicted before what builds on it.
  for (size_t i = state.pages.size(); i-- > 0;)
    release(state.pages[i]);
  state = SequenceState();
  closed.push_back(sequence);
}

/// Whether the next token would go into a page that others read.
bool KvStore::sharesLast(const SequenceState &state) const {
  return state.length % pageTokens_ != 0 && pageStates[state.pages[state.length / pageTokens_]].references > 1;
}

int64_t KvStore::pagesNeeded(Sequence sequence, int64_t count) const {
  const SequenceState &state = sequences[sequence];
  int64_t pages = (state.length + count + pageTokens_ - 1) / pageTokens_ - static_cast<int64_t>(state.pages.size());
  return std::max<int64_t>(0, pages) + (count > 0 && sharesLast(state) ? 1 : 0);
}

bool KvStore::reserve(Sequence sequence, int64_t count, std::vector<PageCopy> &copies) {
  if (pagesNeeded(sequence, count) > freePages())
    return false;
  SequenceState &state = sequences[sequence];
  if (count > 0 && sharesLast(state)) {
    int32_t &last = state.pages[state.length / pageTokens_];
    int32_t own = takePage();
    copies.push_back({last, own});
    release(last);
    last = own;
  }
  while (static_cast<int64_t>(state.pages.size()) * pageTokens_ < state.length + count)
    state.pages.push_back(takePage());
  return true;
}

/// The page that was just filled becomes findable. Where an equal one is known already, the sequence takes that one:
/// the same tokens at the same positions have the same bits in every page (see Invariance in the design), and one is
/// enough.
void KvStore::rememberLast(SequenceState &state) {
  int32_t &page = state.pages[state.length / pageTokens_ - 1];
  uint64_t hash = chain(state.hash, state.tail);
  int32_t known = find(state.last, hash, state.tail);
  if (known >= 0) {
    hold(known);
    release(page);
    page = known;
  } else if (pageStates[page].serial == 0) {
    Page &fresh = pageStates[page];
    fresh.serial = nextSerial++;
    fresh.parent = state.last;
    fresh.hash = hash;
    std::ranges::copy(state.tail, tokensOf(page).begin());
    index.emplace(hash, page);
  }
  state.last = pageStates[page].serial;
  state.hash = hash;
}

void KvStore::append(Sequence sequence, std::span<const int32_t> tokens) {
  SequenceState &state = sequences[sequence];
  if (!reusePrefixes) {
    state.length += static_cast<int64_t>(tokens.size());
    return;
  }
  while (!tokens.empty()) {
    size_t part = std::min(tokens.size(), static_cast<size_t>(pageTokens_) - state.tail.size());
    state.tail.insert(state.tail.end(), tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(part));
    state.length += static_cast<int64_t>(part);
    tokens = tokens.subspan(part);
    if (static_cast<int64_t>(state.tail.size()) == pageTokens_) {
      rememberLast(state);
      state.tail.clear();
    }
  }
}

} // namespace lathe

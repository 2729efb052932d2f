//===- KvStore.h - pages, and the sequences that hold them ----------------===//
//
// The bookkeeping of a paged KV store: which page holds which positions of which sequence. It
// knows nothing of devices or of what is in a page; whoever owns the memory carries out the copies that
// `reserve` asks for.
//
// A full page is remembered by (the page before it, its token ids) and is found again by any sequence that begins
// alike, also after its sequences have closed, until its memory is needed: least recently used first. The index is a
// chain of XXH3-64 hashes, and every hit is verified on the token ids, so a collision cannot mix sequences up.
//
//===----------------------------------------------------------------------===//
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace lathe {

/// A page whose contents must be copied (all layers, keys and values) before the next step.
struct PageCopy {
  int32_t from = 0, to = 0;
};

class KvStore {
public:
  /// Index of an open sequence; used again after `close`.
  using Sequence = int32_t;

  /// `pages` pages of `pageTokens` positions. Without `reusePrefixes` no page is ever found again.
  KvStore(int64_t pages, int64_t pageTokens, bool reusePrefixes = true);

  Sequence open();
  /// Gives an empty sequence the longest remembered prefix of `tokens`, in whole pages. Returns the number of tokens.
  int64_t attach(Sequence sequence, std::span<const int32_t> tokens);
  /// A sequence with the same contents, sharing all pages.
  Sequence fork(Sequence sequence);
  /// Lets the pages go; full ones stay findable until they are evicted.
  void close(Sequence sequence);

  /// Pages that `reserve(sequence, count)` would take.
  int64_t pagesNeeded(Sequence sequence, int64_t count) const;
  /// Makes room for `count` more tokens; a shared last page is replaced by a copy of its own, which is added to
  /// `copies`. All or nothing: false when there are not enough pages.
  bool reserve(Sequence sequence, int64_t count, std::vector<PageCopy> &copies);
  /// Says that `tokens` were written behind the sequence's end, into room that was reserved.
  void append(Sequence sequence, std::span<const int32_t> tokens);

  int64_t length(Sequence sequence) const { return sequences[sequence].length; }
  /// Tokens that fit without reserving more.
  int64_t capacity(Sequence sequence) const {
    return static_cast<int64_t>(sequences[sequence].pages.size()) * pageTokens_;
  }
  /// Physical page of each logical page.
  std::span<const int32_t> pages(Sequence sequence) const { return sequences[sequence].pages; }
  /// Pages that nobody holds, remembered or not.
  int64_t freePages() const { return static_cast<int64_t>(unused.size()) + evictable; }
  int64_t pageCount() const { return static_cast<int64_t>(pageStates.size()); }
  int64_t pageTokens() const { return pageTokens_; }
  /// Sequences that hold a page; for tests.
  int64_t references(int32_t page) const { return pageStates[page].references; }

private:
  /// Identity of a remembered prefix: never used twice, so that a page that was evicted leaves no false parents.
  using Serial = uint64_t;
  static constexpr Serial kRoot = 0;

  struct Page {
    int64_t references = 0;
    Serial serial = 0; ///< not 0: findable
    Serial parent = 0;
    uint64_t hash = 0;
    int32_t older = -1, newer = -1; ///< in the list of findable pages that nobody holds
  };
  struct SequenceState {
    bool open = false;
    int64_t length = 0;
    std::vector<int32_t> pages;
    std::vector<int32_t> tail; ///< token ids of the last page while it is not full
    Serial last = kRoot;       ///< of the last full page
    uint64_t hash = 0;         ///< of all full pages
  };

  int32_t takePage();
  void release(int32_t page);
  void hold(int32_t page);
  void forget(int32_t page);
  int32_t find(Serial parent, uint64_t hash, std::span<const int32_t> tokens) const;
  uint64_t chain(uint64_t hash, std::span<const int32_t> tokens) const;
  void rememberLast(SequenceState &state);
  std::span<int32_t> tokensOf(int32_t page) { return std::span(pageTokenIds).subspan(page * pageTokens_, pageTokens_); }
  std::span<const int32_t> tokensOf(int32_t page) const {
    return std::span(pageTokenIds).subspan(page * pageTokens_, pageTokens_);
  }
  bool sharesLast(const SequenceState &state) const;

  int64_t pageTokens_;
  bool reusePrefixes;
  std::vector<Page> pageStates;
  std::vector<int32_t> pageTokenIds; ///< [pages, pageTokens], of findable pages
  std::vector<int32_t> unused;       ///< pages with no use, taken from the back
  int32_t oldest = -1, newest = -1;
  int64_t evictable = 0;
  Serial nextSerial = 1;
  std::unordered_multimap<uint64_t, int32_t> index;
  std::vector<SequenceState> sequences;
  std::vector<Sequence> closed;
};

} // namespace lathe

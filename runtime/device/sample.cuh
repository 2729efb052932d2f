//===- sample.cuh - a token drawn from a row of logits ----------------------===//
//
// One block a row, no sorting: what is kept is everything above a cut, a logit and among equals an id, and a cut is
// found digit by digit, 15 candidates in one pass over the row. Tokens are drawn in order of their ids. The token is
// the one that runtime/Sampler.cpp takes; ties take the lowest id.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "lathe/chance.cuh"
#include "lathe/reduce.cuh"

namespace lathe::device {

/// What the block shares for it.
template <int kWarps> struct DrawScratch {
  Shared<float, kWarps> best;
  Shared<Chance, kWarps, 15> partial;
  Shared<Chance, 15> total;
  Shared<int, 1> found;
};

/// Logits in order as unsigned numbers; both zeros are one.
LATHE_DEVICE unsigned rank_of(float logit) {
  const unsigned bits = bits_of(logit + 0.0f);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}
LATHE_DEVICE float logit_of(unsigned rank) { return float_of(rank >> 31 ? rank & 0x7fffffffu : ~rank); }

/// What is kept: logits of a higher rank, and of the same rank ids up to `id`.
struct Cut {
  unsigned rank;
  int id;
  LATHE_DEVICE bool keeps(unsigned other, int index) const { return other > rank || (other == rank && index <= id); }
};

LATHE_DEVICE Chance warp_sum(Chance x LATHE_HERE) {
  LATHE_CALL;
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) {
    const int low = shuffle_xor(static_cast<int>(x), mask), high = shuffle_xor(static_cast<int>(x >> 32), mask);
    x += static_cast<Chance>(static_cast<unsigned>(high)) << 32 | static_cast<unsigned>(low);
  }
  return x;
}

/// Each of the sums over the block, for all threads. All threads of the block.
template <int kCount, int kWarps>
LATHE_DEVICE void block_sums(Chance (&sums)[kCount], DrawScratch<kWarps> &scratch LATHE_HERE) {
  LATHE_CALL;
  block_barrier(); // what was read before is read
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const Chance sum = warp_sum(sums[i]);
    if (warp_lane() == 0)
      scratch.partial(warp(), i) = sum;
  }
  block_barrier();
  if (thread() < kCount) {
    Chance sum = 0;
#pragma unroll 1
    for (int other = 0; other < kWarps; ++other)
      sum += scratch.partial(other, thread());
    scratch.total(thread()) = sum;
  }
  block_barrier();
#pragma unroll
  for (int i = 0; i < kCount; ++i)
    sums[i] = scratch.total(i);
}

/// A row of `count` logits, and what is kept of it.
template <class Logits, int kWarps> struct DrawRow {
  Logits logits;
  int row, count;
  DrawScratch<kWarps> &scratch;
  Cut cut;

  /// Sum over what is kept of `value` of a logit, where its rank is above `rank`.
  template <class Value> LATHE_DEVICE Chance sum_above(unsigned rank, Value value LATHE_HERE) {
    LATHE_CALL;
    Chance sum[1] = {0};
    for (int id = thread(); id < count; id += threads()) {
      const float logit = logits(row, id);
      if (rank_of(logit) > rank && cut.keeps(rank_of(logit), id))
        sum[0] += value(logit);
    }
    block_sums(sum, scratch);
    return sum[0];
  }

  /// The highest rank such that what is kept from it on has at least `target`, which all of it has.
  template <class Value> LATHE_DEVICE unsigned rank_with(Chance target, Value value LATHE_HERE) {
    LATHE_CALL;
    unsigned found = 0;
#pragma unroll 1
    for (int shift = 28; shift >= 0; shift -= 4) {
      Chance sums[15] = {};
#pragma unroll 1
      for (int id = thread(); id < count; id += threads()) {
        const float logit = logits(row, id);
        const unsigned rank = rank_of(logit);
        if (!cut.keeps(rank, id))
          continue;
        const Chance x = value(logit);
#pragma unroll
        for (unsigned digit = 1; digit < 16; ++digit)
          sums[digit - 1] += rank >= (found | digit << shift) ? x : 0;
      }
      block_sums(sums, scratch);
      unsigned best = 0;
#pragma unroll
      for (unsigned digit = 1; digit < 16; ++digit)
        best = sums[digit - 1] >= target ? digit : best;
      found |= best << shift;
    }
    return found;
  }

  /// The id with which the sum of `value` of a logit and its id, in order of ids, first exceeds `target`.
  template <class Value> LATHE_DEVICE int id_behind(Chance target, Value value LATHE_HERE) {
    LATHE_CALL;
    const int span = (count + kWarps * 32 - 1) / (kWarps * 32) * 32;
    const int first = min(count, warp() * span), end = min(count, first + span);
    Chance sum = 0;
    for (int id = first + warp_lane(); id < end; id += 32)
      sum += value(logits(row, id), id);
    sum = warp_sum(sum);
    block_barrier();
    if (warp_lane() == 0)
      scratch.partial(warp(), 0) = sum;
    block_barrier();
    Chance before = 0;
    int owner = 0; // the warp that has it
#pragma unroll 1
    while (owner < kWarps - 1 && before + scratch.partial(owner, 0) <= target)
      before += scratch.partial(owner++, 0);
    if (warp() == owner)
#pragma unroll 1
      for (int begin = first; begin < end; begin += 32) {
        const int mine = begin + warp_lane();
        const Chance group = warp_sum(mine < end ? value(logits(row, mine), mine) : 0);
        if (before + group <= target) {
          before += group;
          continue;
        }
        if (warp_lane() == 0)
#pragma unroll 1
          for (int id = begin; id < end; ++id) {
            before += value(logits(row, id), id);
            if (before > target) {
              scratch.found(0) = id;
              break;
            }
          }
        break;
      }
    block_barrier();
    return scratch.found(0);
  }

  /// Cuts to the best whose values together are the least that reaches `target`.
  template <class Value> LATHE_DEVICE void keep_best(Chance target, Value value LATHE_HERE) {
    LATHE_CALL;
    const unsigned rank = rank_with(target, value);
    const Chance above = sum_above(rank, value), each = value(logit_of(rank));
    const Chance needed = (target - above + each - 1) / each; // of those equal in rank
    const Cut before = cut;
    const int last = id_behind(needed - 1, [&](float logit, int id) -> Chance {
      return rank_of(logit) == rank && before.keeps(rank, id) ? 1 : 0;
    });
    cut = {rank, last};
  }
};

/// The token that is drawn from a row of `count` logits, for all threads. All threads of the block.
template <class Logits, int kWarps>
LATHE_DEVICE int draw_token(Logits logits, int row, int count, const Draw &draw,
                            DrawScratch<kWarps> &scratch LATHE_HERE) {
  LATHE_CALL;
  float best = float_of(0xff800000u);
  for (int id = thread(); id < count; id += threads())
    best = maximum(best, logits(row, id));
  best = block_max(best, scratch.best);
  DrawRow<Logits, kWarps> kept = {logits, row, count, scratch, {0, count}};
  if (draw.temperature == 0.0f || draw.top_k == 1)
    return kept.id_behind(0, [&](float logit, int) -> Chance { return logit == best ? 1 : 0; });
  auto chance = [&](float logit) { return chance_of(logit, best, draw.temperature); };
  if (draw.top_k > 0 && draw.top_k < count)
    kept.keep_best(static_cast<Chance>(draw.top_k), [](float) -> Chance { return 1; });
  if (draw.top_p > 0) {
    const Chance enough = multiply_high(kept.sum_above(0, chance), draw.top_p);
    kept.keep_best(enough > 0 ? enough : 1, chance);
  }
  const Cut cut = kept.cut;
  auto drawn = [&](float logit, int id) -> Chance {
    const Chance x = cut.keeps(rank_of(logit), id) ? chance(logit) : 0;
    return x < draw.least ? 0 : x;
  };
  Chance total[1] = {0};
  for (int id = thread(); id < count; id += threads())
    total[0] += drawn(logits(row, id), id);
  block_sums(total, scratch);
  return kept.id_behind(multiply_high(total[0], draw.number), drawn);
}

} // namespace lathe::device

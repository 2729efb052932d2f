//===- sample.cuh - a token drawn from a row of logits ----------------------===//
//
// One block a row, no sorting: what is kept is everything above a cut, a logit and among equals an id, and a cut is
// found digit by digit, 16 of them in one pass over the row. Tokens are drawn in order of their ids. The token is the
// one that runtime/Sampler.cpp takes; ties take the lowest id, NaN is no chance at all.
//
// Each pass stands once in the code, in loops that are not unrolled: what is asked of a row decides which of them run.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "lathe/batch.cuh"
#include "lathe/chance.cuh"
#include "lathe/views.cuh"

namespace lathe::device {

inline constexpr int kDigits = 16, kDigitBits = 4;

/// What the block shares for it.
template <int kWarps> struct DrawScratch {
  Shared<Chance, kWarps, kDigits> partial;
  Shared<Chance, kDigits> total;
  Shared<int, 1> found;
};

/// Logits in order as unsigned numbers; both zeros are one, NaN is below all.
LATHE_DEVICE unsigned rank_of(float logit) {
  const unsigned bits = bits_of(logit + 0.0f);
  return logit != logit ? 0u : bits >> 31 ? ~bits : bits | 0x80000000u;
}
LATHE_DEVICE float logit_of(unsigned rank) { return float_of(rank >> 31 ? rank & 0x7fffffffu : ~rank); }

/// What is asked of a logit row.
LATHE_DEVICE Draw draw_of(const Batch &batch, int row LATHE_HERE) {
  auto word = [&](int i) { return static_cast<unsigned>(load_batch(batch, kDraws, row * kDrawInts + i LATHE_THERE)); };
  auto pair = [&](int i) { return static_cast<Chance>(word(i + 1)) << 32 | word(i); };
  return {static_cast<int>(word(0)), float_of(word(1)), pair(2), pair(4), pair(6)};
}

LATHE_DEVICE Chance shuffle_chance(Chance x, int mask LATHE_HERE) {
  const int low = shuffle_xor(static_cast<int>(x), mask LATHE_THERE);
  const int high = shuffle_xor(static_cast<int>(x >> 32), mask LATHE_THERE);
  return static_cast<Chance>(static_cast<unsigned>(high)) << 32 | static_cast<unsigned>(low);
}

/// What a token counts for.
enum class Weigh {
  top_k, ///< 1, of those that are kept
  top_p, ///< its chance, of those that are kept
  draw,  ///< the same, where it is not too small
  equal, ///< 1, of those that are kept and have one rank
};

/// A row of logits, and what is kept of it.
template <class Logits, int kWarps> struct DrawRow {
  Logits logits; ///< rows of whole 16 bytes
  int row, count;
  const Draw &draw;
  DrawScratch<kWarps> &scratch;
  float best;          ///< of the row
  unsigned cut_rank;   ///< what is kept: logits of a higher rank,
  int cut_id;          ///< and of the same rank ids up to this
  unsigned equal_rank; ///< what Weigh::equal counts

  LATHE_DEVICE Chance weight(Weigh weigh, float logit, int id) const {
    const unsigned rank = rank_of(logit);
    if (rank < cut_rank || (rank == cut_rank && id > cut_id))
      return 0;
    if (weigh == Weigh::top_k || weigh == Weigh::equal)
      return weigh == Weigh::top_k || rank == equal_rank ? 1 : 0;
    const Chance chance = chance_of(logit, best, draw.temperature);
    return weigh == Weigh::draw && chance < draw.least ? 0 : chance;
  }

  /// Calls `use` with logits and their ids: four from `first` on, and so on every `stride` ids, below `end`.
  template <class Use> LATHE_DEVICE void each(int first, int end, int stride, Use use LATHE_HERE) {
    LATHE_CALL;
#pragma unroll 1
    for (int four = first; four < end; four += stride) {
      Bytes16 bits = load_global_16(logits.at(row, four));
#pragma unroll 1
      for (int id = four; id < min(end, four + 4); ++id) {
        use(float_of(bits.word[0]), id);
        bits = {{bits.word[1], bits.word[2], bits.word[3], 0}}; // a register must have a fixed place
      }
    }
  }

  /// The best logit's rank, and its id as a complement: the higher the number, the better.
  LATHE_DEVICE Chance best_token(LATHE_HERE_ONLY) {
    LATHE_CALL;
    Chance mine = 0;
    float most = float_of(0xff800000u);
    each(4 * thread(), count, 4 * threads(), [&](float logit, int id) {
      if (logit > most || mine == 0) {
        most = logit == logit ? logit : most;
        mine = static_cast<Chance>(rank_of(logit)) << 32 | ~static_cast<unsigned>(id);
      }
    });
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2) {
      const Chance other = shuffle_chance(mine, mask);
      mine = other > mine ? other : mine;
    }
    if (warp_lane() == 0)
      scratch.partial(warp(), 0) = mine;
    block_barrier();
#pragma unroll 1
    for (int other = 0; other < kWarps; ++other) {
      const Chance theirs = scratch.partial(other, 0);
      mine = theirs > mine ? theirs : mine;
    }
    return mine;
  }

  /// What the tokens of [first, end) count for: all together, and in scratch.partial those of each warp's `span`.
  LATHE_DEVICE Chance sum_spans(Weigh weigh, int first, int end, int span LATHE_HERE) {
    LATHE_CALL;
    const int begin = first + warp() * span;
    Chance sum = 0;
    each(begin + 4 * warp_lane(), min(end, begin + span), 4 * 32,
         [&](float logit, int id) { sum += weight(weigh, logit, id); });
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2)
      sum += shuffle_chance(sum, mask);
    block_barrier(); // what was read before is read
    if (warp_lane() == 0)
      scratch.partial(warp(), 0) = sum;
    block_barrier();
    Chance total = 0;
#pragma unroll 1
    for (int other = 0; other < kWarps; ++other)
      total += scratch.partial(other, 0);
    return total;
  }

  /// Sums of 16 numbers of each thread over the block: scratch.total.
  LATHE_DEVICE void total_digits(Chance (&sums)[kDigits] LATHE_HERE) {
    LATHE_CALL;
    // Of each two lanes one goes on with the lower half of the sums and one with the upper half.
#pragma unroll
    for (int half = kDigits / 2; half > 0; half /= 2) {
      const bool upper = (warp_lane() & 2 * half) != 0;
#pragma unroll
      for (int i = 0; i < kDigits / 2; ++i)
        if (i < half) {
          const Chance given = upper ? sums[i] : sums[i + half];
          sums[i] = (upper ? sums[i + half] : sums[i]) + shuffle_chance(given, 2 * half);
        }
    }
    sums[0] += shuffle_chance(sums[0], 1);
    block_barrier(); // what was read before is read
    if (warp_lane() % 2 == 0)
      scratch.partial(warp(), warp_lane() / 2) = sums[0];
    block_barrier();
    if (thread() < kDigits) {
      Chance sum = 0;
#pragma unroll 1
      for (int other = 0; other < kWarps; ++other)
        sum += scratch.partial(other, thread());
      scratch.total(thread()) = sum;
    }
    block_barrier();
  }

  /// The highest rank such that what is kept from it on has at least `target`, which all of it has. Takes away from
  /// `target` what those of higher ranks have.
  LATHE_DEVICE unsigned rank_with(Weigh weigh, Chance &target LATHE_HERE) {
    LATHE_CALL;
    unsigned found = 0;
#pragma unroll 1
    for (int shift = 32 - kDigitBits; shift >= 0; shift -= kDigitBits) {
      Chance sums[kDigits] = {};
      each(4 * thread(), count, 4 * threads(), [&](float logit, int id) {
        const unsigned place = (rank_of(logit) - found) >> shift; // of those below `found` it is large, too
        if (place >= kDigits)
          return;
        const Chance x = weight(weigh, logit, id);
#pragma unroll
        for (unsigned digit = 0; digit < kDigits; ++digit)
          sums[digit] += place == digit ? x : 0;
      });
      total_digits(sums);
      unsigned digit = kDigits - 1;
#pragma unroll 1
      for (; digit > 0 && scratch.total(static_cast<int>(digit)) < target; --digit)
        target -= scratch.total(static_cast<int>(digit));
      found |= digit << shift;
    }
    return found;
  }

  /// The id in [first, end), 32 at most, with which the sum of what tokens count for first exceeds `target`; 0 where
  /// none does.
  LATHE_DEVICE int id_behind(Weigh weigh, int first, int end, Chance target LATHE_HERE) {
    LATHE_CALL;
    if (thread() == 0)
      scratch.found(0) = 0;
    warp_barrier();
    if (warp() == 0) {
      const int id = first + warp_lane();
      const Chance x = id < end ? weight(weigh, logits(row, id), id) : 0;
      Chance up_to = x, group = x; // of the lanes up to this one, and of those that lanes were exchanged with
#pragma unroll
      for (int mask = 1; mask < 32; mask *= 2) {
        const Chance others = shuffle_chance(group, mask);
        up_to += (warp_lane() & mask) != 0 ? others : 0;
        group += others;
      }
      if (up_to > target && up_to - x <= target)
        scratch.found(0) = id;
    }
    block_barrier();
    return scratch.found(0);
  }
};

/// The token that is drawn from the first `count` logits of a logit row, for all threads; -1 where none is asked for.
/// All threads of the block.
template <class Logits, int kWarps>
LATHE_DEVICE int draw_token(const Batch &batch, const Logits &logits, int row, int count,
                            DrawScratch<kWarps> &scratch LATHE_HERE) {
  LATHE_CALL;
  const Draw draw = draw_of(batch, row);
  if (draw.top_k < 0)
    return -1;
  DrawRow<Logits, kWarps> kept = {logits, row, count, draw, scratch, 0.0f, 0, count, 0};
  const Chance best = kept.best_token();
  if (draw.temperature == 0.0f || draw.top_k == 1)
    return static_cast<int>(~static_cast<unsigned>(best));
  kept.best = logit_of(static_cast<unsigned>(best >> 32));
  Weigh weigh = Weigh::top_k, next = weigh;
  Chance target = 0;
  int first = 0, end = count; // where the id is that is looked for
#pragma unroll 1
  while (true) {
    const bool whole = end - first == count;
    if (weigh == Weigh::top_k && (draw.top_k == 0 || draw.top_k >= count))
      weigh = Weigh::top_p;
    if (weigh == Weigh::top_p && draw.top_p == 0)
      weigh = Weigh::draw;
    const int span = (end - first + kWarps * 32 - 1) / (kWarps * 32) * 32;
    const Chance total = kept.sum_spans(weigh, first, end, span);
    if (weigh == Weigh::top_k || weigh == Weigh::top_p) {
      const bool counts = weigh == Weigh::top_k;
      const Chance share = multiply_high(total, draw.top_p);
      target = counts ? static_cast<Chance>(draw.top_k) : share > 0 ? share : 1;
      kept.equal_rank = kept.rank_with(weigh, target);
      const Chance each = counts ? 1 : chance_of(logit_of(kept.equal_rank), kept.best, draw.temperature);
      target = each > 0 ? (target + each - 1) / each - 1 : 0; // of those equal in rank all but the last
      next = counts ? Weigh::top_p : Weigh::draw;
      weigh = Weigh::equal;
      continue;
    }
    if (weigh == Weigh::draw && whole)
      target = multiply_high(total, draw.number);
    int owner = 0; // the warp that has it
#pragma unroll 1
    for (; owner < kWarps - 1 && scratch.partial(owner, 0) <= target; ++owner)
      target -= scratch.partial(owner, 0);
    first = min(end, first + owner * span), end = min(end, first + span);
    if (span > 32)
      continue;
    const int id = kept.id_behind(weigh, first, end, target);
    if (weigh == Weigh::draw)
      return id;
    kept.cut_rank = kept.equal_rank, kept.cut_id = id;
    weigh = next;
    first = 0, end = count;
  }
}

} // namespace lathe::device

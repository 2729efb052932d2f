// Products of attention over pages in any order, with NaN in all slots that hold nothing of the sequence.
#include "test/device/Launching.h"

#include <cmath>
#include <limits>
#include <map>

using namespace lathe::device;
using namespace lathe::device::testing;

namespace {

constexpr int heads = 2, page = 32, chunk = 256, context = 1024, pagesOfSequence = context / page, sequence = 1,
              most = 64, scaleBytes = 8;

struct Shape {
  const char *type;
  int dim, queries;
};
const Shape shapes[] = {{"bf16", 32, 8},   {"bf16", 64, 8},    {"bf16", 64, 24},   {"bf16", 96, 16}, {"bf16", 128, 8},
                        {"bf16", 128, 64}, {"bf16", 256, 16},  {"bytes", 32, 8},   {"bytes", 64, 8}, {"bytes", 64, 24},
                        {"bytes", 96, 16}, {"bytes", 128, 64}, {"bytes", 256, 16}, {"float", 32, 8}, {"float", 64, 8},
                        {"float", 64, 24}, {"float", 128, 16}};

/// Positions that a sequence has, and the first that any query sees.
struct Seen {
  int positions, first;
};
const Seen cases[] = {{1, 0}, {31, 0}, {32, 0}, {33, 0}, {100, 40}, {256, 0}, {257, 0}, {300, 290}, {511, 70}};

/// A sequence's KV: [position][head][dim], and the same in pages.
template <class T> struct Kv {
  Seen seen;
  int dim;
  Buffer<T> keys, values;         ///< by position
  Buffer<T> keyPages, valuePages; ///< as kernels read them
  std::vector<int> table;
  Buffer<float> keyScales, valueScales; ///< of codes, [position][head]
};

Buffer<float> draw(size_t count, unsigned seed, float) { return randomFloats(count, seed); }
Buffer<uint16_t> draw(size_t count, unsigned seed, uint16_t) { return randomBf16(count, seed); }
Buffer<int8_t> draw(size_t count, unsigned seed, int8_t) {
  Buffer<int8_t> codes(count);
  std::mt19937 generator(seed);
  for (size_t i = 0; i < count; ++i)
    codes[i] = static_cast<int8_t>(static_cast<int>(generator() % 255) - 127);
  return codes;
}
float number(float x) { return x; }
float number(int8_t x) { return x; }
float number(uint16_t x) { return fromBf16(x); }
/// What a query or a weight becomes beside this element.
float rounded(float x, float) { return x; }
float rounded(float x, uint16_t) { return fromBf16(toBf16(x)); }
float rounded(float x, int8_t) { return fromBf16(toBf16(x)); }

/// Where pages of int8 have an element (attention.cuh says so): blocks of 16 rows by 32 columns, blocks of columns
/// first; eight columns of a row, then those of the row 8 further on, four such pairs along the columns, then rows.
int placeOfCode(int row, int column, int columns) {
  const int block = row / 16 * (columns / 32) + column / 32, eight = column % 32 / 8;
  return block * 512 + row % 8 * 64 + eight * 16 + row % 16 / 8 * 8 + column % 8;
}

template <class T> Kv<T> makeKv(Seen seen, int dim) {
  constexpr bool coded = sizeof(T) == 1;
  const size_t count = static_cast<size_t>(context * heads * dim);
  Kv<T> kv{seen,        dim, draw(count, 1, T()), draw(count, 2, T()), Buffer<T>(),
           Buffer<T>(), {},  Buffer<float>(),     Buffer<float>()};
  const int pages = 2 * pagesOfSequence, keyRows = dim + (coded ? scaleBytes : 0);
  kv.keyPages = Buffer<T>(static_cast<size_t>(pages * heads * page * keyRows)); // poison: NaN in floats, also in scales
  kv.valuePages = Buffer<T>(static_cast<size_t>(pages * heads * page * dim));
  kv.keyScales = randomFloats(static_cast<size_t>(context * heads), 5);
  kv.valueScales = randomFloats(static_cast<size_t>(context * heads), 6);
  for (size_t i = 0; i < kv.keyScales.size(); ++i) {
    kv.keyScales[i] = coded ? std::abs(kv.keyScales[i]) : 1;
    kv.valueScales[i] = coded ? std::abs(kv.valueScales[i]) : 1;
  }
  // Pages in an order of their own; entries behind the last page lead nowhere.
  kv.table.assign(static_cast<size_t>(3 * pagesOfSequence), 1 << 30);
  for (int logical = 0; logical * page < seen.positions; ++logical)
    kv.table[static_cast<size_t>(sequence * pagesOfSequence + logical)] = (logical * 13 + 5) % pages;
  for (int position = 0; position < seen.positions; ++position)
    for (int head = 0; head < heads; ++head)
      for (int d = 0; d < dim; ++d) {
        const int physical = kv.table[static_cast<size_t>(sequence * pagesOfSequence + position / page)];
        const size_t from = static_cast<size_t>((position * heads + head) * dim + d),
                     base = static_cast<size_t>(physical * heads + head);
        if constexpr (coded) {
          const int place = position % page;
          T *key = kv.keyPages.data() + base * static_cast<size_t>(page * keyRows);
          key[placeOfCode(place, d, dim)] = kv.keys[from];
          kv.valuePages[base * static_cast<size_t>(page * dim) + static_cast<size_t>(placeOfCode(d, place, page))] =
              kv.values[from];
          const size_t scale = static_cast<size_t>(position * heads + head);
          memcpy(key + page * dim + (place % 8 * 4 + place / 8) * 4, &kv.keyScales[scale], 4);
          memcpy(key + page * dim + page * 4 + place * 4, &kv.valueScales[scale], 4);
          continue;
        }
        kv.keyPages[(base * page + static_cast<size_t>(position % page)) * static_cast<size_t>(dim) +
                    static_cast<size_t>(d)] = kv.keys[from];
        kv.valuePages[(base * static_cast<size_t>(dim) + static_cast<size_t>(d)) * page +
                      static_cast<size_t>(position % page)] = kv.values[from];
      }
  return kv;
}

struct Result {
  Buffer<float> scores, outputs; ///< [query][head][position], [query][head][chunk][dim]
};

/// Weights of positions that a query does not see are 0, of slots that no query sees NaN.
Buffer<float> weightsOf(Seen seen) {
  Buffer<float> weights = randomFloats(static_cast<size_t>(most * heads * context), 4);
  for (int i = 0; i < most * heads; ++i)
    for (int position = 0; position < context; ++position) {
      float &weight = weights[static_cast<size_t>(i * context + position)];
      if (position / page < seen.first / page || position / page > (seen.positions - 1) / page)
        weight = std::numeric_limits<float>::quiet_NaN();
      else if (position < seen.first || position >= seen.positions)
        weight = 0;
    }
  return weights;
}

template <class T> Result run(const Shape &shape, const Kv<T> &kv, int count, unsigned long long seed = 0) {
  const Buffer<float> queries = randomFloats(static_cast<size_t>(most * heads * shape.dim), 3);
  Buffer<float> exact(static_cast<size_t>(count * heads * shape.dim));
  memcpy(exact.data(), queries.data(), exact.size() * sizeof(float));
  Buffer<int> settings(4);
  settings[0] = sequence;
  settings[1] = kv.seen.positions;
  settings[2] = kv.seen.first;
  settings[3] = count;
  Result result{Buffer<float>(static_cast<size_t>(count * heads * context)),
                Buffer<float>(static_cast<size_t>(count * heads * 4 * shape.dim))};
  const std::string name =
      std::string(shape.type) + "_" + std::to_string(shape.dim) + "_" + std::to_string(shape.queries);
  EXPECT_EQ(Launch(name.c_str(), heads, (kv.seen.positions + chunk - 1) / chunk)
                .array(kPageTable, kv.table)
                .pageStride(pagesOfSequence)
                .buffer(settings)
                .buffer(exact)
                .buffer(kv.keyPages)
                .buffer(kv.valuePages)
                .buffer(weightsOf(kv.seen))
                .buffer(result.scores)
                .buffer(result.outputs)
                .seed(seed)
                .run(),
            "");
  return result;
}

template <class T> void compare(const Shape &shape, const Kv<T> &kv, int count) {
  const Result got = run(shape, kv, count);
  const Buffer<float> queries = randomFloats(static_cast<size_t>(most * heads * shape.dim), 3),
                      weights = weightsOf(kv.seen);
  const bool exact = std::is_same_v<T, float>;
  auto expect = [&](float value, double sum, double size, float chain, const char *what, int query, int at) {
    if (exact)
      ASSERT_EQ(std::bit_cast<uint32_t>(value), std::bit_cast<uint32_t>(chain))
          << what << " of query " << query << " at " << at;
    else
      ASSERT_NEAR(value, sum, 1e-6 * size) << what << " of query " << query << " at " << at;
  };
  const int firstPosition = kv.seen.first / page * page;
  for (int query = 0; query < count; ++query)
    for (int head = 0; head < heads; ++head) {
      for (int position = firstPosition; position < kv.seen.positions; ++position) {
        double sum = 0, size = 0;
        float chain = 0;
        for (int d = 0; d < shape.dim; ++d) {
          const float q = rounded(queries[static_cast<size_t>((query * heads + head) * shape.dim + d)], T());
          const float key = number(kv.keys[static_cast<size_t>((position * heads + head) * shape.dim + d)]);
          sum += static_cast<double>(q) * key;
          size += std::abs(static_cast<double>(q) * key);
          chain = std::fma(q, key, chain);
        }
        const double scale = kv.keyScales[static_cast<size_t>(position * heads + head)];
        expect(got.scores[static_cast<size_t>((query * heads + head) * context + position)], sum * scale, size * scale,
               chain, "score", query, position);
      }
      for (int c = firstPosition / chunk; c * chunk < kv.seen.positions; ++c)
        for (int d = 0; d < shape.dim; ++d) {
          double sum = 0, size = 0;
          float chain = 0;
          for (int position = std::max(firstPosition, c * chunk);
               position < std::min(kv.seen.positions, (c + 1) * chunk); ++position) {
            const float weight = rounded(weights[static_cast<size_t>((query * heads + head) * context + position)] *
                                             kv.valueScales[static_cast<size_t>(position * heads + head)],
                                         T());
            const float value = number(kv.values[static_cast<size_t>((position * heads + head) * shape.dim + d)]);
            sum += static_cast<double>(weight) * value;
            size += std::abs(static_cast<double>(weight) * value);
            chain = std::fma(weight, value, chain);
          }
          expect(got.outputs[static_cast<size_t>(((query * heads + head) * 4 + c) * shape.dim + d)], sum, size, chain,
                 "output", query, d);
        }
    }
}

template <class T> void sameBits(const Shape &shape, std::map<int, Result> &first) {
  const Kv<T> kv = makeKv<T>({300, 40}, shape.dim);
  for (int count = 1; count <= shape.queries; count += count < 10 ? 1 : 7) {
    const Result got = run(shape, kv, count, static_cast<unsigned>(count) % 4);
    if (!first.contains(shape.dim))
      first.emplace(shape.dim, run(shape, kv, shape.queries));
    const Result &want = first.at(shape.dim);
    const int both = std::min(count, 8); // that the first kernel of the width has
    for (size_t i = 0; i < static_cast<size_t>(both * heads * context); ++i) {
      const size_t position = i % context;
      if (position >= 32 && position < 300) {
        ASSERT_EQ(std::bit_cast<uint32_t>(got.scores[i]), std::bit_cast<uint32_t>(want.scores[i]))
            << count << " queries, score " << i;
      }
    }
    for (size_t i = 0; i < static_cast<size_t>(both * heads * 4 * shape.dim); ++i)
      if (i / static_cast<size_t>(shape.dim) % 4 < 2) {
        ASSERT_EQ(std::bit_cast<uint32_t>(got.outputs[i]), std::bit_cast<uint32_t>(want.outputs[i]))
            << count << " queries, output " << i;
      }
  }
}

} // namespace

TEST(Attention, ProductsOfRaggedLengths) {
  for (const Shape &shape : shapes)
    for (const Seen &seen : cases)
      for (int count : {1, 5, shape.queries}) {
        SCOPED_TRACE(std::string(shape.type) + ", dim " + std::to_string(shape.dim) + ", " +
                     std::to_string(seen.positions) + " positions from " + std::to_string(seen.first) + " on, " +
                     std::to_string(count) + " of " + std::to_string(shape.queries) + " queries");
        if (shape.type == std::string("bf16"))
          compare(shape, makeKv<uint16_t>(seen, shape.dim), count);
        else if (shape.type == std::string("bytes"))
          compare(shape, makeKv<int8_t>(seen, shape.dim), count);
        else
          compare(shape, makeKv<float>(seen, shape.dim), count);
        if (HasFatalFailure())
          return;
      }
}

TEST(Attention, AQueryHasTheSameBitsAmongAnyOthers) {
  std::map<int, Result> bf16, bytes, f32;
  for (const Shape &shape : shapes)
    if (shape.type == std::string("bf16"))
      sameBits<uint16_t>(shape, bf16);
    else if (shape.type == std::string("bytes"))
      sameBits<int8_t>(shape, bytes);
    else
      sameBits<float>(shape, f32);
}

TEST(Attention, HasNoDefectInAnyOrder) {
  const Kv<uint16_t> bf16 = makeKv<uint16_t>({300, 40}, 64);
  const Kv<int8_t> bytes = makeKv<int8_t>({300, 40}, 64);
  const Kv<float> f32 = makeKv<float>({300, 40}, 64);
  for (unsigned long long seed = 0; seed < 20; ++seed) {
    run({"bf16", 64, 24}, bf16, 11, seed);
    run({"bytes", 64, 24}, bytes, 11, seed);
    run({"float", 64, 24}, f32, 11, seed);
  }
}

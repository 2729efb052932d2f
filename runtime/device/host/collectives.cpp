//===- collectives.cpp - what a warp does together --------------------------===//
//
// By the lane layouts of the PTX ISA. Sums of a matrix product are made in double and rounded once: closer to the exact
// sum than the hardware's, and the same however rows are put together.
//
//===----------------------------------------------------------------------===//
#include "lathe/views.cuh"

#include <cstring>

namespace lathe::device::host {

namespace {

using Four = double __attribute__((vector_size(32)));
/// A row of 8 columns.
union Row {
  Four four[2];
  double column[8];
};

} // namespace

void shuffleLanes(void *const *operands, int count) {
  for (int i = 0; i < count; ++i) {
    Shuffled &mine = *static_cast<Shuffled *>(operands[i]);
    mine.result = static_cast<Shuffled *>(operands[i ^ (mine.mask % count)])->value;
  }
}

void multiplyBf16(void *const *operands, int) {
  double a[16][16];
  Row b[16], d[16];
  for (int l = 0; l < 32; ++l) {
    const Products &mine = *static_cast<Products *>(operands[l]);
    const int g = l / 4, q = l % 4;
    const auto low = [](unsigned pair) { return static_cast<double>(float_of(pair << 16)); };
    const auto high = [](unsigned pair) { return static_cast<double>(float_of(pair & 0xffff0000u)); };
    for (int half = 0; half < 2; ++half) {
      const int k = 8 * half + 2 * q;
      a[g][k] = low(mine.a[2 * half]);
      a[g][k + 1] = high(mine.a[2 * half]);
      a[g + 8][k] = low(mine.a[2 * half + 1]);
      a[g + 8][k + 1] = high(mine.a[2 * half + 1]);
      b[k].column[g] = low(mine.b[half]);
      b[k + 1].column[g] = high(mine.b[half]);
    }
  }
  for (int m = 0; m < 16; ++m) {
    Four left = {}, right = {};
    for (int k = 0; k < 16; ++k) {
      left += a[m][k] * b[k].four[0];
      right += a[m][k] * b[k].four[1];
    }
    d[m].four[0] = left;
    d[m].four[1] = right;
  }
  for (int l = 0; l < 32; ++l) {
    float *mine = static_cast<float *>(static_cast<Products *>(operands[l])->d);
    const int g = l / 4, q = l % 4;
    for (int i = 0; i < 4; ++i)
      mine[i] = static_cast<float>(static_cast<double>(mine[i]) + d[g + i / 2 * 8].column[2 * q + i % 2]);
  }
}

void multiplyBytes(void *const *operands, int) {
  int a[16][32], b[32][8];
  for (int l = 0; l < 32; ++l) {
    const Products &mine = *static_cast<Products *>(operands[l]);
    const int g = l / 4, q = l % 4;
    for (int half = 0; half < 2; ++half)
      for (int byte = 0; byte < 4; ++byte) {
        const int k = 16 * half + 4 * q + byte;
        a[g][k] = static_cast<signed char>(mine.a[2 * half] >> 8 * byte);
        a[g + 8][k] = static_cast<signed char>(mine.a[2 * half + 1] >> 8 * byte);
        b[k][g] = static_cast<signed char>(mine.b[half] >> 8 * byte);
      }
  }
  for (int l = 0; l < 32; ++l) {
    int *mine = static_cast<int *>(static_cast<Products *>(operands[l])->d);
    const int g = l / 4, q = l % 4;
    for (int i = 0; i < 4; ++i) {
      const int m = g + i / 2 * 8, n = 2 * q + i % 2;
      unsigned sum = static_cast<unsigned>(mine[i]); // as the hardware: wraps around
      for (int k = 0; k < 32; ++k)
        sum += static_cast<unsigned>(a[m][k] * b[k][n]);
      mine[i] = static_cast<int>(sum);
    }
  }
}

void loadMatrices(void *const *operands, int) {
  const int thread = executor.thread;
  for (int l = 0; l < 32; ++l) {
    const MatrixRow &mine = *static_cast<MatrixRow *>(operands[l]);
    for (int i = 0; i < 4; ++i) {
      const MatrixRow &row = *static_cast<MatrixRow *>(operands[8 * i + l / 4]);
      const char *from = row.row + l % 4 * 4;
      if (executor.check) {
        executor.thread = thread / 32 * 32 + l; // who gets the bytes reads them
        for (int at = 0; at < 4; at += row.elementBytes)
          trackShared(from + at, row.elementBytes, false, mine.where);
      }
      memcpy(&mine.registers[i], from, 4);
    }
  }
  executor.thread = thread;
}

} // namespace lathe::device::host

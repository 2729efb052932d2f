// The kernels of the toy model, as a compiler would export them: no undefined symbols, any partition of units x tiles.
#define TOY_KERNELS_ONLY
#include "runtime/Abi.h"
#include "test/runtime/ToyModel.h"

using namespace lathe;
using namespace lathe::toy;

namespace {

template <typename T> T *at(void *const *buffers, int index) { return static_cast<T *>(buffers[index]); }
int64_t pageOf(const LatheStep *step, int64_t sequence, int64_t position) {
  return step->pageTable[sequence * step->pageStride + position / kPageTokens];
}
int64_t keyIndex(int64_t page, int64_t head, int64_t dim, int64_t position) {
  return ((page * kHeads + head) * kDim + dim) * kPageTokens + position % kPageTokens;
}
int64_t valueIndex(int64_t page, int64_t head, int64_t dim, int64_t position) {
  return ((page * kHeads + head) * kPageTokens + position % kPageTokens) * kDim + dim;
}

} // namespace

extern "C" {

/// (hidden): rows x heads.
void toy_embed(void *const *buffers, const LatheStep *step, int64_t unitBegin, int64_t unitEnd, int64_t tileBegin,
               int64_t tileEnd, void *, int64_t) {
  for (int64_t row = unitBegin; row < unitEnd; ++row)
    for (int64_t head = tileBegin; head < tileEnd; ++head)
      at<float>(buffers, 0)[row * kHeads + head] = embed(step->tokenIds[row], head);
}

/// (hidden, keys, values): rows x heads.
void toy_append(void *const *buffers, const LatheStep *step, int64_t unitBegin, int64_t unitEnd, int64_t tileBegin,
                int64_t tileEnd, void *, int64_t) {
  for (int64_t row = unitBegin; row < unitEnd; ++row) {
    int64_t position = step->rowPosition[row], page = pageOf(step, step->rowSequence[row], position);
    for (int64_t head = tileBegin; head < tileEnd; ++head)
      for (int64_t dim = 0; dim < kDim; ++dim) {
        float hidden = at<float>(buffers, 0)[row * kHeads + head];
        at<float>(buffers, 1)[keyIndex(page, head, dim, position)] = key(hidden, dim, position);
        at<float>(buffers, 2)[valueIndex(page, head, dim, position)] = value(hidden, dim);
      }
  }
}

/// (hidden, keys, values, out): items x heads. The running sum passes through scratch, which must be the worker's own.
void toy_attend(void *const *buffers, const LatheStep *step, int64_t unitBegin, int64_t unitEnd, int64_t tileBegin,
                int64_t tileEnd, void *scratch, int64_t) {
  volatile float *sums = static_cast<float *>(scratch);
  for (int64_t block = unitBegin; block < unitEnd; ++block)
    for (int64_t row = step->itemRow[block]; row < step->itemEnd[block]; ++row)
      for (int64_t head = tileBegin; head < tileEnd; ++head) {
        float query = at<float>(buffers, 0)[row * kHeads + head];
        sums[0] = query;
        for (int64_t position = 0; position <= step->rowPosition[row]; ++position) {
          int64_t page = pageOf(step, step->rowSequence[row], position);
          float sum = sums[position % kContext];
          for (int64_t dim = 0; dim < kDim; ++dim)
            sum = attend(sum, query, at<float>(buffers, 1)[keyIndex(page, head, dim, position)],
                         at<float>(buffers, 2)[valueIndex(page, head, dim, position)]);
          sums[(position + 1) % kContext] = sum;
        }
        at<float>(buffers, 3)[row * kHeads + head] = sums[(step->rowPosition[row] + 1) % kContext];
      }
}

/// (out, selected): logit rows x 1.
void toy_select(void *const *buffers, const LatheStep *step, int64_t unitBegin, int64_t unitEnd, int64_t, int64_t,
                void *, int64_t) {
  for (int64_t unit = unitBegin; unit < unitEnd; ++unit)
    for (int64_t head = 0; head < kHeads; ++head)
      at<float>(buffers, 1)[unit * kHeads + head] = at<float>(buffers, 0)[step->logitRow[unit] * kHeads + head];
}

/// (selected, weight, logits): logit rows x tiles of kHeadTile columns.
void toy_head(void *const *buffers, const LatheStep *, int64_t unitBegin, int64_t unitEnd, int64_t tileBegin,
              int64_t tileEnd, void *, int64_t) {
  for (int64_t unit = unitBegin; unit < unitEnd; ++unit)
    for (int64_t column = tileBegin * kHeadTile; column < tileEnd * kHeadTile && column < kVocab; ++column) {
      float sum = 0;
      for (int64_t head = 0; head < kHeads; ++head)
        sum = sum + at<float>(buffers, 0)[unit * kHeads + head] * at<const float>(buffers, 1)[column * kHeads + head];
      at<float>(buffers, 2)[unit * kStride + column] = sum;
    }
}
}

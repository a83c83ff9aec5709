#include <cblas.h>

#include <algorithm>
#include <cmath>

#include "kernels/attention.hpp"
#include "kernels/multiversion.hpp"
#include "kernels/parallel.hpp"
#include "kernels/scratch.hpp"
#include "kernels/vector_math.hpp"

namespace bitgrid::cpu {
namespace {
// 128 queries against 2048 keys: 1 MiB of scores; of a whole causal window a sixteenth is computed
// and masked.
constexpr std::int64_t kQueryBlock = 128;

// scores[0 … visible) becomes exp(score − max), the rest up to keys 0. Returns 1 / sum.
BITGRID_MULTIVERSION
float softmax_unscaled(float* scores, std::int64_t visible, std::int64_t keys) {
  const float top = max_of(scores, visible);
  for (std::int64_t i = 0; i < visible; ++i) scores[i] = exp_f32(scores[i] - top);
  for (std::int64_t i = visible; i < keys; ++i) scores[i] = 0.0f;
  return 1.0f / sum_of(scores, visible);
}

BITGRID_MULTIVERSION
void scale(float* x, float factor, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) x[i] *= factor;
}

// One head's queries q [queries, d]; the last of them sees every row of k, v [keys, d].
void attend_block(MatrixView<const float> q, MatrixView<const float> k, MatrixView<const float> v,
                  MatrixView<float> y) {
  thread_local Matrix<float> buffer;  // as large as the longest sequence this thread has met
  const MatrixView<float> scores = scratch_view(buffer, q.rows, k.rows);
  const int queries = static_cast<int>(q.rows);
  const int keys = static_cast<int>(k.rows);
  const int size = static_cast<int>(q.cols);
  const auto factor = static_cast<float>(1.0 / std::sqrt(static_cast<double>(q.cols)));
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, queries, keys, size, factor, q.data,
              static_cast<int>(q.stride), k.data, static_cast<int>(k.stride), 0.0f, scores.data,
              keys);
  float inverse_sums[kQueryBlock];
  for (std::int64_t t = 0; t < q.rows; ++t)
    inverse_sums[t] = softmax_unscaled(scores.row(t), k.rows - q.rows + t + 1, k.rows);
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, queries, size, keys, 1.0f, scores.data,
              keys, v.data, static_cast<int>(v.stride), 0.0f, y.data, static_cast<int>(y.stride));
  for (std::int64_t t = 0; t < q.rows; ++t) scale(y.row(t), inverse_sums[t], y.cols);
}
}  // namespace

void attention(const Place& place, MatrixView<const float> q, MatrixView<const float> k,
               MatrixView<const float> v, std::int64_t head_size, MatrixView<float> y) {
  const std::int64_t heads = q.cols / head_size;
  const std::int64_t group = q.cols / k.cols;
  const std::int64_t past = k.rows - q.rows;
  const std::int64_t blocks = (q.rows + kQueryBlock - 1) / kQueryBlock;
  parallel_for(place, heads * blocks, [&](std::int64_t task) {
    const std::int64_t head = task / blocks;
    const std::int64_t first = task % blocks * kQueryBlock;
    const std::int64_t count = std::min(kQueryBlock, q.rows - first);
    const std::int64_t query_column = head * head_size;
    const std::int64_t key_column = head / group * head_size;
    const std::int64_t keys = past + first + count;
    attend_block(q.rows_from(first, count).cols_from(query_column, head_size),
                 k.rows_from(0, keys).cols_from(key_column, head_size),
                 v.rows_from(0, keys).cols_from(key_column, head_size),
                 y.rows_from(first, count).cols_from(query_column, head_size));
  });
}

}  // namespace bitgrid::cpu

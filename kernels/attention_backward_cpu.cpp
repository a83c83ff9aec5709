#include <cblas.h>

#include <algorithm>
#include <cmath>

#include "kernels/attention_backward.hpp"
#include "kernels/multiversion.hpp"
#include "kernels/parallel.hpp"
#include "kernels/scratch.hpp"
#include "kernels/vector_math.hpp"

namespace bitgrid::cpu {
namespace {
constexpr std::int64_t kQueryBlock = 128;

// scores[0 … visible) becomes its softmax, the rest up to keys 0.
BITGRID_MULTIVERSION
void softmax(float* scores, std::int64_t visible, std::int64_t keys) {
  const float top = max_of(scores, visible);
  for (std::int64_t i = 0; i < visible; ++i) scores[i] = exp_f32(scores[i] - top);
  for (std::int64_t i = visible; i < keys; ++i) scores[i] = 0.0f;
  const float scale = 1.0f / sum_of(scores, visible);
  for (std::int64_t i = 0; i < visible; ++i) scores[i] *= scale;
}

// d, the gradient of a row's weights p, becomes that of its products q kᵀ.
BITGRID_MULTIVERSION
void softmax_backward(const float* p, float* d, float factor, std::int64_t visible,
                      std::int64_t keys) {
  float lanes[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= visible; i += kLanes)
    for (int l = 0; l < kLanes; ++l) lanes[l] += p[i + l] * d[i + l];
  float rest = 0;
  for (; i < visible; ++i) rest += p[i] * d[i];
  const float mean = sum_lanes(lanes) + rest;
  for (i = 0; i < visible; ++i) d[i] = factor * p[i] * (d[i] - mean);
  for (i = visible; i < keys; ++i) d[i] = 0.0f;
}

// c = a b or aᵀ b, or added to c.
void product(CBLAS_TRANSPOSE trans_a, MatrixView<const float> a, CBLAS_TRANSPOSE trans_b,
             MatrixView<const float> b, float alpha, float beta, MatrixView<float> c) {
  const std::int64_t inner = trans_a == CblasNoTrans ? a.cols : a.rows;
  cblas_sgemm(CblasRowMajor, trans_a, trans_b, static_cast<int>(c.rows), static_cast<int>(c.cols),
              static_cast<int>(inner), alpha, a.data, static_cast<int>(a.stride), b.data,
              static_cast<int>(b.stride), beta, c.data, static_cast<int>(c.stride));
}

struct Head {
  MatrixView<const float> q, k, v, dy;
  MatrixView<float> dq, dk, dv;
};

// One head's queries, the last of which sees every key; adds to dk and dv.
void block_backward(const Head& h) {
  thread_local Matrix<float> weights_buffer, slopes_buffer;
  const std::int64_t keys = h.k.rows;
  const MatrixView<float> weights = scratch_view(weights_buffer, h.q.rows, keys);
  const MatrixView<float> slopes = scratch_view(slopes_buffer, h.q.rows, keys);
  const auto factor = static_cast<float>(1.0 / std::sqrt(static_cast<double>(h.q.cols)));
  product(CblasNoTrans, h.q, CblasTrans, h.k, factor, 0, weights);
  product(CblasNoTrans, h.dy, CblasTrans, h.v, 1, 0, slopes);
  for (std::int64_t t = 0; t < h.q.rows; ++t) {
    const std::int64_t visible = keys - h.q.rows + t + 1;
    softmax(weights.row(t), visible, keys);
    softmax_backward(weights.row(t), slopes.row(t), factor, visible, keys);
  }
  product(CblasTrans, weights, CblasNoTrans, h.dy, 1, 1, h.dv);
  product(CblasNoTrans, slopes, CblasNoTrans, h.k, 1, 0, h.dq);
  product(CblasTrans, slopes, CblasNoTrans, h.q, 1, 1, h.dk);
}
}  // namespace

void attention_backward(const Place& place, MatrixView<const float> q, MatrixView<const float> k,
                        MatrixView<const float> v, std::int64_t head_size,
                        MatrixView<const float> dy, MatrixView<float> dq, MatrixView<float> dk,
                        MatrixView<float> dv) {
  const std::int64_t group = q.cols / k.cols;
  parallel_for(place, k.cols / head_size, [&](std::int64_t key_head) {
    const std::int64_t key_col = key_head * head_size;
    for (std::int64_t t = 0; t < k.rows; ++t) {
      std::fill_n(dk.row(t) + key_col, head_size, 0.0f);
      std::fill_n(dv.row(t) + key_col, head_size, 0.0f);
    }
    for (std::int64_t head = key_head * group; head < (key_head + 1) * group; ++head)
      for (std::int64_t first = 0; first < q.rows; first += kQueryBlock) {
        const std::int64_t count = std::min(kQueryBlock, q.rows - first);
        const auto queries = [&](auto m) {
          return m.rows_from(first, count).cols_from(head * head_size, head_size);
        };
        const auto keys = [&](auto m) {
          return m.rows_from(0, first + count).cols_from(key_col, head_size);
        };
        block_backward(
            {queries(q), keys(k), keys(v), queries(dy), queries(dq), keys(dk), keys(dv)});
      }
  });
}

}  // namespace bitgrid::cpu

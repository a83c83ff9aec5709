#include <algorithm>
#include <cmath>

#include "kernels/multiversion.hpp"
#include "kernels/row_tiles.hpp"
#include "kernels/token_loss.hpp"
#include "kernels/vector_math.hpp"

namespace bitgrid::cpu {
namespace {
constexpr std::int64_t kChunk = 1024;  // one fp32 sum; a vocabulary has a hundred of them

BITGRID_MULTIVERSION
float max_of_row(const float* x, std::int64_t n) { return max_of(x, n); }

// Σ exp(x − top) over at most kChunk elements.
BITGRID_MULTIVERSION
float exp_sum(const float* x, float top, std::int64_t n) {
  float e[kChunk];
  for (std::int64_t i = 0; i < n; ++i) e[i] = exp_f32(x[i] - top);
  return sum_of(e, n);
}

TokenLoss row_loss(const float* x, std::int64_t n, std::int64_t target) {
  const float top = max_of_row(x, n);
  double sum = 0;
  for (std::int64_t i = 0; i < n; i += kChunk) sum += exp_sum(x + i, top, std::min(kChunk, n - i));
  // Logits are finite or the loss is not: x[target] = −inf with a finite top gives +inf, a NaN
  // anywhere gives NaN.
  const double loss = std::log(sum) + (static_cast<double>(top) - static_cast<double>(x[target]));
  const bool greedy = x[target] == top && std::find(x, x + target, top) == x + target;
  return {loss, greedy};
}
}  // namespace

void token_loss(const Place& place, MatrixView<const float> logits,
                std::span<const std::int32_t> targets, std::span<TokenLoss> losses) {
  for_row_tiles(place, logits.rows, [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t r = first; r < end; ++r) {
      const auto t = static_cast<std::size_t>(r);
      losses[t] = row_loss(logits.row(r), logits.cols, targets[t]);
    }
  });
}

}  // namespace bitgrid::cpu

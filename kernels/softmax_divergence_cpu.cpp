#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/multiversion.hpp"
#include "kernels/row_tiles.hpp"
#include "kernels/softmax_divergence.hpp"
#include "kernels/vector_math.hpp"

namespace bitgrid::cpu {
namespace {

constexpr std::int64_t kChunk = 1024;  // features in one fp32 sum

// sum = base + change; returns its largest element.
BITGRID_MULTIVERSION
float add_rows(const float* base, const float* change, std::int64_t n, float* sum) {
  for (std::int64_t i = 0; i < n; ++i) sum[i] = base[i] + change[i];
  return max_of(sum, n);
}

BITGRID_MULTIVERSION
float max_of_row(const float* x, std::int64_t n) { return max_of(x, n); }

float add_change(MatrixView<const float> base, MatrixView<const float> change, std::int64_t r,
                 float* sum) {
  if (change.rows > 0) return add_rows(base.row(r), change.row(r), base.cols, sum);
  std::copy_n(base.row(r), base.cols, sum);
  return max_of_row(sum, base.cols);
}

struct ExpSums {
  double plain = 0;     // Σ exp(p − top)
  double weighted = 0;  // Σ exp(p − top)·(p − q)
};
BITGRID_MULTIVERSION
ExpSums exp_sums(const float* p, const float* q, float top, std::int64_t n) {
  ExpSums sums;
  float e[kChunk], d[kChunk];
  for (std::int64_t first = 0; first < n; first += kChunk) {
    const std::int64_t count = std::min(kChunk, n - first);
    for (std::int64_t i = 0; i < count; ++i) {
      e[i] = exp_f32(p[first + i] - top);
      d[i] = e[i] * (p[first + i] - q[first + i]);
    }
    sums.plain += static_cast<double>(sum_of(e, count));
    sums.weighted += static_cast<double>(sum_of(d, count));
  }
  return sums;
}

double log_sum(const ExpSums& sums, float top) {
  return std::log(sums.plain) + static_cast<double>(top);
}

}  // namespace

void largest_columns(const Place& place, MatrixView<const float> x,
                     std::span<std::int32_t> columns) {
  for_row_tiles(place, x.rows, [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t r = first; r < end; ++r) {
      const float* row = x.row(r);
      columns[static_cast<std::size_t>(r)] =
          static_cast<std::int32_t>(std::find(row, row + x.cols, max_of_row(row, x.cols)) - row);
    }
  });
}

void log_sum_exp(const Place& place, MatrixView<const float> x, std::span<double> sums) {
  for_row_tiles(place, x.rows, [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t r = first; r < end; ++r) {
      const float top = max_of_row(x.row(r), x.cols);
      sums[static_cast<std::size_t>(r)] = log_sum(exp_sums(x.row(r), x.row(r), top, x.cols), top);
    }
  });
}

void softmax_divergence(const Place& place, Divergence direction, MatrixView<const float> base,
                        MatrixView<const float> change, MatrixView<const float> f,
                        std::span<const double> f_sums, std::span<double> divergences) {
  for_row_tiles(place, f.rows, [&](std::int64_t first, std::int64_t end) {
    std::vector<float> y(static_cast<std::size_t>(f.cols));
    for (std::int64_t r = first; r < end; ++r) {
      const float top = add_change(base, change, r, y.data());
      const ExpSums of_y = exp_sums(y.data(), f.row(r), top, f.cols);
      const double f_sum = f_sums[static_cast<std::size_t>(r)];
      double divergence = of_y.weighted / of_y.plain - (log_sum(of_y, top) - f_sum);
      if (direction == Divergence::fixed_from_changed) {
        const float f_top = max_of_row(f.row(r), f.cols);
        const ExpSums of_f = exp_sums(f.row(r), y.data(), f_top, f.cols);
        divergence = of_f.weighted / of_f.plain - (f_sum - log_sum(of_y, top));
      }
      // Below 0 by rounding alone; a NaN stays one.
      divergences[static_cast<std::size_t>(r)] = divergence < 0 ? 0 : divergence;
    }
  });
}

}  // namespace bitgrid::cpu

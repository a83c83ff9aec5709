#include "kernels/grid_lanes.hpp"

#include <array>
#include <bit>
#include <limits>

#include "kernels/multiversion.hpp"

namespace bitgrid::cpu {
namespace {

// x^2.4 for x >= 0 as 2^(2.4·log2 x), to about 1e-5 of its value (0 below 2^-52): good enough to
// compare sums, the same everywhere a vector unit has IEEE arithmetic, and free of calls, so that
// the loop around it is vectorized.
inline float power_2_4(float x) {
  // x = m·2^e with m in [√½, √2); log2 m = 2/ln 2 · atanh t, t = (m − 1)/(m + 1).
  const auto bits = std::bit_cast<std::int32_t>(x);
  const std::int32_t e = (bits - 0x3f3504f3) >> 23;
  const float m = std::bit_cast<float>(bits - e * (1 << 23));
  const float t = (m - 1.0f) / (m + 1.0f);
  const float q = t * t;
  const float series =
      t * (1.0f + q * (1.0f / 3 + q * (1.0f / 5 + q * (1.0f / 7 + q * (1.0f / 9)))));
  const float y = 2.4f * (static_cast<float>(e) + 2.88539008f * series);
  const float low = y < -126.0f ? -126.0f : y;
  const float in_range = low > 126.0f ? 126.0f : low;
  const float n = rne(in_range);
  const float f = (in_range - n) * 0.693147181f;
  const float power =
      1.0f +
      f * (1.0f +
           f * (1.0f / 2 + f * (1.0f / 6 + f * (1.0f / 24 + f * (1.0f / 120 + f * (1.0f / 720))))));
  const float result =
      power * std::bit_cast<float>((static_cast<std::int32_t>(n) + 127) * (1 << 23));
  return y < -126.0f ? 0.0f : result;
}

struct Ranges {
  alignas(64) float lo[kLanes];
  alignas(64) float hi[kLanes];
};

BITGRID_MULTIVERSION
void find_ranges(const float* w, std::int64_t columns, std::int64_t stride, bool symmetric,
                 Ranges& r) {
  for (int l = 0; l < kLanes; ++l) r.lo[l] = r.hi[l] = 0.0f;
  for (std::int64_t j = 0; j < columns; ++j) {
    const float* column = w + j * stride;
    for (int l = 0; l < kLanes; ++l) {
      r.lo[l] = column[l] < r.lo[l] ? column[l] : r.lo[l];
      r.hi[l] = column[l] > r.hi[l] ? column[l] : r.hi[l];
    }
  }
  for (int l = 0; l < kLanes; ++l) {
    const bool zeros = r.lo[l] == 0.0f && r.hi[l] == 0.0f;
    const float lo = zeros ? -1.0f : r.lo[l];
    const float hi = zeros ? 1.0f : r.hi[l];
    const float a = -lo > hi ? -lo : hi;
    r.lo[l] = symmetric ? -a : lo;
    r.hi[l] = symmetric ? a : hi;
  }
}

// The grid of the range shrunk by p.
void grid_of_ranges(const UniformGrid& grid, const Ranges& r, float p, float* scale, float* zero) {
  const float maxq = grid.maxq();
  for (int l = 0; l < kLanes; ++l) {
    const float lo = p * r.lo[l];
    const float hi = p * r.hi[l];
    scale[l] = stored_scale(grid, (hi - lo) / maxq);
    zero[l] = grid.symmetric ? grid.symmetric_zero() : grid_code(-lo, scale[l], 0.0f, maxq);
  }
}

// Σ_j (|deq(w_j) − w_j| / unit)^2.4. The unit is the widest scale: it keeps the powers away from
// underflow.
BITGRID_MULTIVERSION
void range_errors(const float* w, std::int64_t columns, std::int64_t stride, float maxq,
                  const float* unit, const float* scale, const float* zero, float* error) {
  for (int l = 0; l < kLanes; ++l) error[l] = 0.0f;
  for (std::int64_t j = 0; j < columns; ++j) {
    const float* column = w + j * stride;
    for (int l = 0; l < kLanes; ++l) {
      const float u = grid_code(column[l], scale[l], zero[l], maxq);
      const float off = grid_value(u, scale[l], zero[l]) - column[l];
      error[l] += power_2_4(std::fabs(off) / unit[l]);
    }
  }
}

// The same, every power times its element's weight.
BITGRID_MULTIVERSION
void weighted_range_errors(const float* w, const float* weight, std::int64_t columns,
                           std::int64_t stride, float maxq, const float* unit, const float* scale,
                           const float* zero, float* error) {
  for (int l = 0; l < kLanes; ++l) error[l] = 0.0f;
  for (std::int64_t j = 0; j < columns; ++j) {
    const float* column = w + j * stride;
    const float* element = weight + j * stride;
    for (int l = 0; l < kLanes; ++l) {
      const float u = grid_code(column[l], scale[l], zero[l], maxq);
      const float off = grid_value(u, scale[l], zero[l]) - column[l];
      error[l] += element[l] * power_2_4(std::fabs(off) / unit[l]);
    }
  }
}

// Σ_j weight_j·((deq(w_j) − w_j) / unit)².
BITGRID_MULTIVERSION
void square_range_errors(const float* w, const float* weight, std::int64_t columns,
                         std::int64_t stride, float maxq, const float* unit, const float* scale,
                         const float* zero, float* error) {
  for (int l = 0; l < kLanes; ++l) error[l] = 0.0f;
  for (std::int64_t j = 0; j < columns; ++j) {
    const float* column = w + j * stride;
    const float h = weight[j];
    for (int l = 0; l < kLanes; ++l) {
      const float u = grid_code(column[l], scale[l], zero[l], maxq);
      const float off = (grid_value(u, scale[l], zero[l]) - column[l]) / unit[l];
      error[l] += h * off * off;
    }
  }
}

void search_ranges(const UniformGrid& grid, const RangeSearch& search, const float* w,
                   std::int64_t columns, std::int64_t stride, const Ranges& ranges, float* scale,
                   float* zero) {
  alignas(64) float unit[kLanes], trial_scale[kLanes], trial_zero[kLanes], error[kLanes];
  alignas(64) float best[kLanes];
  for (int l = 0; l < kLanes; ++l) {
    unit[l] = scale[l];
    best[l] = std::numeric_limits<float>::infinity();
  }
  for (const float p : search.factors) {
    grid_of_ranges(grid, ranges, p, trial_scale, trial_zero);
    if (search.column_weights != nullptr)
      square_range_errors(w, search.column_weights, columns, stride, grid.maxq(), unit, trial_scale,
                          trial_zero, error);
    else if (search.element_weights != nullptr)
      weighted_range_errors(w, search.element_weights, columns, stride, grid.maxq(), unit,
                            trial_scale, trial_zero, error);
    else
      range_errors(w, columns, stride, grid.maxq(), unit, trial_scale, trial_zero, error);
    for (int l = 0; l < kLanes; ++l) {
      if (!(error[l] < best[l])) continue;  // a tie keeps the range that came first
      best[l] = error[l];
      scale[l] = trial_scale[l];
      zero[l] = trial_zero[l];
    }
  }
}

std::array<float, kMseSteps> mse_factors() {
  std::array<float, kMseSteps> factors;
  for (int i = 0; i < kMseSteps; ++i)
    factors[static_cast<std::size_t>(i)] =
        static_cast<float>(1.0 - static_cast<double>(i) / kMseGrid);
  return factors;
}

}  // namespace

void fit_group_lanes(const UniformGrid& grid, const float* w, std::int64_t columns,
                     std::int64_t stride, float* scale, float* zero) {
  static const std::array<float, kMseSteps> factors = mse_factors();
  search_group_lanes(grid, {grid.mse ? std::span<const float>(factors) : std::span<const float>()},
                     w, columns, stride, scale, zero);
}

void search_group_lanes(const UniformGrid& grid, const RangeSearch& search, const float* w,
                        std::int64_t columns, std::int64_t stride, float* scale, float* zero) {
  Ranges ranges;
  find_ranges(w, columns, stride, grid.symmetric, ranges);
  grid_of_ranges(grid, ranges, 1.0f, scale, zero);
  search_ranges(grid, search, w, columns, stride, ranges, scale, zero);
}

}  // namespace bitgrid::cpu

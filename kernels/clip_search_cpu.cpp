#include <cblas.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "kernels/clip_search.hpp"
#include "kernels/group_ranges.hpp"
#include "kernels/multiversion.hpp"
#include "kernels/parallel.hpp"
#include "kernels/round_to_grid.hpp"
#include "kernels/row_tiles.hpp"

namespace bitgrid::cpu {
namespace {

constexpr std::int64_t kSteps = kClipSteps;

// Rows whose trials go through one product with C: many enough for BLAS, few enough for the cache.
std::int64_t panel_rows(std::int64_t group) {
  return std::clamp<std::int64_t>(64 * 1024 / (kSteps * group), 12, 64);
}

BITGRID_MULTIVERSION
void clamp_values(const float* w, std::int64_t count, float bound, float* y) {
  for (std::int64_t j = 0; j < count; ++j) {
    const float lower = w[j] > -bound ? w[j] : -bound;
    y[j] = lower < bound ? lower : bound;
  }
}

// y = deq(round(clamp(w))) − w.
BITGRID_MULTIVERSION
void clamped_off(const float* w, std::int64_t count, float bound, float scale, float zero,
                 float maxq, float* y) {
  for (std::int64_t j = 0; j < count; ++j) {
    const float lower = w[j] > -bound ? w[j] : -bound;
    const float clamped = lower < bound ? lower : bound;
    y[j] = grid_value(grid_code(clamped, scale, zero, maxq), scale, zero) - w[j];
  }
}

// Sixteen running sums: a fixed order that vector units of any width keep.
BITGRID_MULTIVERSION
float dot(const float* a, const float* b, std::int64_t count) {
  constexpr int strip = 16;
  alignas(64) float sums[strip] = {};
  std::int64_t j = 0;
  for (; j + strip <= count; j += strip)
    for (int k = 0; k < strip; ++k) sums[k] += a[j + k] * b[j + k];
  for (; j < count; ++j) sums[j % strip] += a[j] * b[j];
  float sum = 0;
  for (int k = 0; k < strip; ++k) sum += sums[k];
  return sum;
}

float largest_magnitude(float lo, float hi) { return -lo > hi ? -lo : hi; }

// The trials of up to panel_rows rows in one group after the other.
class Panel {
 public:
  Panel(const Place& place, const UniformGrid& grid, MatrixView<const float> w, std::int64_t group)
      : place_(place),
        grid_(grid),
        w_(w),
        group_(group),
        trials_(w.rows * kSteps, group),
        products_(w.rows * kSteps, group),
        scale_(w.rows * kSteps, 1),
        zero_(w.rows * kSteps, 1),
        bound_(w.rows * kSteps, 1),
        low_(w.rows * kSteps, 1),
        high_(w.rows * kSteps, 1) {}

  void search(MatrixView<const float> c, MatrixView<std::uint8_t> steps) {
    for (std::int64_t g = 0; g < steps.cols; ++g) {
      fit(g * group_);
      for (std::int64_t i = 0; i < trials_.rows(); ++i)
        clamped_off(w_.row(i / kSteps) + g * group_, group_, bound_(i, 0), scale_(i, 0),
                    zero_(i, 0), grid_.maxq(), trials_.row(i));
      const int in = static_cast<int>(group_);
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, static_cast<int>(trials_.rows()), in,
                  in, 1.0f, trials_.data(), in, c.row(g * group_), static_cast<int>(c.stride), 0.0f,
                  products_.data(), in);
      for (std::int64_t r = 0; r < steps.rows; ++r) steps(r, g) = best_of(r);
    }
  }

 private:
  // Bounds and grids of all trials of the group at column `first`.
  void fit(std::int64_t first) {
    for (std::int64_t r = 0; r < w_.rows; ++r) {
      float low = 0, high = 0;
      group_ranges(w_.row(r) + first, group_, group_, &low, &high);
      for (std::int64_t i = 0; i < kSteps; ++i) {
        const float bound = clip_bound(largest_magnitude(low, high), static_cast<int>(i));
        const std::int64_t at = r * kSteps + i;
        bound_(at, 0) = bound;
        low_(at, 0) = std::clamp(low, -bound, bound);
        high_(at, 0) = std::clamp(high, -bound, bound);
      }
    }
    if (!grid_.mse) {
      fit_ranges(grid_, low_.rows(), low_.data(), high_.data(), scale_.data(), zero_.data());
      return;
    }
    for (std::int64_t i = 0; i < trials_.rows(); ++i)
      clamp_values(w_.row(i / kSteps) + first, group_, bound_(i, 0), trials_.row(i));
    Matrix<std::uint8_t> zeros(trials_.rows(), 1);
    cpu::fit_grid(place_, grid_, trials_.view(), group_, scale_.view(), zeros.view());
    for (std::int64_t i = 0; i < zeros.rows(); ++i) zero_(i, 0) = static_cast<float>(zeros(i, 0));
  }

  std::uint8_t best_of(std::int64_t r) const {
    std::uint8_t best = 0;
    float smallest = std::numeric_limits<float>::infinity();
    for (std::int64_t i = 0; i < kSteps; ++i) {
      const std::int64_t at = r * kSteps + i;
      const float error = dot(trials_.row(at), products_.row(at), group_);
      if (!(error < smallest)) continue;
      smallest = error;
      best = static_cast<std::uint8_t>(i);
    }
    return best;
  }

  const Place& place_;
  const UniformGrid& grid_;
  MatrixView<const float> w_;
  std::int64_t group_;
  Matrix<float> trials_, products_;                  // [rows·steps, group]: δ, δ C
  Matrix<float> scale_, zero_, bound_, low_, high_;  // [rows·steps, 1]
};

}  // namespace

void search_clip(const Place& place, const UniformGrid& grid, MatrixView<const float> w,
                 MatrixView<const float> c, MatrixView<std::uint8_t> steps) {
  const std::int64_t panel = panel_rows(c.cols);
  parallel_for(place, (w.rows + panel - 1) / panel, [&](std::int64_t p) {
    const std::int64_t first = p * panel;
    const std::int64_t rows = std::min(panel, w.rows - first);
    Panel(place, grid, w.rows_from(first, rows), c.cols).search(c, steps.rows_from(first, rows));
  });
}

void clip_groups(const Place& place, MatrixView<const std::uint8_t> steps, MatrixView<float> w) {
  const std::int64_t group = w.cols / steps.cols;
  for_row_tiles(place, w.rows, [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t r = first; r < end; ++r)
      for (std::int64_t g = 0; g < steps.cols; ++g) {
        float* values = w.row(r) + g * group;
        float lo = 0, hi = 0;
        group_ranges(values, group, group, &lo, &hi);
        clamp_values(values, group, clip_bound(largest_magnitude(lo, hi), steps(r, g)), values);
      }
  });
}

}  // namespace bitgrid::cpu

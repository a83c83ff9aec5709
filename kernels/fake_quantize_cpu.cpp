#include <algorithm>
#include <limits>
#include <vector>

#include "kernels/fake_quantize.hpp"
#include "kernels/grid.hpp"
#include "kernels/multiversion.hpp"
#include "kernels/row_tiles.hpp"
#include "kernels/vector_math.hpp"

namespace bitgrid::cpu {
namespace {

struct Range {
  float lo = std::numeric_limits<float>::infinity();
  float hi = -std::numeric_limits<float>::infinity();
};

Range join(Range a, Range b) { return {std::min(a.lo, b.lo), std::max(a.hi, b.hi)}; }

// Largest and smallest element; NaNs are passed over.
BITGRID_MULTIVERSION
void find_range(const float* x, std::int64_t n, Range& range) {
  float lo[kLanes], hi[kLanes];
  for (int l = 0; l < kLanes; ++l) {
    lo[l] = range.lo;
    hi[l] = range.hi;
  }
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int l = 0; l < kLanes; ++l) {
      lo[l] = x[i + l] < lo[l] ? x[i + l] : lo[l];
      hi[l] = x[i + l] > hi[l] ? x[i + l] : hi[l];
    }
  for (; i < n; ++i) {
    lo[0] = x[i] < lo[0] ? x[i] : lo[0];
    hi[0] = x[i] > hi[0] ? x[i] : hi[0];
  }
  for (int l = 0; l < kLanes; ++l) range = join(range, {lo[l], hi[l]});
}

// Codes first … last stand for scale·(code − zero).
struct Steps {
  float scale, zero, first, last;
};

// Adding v − v, which is 0 or NaN, keeps an infinity from becoming the last code.
BITGRID_MULTIVERSION
void quantize_row(float* x, std::int64_t n, Steps s) {
  for (std::int64_t i = 0; i < n; ++i) {
    const float v = x[i];
    const float u = rne(v / s.scale) + s.zero;
    const float lower = u < s.first ? s.first : u;
    const float code = lower > s.last ? s.last : lower;
    x[i] = s.scale * (code - s.zero) + (v - v);
  }
}

Steps symmetric_steps(int bits, float scale) {
  const float qmax = activation_qmax(bits);
  return {scale, 0.0f, -qmax, qmax};
}

Steps steps_of(const ActivationGrid& grid, Range r) {
  if (grid.symmetric) {
    const float largest = std::max({r.hi, -r.lo, kActivationRangeMin});
    return symmetric_steps(grid.bits, largest / activation_qmax(grid.bits));
  }
  const auto maxq = static_cast<float>((1 << grid.bits) - 1);
  const float scale = std::clamp((r.hi - r.lo) / maxq, kActivationRangeMin, kActivationScaleMax);
  return {scale, rne(-r.lo / scale), 0.0f, maxq};
}

void quantize_rows(const Place& place, MatrixView<float> x, Steps steps) {
  for_row_tiles(place, x.rows, [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t r = first; r < end; ++r) quantize_row(x.row(r), x.cols, steps);
  });
}

Range range_of_all(const Place& place, MatrixView<float> x) {
  std::vector<Range> rows(static_cast<std::size_t>(x.rows));
  for_row_tiles(place, x.rows, [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t r = first; r < end; ++r)
      find_range(x.row(r), x.cols, rows[static_cast<std::size_t>(r)]);
  });
  Range all;
  for (const Range& row : rows) all = join(all, row);
  return all;
}

}  // namespace

void fake_quantize(const Place& place, const ActivationGrid& grid, MatrixView<float> x) {
  switch (grid.range) {
    case RangeOf::fixed:
      return quantize_rows(place, x, symmetric_steps(grid.bits, grid.scale));
    case RangeOf::tensor:
      return quantize_rows(place, x, steps_of(grid, range_of_all(place, x)));
    case RangeOf::token:
      break;
  }
  for_row_tiles(place, x.rows, [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t r = first; r < end; ++r) {
      Range range;
      find_range(x.row(r), x.cols, range);
      quantize_row(x.row(r), x.cols, steps_of(grid, range));
    }
  });
}

}  // namespace bitgrid::cpu

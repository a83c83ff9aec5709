#include "kernels/group_ranges.hpp"

#include "kernels/multiversion.hpp"

namespace bitgrid::cpu {
namespace {
constexpr int kStrip = 16;  // running extremes side by side: neither order nor number changes them

inline float smaller(float a, float b) { return a < b ? a : b; }
inline float larger(float a, float b) { return a > b ? a : b; }
}  // namespace

BITGRID_MULTIVERSION
void group_ranges(const float* row, std::int64_t in, std::int64_t group, float* lo, float* hi) {
  for (std::int64_t g = 0; g < in / group; ++g) {
    const float* w = row + g * group;
    alignas(64) float low[kStrip], high[kStrip];
    for (int k = 0; k < kStrip; ++k) low[k] = high[k] = w[0];
    std::int64_t j = 0;
    for (; j + kStrip <= group; j += kStrip)
      for (int k = 0; k < kStrip; ++k) {
        low[k] = smaller(low[k], w[j + k]);
        high[k] = larger(high[k], w[j + k]);
      }
    for (; j < group; ++j) {
      low[0] = smaller(low[0], w[j]);
      high[0] = larger(high[0], w[j]);
    }
    for (int k = 0; k < 8; ++k) low[k] = smaller(low[k], low[k + 8]);
    for (int k = 0; k < 8; ++k) high[k] = larger(high[k], high[k + 8]);
    for (int k = 0; k < 4; ++k) low[k] = smaller(low[k], low[k + 4]);
    for (int k = 0; k < 4; ++k) high[k] = larger(high[k], high[k + 4]);
    lo[g] = smaller(smaller(low[0], low[1]), smaller(low[2], low[3]));
    hi[g] = larger(larger(high[0], high[1]), larger(high[2], high[3]));
  }
}

BITGRID_MULTIVERSION
void fit_ranges(const UniformGrid& grid, std::int64_t count, float* lo, float* hi, float* scale,
                float* zero) {
  const UniformGrid g = grid;
  for (std::int64_t i = 0; i < count; ++i) {
    float l = lo[i], h = hi[i];
    widen_range(g, l, h);
    fit_range(g, l, h, scale[i], zero[i]);
  }
}

BITGRID_MULTIVERSION
void round_values(const float* w, std::int64_t count, float scale, float zero, float maxq,
                  float* y) {
  for (std::int64_t j = 0; j < count; ++j)
    y[j] = grid_value(grid_code(w[j], scale, zero, maxq), scale, zero);
}

}  // namespace bitgrid::cpu

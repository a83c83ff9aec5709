#include "kernels/fdb_rows.hpp"
#include "kernels/fdb_scales.hpp"
#include "kernels/multiversion.hpp"
#include "kernels/row_tiles.hpp"
#include "kernels/vector_math.hpp"

namespace bitgrid::cpu {
namespace {

BITGRID_MULTIVERSION
void group_weights(const std::uint8_t* codes, float alpha1, float alpha2, float* w,
                   std::int64_t n) {
  const float both = fdb_value(3, alpha1, alpha2);
  for (std::int64_t j = 0; j < n; ++j) {
    const float upper = (codes[j] & 1) != 0 ? both : alpha1;
    const float lower = (codes[j] & 1) != 0 ? alpha2 : 0.0f;
    w[j] = (codes[j] & 2) != 0 ? upper : lower;
  }
}

struct PlaneSums {
  float first, second;
};

BITGRID_MULTIVERSION
PlaneSums plane_sums(const std::uint8_t* codes, const float* dw, std::int64_t n) {
  float first[kLanes] = {}, second[kLanes] = {};
  std::int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes)
    for (int l = 0; l < kLanes; ++l) {
      first[l] += (codes[j + l] & 2) != 0 ? dw[j + l] : 0.0f;
      second[l] += (codes[j + l] & 1) != 0 ? dw[j + l] : 0.0f;
    }
  PlaneSums rest = {0, 0};
  for (; j < n; ++j) {
    rest.first += (codes[j] & 2) != 0 ? dw[j] : 0.0f;
    rest.second += (codes[j] & 1) != 0 ? dw[j] : 0.0f;
  }
  return {sum_lanes(first) + rest.first, sum_lanes(second) + rest.second};
}

}  // namespace

void fdb_weights(const Place& place, MatrixView<const std::uint8_t> codes,
                 MatrixView<const float> alpha1, MatrixView<const float> alpha2,
                 MatrixView<float> w) {
  for_row_tiles(place, codes.rows, [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t r = first; r < end; ++r)
      for (std::int64_t g = 0; g < alpha1.cols; ++g) {
        const std::int64_t group = codes.cols / alpha1.cols;
        group_weights(codes.row(r) + g * group, alpha1(r, g), alpha2(r, g), w.row(r) + g * group,
                      group);
      }
  });
}

void fdb_scale_gradient(const Place& place, MatrixView<const std::uint8_t> codes,
                        MatrixView<const float> dw, MatrixView<float> dalpha1,
                        MatrixView<float> dalpha2) {
  for_row_tiles(place, codes.rows, [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t r = first; r < end; ++r)
      for (std::int64_t g = 0; g < dalpha1.cols; ++g) {
        const std::int64_t group = codes.cols / dalpha1.cols;
        const PlaneSums sums = plane_sums(codes.row(r) + g * group, dw.row(r) + g * group, group);
        dalpha1(r, g) = sums.first;
        dalpha2(r, g) = sums.second;
      }
  });
}

}  // namespace bitgrid::cpu

#include "kernels/multiversion.hpp"
#include "kernels/rope.hpp"
#include "kernels/row_tiles.hpp"

namespace bitgrid::cpu {
namespace {
BITGRID_MULTIVERSION
void rotate(float* __restrict lower, float* __restrict upper, const float* __restrict cos,
            const float* __restrict sin, std::int64_t half) {
  for (std::int64_t j = 0; j < half; ++j) {
    const float a = lower[j];
    const float b = upper[j];
    lower[j] = a * cos[j] - b * sin[j];
    upper[j] = b * cos[j] + a * sin[j];
  }
}

BITGRID_MULTIVERSION
void rotate_back(float* __restrict lower, float* __restrict upper, const float* __restrict cos,
                 const float* __restrict sin, std::int64_t half) {
  for (std::int64_t j = 0; j < half; ++j) {
    const float a = lower[j];
    const float b = upper[j];
    lower[j] = a * cos[j] + b * sin[j];
    upper[j] = b * cos[j] - a * sin[j];
  }
}
}  // namespace

void rope(const Place& place, MatrixView<float> x, std::int64_t head_size,
          MatrixView<const float> cos, MatrixView<const float> sin) {
  const std::int64_t half = head_size / 2;
  for_row_tiles(place, x.rows, [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t t = first; t < end; ++t)
      for (std::int64_t h = 0; h < x.cols; h += head_size)
        rotate(x.row(t) + h, x.row(t) + h + half, cos.row(t), sin.row(t), half);
  });
}

void rope_backward(const Place& place, MatrixView<float> x, std::int64_t head_size,
                   MatrixView<const float> cos, MatrixView<const float> sin) {
  const std::int64_t half = head_size / 2;
  for_row_tiles(place, x.rows, [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t t = first; t < end; ++t)
      for (std::int64_t h = 0; h < x.cols; h += head_size)
        rotate_back(x.row(t) + h, x.row(t) + h + half, cos.row(t), sin.row(t), half);
  });
}

}  // namespace bitgrid::cpu

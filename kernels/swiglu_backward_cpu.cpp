#include "kernels/multiversion.hpp"
#include "kernels/row_tiles.hpp"
#include "kernels/swiglu_backward.hpp"
#include "kernels/vector_math.hpp"

namespace bitgrid::cpu {
namespace {
BITGRID_MULTIVERSION
void backward_row(const float* gate, const float* up, const float* dy, float* dgate, float* dup,
                  std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    const float g = gate[i], u = up[i], d = dy[i];
    const float sigma = 1.0f / (1.0f + exp_f32(-g));
    dgate[i] = d * u * (sigma * (1.0f + g * (1.0f - sigma)));
    dup[i] = d * (g * sigma);
  }
}
}  // namespace

void swiglu_backward(const Place& place, MatrixView<const float> gate, MatrixView<const float> up,
                     MatrixView<const float> dy, MatrixView<float> dgate, MatrixView<float> dup) {
  for_row_tiles(place, gate.rows, [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t r = first; r < end; ++r)
      backward_row(gate.row(r), up.row(r), dy.row(r), dgate.row(r), dup.row(r), gate.cols);
  });
}

}  // namespace bitgrid::cpu

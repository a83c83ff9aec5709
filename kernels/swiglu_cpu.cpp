#include "kernels/multiversion.hpp"
#include "kernels/row_tiles.hpp"
#include "kernels/swiglu.hpp"
#include "kernels/vector_math.hpp"

namespace bitgrid::cpu {
namespace {
BITGRID_MULTIVERSION
void swiglu_row(const float* gate, const float* up, float* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = gate[i] / (1.0f + exp_f32(-gate[i])) * up[i];
}
}  // namespace

void swiglu(const Place& place, MatrixView<const float> gate, MatrixView<const float> up,
            MatrixView<float> y) {
  for_row_tiles(place, gate.rows, [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t r = first; r < end; ++r)
      swiglu_row(gate.row(r), up.row(r), y.row(r), gate.cols);
  });
}

}  // namespace bitgrid::cpu

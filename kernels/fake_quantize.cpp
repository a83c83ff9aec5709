#include "kernels/fake_quantize.hpp"

#include <cmath>
#include <string>

namespace bitgrid {

void fake_quantize(const Place& place, const ActivationGrid& grid, MatrixView<float> x) {
  if (!grid.active() || x.rows == 0 || x.cols == 0) return;
  if (grid.bits < 2)
    throw Error("fake_quantize: bits must be 2 to 16, not " + std::to_string(grid.bits));
  if (grid.range == RangeOf::fixed &&
      !(grid.symmetric && std::isfinite(grid.scale) && grid.scale > 0))
    throw Error("fake_quantize: a fixed scale must be positive and its grid symmetric");
  switch (place.device) {
    case Device::cpu:
      return cpu::fake_quantize(place, grid, x);
    case Device::cuda:
      return cuda::fake_quantize(place.stream, grid, x);
  }
}

}  // namespace bitgrid

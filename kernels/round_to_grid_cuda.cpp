#include "kernels/cuda_backend.hpp"
#include "kernels/round_to_grid.hpp"

namespace bitgrid::cuda {

void fit_grid(const Place&, const UniformGrid&, MatrixView<const float>, std::int64_t,
              MatrixView<float>, MatrixView<std::uint8_t>) {
  cuda_unavailable("fit_grid");
}

void round_to_grid(const Place&, const UniformGrid&, MatrixView<const float>,
                   std::span<const std::int32_t>, MatrixView<const float>,
                   MatrixView<const std::uint8_t>, MatrixView<std::uint8_t>) {
  cuda_unavailable("round_to_grid");
}

void dequantize(const Place&, MatrixView<const std::uint8_t>, std::span<const std::int32_t>,
                MatrixView<const float>, MatrixView<const std::uint8_t>, MatrixView<float>) {
  cuda_unavailable("dequantize");
}

}  // namespace bitgrid::cuda

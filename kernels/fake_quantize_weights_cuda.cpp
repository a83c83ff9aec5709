#include "kernels/cuda_backend.hpp"
#include "kernels/fake_quantize_weights.hpp"

namespace bitgrid::cuda {

void fake_quantize_weights(const Place&, const UniformGrid&, MatrixView<const float>, std::int64_t,
                           std::span<const float>, MatrixView<float>) {
  cuda_unavailable("fake_quantize_weights");
}

}  // namespace bitgrid::cuda

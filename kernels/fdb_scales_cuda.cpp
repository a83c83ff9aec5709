#include "kernels/cuda_backend.hpp"
#include "kernels/fdb_scales.hpp"

namespace bitgrid::cuda {

void fdb_weights(void*, MatrixView<const std::uint8_t>, MatrixView<const float>,
                 MatrixView<const float>, MatrixView<float>) {
  cuda_unavailable("fdb_weights");
}

void fdb_scale_gradient(void*, MatrixView<const std::uint8_t>, MatrixView<const float>,
                        MatrixView<float>, MatrixView<float>) {
  cuda_unavailable("fdb_scale_gradient");
}

}  // namespace bitgrid::cuda

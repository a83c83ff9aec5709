#include "kernels/cuda_backend.hpp"
#include "kernels/rms_norm_backward.hpp"

namespace bitgrid::cuda {

void rms_norm_backward(void*, MatrixView<const float>, MatrixView<const float>, float,
                       MatrixView<const float>, MatrixView<float>) {
  cuda_unavailable("rms_norm_backward");
}

}  // namespace bitgrid::cuda

#include "kernels/cuda_backend.hpp"
#include "kernels/rms_norm.hpp"

namespace bitgrid::cuda {

void rms_norm(void*, MatrixView<const float>, MatrixView<const float>, float, MatrixView<float>) {
  cuda_unavailable("rms_norm");
}

}  // namespace bitgrid::cuda

#include "kernels/attention.hpp"
#include "kernels/cuda_backend.hpp"

namespace bitgrid::cuda {

void attention(void*, MatrixView<const float>, MatrixView<const float>, MatrixView<const float>,
               std::int64_t, MatrixView<float>) {
  cuda_unavailable("attention");
}

}  // namespace bitgrid::cuda

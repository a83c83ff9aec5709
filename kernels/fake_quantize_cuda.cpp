#include "kernels/cuda_backend.hpp"
#include "kernels/fake_quantize.hpp"

namespace bitgrid::cuda {

void fake_quantize(void*, const ActivationGrid&, MatrixView<float>) {
  cuda_unavailable("fake_quantize");
}

}  // namespace bitgrid::cuda

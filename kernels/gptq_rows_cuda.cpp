#include "kernels/cuda_backend.hpp"
#include "kernels/gptq_rows.hpp"

namespace bitgrid::cuda {

void gptq_rows(const Place&, const GptqColumns&, MatrixView<const float>, MatrixView<float>,
               MatrixView<std::uint8_t>, MatrixView<std::uint8_t>, std::span<double>) {
  cuda_unavailable("gptq_rows");
}

}  // namespace bitgrid::cuda

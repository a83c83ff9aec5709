#include "kernels/cuda_backend.hpp"
#include "kernels/token_loss.hpp"

namespace bitgrid::cuda {

void token_loss(void*, MatrixView<const float>, std::span<const std::int32_t>,
                std::span<TokenLoss>) {
  cuda_unavailable("token_loss");
}

}  // namespace bitgrid::cuda

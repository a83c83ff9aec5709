#include "kernels/cuda_backend.hpp"
#include "kernels/inverse_factor.hpp"

namespace bitgrid::cuda {

std::int64_t inverse_factor(const Place&, const ScaledGram&, MatrixView<float>) {
  cuda_unavailable("inverse_factor");
}

std::int64_t feedback_factor(const Place&, const ScaledGram&, MatrixView<float>,
                             std::span<double>) {
  cuda_unavailable("feedback_factor");
}

}  // namespace bitgrid::cuda

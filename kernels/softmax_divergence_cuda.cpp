#include "kernels/cuda_backend.hpp"
#include "kernels/softmax_divergence.hpp"

namespace bitgrid::cuda {

void largest_columns(const Place&, MatrixView<const float>, std::span<std::int32_t>) {
  cuda_unavailable("largest_columns");
}

void log_sum_exp(const Place&, MatrixView<const float>, std::span<double>) {
  cuda_unavailable("log_sum_exp");
}

void softmax_divergence(const Place&, Divergence, MatrixView<const float>, MatrixView<const float>,
                        MatrixView<const float>, std::span<const double>, std::span<double>) {
  cuda_unavailable("softmax_divergence");
}

}  // namespace bitgrid::cuda

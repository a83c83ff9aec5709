#include "kernels/cuda_backend.hpp"
#include "kernels/quadratic_form.hpp"

namespace bitgrid::cuda {

void quadratic_form(const Place&, MatrixView<const float>, MatrixView<const float>,
                    std::span<double>) {
  cuda_unavailable("quadratic_form");
}

}  // namespace bitgrid::cuda

#include "kernels/cuda_backend.hpp"
#include "kernels/row_panels.hpp"

namespace bitgrid::cuda {

void load_panels(const Place&, MatrixView<const float>, MatrixView<float>) {
  cuda_unavailable("load_panels");
}

void store_panels(const Place&, MatrixView<const float>, MatrixView<float>) {
  cuda_unavailable("store_panels");
}

void subtract_products(const Place&, MatrixView<const float>, MatrixView<const float>,
                       MatrixView<float>) {
  cuda_unavailable("subtract_products");
}

void solve_feedback(const Place&, MatrixView<const float>, MatrixView<float>) {
  cuda_unavailable("solve_feedback");
}

}  // namespace bitgrid::cuda

#include "kernels/cuda_backend.hpp"
#include "kernels/triangle.hpp"

namespace bitgrid::cuda {

void pack_lower(const Place&, MatrixView<const double>, std::span<double>) {
  cuda_unavailable("pack_lower");
}

void unpack_lower(const Place&, std::span<const double>, MatrixView<double>) {
  cuda_unavailable("unpack_lower");
}

void add_packed(const Place&, std::span<const double>, std::span<double>) {
  cuda_unavailable("add_packed");
}

}  // namespace bitgrid::cuda

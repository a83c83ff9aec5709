#include "kernels/cuda_backend.hpp"
#include "kernels/triangle.hpp"

namespace bitgrid::cuda {

void pack_lower(const Place&, MatrixView<const float>, std::span<float>) {
  cuda_unavailable("pack_lower");
}

void unpack_lower(const Place&, std::span<const float>, MatrixView<float>) {
  cuda_unavailable("unpack_lower");
}

void add_packed(const Place&, std::span<const float>, std::span<float>) {
  cuda_unavailable("add_packed");
}

}  // namespace bitgrid::cuda

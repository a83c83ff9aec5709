#include "kernels/binary_slab.hpp"
#include "kernels/cuda_backend.hpp"

namespace bitgrid::cuda {

void slab_column_errors(const Place&, MatrixView<const float>, const SlabColumns&, int,
                        std::int64_t, MatrixView<double>) {
  cuda_unavailable("slab_column_errors");
}

void slab_split_errors(const Place&, MatrixView<const float>, const SlabColumns&, std::int64_t,
                       std::span<const float>, bool, MatrixView<double>) {
  cuda_unavailable("slab_split_errors");
}

void binarize_slab(const Place&, MatrixView<const float>, MatrixView<const float>,
                   const SlabColumns&, const SlabSplit&, const BinarizedSlab&) {
  cuda_unavailable("binarize_slab");
}

void slab_column_totals(const Place&, MatrixView<const float>, bool, std::span<double>) {
  cuda_unavailable("slab_column_totals");
}

void slab_salience(const Place&, MatrixView<const float>, std::span<const float>,
                   MatrixView<float>) {
  cuda_unavailable("slab_salience");
}

}  // namespace bitgrid::cuda

#pragma once

#include <cstdint>

#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// s += xᵀx, lower triangle only. GPTQ's H is 2s/N up to a factor its codes do not depend on
// (Frantar et al. 2023, sec. 3; their X is our xᵀ).
//   x [tokens, in] fp32    s [in, in] fp64, accumulated in place; what lies above the diagonal is
//   left alone
// Up to kExactGramIn channels products and sums are fp64, so that the order of the tokens moves
// nothing that matters; beyond, chunks of kGramChunk tokens are summed in fp32 and added in fp64.
// For down_proj (in = 28672) s is 28672² x 8 B = 6.6 GB, the largest statistic there is.
inline constexpr std::int64_t kExactGramIn = 1024;
inline constexpr std::int64_t kGramChunk = 2048;
void accumulate_gram(const Place& place, MatrixView<const float> x, MatrixView<double> s);
namespace cpu {
void accumulate_gram(const Place& place, MatrixView<const float> x, MatrixView<double> s);
}
namespace cuda {
void accumulate_gram(const Place& place, MatrixView<const float> x, MatrixView<double> s);
}

}  // namespace bitgrid

#pragma once

#include <cstdint>

#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// The scales of the two-binary format (kernels/fdb_rows.hpp) with codes held fixed: the weight is
// linear in them.
//   codes [rows, in], 2·b₁ + b₂    α₁, α₂, dα₁, dα₂ [rows, in/group] fp32    w, dw [rows, in] fp32

// w = α₁·b₁ + α₂·b₂, the values of fdb_value.
void fdb_weights(const Place& place, MatrixView<const std::uint8_t> codes,
                 MatrixView<const float> alpha1, MatrixView<const float> alpha2,
                 MatrixView<float> w);
// The scales' gradient from the weight's: dα_i(r, γ) = Σ_{j in γ} b_i(r, j)·dw(r, j), in fp32.
void fdb_scale_gradient(const Place& place, MatrixView<const std::uint8_t> codes,
                        MatrixView<const float> dw, MatrixView<float> dalpha1,
                        MatrixView<float> dalpha2);

namespace cpu {
void fdb_weights(const Place& place, MatrixView<const std::uint8_t> codes,
                 MatrixView<const float> alpha1, MatrixView<const float> alpha2,
                 MatrixView<float> w);
void fdb_scale_gradient(const Place& place, MatrixView<const std::uint8_t> codes,
                        MatrixView<const float> dw, MatrixView<float> dalpha1,
                        MatrixView<float> dalpha2);
}  // namespace cpu
namespace cuda {
void fdb_weights(void* stream, MatrixView<const std::uint8_t> codes, MatrixView<const float> alpha1,
                 MatrixView<const float> alpha2, MatrixView<float> w);
void fdb_scale_gradient(void* stream, MatrixView<const std::uint8_t> codes,
                        MatrixView<const float> dw, MatrixView<float> dalpha1,
                        MatrixView<float> dalpha2);
}  // namespace cuda

}  // namespace bitgrid

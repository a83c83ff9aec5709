#pragma once

#include <cstdint>
#include <span>

#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// values[r] = d_r S d_rᵀ: the squared norm of row r's output on the tokens that S = XᵀX sums.
//   d [rows, in]    s [in, in], lower triangle    values [rows]
// Products in fp32, row sums in fp64; rows are cut into tiles from row 0 on, so a row's value does
// not depend on the rows of other tiles of kQuadraticTileRows.
inline constexpr std::int64_t kQuadraticTileRows = 128;
void quadratic_form(const Place& place, MatrixView<const float> d, MatrixView<const float> s,
                    std::span<double> values);
namespace cpu {
void quadratic_form(const Place& place, MatrixView<const float> d, MatrixView<const float> s,
                    std::span<double> values);
}
namespace cuda {
void quadratic_form(const Place& place, MatrixView<const float> d, MatrixView<const float> s,
                    std::span<double> values);
}

}  // namespace bitgrid

#pragma once

#include <span>

#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// largest[j] ← max(largest[j], max_r |w(r, j)|).    w [rows, in]    largest [in]
void column_maxima(const Place& place, MatrixView<const float> w, std::span<float> largest);

// w(r, j) ← w(r, j)·factors[j].    w [rows, in]    factors [in]
void scale_columns(const Place& place, std::span<const float> factors, MatrixView<float> w);

namespace cpu {
void column_maxima(const Place& place, MatrixView<const float> w, std::span<float> largest);
void scale_columns(const Place& place, std::span<const float> factors, MatrixView<float> w);
}  // namespace cpu
namespace cuda {
void column_maxima(const Place& place, MatrixView<const float> w, std::span<float> largest);
void scale_columns(const Place& place, std::span<const float> factors, MatrixView<float> w);
}  // namespace cuda

}  // namespace bitgrid

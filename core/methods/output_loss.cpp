#include "core/methods/output_loss.hpp"

#include <algorithm>

#include "kernels/quadratic_form.hpp"

namespace bitgrid {

void measure_output_loss(const Place& place, MatrixView<const float> w, MatrixView<const float> q,
                         const Matrix<float>& gram, std::int64_t tokens, std::span<double> loss) {
  Matrix<float> off(w.rows, w.cols);
  for (std::int64_t r = 0; r < w.rows; ++r)
    for (std::int64_t j = 0; j < w.cols; ++j) off(r, j) = w(r, j) - q(r, j);
  quadratic_form(place, off.view(), gram.view(), loss);
  for (double& value : loss)  // a squared norm: rounding errors may push a tiny one below zero
    value = std::max(value, 0.0) / static_cast<double>(std::max<std::int64_t>(tokens, 1));
}

}  // namespace bitgrid

#include "core/methods/objective.hpp"

#include <algorithm>

#include "kernels/quadratic_form.hpp"

namespace bitgrid {
namespace {

double at_least_one(std::int64_t tokens) {
  return static_cast<double>(std::max<std::int64_t>(tokens, 1));
}

// d_r S d_rᵀ / N, a squared norm: rounding errors may push a tiny one below zero.
void measure_squares(const Place& place, MatrixView<const float> off, const Matrix<float>& gram,
                     std::int64_t tokens, std::span<double> loss) {
  quadratic_form(place, off, gram.view(), loss);
  for (double& value : loss) value = std::max(value, 0.0) / at_least_one(tokens);
}

// What the factor's damping added to H's diagonal.
double added_to_diagonal(const Matrix<float>& gram, const Factor& factor, std::int64_t tokens) {
  const std::int64_t live = gram.rows() - std::ssize(factor.dead);
  if (factor.u.rows == 0 || live == 0) return 0;
  double trace = 0;
  for (std::int64_t j = 0; j < gram.rows(); ++j) trace += static_cast<double>(gram(j, j));
  return trace * factor.damping * 2 / at_least_one(tokens) / static_cast<double>(live);
}

}  // namespace

void measure_output_loss(const Place& place, MatrixView<const float> w, MatrixView<const float> q,
                         const Matrix<float>& gram, std::int64_t tokens, std::span<double> loss) {
  Matrix<float> off(w.rows, w.cols);
  for (std::int64_t r = 0; r < w.rows; ++r)
    for (std::int64_t j = 0; j < w.cols; ++j) off(r, j) = w(r, j) - q(r, j);
  measure_squares(place, off.view(), gram, tokens, loss);
}

void measure_objective(const Place& place, MatrixView<const float> off, const Matrix<float>& gram,
                       const Factor& factor, std::int64_t tokens, std::span<double> loss) {
  const double lambda = added_to_diagonal(gram, factor, tokens);
  measure_squares(place, off, gram, tokens, loss);
  for (std::int64_t r = 0; r < off.rows; ++r) {
    double squares = 0;
    for (std::int64_t j = 0; j < off.cols; ++j)
      squares += static_cast<double>(off(r, j)) * static_cast<double>(off(r, j));
    loss[static_cast<std::size_t>(r)] += 0.5 * lambda * squares;
  }
}

}  // namespace bitgrid

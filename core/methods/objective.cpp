#include "core/methods/objective.hpp"

#include <algorithm>

#include "kernels/quadratic_form.hpp"

namespace bitgrid {

void measure_objective(const Place& place, MatrixView<const float> off, const Matrix<float>& gram,
                       const Factor& factor, std::int64_t tokens, std::span<double> loss) {
  const auto n = static_cast<double>(std::max<std::int64_t>(tokens, 1));
  double lambda = 0;
  const std::int64_t live = gram.rows() - std::ssize(factor.dead);
  if (factor.u.rows > 0 && live > 0) {
    for (std::int64_t j = 0; j < gram.rows(); ++j) lambda += static_cast<double>(gram(j, j));
    lambda *= factor.damping * 2 / n / static_cast<double>(live);
  }
  quadratic_form(place, off, gram.view(), loss);
  for (std::int64_t r = 0; r < off.rows; ++r) {
    double squares = 0;
    for (std::int64_t j = 0; j < off.cols; ++j)
      squares += static_cast<double>(off(r, j)) * static_cast<double>(off(r, j));
    double& value = loss[static_cast<std::size_t>(r)];
    value = std::max(value, 0.0) / n + 0.5 * lambda * squares;
  }
}

}  // namespace bitgrid

#include "kernels/softmax_divergence.hpp"

#include <string>

#include "kernels/error.hpp"

namespace bitgrid {

void largest_columns(const Place& place, MatrixView<const float> x,
                     std::span<std::int32_t> columns) {
  if (static_cast<std::int64_t>(columns.size()) != x.rows || x.cols == 0)
    throw Error("largest_columns: one column per row, " + std::to_string(x.rows) + ", of " +
                std::to_string(x.cols));
  switch (place.device) {
    case Device::cpu:
      return cpu::largest_columns(place, x, columns);
    case Device::cuda:
      return cuda::largest_columns(place, x, columns);
  }
}

void log_sum_exp(const Place& place, MatrixView<const float> x, std::span<double> sums) {
  if (static_cast<std::int64_t>(sums.size()) != x.rows)
    throw Error("log_sum_exp: one sum per row, " + std::to_string(x.rows));
  switch (place.device) {
    case Device::cpu:
      return cpu::log_sum_exp(place, x, sums);
    case Device::cuda:
      return cuda::log_sum_exp(place, x, sums);
  }
}

void softmax_divergence(const Place& place, Divergence direction, MatrixView<const float> base,
                        MatrixView<const float> change, MatrixView<const float> f,
                        std::span<const double> f_sums, std::span<double> divergences) {
  const auto like_f = [&](MatrixView<const float> m) {
    return m.rows == f.rows && m.cols == f.cols;
  };
  if (!like_f(base) || !(change.rows == 0 || like_f(change)) ||
      static_cast<std::int64_t>(f_sums.size()) != f.rows ||
      static_cast<std::int64_t>(divergences.size()) != f.rows)
    throw Error("softmax_divergence: base and change must be [" + std::to_string(f.rows) + ", " +
                std::to_string(f.cols) + "], with a sum and a divergence per row");
  switch (place.device) {
    case Device::cpu:
      return cpu::softmax_divergence(place, direction, base, change, f, f_sums, divergences);
    case Device::cuda:
      return cuda::softmax_divergence(place, direction, base, change, f, f_sums, divergences);
  }
}

}  // namespace bitgrid

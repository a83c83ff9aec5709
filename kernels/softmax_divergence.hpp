#pragma once

#include <cstdint>
#include <span>

#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// ln Σ exp of every row.    x [rows, n]    sums [rows]
void log_sum_exp(const Place& place, MatrixView<const float> x, std::span<double> sums);

// Kullback-Leibler divergence of the softmax of two rows, KL(p ‖ q) = Σ p·(ln p − ln q):
//   changed_from_fixed KL(y ‖ f), fixed_from_changed KL(f ‖ y), with y = base + change
//   base, change, f [rows, n]; change may be empty: y = base    f_sums [rows]: log_sum_exp of f
//   divergences [rows], >= 0
// Products and sums of up to 1024 features in fp32, logarithms and the rest in fp64.
enum class Divergence { changed_from_fixed, fixed_from_changed };
void softmax_divergence(const Place& place, Divergence direction, MatrixView<const float> base,
                        MatrixView<const float> change, MatrixView<const float> f,
                        std::span<const double> f_sums, std::span<double> divergences);

// The column of every row's largest element, the first of equal ones.    x [rows, n]
void largest_columns(const Place& place, MatrixView<const float> x,
                     std::span<std::int32_t> columns);

namespace cpu {
void largest_columns(const Place& place, MatrixView<const float> x,
                     std::span<std::int32_t> columns);
void log_sum_exp(const Place& place, MatrixView<const float> x, std::span<double> sums);
void softmax_divergence(const Place& place, Divergence direction, MatrixView<const float> base,
                        MatrixView<const float> change, MatrixView<const float> f,
                        std::span<const double> f_sums, std::span<double> divergences);
}  // namespace cpu
namespace cuda {
void largest_columns(const Place& place, MatrixView<const float> x,
                     std::span<std::int32_t> columns);
void log_sum_exp(const Place& place, MatrixView<const float> x, std::span<double> sums);
void softmax_divergence(const Place& place, Divergence direction, MatrixView<const float> base,
                        MatrixView<const float> change, MatrixView<const float> f,
                        std::span<const double> f_sums, std::span<double> divergences);
}  // namespace cuda

}  // namespace bitgrid

#include "kernels/binary_lanes.hpp"

#include <cmath>

#include "kernels/multiversion.hpp"

// Loops over lanes are the vector loops, with the sums over columns in registers. The compiler sees
// this only where the inner loop surely runs: do … while.
namespace bitgrid::cpu {
namespace {

constexpr int kRows = static_cast<int>(kPanelRows);

// Σ|v − mean| / columns
template <class T, class V>
[[gnu::always_inline]] inline void deviations(const V* v, std::int64_t columns, const T* mean,
                                              T* deviation) {
  for (int l = 0; l < kRows; ++l) {
    const T mu = mean[l];
    T sum = 0;
    std::int64_t j = 0;
    do {
      sum += std::fabs(static_cast<T>(v[j * kRows + l]) - mu);
    } while (++j < columns);
    deviation[l] = sum / static_cast<T>(columns);
  }
}

// residual = v − mean − deviation·sgn(v − mean), and the residual's mean.
template <class T, class V>
[[gnu::always_inline]] inline void residuals(const V* __restrict v, std::int64_t columns,
                                             const T* mean, const T* deviation,
                                             T* __restrict residual, T* residual_mean) {
  for (int l = 0; l < kRows; ++l) {
    const T mu = mean[l], alpha = deviation[l];
    T sum = 0;
    std::int64_t j = 0;
    do {
      const T d = static_cast<T>(v[j * kRows + l]) - mu;
      const T r = d - std::copysign(alpha, d + T(0));  // −0 counts as 0: up
      residual[j * kRows + l] = r;
      sum += r;
    } while (++j < columns);
    residual_mean[l] = sum / static_cast<T>(columns);
  }
}

// Of the distances d of a row's values from a mean.
template <class T>
struct Distances {
  T sum[kRows], weighted[kRows], squares[kRows];  // Σd, Σωd, Σωd²
};

template <class T, class V>
[[gnu::always_inline]] inline void measure(const V* __restrict v, const T* __restrict weights,
                                           std::int64_t columns, const T* __restrict mean,
                                           Distances<T>& __restrict out) {
  for (int l = 0; l < kRows; ++l) {
    const T mu = mean[l];
    T sum = 0, weighted = 0, squares = 0;
    std::int64_t j = 0;
    do {
      const T d = std::fabs(static_cast<T>(v[j * kRows + l]) - mu);
      const T wd = weights[j] * d;
      sum += d;
      weighted += wd;
      squares += wd * d;
    } while (++j < columns);
    out.sum[l] = sum;
    out.weighted[l] = weighted;
    out.squares[l] = squares;
  }
}

// With d = v − mean: Σω(d − α·sgn d)² = Σωd² − 2αΣω|d| + α²Σω.
template <class T, class V>
[[gnu::always_inline]] inline void add_errors(const V* v, const T* weights, std::int64_t columns,
                                              const T* mean, T weight_sum, T* errors) {
  Distances<T> d;
  measure(v, weights, columns, mean, d);
  for (int l = 0; l < kRows; ++l) {
    const T alpha = d.sum[l] / static_cast<T>(columns);
    errors[l] += d.squares[l] - 2 * alpha * d.weighted[l] + alpha * alpha * weight_sum;
  }
}

template <class T>
[[gnu::always_inline]] inline void set_errors(const PanelSet<T>& set, int order, T* residual,
                                              T* errors) {
  if (set.columns == 0) return;
  T mean[kRows], deviation[kRows];
  for (int l = 0; l < kRows; ++l) mean[l] = set.sums[l] / static_cast<T>(set.columns);
  if (order == 1) {
    add_errors(set.z, set.weights, set.columns, mean, set.weight_sum, errors);
    return;
  }
  deviations(set.z, set.columns, mean, deviation);
  T second[kRows];
  residuals(set.z, set.columns, mean, deviation, residual, second);
  add_errors(residual, set.weights, set.columns, second, set.weight_sum, errors);
}

// Of each row's values below the threshold.
template <class T>
struct Below {
  T count[kRows], sum[kRows], weight[kRows];
};

template <class T>
[[gnu::always_inline]] inline void sum_below(const T* __restrict z, const T* __restrict weights,
                                             std::int64_t columns, T threshold,
                                             Below<T>& __restrict below) {
  for (int l = 0; l < kRows; ++l) {
    T count = 0, sum = 0, weight = 0;
    std::int64_t j = 0;
    do {
      const T value = z[j * kRows + l];
      const T in = std::fabs(value) < threshold ? T(1) : T(0);
      count += in;
      sum += in * value;
      weight += in * weights[j];
    } while (++j < columns);
    below.count[l] = count;
    below.sum[l] = sum;
    below.weight[l] = weight;
  }
}

// Distances of the values below the threshold from their mean, mean + shift, and of all values from
// the mean of their set.
template <class T>
[[gnu::always_inline]] inline void measure_split(const T* __restrict z, const T* __restrict weights,
                                                 std::int64_t columns, T threshold,
                                                 const T* __restrict mean,
                                                 const T* __restrict shift,
                                                 Distances<T>& __restrict all,
                                                 Distances<T>& __restrict below) {
  for (int l = 0; l < kRows; ++l) {
    const T mu = mean[l], step = shift[l];
    T sum = 0, sum1 = 0, weighted = 0, weighted1 = 0, squares = 0;
    std::int64_t j = 0;
    do {
      const T value = z[j * kRows + l];
      const T in = std::fabs(value) < threshold ? T(1) : T(0);
      const T d = std::fabs(value - (mu + in * step));
      const T wd = weights[j] * d;
      sum += d;
      sum1 += in * d;
      weighted += wd;
      weighted1 += in * wd;
      squares += wd * d;
    } while (++j < columns);
    all.sum[l] = sum;
    all.weighted[l] = weighted;
    all.squares[l] = squares;
    below.sum[l] = sum1;
    below.weighted[l] = weighted1;
  }
}

template <class T>
[[gnu::always_inline]] inline void split_errors(const PanelSet<T>& set, T threshold, bool means,
                                                T* errors) {
  if (set.columns == 0) return;
  const T columns = static_cast<T>(set.columns);
  Below<T> below;
  sum_below(set.z, set.weights, set.columns, threshold, below);
  T mean[kRows], shift[kRows];
  for (int l = 0; l < kRows; ++l) {
    const T n1 = below.count[l], n2 = columns - n1;
    const T mean1 = means && n1 > 0 ? below.sum[l] / n1 : T(0);
    mean[l] = means && n2 > 0 ? (set.sums[l] - below.sum[l]) / n2 : T(0);
    shift[l] = mean1 - mean[l];
  }
  Distances<T> all, inside;
  measure_split(set.z, set.weights, set.columns, threshold, mean, shift, all, inside);
  for (int l = 0; l < kRows; ++l) {
    const T n1 = below.count[l], n2 = columns - n1;
    const T alpha1 = n1 > 0 ? inside.sum[l] / n1 : T(0);
    const T alpha2 = n2 > 0 ? (all.sum[l] - inside.sum[l]) / n2 : T(0);
    errors[l] += all.squares[l] - 2 * alpha1 * inside.weighted[l] +
                 alpha1 * alpha1 * below.weight[l] -
                 2 * alpha2 * (all.weighted[l] - inside.weighted[l]) +
                 alpha2 * alpha2 * (set.weight_sum - below.weight[l]);
  }
}

}  // namespace

BITGRID_MULTIVERSION
void add_set_errors(const PanelSet<float>& set, int order, float* residual, float* errors) {
  set_errors(set, order, residual, errors);
}

BITGRID_MULTIVERSION
void add_set_errors(const PanelSet<double>& set, int order, double* residual, double* errors) {
  set_errors(set, order, residual, errors);
}

BITGRID_MULTIVERSION
void add_split_errors(const PanelSet<float>& all, float threshold, bool means, float* errors) {
  split_errors(all, threshold, means, errors);
}

BITGRID_MULTIVERSION
void add_split_errors(const PanelSet<double>& all, float threshold, bool means, double* errors) {
  split_errors(all, static_cast<double>(threshold), means, errors);
}

BITGRID_MULTIVERSION
void split_panel(const float* __restrict a, const float* __restrict z, std::int64_t columns,
                 float threshold, bool means, PanelSplit& __restrict split) {
  if (columns == 0) {
    split = {};
    return;
  }
  double count[kRows];
  for (int l = 0; l < kRows; ++l) {
    double number = 0, sum = 0, sum1 = 0;
    std::int64_t j = 0;
    do {
      const double in = std::fabs(z[j * kRows + l]) < threshold ? 1.0 : 0.0;
      const double value = a[j * kRows + l];
      number += in;
      sum += value;
      sum1 += in * value;
    } while (++j < columns);
    count[l] = number;
    split.mean[0][l] = sum1;
    split.mean[1][l] = sum - sum1;
  }
  for (int l = 0; l < kRows; ++l) {
    const double rest = static_cast<double>(columns) - count[l];
    split.mean[0][l] = means && count[l] > 0 ? split.mean[0][l] / count[l] : 0.0;
    split.mean[1][l] = means && rest > 0 ? split.mean[1][l] / rest : 0.0;
  }
  for (int l = 0; l < kRows; ++l) {
    const double mean1 = split.mean[0][l], mean2 = split.mean[1][l];
    double sum1 = 0, sum2 = 0;
    std::int64_t j = 0;
    do {
      const double in = std::fabs(z[j * kRows + l]) < threshold ? 1.0 : 0.0;
      const double value = a[j * kRows + l];
      sum1 += in * std::fabs(value - mean1);
      sum2 += (1.0 - in) * std::fabs(value - mean2);
    } while (++j < columns);
    split.deviation[0][l] = sum1;
    split.deviation[1][l] = sum2;
  }
  for (int l = 0; l < kRows; ++l) {
    const double rest = static_cast<double>(columns) - count[l];
    split.deviation[0][l] = count[l] > 0 ? split.deviation[0][l] / count[l] : 0.0;
    split.deviation[1][l] = rest > 0 ? split.deviation[1][l] / rest : 0.0;
  }
}

BITGRID_MULTIVERSION
void residual_panel(const float* __restrict a, std::int64_t columns, double* __restrict residual,
                    PanelResidual& __restrict out) {
  if (columns == 0) {
    out = {};
    return;
  }
  for (int l = 0; l < kRows; ++l) {
    double sum = 0;
    std::int64_t j = 0;
    do {
      sum += static_cast<double>(a[j * kRows + l]);
    } while (++j < columns);
    out.mean[l] = sum / static_cast<double>(columns);
  }
  deviations(a, columns, out.mean, out.deviation);
  residuals(a, columns, out.mean, out.deviation, residual, out.second_mean);
  deviations(residual, columns, out.second_mean, out.second_deviation);
}

}  // namespace bitgrid::cpu

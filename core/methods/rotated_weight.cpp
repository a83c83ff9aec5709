#include "core/methods/rotated_weight.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/error.hpp"
#include "kernels/parallel.hpp"
#include "kernels/row_tiles.hpp"

namespace bitgrid {
namespace {

std::size_t at(std::int64_t j) { return static_cast<std::size_t>(j); }

struct Moments {
  double sum = 0, squares = 0;
};

// In row order, so that threads change nothing.
Moments moments_of(const Place& place, const Matrix<float>& w) {
  std::vector<Moments> rows(at(w.rows()));
  for_row_tiles(place, w.rows(), [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t r = first; r < end; ++r)
      for (std::int64_t j = 0; j < w.cols(); ++j) {
        const auto x = static_cast<double>(w(r, j));
        rows[at(r)].sum += x;
        rows[at(r)].squares += x * x;
      }
  });
  Moments all;
  for (const Moments& row : rows) {
    all.sum += row.sum;
    all.squares += row.squares;
  }
  return all;
}

// gᵀW
std::vector<double> combine_rows(MatrixView<const float> w, std::span<const double> g) {
  std::vector<double> sum(at(w.cols), 0.0);
  for (std::int64_t r = 0; r < w.rows; ++r)
    for (std::int64_t j = 0; j < w.cols; ++j) sum[at(j)] += g[at(r)] * static_cast<double>(w(r, j));
  return sum;
}

double squared_norm(std::span<const double> v) {
  double sum = 0;
  for (const double x : v) sum += x * x;
  return sum;
}

// x S xᵀ
double through_gram(std::span<const double> x, const Matrix<float>& gram) {
  double sum = 0;
  for (std::int64_t i = 0; i < gram.rows(); ++i) {
    double row = 0.5 * x[at(i)] * static_cast<double>(gram(i, i));
    for (std::int64_t j = 0; j < i; ++j) row += x[at(j)] * static_cast<double>(gram(i, j));
    sum += 2 * x[at(i)] * row;
  }
  return sum;
}

// x H̃ xᵀ = Σ D_p (Σ_i x_i G_ip)², x in column order
double through_factor(std::span<const double> x, const IncoherentFactor& factor) {
  const std::int64_t in = factor.feedback.rows;
  std::vector<double> y(at(in), 0.0);
  for (std::int64_t i = 0; i < in; ++i) {
    // H̃ = GᵀDG by position, so G x, row by row.
    double sum = 0;
    for (std::int64_t p = 0; p <= i; ++p)
      sum += static_cast<double>(factor.feedback(i, p)) * x[at(factor.order[at(p)])];
    y[at(i)] = sum;
  }
  double sum = 0;
  for (std::int64_t i = 0; i < in; ++i) sum += factor.d[at(i)] * y[at(i)] * y[at(i)];
  return sum;
}

// g_r = ±1, of a stream of U's seed that nothing else uses.
Matrix<double> random_signs(std::uint64_t seed, std::int64_t count) {
  PhiloxStream stream(seed, 4);
  Matrix<double> g(count, 1);
  for (std::int64_t r = 0; r < count; ++r) g(r, 0) = stream.next().p >> 63 != 0 ? 1 : -1;
  return g;
}

}  // namespace

std::vector<double> column_norms(const Place& place,
                                 std::span<const MatrixView<const float>> weights) {
  constexpr std::int64_t kColumns = 512;
  const std::int64_t in = weights.front().cols;
  std::vector<double> norms(at(in), 0.0);
  parallel_for(place, (in + kColumns - 1) / kColumns, [&](std::int64_t tile) {
    const std::int64_t first = tile * kColumns, end = std::min(in, first + kColumns);
    for (const MatrixView<const float>& w : weights)
      for (std::int64_t r = 0; r < w.rows; ++r)
        for (std::int64_t j = first; j < end; ++j)
          norms[at(j)] += static_cast<double>(w(r, j)) * static_cast<double>(w(r, j));
  });
  return norms;
}

RotatedWeight rotate_weight(const Place& place, MatrixView<const float> w,
                            const IncoherentFactor& factor, const DrawnRotation& v,
                            std::uint64_t u_seed, const RotationKind& kind) {
  std::vector<float> s(factor.scales.begin(), factor.scales.end());
  for (const std::int32_t j : factor.dead) s[at(j)] = 0;
  RotatedWeight rotated;
  rotated.u = draw_rotation(u_seed, w.rows, kind);
  rotated.u_seed = u_seed;
  rotated.w = Matrix<float>(w.rows, w.cols);
  Matrix<float> half(w.rows, w.cols);
  for_row_tiles(place, w.rows, [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t r = first; r < end; ++r)
      for (std::int64_t j = 0; j < w.cols; ++j) rotated.w(r, j) = w(r, j) * s[at(j)];
  });
  rotate_rows(place, v.view(), Turn::forward, rotated.w.view(), half.view());
  rotate_columns(place, rotated.u.view(), Turn::forward, half.view(), rotated.w.view());
  const auto [sum, squares] = moments_of(place, rotated.w);
  const auto count = static_cast<double>(w.rows * w.cols);
  const double mean = sum / count;
  const double deviation = std::sqrt(std::max(squares / count - mean * mean, 0.0));
  rotated.norm = std::sqrt(squares);
  rotated.mean_over_deviation = deviation > 0 ? mean / deviation : 0;
  return rotated;
}

void check_rotation(const RotatedWeight& rotated, MatrixView<const float> w,
                    const Matrix<float>& gram, const IncoherentFactor& factor) {
  if (factor.feedback.rows == 0 || !std::isfinite(rotated.norm)) return;
  const Matrix<double> g = random_signs(rotated.u_seed, w.rows);
  Matrix<double> turned(w.rows, 1);  // Uᵀg
  rotate_columns(Place{}, rotated.u.view(), Turn::inverse, g.view(), turned.view());
  std::vector<double> before = combine_rows(w, {turned.data(), at(w.rows)});
  for (const std::int32_t j : factor.dead) before[at(j)] = 0;
  const std::vector<double> after = combine_rows(rotated.w.view(), {g.data(), at(w.rows)});
  const double straight = factor.gram_scale * through_gram(before, gram);
  for (std::int64_t j = 0; j < w.cols; ++j) before[at(j)] *= factor.scales[at(j)];
  const double expected = straight + factor.damping * squared_norm(before);
  const double found = through_factor(after, factor);
  // H̃'s largest eigenvalue is at most its trace, in: what fp32 leaves of W̃ and G may be off in its
  // direction.
  const double in = static_cast<double>(w.cols);
  const double allowed =
      1e-4 * expected + 4e-6 * std::sqrt(in * std::max(expected, 0.0) * squared_norm(after));
  if (!(std::fabs(found - expected) <= allowed))
    throw Error(fmt::format("rotating changed a row's W H W^T from {} to {}", expected, found));
}

}  // namespace bitgrid

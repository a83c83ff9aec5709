#include "core/methods/incoherent_factor.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "kernels/error.hpp"
#include "kernels/grid.hpp"
#include "kernels/inverse_factor.hpp"
#include "kernels/parallel.hpp"
#include "kernels/row_tiles.hpp"
#include "kernels/sha256.hpp"

namespace bitgrid {
namespace {

// As GPTQ's: each attempt costs in³/3, so they are few and grow fast.
constexpr double kDampingLadder[] = {1, 2, 5, 10, 20, 50};
// Floors of the rescaling, on H over its largest element and on ω.
constexpr double kScaleFloor = 1e-8;
constexpr float kF16Largest = 65504;

std::size_t at(std::int64_t j) { return static_cast<std::size_t>(j); }

// S's diagonal with the mean of the live ones where there was no input.
struct Diagonal {
  std::vector<double> values;
  std::vector<std::int32_t> dead;
};

Diagonal repaired_diagonal(const Matrix<double>& s) {
  Diagonal diagonal;
  double sum = 0;
  for (std::int64_t j = 0; j < s.rows(); ++j) {
    if (s(j, j) < 0)
      throw Error(fmt::format("gram is {} at row {}, column {}: a sum of squares", s(j, j), j, j));
    diagonal.values.push_back(s(j, j));
    sum += s(j, j);
    if (s(j, j) == 0) diagonal.dead.push_back(static_cast<std::int32_t>(j));
  }
  const auto live = s.rows() - std::ssize(diagonal.dead);
  for (const std::int32_t j : diagonal.dead)
    diagonal.values[at(j)] = live > 0 ? sum / static_cast<double>(live) : 0;
  return diagonal;
}

double largest_element(const Matrix<double>& s, const Diagonal& diagonal) {
  double largest = *std::max_element(diagonal.values.begin(), diagonal.values.end());
  for (std::int64_t i = 0; i < s.rows(); ++i)
    for (std::int64_t j = 0; j < i; ++j) largest = std::max(largest, std::fabs(s(i, j)));
  return largest;
}

// s_j = (H_jj/ω_j)^¼ over their geometric mean, which minimizes tr(H)·‖W‖² over diagonal scalings;
// as fp16 holds it.
std::vector<double> column_scales(const Diagonal& diagonal, double largest,
                                  std::span<const double> weight_norms) {
  const std::int64_t in = std::ssize(diagonal.values);
  std::vector<bool> dead(at(in), false);
  for (const std::int32_t j : diagonal.dead) dead[at(j)] = true;
  std::vector<double> logs(at(in), 0.0);
  double sum = 0;
  for (std::int64_t j = 0; j < in; ++j) {
    if (dead[at(j)]) continue;
    logs[at(j)] = 0.25 * (std::log(std::max(diagonal.values[at(j)] / largest, kScaleFloor)) -
                          std::log(std::max(weight_norms[at(j)], kScaleFloor)));
    sum += logs[at(j)];
  }
  const double mean = sum / static_cast<double>(in - std::ssize(diagonal.dead));
  std::vector<double> scales(at(in), 1.0);
  for (std::int64_t j = 0; j < in; ++j) {
    if (dead[at(j)]) continue;
    const auto s = static_cast<float>(
        std::clamp(std::exp(logs[at(j)] - mean), double{kF16SmallestNormal}, double{kF16Largest}));
    scales[at(j)] = static_cast<double>(f16_to_f32(f32_to_f16(s)));
  }
  return scales;
}

// gram_scale·diag(1/s)·S·diag(1/s), both triangles.
Matrix<double> rescaled(const Place& place, const Matrix<double>& s, const Diagonal& diagonal,
                        const std::vector<double>& scales, double gram_scale) {
  const std::int64_t in = s.rows();
  Matrix<double> h(in, in);
  for_row_tiles(place, in, [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t i = first; i < end; ++i) {
      for (std::int64_t j = 0; j < in; ++j)
        h(i, j) = gram_scale * s(std::max(i, j), std::min(i, j)) / (scales[at(i)] * scales[at(j)]);
      h(i, i) = gram_scale * diagonal.values[at(i)] / (scales[at(i)] * scales[at(i)]);
    }
  });
  return h;
}

// V H Vᵀ, made symmetric again.
void rotate_both(const Place& place, const Rotation& v, Matrix<double>& h) {
  if (v.identity()) return;
  const std::int64_t in = h.rows();
  Matrix<double> half(in, in);
  rotate_rows(place, v, Turn::forward, h.view(), half.view());
  rotate_columns(place, v, Turn::forward, half.view(), h.view());
  for_row_tiles(place, in, [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t i = first; i < end; ++i)
      for (std::int64_t j = 0; j < i; ++j) h(i, j) = h(j, i) = 0.5 * (h(i, j) + h(j, i));
  });
}

std::vector<std::int32_t> column_order(const std::string& name, const Matrix<double>& h) {
  std::vector<std::int32_t> order(at(h.rows()));
  std::iota(order.begin(), order.end(), 0);
  if (name == "first") return order;
  if (name == "diagonal")  // ascending, so that the largest comes last
    std::stable_sort(order.begin(), order.end(),
                     [&](std::int32_t a, std::int32_t b) { return h(a, a) < h(b, b); });
  std::reverse(order.begin(), order.end());
  return order;
}

struct Made {
  Shared shared;
  double gram_scale = 0, damping = 0, attempts = 0, fallback = 0;
  std::vector<double> scales, d;
};

// Climbs the ladder until H + damping·I can be factored; leaves no matrix if it never can.
void factor_with_damping(const Place& place, double damp, const Matrix<double>& h,
                         std::span<const std::int32_t> order, Made& made) {
  const std::int64_t in = h.rows();
  Matrix<float> g(in, in);
  std::vector<double> damped(at(in)), d(at(in));
  for (const double step : kDampingLadder) {
    made.damping = damp * step;
    ++made.attempts;
    for (std::int64_t j = 0; j < in; ++j) damped[at(j)] = h(j, j) + made.damping;
    if (feedback_factor(place, {h.view(), 1.0, damped, order}, g.view(), d) >= 0) continue;
    made.shared.matrices[0] = std::move(g);
    made.d = std::move(d);
    return;
  }
  made.fallback = 1;
}

// Both triangles of H + damping·I, by position.
Matrix<float> by_position(const Place& place, const Matrix<double>& h, double damping,
                          std::span<const std::int32_t> order) {
  Matrix<float> ordered(h.rows(), h.rows());
  for_row_tiles(place, h.rows(), [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t i = first; i < end; ++i) {
      const double* row = h.row(order[at(i)]);
      for (std::int64_t j = 0; j < h.rows(); ++j)
        ordered(i, j) = static_cast<float>(row[order[at(j)]] + (i == j ? damping : 0.0));
    }
  });
  return ordered;
}

// In `shared`: matrices {G, H̃}, indices {order, dead}, numbers {s, D, {gram_scale, damping,
// attempts, fallback, seconds}}.
Shared make(const Place& place, const IncoherentRequest& request, const Matrix<double>& s) {
  const auto start = std::chrono::steady_clock::now();
  const std::int64_t in = s.rows();
  BITGRID_ASSERT(in > 0 && s.cols() == in && std::ssize(request.weight_norms) == in);
  Diagonal diagonal = repaired_diagonal(s);
  Made made;
  made.shared.matrices.resize(2);
  made.scales.assign(at(in), 1.0);
  std::vector<std::int32_t> order;
  if (std::ssize(diagonal.dead) < in) {  // else every weight will be zero
    const double largest = largest_element(s, diagonal);
    if (request.rescale) made.scales = column_scales(diagonal, largest, request.weight_norms);
    double trace = 0;
    for (std::int64_t j = 0; j < in; ++j)
      trace += diagonal.values[at(j)] / largest / (made.scales[at(j)] * made.scales[at(j)]);
    made.gram_scale = static_cast<double>(in) / trace / largest;
    Matrix<double> h = rescaled(place, s, diagonal, made.scales, made.gram_scale);
    rotate_both(place, request.v.view(), h);
    order = column_order(request.order, h);
    factor_with_damping(place, request.damp, h, order, made);
    if (request.greedy && made.fallback == 0)
      made.shared.matrices[1] = by_position(place, h, made.damping, order);
    if (made.fallback != 0) diagonal.dead.clear();  // whatever this S says is not to be trusted
  }
  made.shared.indices = {std::move(order), std::move(diagonal.dead)};
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  made.shared.numbers = {std::move(made.scales),
                         std::move(made.d),
                         {made.gram_scale, made.damping, made.attempts, made.fallback, seconds}};
  return std::move(made.shared);
}

}  // namespace

IncoherentFactor shared_incoherent_factor(const Place& place, TapWork& work,
                                          const IncoherentRequest& request) {
  // Cells may share a tap and not the weights behind it: the norms are part of the name.
  const std::string key = fmt::format(
      "incoherent v={:016x} form={} split={} rescale={} damp={} order={} greedy={} weights={}",
      request.v_seed, static_cast<int>(request.kind.form), static_cast<int>(request.kind.split),
      request.rescale, request.damp, request.order, request.greedy,
      request.rescale ? sha256_hex(std::as_bytes(request.weight_norms)) : std::string("any"));
  const Shared& shared = work.once(
      key, [&](const Statistics& statistics) { return make(place, request, statistics.gram); });
  IncoherentFactor factor;
  factor.scales = shared.numbers[0];
  factor.order = shared.indices[0];
  factor.dead = shared.indices[1];
  factor.feedback = shared.matrices[0].view();
  factor.d = shared.numbers[1];
  factor.h = shared.matrices[1].view();
  const std::vector<double>& numbers = shared.numbers[2];
  factor.gram_scale = numbers[0];
  factor.damping = numbers[1];
  factor.damping_attempts = static_cast<std::int64_t>(numbers[2]);
  factor.fallback = numbers[3] != 0;
  factor.seconds = numbers[4];
  return factor;
}

}  // namespace bitgrid

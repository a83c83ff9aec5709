#include "core/methods/factor.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "kernels/error.hpp"
#include "kernels/inverse_factor.hpp"
#include "kernels/parallel.hpp"

namespace bitgrid {
namespace {

// Each attempt costs in³/3, so they are few and grow fast: damp · 1 … damp · 50.
constexpr double kDampingLadder[] = {1, 2, 5, 10, 20, 50};

// Columns by descending diagonal; equal ones keep their order, so columns without input come last.
void sort_columns(const std::vector<double>& diagonal, std::span<std::int32_t> columns) {
  std::stable_sort(columns.begin(), columns.end(), [&](std::int32_t a, std::int32_t b) {
    return diagonal[static_cast<std::size_t>(a)] > diagonal[static_cast<std::size_t>(b)];
  });
}

// Group-aware order: sorted inside each group, and whole groups by their largest diagonal.
std::vector<std::int32_t> group_aware_order(const std::vector<double>& diagonal,
                                            std::vector<std::int32_t> columns, std::int64_t group) {
  std::vector<std::span<std::int32_t>> groups;
  for (std::size_t at = 0; at < columns.size(); at += static_cast<std::size_t>(group)) {
    groups.push_back(std::span(columns).subspan(at, static_cast<std::size_t>(group)));
    sort_columns(diagonal, groups.back());
  }
  std::stable_sort(groups.begin(), groups.end(), [&](auto a, auto b) {
    return diagonal[static_cast<std::size_t>(a[0])] > diagonal[static_cast<std::size_t>(b[0])];
  });
  std::vector<std::int32_t> order;
  order.reserve(columns.size());
  for (const auto& g : groups) order.insert(order.end(), g.begin(), g.end());
  return order;
}

// diagonal: of the undamped S, 0 where there was no input.
std::vector<std::int32_t> column_order(const FactorRequest& request,
                                       const std::vector<double>& diagonal) {
  if (request.order == "none") return {};
  std::vector<std::int32_t> columns(diagonal.size());
  std::iota(columns.begin(), columns.end(), 0);
  if (request.order == "gar") {
    const auto all = static_cast<std::int64_t>(columns.size());
    return group_aware_order(diagonal, std::move(columns), request.group < 0 ? all : request.group);
  }
  sort_columns(diagonal, columns);
  return columns;
}

// In `made`: matrices {U or nothing}, indices {order, dead}, numbers {damping, attempts, fallback,
// seconds}.
struct Attempt {
  double damping = 0, attempts = 0, fallback = 0, seconds = 0;
};

// Climbs the ladder until H = scale·S + damping·mean·I can be factored; returns nothing if it never
// can.
Matrix<float> factor_with_damping(const Place& place, const FactorRequest& request,
                                  const Statistics& statistics, const std::vector<double>& diagonal,
                                  std::span<const std::int32_t> order, std::int64_t live,
                                  Attempt& attempt) {
  const double scale = 2.0 / static_cast<double>(std::max<std::int64_t>(statistics.tokens, 1));
  const double mean =
      scale * std::accumulate(diagonal.begin(), diagonal.end(), 0.0) / static_cast<double>(live);
  Matrix<float> factor(statistics.gram.rows(), statistics.gram.rows());
  std::vector<double> damped(diagonal.size());
  for (const double step : kDampingLadder) {
    attempt.damping = request.damp * step;
    ++attempt.attempts;
    for (std::size_t j = 0; j < diagonal.size(); ++j)
      damped[j] = (diagonal[j] == 0 ? 1.0 : scale * diagonal[j]) + attempt.damping * mean;
    const ScaledGram h{statistics.gram.view(), scale, damped, order};
    if (inverse_factor(place, h, factor.view()) < 0) return factor;
  }
  return {};
}

void check_statistics(const Place& place, const Matrix<double>& s) {
  if (s.rows() != s.cols() || s.rows() == 0)
    throw Error(fmt::format("gram must be square, not [{}, {}]", s.rows(), s.cols()));
  std::vector<std::uint8_t> finite(static_cast<std::size_t>(s.rows()));
  parallel_for(place, s.rows(), [&](std::int64_t i) {
    finite[static_cast<std::size_t>(i)] = std::all_of(s.row(i), s.row(i) + i + 1, [](double value) {
      return std::isfinite(static_cast<float>(value));
    });
  });
  for (std::int64_t i = 0; i < s.rows(); ++i)
    for (std::int64_t j = 0; !finite[static_cast<std::size_t>(i)] && j <= i; ++j)
      if (!std::isfinite(static_cast<float>(s(i, j))))
        throw Error(
            fmt::format("gram is {} at row {}, column {}: the activations are not finite or "
                        "their sum overflows",
                        s(i, j), i, j));
}

Shared make_factor(const Place& place, const FactorRequest& request, const Statistics& statistics) {
  const auto start = std::chrono::steady_clock::now();
  check_statistics(place, statistics.gram);
  const std::int64_t in = statistics.gram.rows();
  std::vector<double> diagonal(static_cast<std::size_t>(in));
  std::vector<std::int32_t> order, dead;
  for (std::int64_t j = 0; j < in; ++j) {
    diagonal[static_cast<std::size_t>(j)] = statistics.gram(j, j);
    if (statistics.gram(j, j) == 0) dead.push_back(static_cast<std::int32_t>(j));
  }
  Attempt attempt;
  Shared made;
  Matrix<float>& factor = made.matrices.emplace_back();
  // Without any input there is nothing to factor; every weight will be zero.
  if (const auto live = in - static_cast<std::int64_t>(dead.size()); live > 0) {
    order = column_order(request, diagonal);
    factor = factor_with_damping(place, request, statistics, diagonal, order, live, attempt);
    if (factor.empty()) {  // whatever this Gram matrix says is not to be trusted
      attempt.fallback = 1;
      order.clear();
      dead.clear();
    }
  }
  made.indices = {std::move(order), std::move(dead)};
  attempt.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  made.numbers = {{attempt.damping, attempt.attempts, attempt.fallback, attempt.seconds}};
  return made;
}

}  // namespace

Factor shared_factor(const Place& place, TapWork& work, const FactorRequest& request) {
  const std::string key =
      fmt::format("factor damp={} order={}", request.damp, request.order) +
      (request.order == "gar" ? fmt::format(" group={}", request.group) : std::string());
  const Shared& shared = work.once(
      key, [&](const Statistics& statistics) { return make_factor(place, request, statistics); });
  const std::vector<double>& numbers = shared.numbers.front();
  Factor factor;
  factor.order = shared.indices[0];
  factor.dead = shared.indices[1];
  factor.u = shared.matrices.front().view();
  factor.damping = numbers[0];
  factor.damping_attempts = static_cast<std::int64_t>(numbers[1]);
  factor.fallback = numbers[2] != 0;
  factor.seconds = numbers[3];
  return factor;
}

void note_factor(const Factor& factor, LinearDiagnostics& diagnostics) {
  diagnostics.damping = factor.damping;
  diagnostics.damping_attempts = factor.damping_attempts;
  diagnostics.fallback = factor.fallback;
  diagnostics.dead_columns = static_cast<std::int64_t>(factor.dead.size());
  diagnostics.factor_s = factor.seconds;
}

Matrix<float> without_dead_columns(MatrixView<const float> w, std::span<const std::int32_t> dead) {
  Matrix<float> live(w.rows, w.cols);
  for (std::int64_t r = 0; r < w.rows; ++r) {
    std::copy_n(w.row(r), w.cols, live.row(r));
    for (const std::int32_t j : dead) live(r, j) = 0;
  }
  return live;
}

}  // namespace bitgrid

#include "core/methods/gptq.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <numeric>

#include "core/methods/grid.hpp"
#include "core/methods/uniform_rows.hpp"
#include "kernels/error.hpp"
#include "kernels/finite.hpp"
#include "kernels/gptq_rows.hpp"
#include "kernels/inverse_factor.hpp"
#include "kernels/round_to_grid.hpp"

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
std::vector<std::int32_t> column_order(const Recipe& recipe, const std::vector<double>& diagonal) {
  const std::string& mode = recipe.word("order");
  if (mode == "none") return {};
  std::vector<std::int32_t> columns(diagonal.size());
  std::iota(columns.begin(), columns.end(), 0);
  if (mode == "gar")
    return group_aware_order(diagonal, std::move(columns),
                             group_size(recipe, static_cast<std::int64_t>(diagonal.size())));
  sort_columns(diagonal, columns);
  return columns;
}

void check_statistics(const Place& place, const Statistics& statistics, std::int64_t cols) {
  const Matrix<float>& s = statistics.gram;
  if (s.rows() != cols || s.cols() != cols)
    throw Error(fmt::format("gram must be [{0}, {0}], not [{1}, {2}]", cols, s.rows(), s.cols()));
  if (const auto bad = find_non_finite_lower(place, s.view()))
    throw Error(
        fmt::format("gram is {} at row {}, column {}: the activations are not finite or "
                    "their sum overflows",
                    s(bad->row, bad->col), bad->row, bad->col));
}

// Climbs the ladder until H = scale·S + damping·mean·I can be factored; leaves `factor` empty if it
// never can.
void factor_with_damping(const Place& place, const Recipe& recipe, const Matrix<float>& s,
                         const std::vector<double>& diagonal, Prepared& prepared) {
  const double scale = 2.0 / static_cast<double>(std::max<std::int64_t>(prepared.tokens, 1));
  const auto live = static_cast<double>(diagonal.size() - prepared.dead.size());
  const double mean = scale * std::accumulate(diagonal.begin(), diagonal.end(), 0.0) / live;
  Matrix<float> factor(s.rows(), s.cols());
  std::vector<double> damped(diagonal.size());
  for (const double rung : kDampingLadder) {
    prepared.damping = rung * recipe.number("damp");
    ++prepared.damping_attempts;
    for (std::size_t j = 0; j < diagonal.size(); ++j)
      damped[j] = (diagonal[j] == 0 ? 1.0 : scale * diagonal[j]) + prepared.damping * mean;
    const ScaledGram h{s.view(), scale, damped, prepared.order};
    if (inverse_factor(place, h, factor.view()) < 0) {
      prepared.factor = std::move(factor);
      return;
    }
  }
}

Prepared prepare(const Place& place, const Recipe& recipe, const Statistics& statistics,
                 std::int64_t cols) {
  const auto start = std::chrono::steady_clock::now();
  check_statistics(place, statistics, cols);
  Prepared prepared;
  prepared.tokens = statistics.tokens;
  std::vector<double> diagonal(static_cast<std::size_t>(cols));
  for (std::int64_t j = 0; j < cols; ++j) {
    diagonal[static_cast<std::size_t>(j)] = static_cast<double>(statistics.gram(j, j));
    if (statistics.gram(j, j) == 0) prepared.dead.push_back(static_cast<std::int32_t>(j));
  }
  // Without any input there is nothing to factor; every weight will be zero.
  if (static_cast<std::int64_t>(prepared.dead.size()) < cols) {
    prepared.order = column_order(recipe, diagonal);
    factor_with_damping(place, recipe, statistics.gram, diagonal, prepared);
    if (prepared.factor
            .empty()) {  // plain RTN: whatever this Gram matrix says is not to be trusted
      prepared.fallback = true;
      prepared.order.clear();
      prepared.dead.clear();
    }
  }
  prepared.gram = statistics.gram.clone();  // after the factorization, whose workspace is the peak
  prepared.factor_s =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return prepared;
}

// Which group each position belongs to: in mode act a group is a run of positions, else it is a run
// of columns.
std::vector<std::int32_t> groups_by_position(const Recipe& recipe, const Prepared& prepared,
                                             std::int64_t cols, std::int64_t group) {
  std::vector<std::int32_t> groups = natural_groups(cols, group);
  if (prepared.order.empty() || recipe.word("order") == "act") return groups;
  const std::vector<std::int32_t> natural = groups;
  for (std::size_t i = 0; i < groups.size(); ++i)
    groups[i] = natural[static_cast<std::size_t>(prepared.order[i])];
  return groups;
}

std::vector<std::int32_t> groups_by_column(const Prepared& prepared,
                                           const std::vector<std::int32_t>& by_position) {
  if (prepared.order.empty()) return by_position;
  std::vector<std::int32_t> groups(by_position.size());
  for (std::size_t i = 0; i < groups.size(); ++i)
    groups[static_cast<std::size_t>(prepared.order[i])] = by_position[i];
  return groups;
}

Matrix<float> without_dead_columns(MatrixView<const float> w,
                                   const std::vector<std::int32_t>& dead) {
  Matrix<float> live(w.rows, w.cols);
  for (std::int64_t r = 0; r < w.rows; ++r) {
    std::copy_n(w.row(r), w.cols, live.row(r));
    for (const std::int32_t j : dead) live(r, j) = 0;
  }
  return live;
}

void round_rows(const Place& place, const Recipe& recipe, const Prepared& prepared,
                MatrixView<const float> w, RowsOut out) {
  check_weights(place, w);
  const UniformGrid grid = recipe_grid(recipe);
  const std::int64_t group = group_size(recipe, w.cols);
  const std::vector<std::int32_t> by_position = groups_by_position(recipe, prepared, w.cols, group);
  const Matrix<float> live = without_dead_columns(w, prepared.dead);
  Matrix<float> scales(w.rows, w.cols / group);
  std::vector<double> loss(static_cast<std::size_t>(w.rows));
  const bool feedback = !prepared.factor.empty();
  if (feedback) {
    const bool fixed = recipe.group < 0 || recipe.word("order") == "static";
    GptqColumns columns;
    columns.grid = grid;
    columns.factor = prepared.factor.view();
    columns.order = prepared.order;
    columns.group_of = by_position;
    columns.dynamic_group = fixed ? 0 : group;
    columns.stale_range = recipe.flag("compat");
    if (fixed) fit_grid(place, grid, live.view(), group, scales.view(), out.zeros);
    gptq_rows(place, columns, live.view(), scales.view(), out.zeros, out.codes, loss);
  } else {
    round_rows_to_nearest(place, grid, group, live.view(), scales.view(), out.zeros, out.codes);
  }
  finish_rows(place, w, groups_by_column(prepared, by_position), scales.view(),
              prepared.gram.view(), out);
  if (out.loss == nullptr) return;
  // Without feedback the objective ½·(w − q)H(w − q)ᵀ, H = 2S/N, follows from the output error.
  const auto tokens = static_cast<double>(std::max<std::int64_t>(prepared.tokens, 1));
  for (std::int64_t r = 0; r < w.rows; ++r)
    out.loss[r] = feedback || out.output_error == nullptr ? loss[static_cast<std::size_t>(r)]
                                                          : out.output_error[r] / tokens;
}

}  // namespace

const RoundingSteps kGptqSteps = {prepare, round_rows};

}  // namespace bitgrid

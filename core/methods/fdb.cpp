#include "core/methods/fdb.hpp"

#include <algorithm>

#include "core/methods/factor.hpp"
#include "core/methods/grid.hpp"
#include "core/methods/objective.hpp"
#include "core/methods/stored_arrays.hpp"
#include "core/methods/uniform_rows.hpp"
#include "kernels/fdb_joint_scales.hpp"
#include "kernels/fdb_rows.hpp"

namespace bitgrid {
namespace {

std::int64_t whole(const Recipe& recipe, const std::string& key) {
  return std::get<std::int64_t>(recipe.options.at(key));
}

FdbColumns recipe_columns(const Recipe& recipe, std::int64_t group) {
  FdbColumns columns;
  columns.group = group;
  const std::string& start = recipe.word("start");
  columns.start = start == "absmax"  ? FdbStart::absmax
                  : start == "range" ? FdbStart::range
                                     : FdbStart::search;
  columns.scale_steps = static_cast<int>(whole(recipe, "scale_steps"));
  return columns;
}

struct Solution {
  Matrix<float> scale1, scale2;  // [rows, groups]
  Matrix<std::uint8_t> codes;    // [rows, in]
  std::vector<double> loss;      // [rows]
};

Solution round_once(const Place& place, const FdbColumns& columns, MatrixView<const float> w) {
  const std::int64_t groups = w.cols / columns.group;
  Solution s{Matrix<float>(w.rows, groups), Matrix<float>(w.rows, groups),
             Matrix<std::uint8_t>(w.rows, w.cols),
             std::vector<double>(static_cast<std::size_t>(w.rows))};
  fdb_rows(place, columns, w, s.scale1.view(), s.scale2.view(), s.codes.view(), s.loss);
  return s;
}

// Joint scales for the codes, then codes for the scales, and so on; each row keeps the better.
void improve_jointly(const Place& place, FdbColumns columns, const FdbObjective& objective,
                     std::int64_t rounds, MatrixView<const float> w, Solution& best) {
  for (std::int64_t round = 0; round < rounds; ++round) {
    if (round > 0) {
      columns.fit = false;
      Solution next{best.scale1.clone(), best.scale2.clone(), Matrix<std::uint8_t>(w.rows, w.cols),
                    best.loss};
      fdb_rows(place, columns, w, next.scale1.view(), next.scale2.view(), next.codes.view(),
               next.loss);
      fdb_row_losses(place, objective, w, next.scale1.view(), next.scale2.view(), next.codes.view(),
                     next.loss);
      for (std::int64_t r = 0; r < w.rows; ++r)
        if (next.loss[static_cast<std::size_t>(r)] < best.loss[static_cast<std::size_t>(r)])
          std::copy_n(next.codes.row(r), w.cols, best.codes.row(r));
    }
    fdb_joint_scales(place, objective, w, best.codes.view(), best.scale1.view(), best.scale2.view(),
                     best.loss);
  }
}

// first: the first row's place among all rows.
void keep(const Solution& s, std::int64_t first, FdbRows& rows) {
  const std::int64_t count = s.codes.rows();
  store_scales(s.scale1.view(), rows.scales1.rows_from(first, count), first);
  store_scales(s.scale2.view(), rows.scales2.rows_from(first, count), first);
  std::copy_n(s.codes.data(), s.codes.size(), rows.codes.row(first));
  std::copy_n(s.loss.data(), count, rows.loss.row(first));
}

// One linear of each task, solved by solve_linear(task, rows, first, count).
using SolveLinear =
    std::function<void(const LinearTask&, FdbRows&, std::int64_t first, std::int64_t count)>;
std::vector<FdbRows> solve_all(const TapTask& task, TapWork& work,
                               const SolveLinear& solve_linear) {
  std::vector<FdbRows> all;
  all.reserve(task.linears.size());
  std::vector<RowBlock> blocks;
  for (const LinearTask& linear : task.linears) {
    FdbRows& rows =
        all.emplace_back(linear.w.rows, linear.w.cols, group_size(linear.recipe, linear.w.cols));
    blocks.push_back(rows.block(
        [&](std::int64_t first, std::int64_t count) { solve_linear(linear, rows, first, count); }));
  }
  work.solve_rows(blocks);
  return all;
}

// What the rows of all linears behind a tap share.
struct Feedback {
  Factor factor;
  const Matrix<float>& gram;
  std::vector<float> energy;  // S_jj; nothing where S cannot be trusted
  FdbObjective objective;     // group unset
  bool feeds = false;
};

Feedback prepare(const Place& place, const Recipe& recipe, TapWork& work) {
  Feedback f{shared_factor(place, work, {recipe.number("damp"), "none", recipe.group}),
             shared_gram(work),
             {},
             {},
             false};
  f.feeds = f.factor.u.rows > 0 && recipe.flag("feedback");
  double sum = 0;
  for (std::int64_t j = 0; j < f.gram.rows() && !f.factor.fallback; ++j) {
    f.energy.push_back(f.gram(j, j));
    sum += static_cast<double>(f.gram(j, j));
  }
  f.objective.gram = f.gram.view();
  f.objective.scale = 2.0 / static_cast<double>(std::max<std::int64_t>(work.tokens(), 1));
  const auto live = f.gram.rows() - static_cast<std::int64_t>(f.factor.dead.size());
  f.objective.damping = f.factor.damping * f.objective.scale * sum /
                        static_cast<double>(std::max<std::int64_t>(live, 1));
  return f;
}

void solve_with_statistics(const Place& place, const Feedback& f, const LinearTask& task,
                           std::int64_t tokens, std::int64_t first, MatrixView<const float> w,
                           FdbRows& rows) {
  const Matrix<float> live = without_dead_columns(w, f.factor.dead);
  FdbColumns columns = recipe_columns(task.recipe, group_size(task.recipe, w.cols));
  columns.weights = f.energy;
  if (f.feeds) columns.factor = f.factor.u;
  Solution s = round_once(place, columns, live.view());
  FdbObjective objective = f.objective;
  objective.group = columns.group;
  if (f.factor.u.rows > 0)
    improve_jointly(place, columns, objective, whole(task.recipe, "joint_rounds"), live.view(), s);
  if (!f.feeds) {
    Matrix<float> q(w.rows, w.cols);
    for (std::int64_t r = 0; r < w.rows; ++r)
      for (std::int64_t j = 0; j < w.cols; ++j)
        q(r, j) = fdb_value(s.codes(r, j), s.scale1(r, j / columns.group),
                            s.scale2(r, j / columns.group));
    measure_output_loss(place, w, q.view(), f.gram, tokens, s.loss);
  }
  keep(s, first, rows);
}

}  // namespace

FdbRows::FdbRows(std::int64_t rows, std::int64_t cols, std::int64_t group)
    : codes(rows, cols), scales1(rows, cols / group), scales2(rows, cols / group), loss(rows, 1) {}

RowBlock FdbRows::block(std::function<void(std::int64_t first, std::int64_t count)> solve_rows) {
  return {codes.rows(),
          {RowPlane::of(codes), RowPlane::of(scales1), RowPlane::of(scales2), RowPlane::of(loss)},
          std::move(solve_rows)};
}

double FdbRows::total_loss() const {
  double sum = 0;
  for (std::int64_t r = 0; r < loss.rows(); ++r) sum += loss(r, 0);
  return sum;
}

QuantizedLinear assemble_two_binary(const LinearTask& task, const FdbRows& rows) {
  QuantizedLinear linear;
  linear.name = task.name();
  linear.format = "two-binary";
  linear.rows = rows.codes.rows();
  linear.cols = rows.codes.cols();
  linear.bits = static_cast<int>(task.recipe.bits);
  linear.group = task.recipe.group;
  Matrix<std::uint8_t> plane(linear.rows, linear.cols);
  for (const int shift : {1, 0}) {
    for (std::int64_t i = 0; i < plane.size(); ++i)
      plane.data()[i] = static_cast<std::uint8_t>(rows.codes.data()[i] >> shift & 1);
    linear.arrays.push_back(packed_array(shift == 1 ? "plane1" : "plane2", plane.view(), 1));
  }
  linear.arrays.push_back(half_array("scales1", rows.scales1.view()));
  linear.arrays.push_back(half_array("scales2", rows.scales2.view()));
  linear.diagnostics.loss = rows.total_loss();
  return linear;
}

std::vector<QuantizedLinear> round_fdb(const Place& place, const TapTask& task, TapWork& work) {
  const std::vector<FdbRows> all = solve_all(
      task, work, [&](const LinearTask& t, FdbRows& rows, std::int64_t first, std::int64_t count) {
        const MatrixView<const float> w = t.w.rows_from(first, count);
        check_weights(place, w, first);
        Solution s = round_once(place, recipe_columns(t.recipe, group_size(t.recipe, w.cols)), w);
        for (double& loss : s.loss) loss *= 2;  // ‖w − q‖²
        keep(s, first, rows);
      });
  std::vector<QuantizedLinear> linears;
  for (std::size_t i = 0; i < all.size(); ++i)
    linears.push_back(assemble_two_binary(task.linears[i], all[i]));
  return linears;
}

std::vector<QuantizedLinear> round_fdb_gptq(const Place& place, const TapTask& task,
                                            TapWork& work) {
  const Feedback feedback = prepare(place, task.recipe(), work);
  const std::vector<FdbRows> all = solve_all(
      task, work, [&](const LinearTask& t, FdbRows& rows, std::int64_t first, std::int64_t count) {
        const MatrixView<const float> w = t.w.rows_from(first, count);
        check_weights(place, w, first);
        solve_with_statistics(place, feedback, t, work.tokens(), first, w, rows);
      });
  std::vector<QuantizedLinear> linears;
  for (std::size_t i = 0; i < all.size(); ++i) {
    linears.push_back(assemble_two_binary(task.linears[i], all[i]));
    note_factor(feedback.factor, linears.back().diagnostics);
  }
  return linears;
}

}  // namespace bitgrid

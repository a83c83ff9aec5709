#include "core/methods/fdb.hpp"

#include "core/methods/factor.hpp"
#include "core/methods/grid.hpp"
#include "core/methods/output_loss.hpp"
#include "core/methods/stored_arrays.hpp"
#include "core/methods/uniform_rows.hpp"
#include "kernels/fdb_rows.hpp"

namespace bitgrid {
namespace {

FdbColumns recipe_columns(const Recipe& recipe, std::int64_t group) {
  FdbColumns columns;
  columns.group = group;
  const std::string& start = recipe.word("start");
  columns.start = start == "absmax"  ? FdbStart::absmax
                  : start == "range" ? FdbStart::range
                                     : FdbStart::search;
  columns.scale_steps = static_cast<int>(std::get<std::int64_t>(recipe.options.at("scale_steps")));
  return columns;
}

// Rows [first, first + count) of w, dead columns already zero.
void solve(const Place& place, const FdbColumns& columns, MatrixView<const float> w,
           std::int64_t first, FdbRows& rows) {
  Matrix<float> scale1(w.rows, rows.scales1.cols()), scale2(w.rows, rows.scales1.cols());
  const std::span<double> loss(rows.loss.row(first), static_cast<std::size_t>(w.rows));
  fdb_rows(place, columns, w, scale1.view(), scale2.view(), rows.codes.rows_from(first, w.rows),
           loss);
  store_scales(scale1.view(), rows.scales1.rows_from(first, w.rows), first);
  store_scales(scale2.view(), rows.scales2.rows_from(first, w.rows), first);
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

void rebuild_rows(const FdbRows& rows, std::int64_t group, std::int64_t first,
                  MatrixView<float> w) {
  for (std::int64_t r = 0; r < w.rows; ++r)
    for (std::int64_t j = 0; j < w.cols; ++j)
      w(r, j) = fdb_value(rows.codes(first + r, j), f16_to_f32(rows.scales1(first + r, j / group)),
                          f16_to_f32(rows.scales2(first + r, j / group)));
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
        solve(place, recipe_columns(t.recipe, group_size(t.recipe, w.cols)), w, first, rows);
        for (std::int64_t r = first; r < first + count; ++r) rows.loss(r, 0) *= 2;  // ‖w − q‖²
      });
  std::vector<QuantizedLinear> linears;
  for (std::size_t i = 0; i < all.size(); ++i)
    linears.push_back(assemble_two_binary(task.linears[i], all[i]));
  return linears;
}

std::vector<QuantizedLinear> round_fdb_gptq(const Place& place, const TapTask& task,
                                            TapWork& work) {
  const Recipe& recipe = task.recipe();
  const Factor factor = shared_factor(place, work, {recipe.number("damp"), "none", recipe.group});
  const Matrix<float>& gram = shared_gram(work);
  std::vector<float> energy;  // S_jj; nothing where S cannot be trusted
  for (std::int64_t j = 0; j < gram.rows() && !factor.fallback; ++j) energy.push_back(gram(j, j));
  const bool feedback = factor.u.rows > 0 && recipe.flag("feedback");
  const std::vector<FdbRows> all = solve_all(
      task, work, [&](const LinearTask& t, FdbRows& rows, std::int64_t first, std::int64_t count) {
        const MatrixView<const float> w = t.w.rows_from(first, count);
        check_weights(place, w, first);
        const Matrix<float> live = without_dead_columns(w, factor.dead);
        FdbColumns columns = recipe_columns(t.recipe, group_size(t.recipe, w.cols));
        columns.weights = energy;
        if (feedback) columns.factor = factor.u;
        solve(place, columns, live.view(), first, rows);
        if (feedback) return;
        Matrix<float> q(count, w.cols);
        rebuild_rows(rows, columns.group, first, q.view());
        measure_output_loss(place, w, q.view(), gram, work.tokens(),
                            {rows.loss.row(first), static_cast<std::size_t>(count)});
      });
  std::vector<QuantizedLinear> linears;
  for (std::size_t i = 0; i < all.size(); ++i) {
    linears.push_back(assemble_two_binary(task.linears[i], all[i]));
    note_factor(factor, linears.back().diagnostics);
  }
  return linears;
}

}  // namespace bitgrid

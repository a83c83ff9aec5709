#include "core/methods/gptq.hpp"

#include <algorithm>

#include "core/methods/factor.hpp"
#include "core/methods/grid.hpp"
#include "core/methods/objective.hpp"
#include "core/methods/stored_arrays.hpp"
#include "core/methods/uniform_rows.hpp"
#include "kernels/error.hpp"
#include "kernels/gptq_rows.hpp"
#include "kernels/round_to_grid.hpp"

namespace bitgrid {
namespace {

// What all rows of one linear use.
struct Columns {
  const LinearTask& task;
  const Factor& factor;
  const Matrix<float>* gram = nullptr;  // [in, in], where there is no factor
  std::int64_t tokens = 0;
  std::int64_t group = 0;
  std::vector<std::int32_t> by_position, by_column;  // groups
};

// Which group each position belongs to: in mode act a group is a run of positions, else it is a run
// of columns.
std::vector<std::int32_t> groups_by_position(const Recipe& recipe, const Factor& factor,
                                             std::int64_t cols, std::int64_t group) {
  std::vector<std::int32_t> groups = natural_groups(cols, group);
  if (factor.order.empty() || recipe.word("order") == "act") return groups;
  const std::vector<std::int32_t> natural = groups;
  for (std::size_t i = 0; i < groups.size(); ++i)
    groups[i] = natural[static_cast<std::size_t>(factor.order[i])];
  return groups;
}

std::vector<std::int32_t> groups_by_column(const Factor& factor,
                                           const std::vector<std::int32_t>& by_position) {
  if (factor.order.empty()) return by_position;
  std::vector<std::int32_t> groups(by_position.size());
  for (std::size_t i = 0; i < groups.size(); ++i)
    groups[static_cast<std::size_t>(factor.order[i])] = by_position[i];
  return groups;
}

void solve(const Place& place, const Columns& c, std::int64_t first, std::int64_t count,
           UniformRows& rows) {
  const Recipe& recipe = c.task.recipe;
  const MatrixView<const float> w = c.task.w.rows_from(first, count);
  check_weights(place, w, first);
  const UniformGrid grid = recipe_grid(recipe);
  const Matrix<float> live = without_dead_columns(w, c.factor.dead);
  Matrix<float> scales(count, w.cols / c.group);
  const MatrixView<std::uint8_t> zeros = rows.zeros.rows_from(first, count);
  const MatrixView<std::uint8_t> codes = rows.codes.rows_from(first, count);
  const std::span<double> loss(rows.loss.row(first), static_cast<std::size_t>(count));
  if (c.factor.u.rows > 0) {
    const bool fixed = recipe.group < 0 || recipe.word("order") == "static";
    GptqColumns columns;
    columns.grid = grid;
    columns.factor = c.factor.u;
    columns.order = c.factor.order;
    columns.group_of = c.by_position;
    columns.dynamic_group = fixed ? 0 : c.group;
    columns.stale_range = recipe.flag("compat");
    if (fixed) fit_grid(place, grid, live.view(), c.group, scales.view(), zeros);
    gptq_rows(place, columns, live.view(), scales.view(), zeros, codes, loss);
  } else {
    round_rows_to_nearest(place, grid, c.group, live.view(), scales.view(), zeros, codes);
    Matrix<float> q(count, w.cols);
    dequantize(place, codes, c.by_column, scales.view(), zeros, q.view());
    measure_output_loss(place, w, q.view(), *c.gram, c.tokens, loss);
  }
  store_scales(scales.view(), rows.scales.rows_from(first, count), first);
}

QuantizedLinear assemble(const Columns& c, const UniformRows& rows) {
  QuantizedLinear linear = assemble_uniform(c.task, rows);
  if (!c.factor.order.empty()) {
    if (c.task.recipe.word("order") == "act" && rows.scales.cols() > 1)
      linear.arrays.push_back(index_array("group_index", c.by_column, true));
    linear.arrays.push_back(index_array("order", c.factor.order, false));
  }
  note_factor(c.factor, linear.diagnostics);
  return linear;
}

}  // namespace

std::vector<QuantizedLinear> round_gptq(const Place& place, const TapTask& task, TapWork& work) {
  const Recipe& recipe = task.recipe();
  const Factor factor =
      shared_factor(place, work, {recipe.number("damp"), recipe.word("order"), recipe.group});
  const Matrix<float>* gram = factor.u.rows > 0 ? nullptr : &shared_gram(work);
  std::vector<Columns> columns;
  std::vector<UniformRows> all;
  std::vector<RowBlock> blocks;
  columns.reserve(task.linears.size());
  all.reserve(task.linears.size());
  for (const LinearTask& linear : task.linears) {
    const std::int64_t group = group_size(linear.recipe, linear.w.cols);
    Columns& c = columns.emplace_back(Columns{linear, factor, gram, work.tokens(), group, {}, {}});
    c.by_position = groups_by_position(linear.recipe, factor, linear.w.cols, group);
    c.by_column = groups_by_column(factor, c.by_position);
    UniformRows& rows = all.emplace_back(linear.w.rows, linear.w.cols, group);
    blocks.push_back(rows.block([&place, &c, &rows](std::int64_t first, std::int64_t count) {
      solve(place, c, first, count, rows);
    }));
  }
  work.solve_rows(blocks);
  std::vector<QuantizedLinear> linears;
  for (std::size_t i = 0; i < all.size(); ++i) linears.push_back(assemble(columns[i], all[i]));
  return linears;
}

}  // namespace bitgrid

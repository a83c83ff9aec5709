#include "core/methods/rtn.hpp"

#include "core/methods/grid.hpp"
#include "core/methods/uniform_rows.hpp"

namespace bitgrid {
namespace {

void solve(const Place& place, const LinearTask& task, std::int64_t first, std::int64_t count,
           UniformRows& rows) {
  const MatrixView<const float> w = task.w.rows_from(first, count);
  check_weights(place, w, first);
  const std::int64_t group = group_size(task.recipe, w.cols);
  Matrix<float> scales(count, w.cols / group);
  const MatrixView<std::uint8_t> zeros = rows.zeros.rows_from(first, count);
  const MatrixView<std::uint8_t> codes = rows.codes.rows_from(first, count);
  round_rows_to_nearest(place, recipe_grid(task.recipe), group, w, scales.view(), zeros, codes);
  store_scales(scales.view(), rows.scales.rows_from(first, count), first);
  row_errors(place, w, natural_groups(w.cols, group), scales.view(), zeros, codes,
             rows.loss.row(first));
}

}  // namespace

std::vector<QuantizedLinear> round_rtn(const Place& place, const TapTask& task, TapWork& work) {
  std::vector<UniformRows> all;
  all.reserve(task.linears.size());
  std::vector<RowBlock> blocks;
  for (const LinearTask& linear : task.linears) {
    UniformRows& rows =
        all.emplace_back(linear.w.rows, linear.w.cols, group_size(linear.recipe, linear.w.cols));
    blocks.push_back(rows.block(
        [&](std::int64_t first, std::int64_t count) { solve(place, linear, first, count, rows); }));
  }
  work.solve_rows(blocks);
  std::vector<QuantizedLinear> linears;
  for (std::size_t i = 0; i < all.size(); ++i)
    linears.push_back(assemble_uniform(task.linears[i], all[i]));
  return linears;
}

}  // namespace bitgrid

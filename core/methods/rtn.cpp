#include "core/methods/rtn.hpp"

#include <algorithm>

#include "core/methods/grid.hpp"
#include "core/methods/uniform_rows.hpp"

namespace bitgrid {
namespace {

Prepared prepare(const Place&, const Recipe&, const Statistics&, std::int64_t) { return {}; }

// The loss of RTN is the squared error of the weights: it knows of nothing else.
void round_rows(const Place& place, const Recipe& recipe, const Prepared& prepared,
                MatrixView<const float> w, RowsOut out) {
  check_weights(place, w);
  const std::int64_t group = group_size(recipe, w.cols);
  Matrix<float> scales(w.rows, w.cols / group);
  round_rows_to_nearest(place, recipe_grid(recipe), group, w, scales.view(), out.zeros, out.codes);
  finish_rows(place, w, natural_groups(w.cols, group), scales.view(), prepared.gram.view(), out);
  if (out.loss != nullptr && out.weight_error != nullptr)
    std::copy_n(out.weight_error, w.rows, out.loss);
}

}  // namespace

const RoundingSteps kRtnSteps = {prepare, round_rows};

}  // namespace bitgrid

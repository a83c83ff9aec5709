#include "kernels/binary_slab.hpp"

#include <string>

#include "kernels/error.hpp"

namespace bitgrid {
namespace {

void check_columns(MatrixView<const float> z, const SlabColumns& columns) {
  if (z.cols % kPanelRows != 0 || columns.ranked.size() != columns.weights.size())
    throw Error("binary slab: z must be panels, and every ranked column needs a weight");
  for (const std::int32_t j : columns.ranked)
    if (j < 0 || j >= z.cols / kPanelRows)
      throw Error("binary slab: column " + std::to_string(j) + " of " +
                  std::to_string(z.cols / kPanelRows));
}

void check_errors(MatrixView<const float> z, MatrixView<double> errors, std::int64_t count) {
  if (errors.rows != z.rows || errors.cols < count)
    throw Error("binary slab: errors must be [" + std::to_string(z.rows) + ", " +
                std::to_string(count) + "]");
}

}  // namespace

void slab_column_errors(const Place& place, MatrixView<const float> z, const SlabColumns& columns,
                        int order, std::int64_t candidates, MatrixView<double> errors) {
  check_columns(z, columns);
  check_errors(z, errors, candidates);
  if (order < 1 || order > 2 || candidates >= std::ssize(columns.ranked))
    throw Error("binary slab: order must be 1 or 2, and candidates fewer than columns");
  switch (place.device) {
    case Device::cpu:
      return cpu::slab_column_errors(place, z, columns, order, candidates, errors);
    case Device::cuda:
      return cuda::slab_column_errors(place, z, columns, order, candidates, errors);
  }
}

void slab_split_errors(const Place& place, MatrixView<const float> z, const SlabColumns& columns,
                       std::int64_t salient, std::span<const float> thresholds, bool means,
                       MatrixView<double> errors) {
  check_columns(z, columns);
  check_errors(z, errors, std::ssize(thresholds));
  if (salient < 0 || salient > std::ssize(columns.ranked) || thresholds.size() > kBreakPoints)
    throw Error("binary slab: more salient columns than columns, or too many thresholds");
  switch (place.device) {
    case Device::cpu:
      return cpu::slab_split_errors(place, z, columns, salient, thresholds, means, errors);
    case Device::cuda:
      return cuda::slab_split_errors(place, z, columns, salient, thresholds, means, errors);
  }
}

void binarize_slab(const Place& place, MatrixView<const float> a, MatrixView<const float> z,
                   const SlabColumns& columns, const SlabSplit& split, const BinarizedSlab& out) {
  check_columns(a, columns);
  const auto fits = [&](const auto& view, std::int64_t cols) {
    return view.rows == a.rows && view.cols == cols;
  };
  if (!fits(z, a.cols) || !fits(out.parameters, kSlabParameters * kPanelRows) ||
      !fits(out.codes, a.cols) || !fits(out.values, a.cols) || split.salient < 0 ||
      split.salient > std::ssize(columns.ranked))
    throw Error("binary slab: all arrays must have the panels of a");
  switch (place.device) {
    case Device::cpu:
      return cpu::binarize_slab(place, a, z, columns, split, out);
    case Device::cuda:
      return cuda::binarize_slab(place, a, z, columns, split, out);
  }
}

void slab_column_totals(const Place& place, MatrixView<const float> a, bool squares,
                        std::span<double> totals) {
  if (std::ssize(totals) * kPanelRows != a.cols)
    throw Error("binary slab: one total per column is needed");
  switch (place.device) {
    case Device::cpu:
      return cpu::slab_column_totals(place, a, squares, totals);
    case Device::cuda:
      return cuda::slab_column_totals(place, a, squares, totals);
  }
}

void slab_salience(const Place& place, MatrixView<const float> a, std::span<const float> factors,
                   MatrixView<float> z) {
  if (std::ssize(factors) * kPanelRows != a.cols || z.rows != a.rows || z.cols != a.cols)
    throw Error("binary slab: z must have the shape of a, with one factor per column");
  switch (place.device) {
    case Device::cpu:
      return cpu::slab_salience(place, a, factors, z);
    case Device::cuda:
      return cuda::slab_salience(place, a, factors, z);
  }
}

}  // namespace bitgrid

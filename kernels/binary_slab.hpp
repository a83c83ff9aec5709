#pragma once

#include <cstdint>
#include <span>

#include "kernels/matrix.hpp"
#include "kernels/place.hpp"
#include "kernels/row_panels.hpp"

namespace bitgrid {

// One slab of columns of BiLLM (Huang et al. 2024), for the panels of a weight (row_panels.hpp). To
// binarize a set of a row's values is to take mean + deviation·sgn(value − mean), deviation =
// mean|value − mean|, sgn(0) = 1; with order 2 what that leaves is binarized again.

// The columns that take part, by their place in the slab, in descending order of salience.
struct SlabColumns {
  std::span<const std::int32_t> ranked;
  std::span<const float> weights;  // ω of their squared errors, in the same order
  bool wide = false;  // sums in fp64, for values that differ by many orders of magnitude
};

inline constexpr int kBreakPoints = 81;

// errors[panel, i − 1] = Σ over the panel's rows and all columns of ω·(z − binarized z)² where the
// first i columns are one set and the others another.
//   z [panels, slab·kPanelRows]    errors [panels, at least candidates], candidates < columns
void slab_column_errors(const Place& place, MatrixView<const float> z, const SlabColumns& columns,
                        int order, std::int64_t candidates, MatrixView<double> errors);

// errors[panel, i] likewise, where the first `salient` columns are one set of order 2, and of each
// row's other values those below thresholds[i] in magnitude and the rest are sets of order 1; with
// their means, or with mean 0.
//   thresholds: at most kBreakPoints, ascending    errors [panels, at least as many]
void slab_split_errors(const Place& place, MatrixView<const float> z, const SlabColumns& columns,
                       std::int64_t salient, std::span<const float> thresholds, bool means,
                       MatrixView<double> errors);

// What a slab has become. A row's parameters: mean and deviation of the values below the threshold
// (concentrated), of those from it on (sparse), and the salient columns' mean and two deviations.
inline constexpr int kSlabParameters = 7;
struct BinarizedSlab {
  MatrixView<float> parameters;  // [panels, kSlabParameters·kPanelRows]
  MatrixView<std::uint8_t>
      codes;                 // [panels, slab·kPanelRows]: bit 0 the sign; bit 1 the second sign
                             // of a salient column, elsewhere whether the value is sparse
  MatrixView<float> values;  // [panels, slab·kPanelRows], decoded; 0 in columns left out
};
struct SlabSplit {
  std::int64_t salient = 0;  // of the ranked columns
  float threshold = 0;       // of |z|
  bool means = true;
  bool half = true;  // parameters are rounded to fp16 before values are decoded from them; signs
                     // and sets come from what they were before
};
// a: the weights    z: what the threshold is about; the weights themselves or another view
void binarize_slab(const Place& place, MatrixView<const float> a, MatrixView<const float> z,
                   const SlabColumns& columns, const SlabSplit& split, const BinarizedSlab& out);

// totals[j] = Σ over all rows of a², or |a|.
void slab_column_totals(const Place& place, MatrixView<const float> a, bool squares,
                        std::span<double> totals);

// z = factors[j]·a²
void slab_salience(const Place& place, MatrixView<const float> a, std::span<const float> factors,
                   MatrixView<float> z);

namespace cpu {
void slab_column_errors(const Place& place, MatrixView<const float> z, const SlabColumns& columns,
                        int order, std::int64_t candidates, MatrixView<double> errors);
void slab_split_errors(const Place& place, MatrixView<const float> z, const SlabColumns& columns,
                       std::int64_t salient, std::span<const float> thresholds, bool means,
                       MatrixView<double> errors);
void binarize_slab(const Place& place, MatrixView<const float> a, MatrixView<const float> z,
                   const SlabColumns& columns, const SlabSplit& split, const BinarizedSlab& out);
void slab_column_totals(const Place& place, MatrixView<const float> a, bool squares,
                        std::span<double> totals);
void slab_salience(const Place& place, MatrixView<const float> a, std::span<const float> factors,
                   MatrixView<float> z);
}  // namespace cpu
namespace cuda {
void slab_column_errors(const Place& place, MatrixView<const float> z, const SlabColumns& columns,
                        int order, std::int64_t candidates, MatrixView<double> errors);
void slab_split_errors(const Place& place, MatrixView<const float> z, const SlabColumns& columns,
                       std::int64_t salient, std::span<const float> thresholds, bool means,
                       MatrixView<double> errors);
void binarize_slab(const Place& place, MatrixView<const float> a, MatrixView<const float> z,
                   const SlabColumns& columns, const SlabSplit& split, const BinarizedSlab& out);
void slab_column_totals(const Place& place, MatrixView<const float> a, bool squares,
                        std::span<double> totals);
void slab_salience(const Place& place, MatrixView<const float> a, std::span<const float> factors,
                   MatrixView<float> z);
}  // namespace cuda

}  // namespace bitgrid

#pragma once

#include <cstdint>

#include "kernels/row_panels.hpp"

namespace bitgrid::cpu {

// The inner loops of BiLLM's searches over one panel, values [columns, kPanelRows]; f32 or f64
// sums. Every function adds to or writes kPanelRows values, one per row.

// Columns that form one set for all rows.
template <class T>
struct PanelSet {
  const T* z;
  const T* weights;  // ω
  std::int64_t columns;
  const T* sums;  // Σz of each row
  T weight_sum;   // Σω
};

// errors += Σ ω·(z − binarized z)², binarized `order` times; residual [columns, kPanelRows] is
// scratch.
void add_set_errors(const PanelSet<float>& set, int order, float* residual, float* errors);
void add_set_errors(const PanelSet<double>& set, int order, double* residual, double* errors);

// errors += the same of two sets of each row: values below the threshold in magnitude, and others.
void add_split_errors(const PanelSet<float>& all, float threshold, bool means, float* errors);
void add_split_errors(const PanelSet<double>& all, float threshold, bool means, double* errors);

// Of two such sets: means and deviations, in fp64.
struct PanelSplit {
  double mean[2][kPanelRows], deviation[2][kPanelRows];  // below the threshold, the others
};
//   a, z [columns, kPanelRows]: values, and what the threshold is about
void split_panel(const float* a, const float* z, std::int64_t columns, float threshold, bool means,
                 PanelSplit& split);

// Of one set, binarized twice: residual [columns, kPanelRows] is what the first time left.
struct PanelResidual {
  double mean[kPanelRows], deviation[kPanelRows];
  double second_mean[kPanelRows], second_deviation[kPanelRows];
};
void residual_panel(const float* a, std::int64_t columns, double* residual, PanelResidual& out);

}  // namespace bitgrid::cpu

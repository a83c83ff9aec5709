#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/binary_lanes.hpp"
#include "kernels/binary_slab.hpp"
#include "kernels/binary_values.hpp"
#include "kernels/dtype.hpp"
#include "kernels/multiversion.hpp"
#include "kernels/parallel.hpp"

namespace bitgrid::cpu {
namespace {

constexpr std::int64_t kPanelsTogether = 8;  // share their scratch

template <class Body>
void for_panels(const Place& place, std::int64_t panels, Body&& body) {
  parallel_for(place, (panels + kPanelsTogether - 1) / kPanelsTogether, [&](std::int64_t tile) {
    body(tile * kPanelsTogether, std::min(panels, (tile + 1) * kPanelsTogether));
  });
}

std::size_t lanes(std::int64_t columns) { return static_cast<std::size_t>(columns * kPanelRows); }

template <class T>
void take_columns(const float* panel, std::span<const std::int32_t> columns, T* taken) {
  for (const std::int32_t j : columns) {
    const float* from = panel + std::int64_t{j} * kPanelRows;
    for (std::int64_t l = 0; l < kPanelRows; ++l) taken[l] = static_cast<T>(from[l]);
    taken += kPanelRows;
  }
}

double lane_sum(const float* values) {
  double sum = 0;
  for (std::int64_t l = 0; l < kPanelRows; ++l) sum += static_cast<double>(values[l]);
  return sum;
}
double lane_sum(const double* values) {
  double sum = 0;
  for (std::int64_t l = 0; l < kPanelRows; ++l) sum += values[l];
  return sum;
}

// One panel's values in ranked order, with the sums over first and last columns.
template <class T>
class RankedPanel {
 public:
  explicit RankedPanel(const SlabColumns& columns)
      : columns_(columns),
        count_(std::ssize(columns.ranked)),
        weights_(columns.weights.begin(), columns.weights.end()),
        z_(lanes(count_)),
        first_(lanes(count_ + 1)),
        last_(lanes(count_ + 1)),
        residual_(lanes(count_)),
        first_weight_(static_cast<std::size_t>(count_ + 1)),
        last_weight_(static_cast<std::size_t>(count_ + 1)) {
    for (std::int64_t i = 0; i < count_; ++i) {
      const auto at = static_cast<std::size_t>(i), end = static_cast<std::size_t>(count_ - i);
      first_weight_[at + 1] = first_weight_[at] + weights_[at];
      last_weight_[end - 1] = last_weight_[end] + weights_[end - 1];
    }
  }

  void load(const float* panel) {
    take_columns(panel, columns_.ranked, z_.data());
    for (std::int64_t i = 0; i < count_; ++i)
      for (std::int64_t l = 0; l < kPanelRows; ++l) {
        const auto at = static_cast<std::size_t>(i * kPanelRows + l);
        const auto end = static_cast<std::size_t>((count_ - i) * kPanelRows + l);
        first_[at + kPanelRows] = first_[at] + z_[at];
        last_[end - kPanelRows] = last_[end] + z_[end - kPanelRows];
      }
  }

  PanelSet<T> first(std::int64_t columns) const {
    return {z_.data(), weights_.data(), columns, first_.data() + lanes(columns),
            first_weight_[static_cast<std::size_t>(columns)]};
  }
  PanelSet<T> from(std::int64_t column) const {
    return {z_.data() + lanes(column), weights_.data() + column, count_ - column,
            last_.data() + lanes(column), last_weight_[static_cast<std::size_t>(column)]};
  }
  T* residual() { return residual_.data(); }

 private:
  const SlabColumns& columns_;
  std::int64_t count_;
  std::vector<T> weights_, z_;
  std::vector<T> first_, last_;  // [columns + 1, kPanelRows] Σz of the columns before and from i
  std::vector<T> residual_;
  std::vector<T> first_weight_, last_weight_;
};

template <class T>
void column_errors(const Place& place, MatrixView<const float> z, const SlabColumns& columns,
                   int order, std::int64_t candidates, MatrixView<double> errors) {
  for_panels(place, z.rows, [&](std::int64_t begin, std::int64_t end) {
    RankedPanel<T> panel(columns);
    for (std::int64_t i = begin; i < end; ++i) {
      panel.load(z.row(i));
      for (std::int64_t count = 1; count <= candidates; ++count) {
        T sums[kPanelRows] = {};
        add_set_errors(panel.first(count), order, panel.residual(), sums);
        add_set_errors(panel.from(count), order, panel.residual(), sums);
        errors(i, count - 1) = lane_sum(sums);
      }
    }
  });
}

template <class T>
void split_errors(const Place& place, MatrixView<const float> z, const SlabColumns& columns,
                  std::int64_t salient, std::span<const float> thresholds, bool means,
                  MatrixView<double> errors) {
  for_panels(place, z.rows, [&](std::int64_t begin, std::int64_t end) {
    RankedPanel<T> panel(columns);
    for (std::int64_t i = begin; i < end; ++i) {
      panel.load(z.row(i));
      T constant[kPanelRows] = {};
      add_set_errors(panel.first(salient), 2, panel.residual(), constant);
      for (std::size_t t = 0; t < thresholds.size(); ++t) {
        T sums[kPanelRows];
        std::copy_n(constant, kPanelRows, sums);
        add_split_errors(panel.from(salient), thresholds[t], means, sums);
        errors(i, static_cast<std::int64_t>(t)) = lane_sum(sums);
      }
    }
  });
}

float stored(double value, bool half) {
  const auto narrow = static_cast<float>(value);
  return half ? f16_to_f32(f32_to_f16(narrow)) : narrow;
}

// One panel while it is being binarized.
class Binarizer {
 public:
  Binarizer(const SlabColumns& columns, const SlabSplit& split)
      : split_(split),
        salient_(columns.ranked.first(static_cast<std::size_t>(split.salient))),
        ordinary_(columns.ranked.subspan(static_cast<std::size_t>(split.salient))),
        a_(lanes(std::ssize(columns.ranked))),
        z_(a_.size()),
        residual_(a_.size()) {}

  void binarize(const float* a, const float* z, float* parameters, std::uint8_t* codes,
                float* values) {
    binarize_ordinary(a, z, parameters, codes, values);
    binarize_salient(a, parameters + 4 * kPanelRows, codes, values);
  }

 private:
  void binarize_ordinary(const float* a, const float* z, float* parameters, std::uint8_t* codes,
                         float* values) {
    take_columns(a, ordinary_, a_.data());
    take_columns(z, ordinary_, z_.data());
    PanelSplit sets;
    split_panel(a_.data(), z_.data(), std::ssize(ordinary_), split_.threshold, split_.means, sets);
    for (std::int64_t l = 0; l < kPanelRows; ++l)
      for (int s = 0; s < 2; ++s) {
        parameters[2 * s * kPanelRows + l] = stored(sets.mean[s][l], split_.half);
        parameters[(2 * s + 1) * kPanelRows + l] = stored(sets.deviation[s][l], split_.half);
      }
    const float* from = a_.data();
    const float* about = z_.data();
    for (const std::int32_t j : ordinary_) {
      const std::int64_t at = std::int64_t{j} * kPanelRows;
      for (std::int64_t l = 0; l < kPanelRows; ++l) {
        const bool sparse = !(std::fabs(about[l]) < split_.threshold);
        const bool positive = static_cast<double>(from[l]) >= sets.mean[sparse][l];
        const float* set = parameters + (sparse ? 2 : 0) * kPanelRows + l;
        codes[at + l] = static_cast<std::uint8_t>(positive + 2 * sparse);
        values[at + l] = binary_value(set[0], set[kPanelRows], positive);
      }
      from += kPanelRows;
      about += kPanelRows;
    }
  }

  void binarize_salient(const float* a, float* parameters, std::uint8_t* codes, float* values) {
    take_columns(a, salient_, a_.data());
    PanelResidual set;
    residual_panel(a_.data(), std::ssize(salient_), residual_.data(), set);
    for (std::int64_t l = 0; l < kPanelRows; ++l) {
      parameters[l] = stored(set.mean[l] + set.second_mean[l], split_.half);
      parameters[kPanelRows + l] = stored(set.deviation[l], split_.half);
      parameters[2 * kPanelRows + l] = stored(set.second_deviation[l], split_.half);
    }
    const float* from = a_.data();
    const double* residual = residual_.data();
    for (const std::int32_t j : salient_) {
      const std::int64_t at = std::int64_t{j} * kPanelRows;
      for (std::int64_t l = 0; l < kPanelRows; ++l) {
        const bool first = static_cast<double>(from[l]) >= set.mean[l];
        const bool second = residual[l] >= set.second_mean[l];
        codes[at + l] = static_cast<std::uint8_t>(first + 2 * second);
        values[at + l] = residual_value(parameters[l], parameters[kPanelRows + l],
                                        parameters[2 * kPanelRows + l], first, second);
      }
      from += kPanelRows;
      residual += kPanelRows;
    }
  }

  const SlabSplit& split_;
  std::span<const std::int32_t> salient_, ordinary_;
  std::vector<float> a_, z_;
  std::vector<double> residual_;
};

BITGRID_MULTIVERSION
void add_squares(const float* a, double* sums) {
  for (std::int64_t l = 0; l < kPanelRows; ++l)
    sums[l] += static_cast<double>(a[l]) * static_cast<double>(a[l]);
}

BITGRID_MULTIVERSION
void add_magnitudes(const float* a, double* sums) {
  for (std::int64_t l = 0; l < kPanelRows; ++l) sums[l] += static_cast<double>(std::fabs(a[l]));
}

}  // namespace

void slab_column_errors(const Place& place, MatrixView<const float> z, const SlabColumns& columns,
                        int order, std::int64_t candidates, MatrixView<double> errors) {
  if (columns.wide)
    column_errors<double>(place, z, columns, order, candidates, errors);
  else
    column_errors<float>(place, z, columns, order, candidates, errors);
}

void slab_split_errors(const Place& place, MatrixView<const float> z, const SlabColumns& columns,
                       std::int64_t salient, std::span<const float> thresholds, bool means,
                       MatrixView<double> errors) {
  if (columns.wide)
    split_errors<double>(place, z, columns, salient, thresholds, means, errors);
  else
    split_errors<float>(place, z, columns, salient, thresholds, means, errors);
}

void binarize_slab(const Place& place, MatrixView<const float> a, MatrixView<const float> z,
                   const SlabColumns& columns, const SlabSplit& split, const BinarizedSlab& out) {
  for_panels(place, a.rows, [&](std::int64_t begin, std::int64_t end) {
    Binarizer binarizer(columns, split);
    for (std::int64_t i = begin; i < end; ++i) {
      std::fill_n(out.codes.row(i), a.cols, std::uint8_t{0});
      std::fill_n(out.values.row(i), a.cols, 0.0f);
      binarizer.binarize(a.row(i), z.row(i), out.parameters.row(i), out.codes.row(i),
                         out.values.row(i));
    }
  });
}

void slab_column_totals(const Place& place, MatrixView<const float> a, bool squares,
                        std::span<double> totals) {
  constexpr std::int64_t columns_together = 8;
  const std::int64_t columns = std::ssize(totals);
  parallel_for(place, (columns + columns_together - 1) / columns_together, [&](std::int64_t tile) {
    const std::int64_t first = tile * columns_together;
    const std::int64_t end = std::min(columns, first + columns_together);
    double sums[columns_together * kPanelRows] = {};
    for (std::int64_t i = 0; i < a.rows; ++i)
      for (std::int64_t j = first; j < end; ++j) {
        double* sum = sums + (j - first) * kPanelRows;
        const float* from = a.row(i) + j * kPanelRows;
        squares ? add_squares(from, sum) : add_magnitudes(from, sum);
      }
    for (std::int64_t j = first; j < end; ++j)
      totals[static_cast<std::size_t>(j)] = lane_sum(sums + (j - first) * kPanelRows);
  });
}

void slab_salience(const Place& place, MatrixView<const float> a, std::span<const float> factors,
                   MatrixView<float> z) {
  for_panels(place, a.rows, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      for (std::int64_t j = 0; j < std::ssize(factors); ++j) {
        const float* from = a.row(i) + j * kPanelRows;
        float* to = z.row(i) + j * kPanelRows;
        const float factor = factors[static_cast<std::size_t>(j)];
        for (std::int64_t l = 0; l < kPanelRows; ++l) to[l] = factor * from[l] * from[l];
      }
  });
}

}  // namespace bitgrid::cpu

#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/methods/tap_work.hpp"
#include "kernels/binary_slab.hpp"
#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// How BiLLM (Huang et al. 2024) goes about. A slab's two searches, how many columns are salient and
// at which magnitude a row's other weights are split, minimize the error of binarizing a matrix Z:
//   project     Z = the weights, errors weighted with 1/U_jj²: what the feedback pays for them
//   repository  Z = w²/U_jj², the salience, as in the published code
//   magnitude   Z = the weights, unweighted; columns ranked by Σ|w|
//   paper       Z = the weights, unweighted; both sets of the first search binarized once; break
//               points are fractions of the largest magnitude instead of quantiles
enum class BillmVariant { project, repository, magnitude, paper };

// How a slab's error reaches the columns behind it: e·U_bb = error (exact), e_j = error_j/U_jj, or
// not at all.
enum class BillmFeedback { exact, diagonal, none };

struct BillmSettings {
  BillmVariant variant = BillmVariant::project;
  BillmFeedback feedback = BillmFeedback::exact;
  std::int64_t slab = 128;       // columns; a last slab may be shorter
  std::int64_t candidates = 50;  // 1 … candidates − 1 columns are tried, 2 … kBillmCandidatesMax
  bool means = true;             // of the concentrated and the sparse set; without, they are 0
  bool half = true;              // parameters are rounded to fp16
};
inline constexpr std::int64_t kBillmCandidatesMax = 97;

// One linear on its way through the slabs. Rows are spread by TapWork::solve_rows; what they lead
// to together is decided everywhere alike, between its calls:
//   load, then for each slab: rank_columns; search_columns, choose_columns; search_split,
//   choose_split; round
// Blocks of rows are whole panels, and a row's weights stay where its tile is solved.
class BillmLinear {
 public:
  // u [in, in]: the factor, or empty (then nothing is weighted or fed back)
  //   dead: columns without input    w, u and dead must stay
  BillmLinear(const BillmSettings& settings, MatrixView<const float> w, MatrixView<const float> u,
              std::span<const std::int32_t> dead);

  std::int64_t slabs() const { return std::ssize(slabs_); }
  RowBlock load(const Place& place);
  void rank_columns(const Place& place, std::int64_t slab);
  RowBlock search_columns(const Place& place);
  void choose_columns(const Place& place);
  RowBlock search_split(const Place& place);
  void choose_split();
  // Also fetches the next slab, or at the end all results. after_last runs on every tile once its
  // last slab is done.
  using AfterLast = std::function<void(std::int64_t first, std::int64_t count)>;
  RowBlock round(const Place& place, const AfterLast& after_last);

  // Weight minus what stands for it, of rows that were solved here; after the last slab.
  Matrix<float> off(std::int64_t first, std::int64_t count) const;
  std::span<double> loss(std::int64_t first, std::int64_t count);  // ½Σe², or what the caller sets

  struct Slab {
    std::int64_t first = 0, count = 0;  // columns
    std::vector<std::int32_t> ranked;   // live columns by place in the slab, most salient first
    std::vector<double> column_errors, split_errors;  // by number of columns − 1, by break point
    SlabSplit split;
  };
  const Slab& slab(std::int64_t i) const { return slabs_[static_cast<std::size_t>(i)]; }
  // Results, after the last slab.
  Matrix<std::uint8_t> codes() const;  // [rows, in], as BinarizedSlab has them
  std::vector<Matrix<std::uint16_t>> parameters()
      const;                                          // kSlabParameters times [rows, slabs], fp16
  std::vector<std::uint8_t> salient_columns() const;  // [in] flags
  std::vector<std::uint8_t> dead_columns() const;
  double total_loss() const;

 private:
  Slab& now() { return slabs_[static_cast<std::size_t>(now_)]; }
  double divisor(std::int64_t column) const;
  MatrixView<float> slab_view(std::int64_t slab);
  MatrixView<const float> searched();
  SlabColumns columns() const;
  RowBlock block(std::vector<RowPlane> planes,
                 std::function<void(std::int64_t first, std::int64_t panels)> solve) const;
  std::vector<double> sum_errors(std::int64_t count, const char* what) const;
  void find_thresholds(const Place& place);
  void round_panels(const Place& place, std::int64_t first, std::int64_t panels);
  void feed_back(const Place& place, std::int64_t first, MatrixView<float> error);
  void keep_slab(std::int64_t slab, std::int64_t first, std::int64_t panels);
  void check_parameters(std::int64_t first, std::int64_t panels) const;

  BillmSettings settings_;
  MatrixView<const float> w_, u_;
  std::vector<std::uint8_t> dead_;  // [in]
  std::vector<Slab> slabs_;
  std::int64_t now_ = 0;
  std::vector<float> weights_;     // of the slab's ranked columns
  std::vector<float> thresholds_;  // ascending
  std::int64_t panels_count_ = 0;
  Matrix<float> panels_;        // [panels, in·kPanelRows] weights by now; behind the slabs, values
  Matrix<float> slab_;          // the slab's weights, of all rows
  Matrix<float> salience_;      // and their salience, where that is searched
  Matrix<double> errors_;       // [panels, kErrorSlots]
  Matrix<std::uint8_t> codes_;  // [panels, in·kPanelRows]
  Matrix<float> parameters_;    // [panels, slabs·kSlabParameters·kPanelRows]
  Matrix<double> loss_;         // [panels, kPanelRows]
};

}  // namespace bitgrid

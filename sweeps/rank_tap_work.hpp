#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/calibration/tap_statistics.hpp"
#include "core/model/linear.hpp"
#include "sweeps/rank_context.hpp"

namespace bitgrid {

// Calls fn, whose calls of a TapWork are collective, on every replica of a stage. What fn throws by
// itself on one replica meets the others in their next agreement, so that all leave together:
// AgreedFailure everywhere.
void run_together(const dist::Comm& replicas, const std::function<void()>& fn);

// The inputs of a tap on the ranks of one stage: the calibration windows that passed there, their
// statistics, and what cells that share these inputs have made of them.
class TapInputs {
 public:
  // The tap of this rank's i-th own window, [length, in]; valid until the same thread asks again.
  using WindowTap = std::function<MatrixView<const float>(std::int64_t i)>;

  // No calibration: there is nothing to ask for.
  TapInputs(RankContext& rank, std::int64_t layer, Tap tap);
  // Collective: partial sums of all replicas become statistics on the tap's owner.
  TapInputs(RankContext& rank, std::int64_t layer, Tap tap, const CalibrationLayout& layout,
            const StatisticsNeeds& needs, TapPartials partials, WindowTap window_tap);

  RankContext& rank;
  const std::int64_t layer;
  const Tap tap;
  const int owner;  // the replica that holds the Gram matrices
  CalibrationLayout layout;
  Statistics statistics;  // Gram matrices on the owner, channels on every replica
  WindowTap window_tap;
  std::map<std::string, std::unique_ptr<Shared>> shared;
  std::map<std::string, std::vector<double>> kept;  // the same on every replica
};

// Σ over the calibration windows, as TapWork and LayerWork promise it, of what `add` makes of this
// rank's i-th own window, which is window number `window` of all. Collective; `where` leads what a
// failure says.
using AddWindow = std::function<void(std::int64_t window, std::int64_t i, std::span<double> sums)>;
std::vector<double> sum_own_windows(RankContext& rank, const CalibrationLayout& layout,
                                    std::int64_t size, const std::string& where,
                                    const AddWindow& add);

// Work of one cell on such inputs, spread over the stage's replicas and their threads. Seconds go
// to the cell's terms.
class RankTapWork : public TapWork {
 public:
  RankTapWork(TapInputs& inputs, results::Seconds& seconds) : in_(inputs), seconds_(seconds) {}

  std::int64_t tokens() const override { return in_.statistics.tokens; }
  const std::vector<double>& abs_sum() const override { return in_.statistics.abs_sum; }
  const std::vector<float>& abs_max() const override { return in_.statistics.abs_max; }
  const Shared& once(const std::string& key,
                     const std::function<Shared(const Statistics&)>& make) override;
  std::vector<double>& kept(const std::string& key) override { return in_.kept[key]; }
  std::vector<double> sum_windows(
      std::int64_t size, const std::function<void(std::int64_t window, MatrixView<const float> x,
                                                  std::span<double> sums)>& add) override;
  void solve_rows(std::span<RowBlock> blocks) override;

  std::int64_t rows_solved() const {
    return rows_solved_;
  }  // by this rank, in the first solve_rows

 private:
  TapInputs& in_;
  results::Seconds& seconds_;
  std::int64_t rows_solved_ = 0;
  bool counted_ = false;
};

}  // namespace bitgrid

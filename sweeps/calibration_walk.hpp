#pragma once

#include <atomic>
#include <functional>
#include <vector>

#include "core/calibration/tap_statistics.hpp"
#include "core/model/weights.hpp"
#include "sweeps/rank_context.hpp"
#include "sweeps/rank_tap_work.hpp"
#include "sweeps/window_states.hpp"

namespace bitgrid {

// The calibration windows of this rank on their walk through one layer, segment by segment. Between
// two taps the layer's weights may be replaced. Collective over the stage's replicas.
class CalibrationWalk {
 public:
  // states.x is changed on the way; seconds of the walk go to "forward" and "statistics".
  CalibrationWalk(RankContext& rank, std::int64_t layer, const LayerWeights& weights,
                  WindowStates& states, results::Seconds& seconds);

  // Walks to the next tap and sums its statistics on the way. The tap's rows stay until the walk
  // goes on.
  TapInputs go_to(Tap tap, const StatisticsNeeds& needs);
  // The last segment: the layer's output, in place of its input.
  void finish();

 private:
  struct Scratch {
    SegmentScratch segment;
    Matrix<float> hidden;  // one window's widest tap, where they are not all kept
    Matrix<float> shard_hidden;
  };

  Scratch& scratch();
  MatrixView<float> rows_of(Matrix<float>& taps, std::int64_t i);
  MatrixView<const float> tap_of(Tap tap, std::int64_t i);
  MatrixView<const float> hidden_of(std::int64_t i);
  MatrixView<const float> walk_windows(Tap tap, ShardRange windows);
  MatrixView<float> tap_rows(Tap tap, std::int64_t first, std::int64_t count);
  void walk_window(Tap tap, std::int64_t i, MatrixView<float> out);

  RankContext& rank_;
  std::int64_t layer_;
  const LayerWeights& weights_;
  WindowStates& states_;
  results::Seconds& seconds_;
  CalibrationLayout layout_;
  std::vector<Scratch> scratches_;
  Matrix<float> input_;      // attention_input, then mlp_input
  Matrix<float> attention_;  // attention_output
  Matrix<float> hidden_;     // mlp_hidden
  std::atomic<double> forward_s_ = 0;
};

}  // namespace bitgrid

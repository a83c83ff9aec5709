#include "sweeps/calibration_walk.hpp"

#include <algorithm>

#include "kernels/error.hpp"
#include "kernels/parallel.hpp"
#include "sweeps/layer_source.hpp"

namespace bitgrid {

CalibrationWalk::CalibrationWalk(RankContext& rank, std::int64_t layer, const LayerWeights& weights,
                                 WindowStates& states, results::Seconds& seconds)
    : rank_(rank),
      layer_(layer),
      weights_(weights),
      states_(states),
      seconds_(seconds),
      layout_{states.windows->count, states.length(), rank.sweep.calibration.shards},
      scratches_(static_cast<std::size_t>(place_threads(rank.place))) {
  const std::int64_t tokens = states.x.rows();
  input_ = Matrix<float>(tokens, rank.config.hidden_size);
  attention_ = Matrix<float>(tokens, rank.config.query_size());
  if (rank.keeps_widest_tap) hidden_ = Matrix<float>(tokens, rank.config.intermediate_size);
}

TapInputs CalibrationWalk::go_to(Tap tap, const StatisticsNeeds& needs) {
  double total_s = 0;
  forward_s_ = 0;
  TapPartials partials;
  agree_or_throw(rank_.replicas, dist::attempt([&] {
                   const Stopwatch watch(total_s);
                   partials = with_context(tap_text(tap), [&] {
                     return sum_tap(rank_.place, layout_, rank_.own_shards(),
                                    tap_size(rank_.config, tap), needs,
                                    [&](ShardRange windows) { return walk_windows(tap, windows); });
                   });
                 }));
  seconds_["forward"] += std::min(total_s, forward_s_.load());
  double& statistics_s = seconds_["statistics"];
  statistics_s += std::max(0.0, total_s - forward_s_.load());
  const Stopwatch watch(statistics_s);
  return {rank_, layer_, tap, layout_, needs, std::move(partials), [this, tap](std::int64_t i) {
            return tap_of(tap, i);
          }};
}

void CalibrationWalk::finish() {
  const Stopwatch watch(seconds_["forward"]);
  agree_or_throw(rank_.replicas, dist::attempt([&] {
                   parallel_for(rank_.place, states_.own.count, [&](std::int64_t i) {
                     const MatrixView<float> x = states_.window(i);
                     layer_output(rank_.place, rank_.config, weights_, hidden_of(i), x,
                                  scratch().segment);
                     check_output(rank_.place, x, "calibration", states_.own.first + i);
                   });
                 }));
}

CalibrationWalk::Scratch& CalibrationWalk::scratch() {
  return scratches_[static_cast<std::size_t>(parallel_thread_index())];
}

MatrixView<float> CalibrationWalk::rows_of(Matrix<float>& taps, std::int64_t i) {
  return taps.rows_from(i * states_.length(), states_.length());
}

MatrixView<const float> CalibrationWalk::tap_of(Tap tap, std::int64_t i) {
  switch (tap) {
    case Tap::attention_input:
    case Tap::mlp_input:
      return rows_of(input_, i);
    case Tap::attention_output:
      return rows_of(attention_, i);
    case Tap::mlp_hidden:
      break;
  }
  return hidden_of(i);
}

MatrixView<const float> CalibrationWalk::hidden_of(std::int64_t i) {
  if (rank_.keeps_widest_tap) return rows_of(hidden_, i);
  Scratch& own = scratch();
  if (own.hidden.rows() != states_.length())
    own.hidden = Matrix<float>(states_.length(), rank_.config.intermediate_size);
  mlp_hidden(rank_.place, rank_.config, weights_, rows_of(input_, i), own.hidden.view(),
             own.segment);
  return own.hidden.view();
}

// The tap of consecutive windows, [windows · length, in], contiguous.
MatrixView<const float> CalibrationWalk::walk_windows(Tap tap, ShardRange windows) {
  const auto start = std::chrono::steady_clock::now();
  const std::int64_t first = windows.first - states_.own.first;
  MatrixView<float> out = tap_rows(tap, first, windows.count);
  parallel_for(rank_.place, windows.count, [&](std::int64_t w) {
    walk_window(tap, first + w, out.rows_from(w * states_.length(), states_.length()));
  });
  const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
  // Shards may be walked side by side; their seconds then overlap.
  const int lanes = inside_parallel_loop() ? place_threads(rank_.place) : 1;
  forward_s_ += spent.count() / lanes;
  return out;
}

MatrixView<float> CalibrationWalk::tap_rows(Tap tap, std::int64_t first, std::int64_t count) {
  const std::int64_t row = first * states_.length(), rows = count * states_.length();
  switch (tap) {
    case Tap::attention_input:
    case Tap::mlp_input:
      return input_.rows_from(row, rows);
    case Tap::attention_output:
      return attention_.rows_from(row, rows);
    case Tap::mlp_hidden:
      break;
  }
  if (rank_.keeps_widest_tap) return hidden_.rows_from(row, rows);
  Matrix<float>& buffer = scratch().shard_hidden;
  if (buffer.rows() < rows) buffer = Matrix<float>(rows, rank_.config.intermediate_size);
  return buffer.rows_from(0, rows);
}

void CalibrationWalk::walk_window(Tap tap, std::int64_t i, MatrixView<float> out) {
  const LlamaConfig& config = rank_.config;
  SegmentScratch& segment = scratch().segment;
  switch (tap) {
    case Tap::attention_input:
      return attention_input(rank_.place, config, weights_, states_.window(i), out);
    case Tap::attention_output:
      return attention_output(rank_.place, config, weights_, rank_.rope, rows_of(input_, i), out,
                              segment);
    case Tap::mlp_input:
      return mlp_input(rank_.place, config, weights_, rows_of(attention_, i), states_.window(i),
                       out, segment);
    case Tap::mlp_hidden:
      return mlp_hidden(rank_.place, config, weights_, rows_of(input_, i), out, segment);
  }
}

}  // namespace bitgrid

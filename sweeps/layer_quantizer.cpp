#include "sweeps/layer_quantizer.hpp"

#include <atomic>

#include "core/methods/registry.hpp"
#include "kernels/error.hpp"
#include "kernels/parallel.hpp"
#include "sweeps/layer_source.hpp"
#include "sweeps/tap_solver.hpp"

namespace bitgrid {
namespace {

// The calibration windows of this rank on their walk through one layer, segment by segment.
class CalibrationWalk {
 public:
  CalibrationWalk(RankContext& rank, const LayerWeights& weights, WindowStates& states,
                  results::Seconds& seconds)
      : rank_(rank),
        weights_(weights),
        states_(states),
        seconds_(seconds),
        scratches_(static_cast<std::size_t>(place_threads(rank.place))) {
    const std::int64_t tokens = states.x.rows();
    input_ = Matrix<float>(tokens, rank.config.hidden_size);
    attention_ = Matrix<float>(tokens, rank.config.query_size());
    if (rank.keeps_widest_tap) hidden_ = Matrix<float>(tokens, rank.config.intermediate_size);
  }

  // Walks to the tap and sums its statistics on the way: this rank's partial sums.
  std::vector<GramPartial> statistics_at(Tap tap) {
    double total_s = 0;
    forward_s_ = 0;
    std::vector<GramPartial> partials;
    agree_or_throw(rank_.replicas, dist::attempt([&] {
                     const Stopwatch watch(total_s);
                     const CalibrationLayout layout{states_.windows->count, states_.length(),
                                                    rank_.sweep.calibration.shards};
                     partials = with_context(tap_text(tap), [&] {
                       return sum_gram_shards(
                           rank_.place, layout, rank_.own_shards(), tap_size(rank_.config, tap),
                           [&](ShardRange windows) { return walk_windows(tap, windows); });
                     });
                   }));
    seconds_["forward"] += std::min(total_s, forward_s_.load());
    seconds_["statistics"] += std::max(0.0, total_s - forward_s_.load());
    return partials;
  }

  // The last segment: the layer's output, in place of its input.
  void finish() {
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

 private:
  struct Scratch {
    SegmentScratch segment;
    Matrix<float> hidden;  // one window's widest tap, where they are not all kept
    Matrix<float> shard_hidden;
  };

  Scratch& scratch() { return scratches_[static_cast<std::size_t>(parallel_thread_index())]; }
  MatrixView<float> rows_of(Matrix<float>& taps, std::int64_t i) {
    return taps.rows_from(i * states_.length(), states_.length());
  }

  MatrixView<const float> hidden_of(std::int64_t i) {
    if (rank_.keeps_widest_tap) return rows_of(hidden_, i);
    Scratch& own = scratch();
    if (own.hidden.rows() != states_.length())
      own.hidden = Matrix<float>(states_.length(), rank_.config.intermediate_size);
    mlp_hidden(rank_.place, rank_.config, weights_, rows_of(input_, i), own.hidden.view(),
               own.segment);
    return own.hidden.view();
  }

  // The tap of consecutive windows, [windows · length, in], contiguous.
  MatrixView<const float> walk_windows(Tap tap, ShardRange windows) {
    const auto start = std::chrono::steady_clock::now();
    const std::int64_t first = windows.first - states_.own.first;
    MatrixView<float> out = tap_rows(tap, first, windows.count);
    parallel_for(rank_.place, windows.count, [&](std::int64_t w) {
      const MatrixView<float> rows = out.rows_from(w * states_.length(), states_.length());
      walk_window(tap, first + w, rows);
    });
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
    // Shards may be walked side by side; their seconds then overlap.
    const int lanes = inside_parallel_loop() ? place_threads(rank_.place) : 1;
    forward_s_ += spent.count() / lanes;
    return out;
  }

  MatrixView<float> tap_rows(Tap tap, std::int64_t first, std::int64_t count) {
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

  void walk_window(Tap tap, std::int64_t i, MatrixView<float> out) {
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

  RankContext& rank_;
  const LayerWeights& weights_;
  WindowStates& states_;
  results::Seconds& seconds_;
  std::vector<Scratch> scratches_;
  Matrix<float> input_;      // attention_input, then mlp_input
  Matrix<float> attention_;  // attention_output
  Matrix<float> hidden_;     // mlp_hidden
  std::atomic<double> forward_s_ = 0;
};

void append(std::vector<QuantizedLinear>& all, std::vector<QuantizedLinear> more) {
  for (QuantizedLinear& linear : more) all.push_back(std::move(linear));
}

std::int64_t calibration_tokens(const WindowStates& states) {
  return states.windows->count * states.windows->length;
}

std::vector<QuantizedLinear> quantize_from_one_walk(RankContext& rank, const Recipe& recipe,
                                                    std::int64_t layer, LayerWeights& weights,
                                                    WindowStates& calibration, bool last_use,
                                                    results::Seconds& seconds) {
  std::vector<QuantizedLinear> linears;
  CalibrationWalk walk(rank, weights, calibration, seconds);
  for (const Tap tap : kTaps) {
    std::vector<GramPartial> partials = walk.statistics_at(tap);
    append(linears, solve_tap(rank, recipe, layer, tap, std::move(partials),
                              calibration_tokens(calibration), weights, seconds));
  }
  if (!last_use) walk.finish();
  return linears;
}

std::vector<QuantizedLinear> quantize_from_unquantized_walk(
    RankContext& rank, const Recipe& recipe, std::int64_t layer, LayerWeights& weights,
    WindowStates& calibration, bool last_use, results::Seconds& seconds) {
  std::vector<std::vector<GramPartial>> partials;
  {
    WindowStates copy{calibration.windows, calibration.own, calibration.x.clone()};
    CalibrationWalk walk(rank, weights, copy, seconds);
    for (const Tap tap : kTaps) partials.push_back(walk.statistics_at(tap));
  }
  std::vector<QuantizedLinear> linears;
  for (const Tap tap : kTaps)
    append(linears,
           solve_tap(rank, recipe, layer, tap, std::move(partials[static_cast<std::size_t>(tap)]),
                     calibration_tokens(calibration), weights, seconds));
  if (!last_use) {
    const Stopwatch watch(seconds["forward"]);
    agree_or_throw(rank.replicas, dist::attempt([&] {
                     forward_layer(rank, weights, calibration, "calibration");
                   }));
  }
  return linears;
}

}  // namespace

std::vector<QuantizedLinear> quantize_layer(RankContext& rank, const Recipe& recipe,
                                            std::int64_t layer, LayerWeights& weights,
                                            WindowStates* calibration, bool last_use,
                                            results::Seconds& seconds) {
  if (calibration == nullptr) {
    std::vector<QuantizedLinear> linears;
    for (const Tap tap : kTaps)
      append(linears, solve_tap(rank, recipe, layer, tap, {}, 0, weights, seconds));
    return linears;
  }
  rank.counters.calibration_windows[static_cast<std::size_t>(layer)] += calibration->own.count;
  const auto option = recipe.options.find("true_sequential");
  const bool sequential = option == recipe.options.end() || std::get<bool>(option->second);
  return sequential
             ? quantize_from_one_walk(rank, recipe, layer, weights, *calibration, last_use, seconds)
             : quantize_from_unquantized_walk(rank, recipe, layer, weights, *calibration, last_use,
                                              seconds);
}

}  // namespace bitgrid

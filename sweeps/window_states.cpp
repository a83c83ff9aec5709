#include "sweeps/window_states.hpp"

#include <fmt/format.h>

#include "kernels/error.hpp"
#include "kernels/finite.hpp"
#include "kernels/parallel.hpp"

namespace bitgrid {
namespace {

struct ForwardScratch {
  Matrix<float> taps[kTaps.size()];
  SegmentScratch segment;

  MatrixView<float> tap(Tap tap, std::int64_t tokens, std::int64_t size) {
    Matrix<float>& matrix = taps[static_cast<std::size_t>(tap)];
    if (matrix.rows() != tokens || matrix.cols() != size) matrix = Matrix<float>(tokens, size);
    return matrix.view();
  }
};

}  // namespace

std::string tap_text(Tap tap) {
  std::string text;
  for (const Linear linear : linears_of(tap))
    text += (text.empty() ? "input of " : ", ") + std::string(linear_name(linear));
  return text;
}

WindowStates empty_states(const RankContext& rank, const Windows& windows) {
  const ShardRange own = rank.own_windows(windows.count);
  return {&windows, own, Matrix<float>(own.count * windows.length, rank.config.hidden_size)};
}

WindowStates embed_windows(RankContext& rank, const Windows& windows) {
  WindowStates states = empty_states(rank, windows);
  parallel_for(rank.place, states.own.count, [&](std::int64_t i) {
    embed_window(rank.checkpoint, rank.config, windows.window(states.own.first + i),
                 states.window(i));
  });
  return states;
}

void check_tap(const Place& place, MatrixView<const float> tap, Tap name, const std::string& what,
               std::int64_t window) {
  if (const auto bad = find_non_finite(place, tap))
    throw Error(fmt::format("{}: non-finite activation in {} window {}, token {}, channel {}",
                            tap_text(name), what, window, bad->row, bad->col));
}

void check_output(const Place& place, MatrixView<const float> x, const std::string& what,
                  std::int64_t window) {
  if (const auto bad = find_non_finite(place, x))
    throw Error(fmt::format(
        "output of mlp.down_proj: non-finite activation in {} window {}, token {}, channel {}",
        what, window, bad->row, bad->col));
}

void forward_layer(RankContext& rank, const LayerWeights& weights, WindowStates& states,
                   const std::string& what) {
  std::vector<ForwardScratch> scratches(static_cast<std::size_t>(place_threads(rank.place)));
  parallel_for(rank.place, states.own.count, [&](std::int64_t i) {
    ForwardScratch& scratch = scratches[static_cast<std::size_t>(parallel_thread_index())];
    const LlamaConfig& config = rank.config;
    const Place& place = rank.place;
    const std::int64_t window = states.own.first + i;
    const auto tap = [&](Tap name) {
      return scratch.tap(name, states.length(), tap_size(config, name));
    };
    const MatrixView<float> x = states.window(i);
    const MatrixView<float> a = tap(Tap::attention_input), b = tap(Tap::attention_output);
    const MatrixView<float> c = tap(Tap::mlp_input), d = tap(Tap::mlp_hidden);
    attention_input(place, config, weights, x, a);
    check_tap(place, a, Tap::attention_input, what, window);
    attention_output(place, config, weights, rank.rope, a, b, scratch.segment);
    check_tap(place, b, Tap::attention_output, what, window);
    mlp_input(place, config, weights, b, x, c, scratch.segment);
    check_tap(place, c, Tap::mlp_input, what, window);
    mlp_hidden(place, config, weights, c, d, scratch.segment);
    check_tap(place, d, Tap::mlp_hidden, what, window);
    layer_output(place, config, weights, d, x, scratch.segment);
    check_output(place, x, what, window);
  });
}

}  // namespace bitgrid

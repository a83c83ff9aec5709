#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/methods/method.hpp"

namespace bitgrid {

// A point of AWQ's search: channel j of a producer is divided, and that of its consumers
// multiplied, by s_j = m_j^r, m the mean |x_j|; at a duo point by m_j^r / (ω_j^(1−r) + 1e-4), ω the
// mean of |w| relative to the largest of its quantization group.
struct ScalePoint {
  double exponent = 0;  // r
  bool duo = false;
};
// scale = x: r = 0, 1/20 … 19/20. scale = duo: the identity, then duo points r = 0, 1/18 … 1.
std::vector<ScalePoint> scale_points(const Recipe& recipe);

struct ChannelSizes {
  std::vector<double> input;   // m; 0: the channel is dead
  std::vector<double> weight;  // ω; empty where no duo point is asked for
};

// Floored at 1e-4, then divided by √(max·min), which no code depends on. Dead channels take part in
// neither and get 1, as does what is not finite.
std::vector<float> scale_of_point(const ScalePoint& point, const ChannelSizes& sizes);

// ω of the linears' rows together, [in].
std::vector<double> weight_sizes(const Place& place, std::span<const LinearTask> linears);

using Scales = std::vector<std::vector<float>>;  // [points][in]

// What the outputs lose when these linears, and nothing else, are scaled, rounded and scaled back:
// the mean of the squared error over all calibration tokens and outputs, for each s. May hold
// values that are not finite.

// Of the linears' own outputs, from the Gram matrix: Σ Δ S Δᵀ, Δ = ŵ − w. No token is looked at.
// Where the linears have 2048 rows or more together, points that are clearly worse than another one
// on part of the rows are not tried on the rest: theirs is an estimate, above the least loss, which
// is exact.
std::vector<double> linear_losses(const Place& place, TapWork& work,
                                  std::span<const LinearTask> linears, const Scales& scales);

// As many points on all of so many rows is what it looks at.
double linear_trials(std::int64_t rows, std::int64_t points);

// Of the module that they begin: attention with o_proj for tap attention_input, the MLP for tap
// mlp_input. The other weights are the layer's own.
std::vector<double> module_losses(const Place& place, TapWork& work, const LayerTask& layer,
                                  Tap tap, std::span<const LinearTask> linears,
                                  const Scales& scales);

// Each pass over the windows serves so many points, of linears with so many weights together; the
// module's own output is computed once a pass.
std::int64_t trials_at_once(std::int64_t weights);

// The first of the smallest losses; −1: none is finite.
std::int64_t best_point(std::span<const double> losses);

}  // namespace bitgrid

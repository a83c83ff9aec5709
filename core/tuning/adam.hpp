#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace bitgrid {

// Adam (Kingma and Ba 2015) on parameters of very different magnitudes: parameter i is p_i =
// u_i·θ_i with a fixed unit u_i, and θ is what is optimized, so that one learning rate means the
// same relative change everywhere.
//   g_i = u_i · ∂L/∂p_i    m ← β₁m + (1 − β₁)g    v ← β₂v + (1 − β₂)g²
//   p_i ← p_i − rate · u_i · m̂_i / (√v̂_i + ε)     m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ)
// All in fp64, one thread: every replica that is given the same gradients takes the same step.
class Adam {
 public:
  explicit Adam(std::vector<double> units);
  void step(std::span<const double> gradient, double rate, std::span<double> parameters);

 private:
  std::vector<double> units_, mean_, square_;
  std::int64_t steps_ = 0;
};

// The learning rate of step `step` of `steps`: from `peak` down to 0 along half a cosine.
double cosine_rate(double peak, std::int64_t step, std::int64_t steps);

}  // namespace bitgrid

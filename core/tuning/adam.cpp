#include "core/tuning/adam.hpp"

#include <cmath>
#include <numbers>

#include "kernels/error.hpp"

namespace bitgrid {
namespace {
constexpr double kMeanDecay = 0.9;
constexpr double kSquareDecay = 0.99;  // runs are a few hundred steps at most
constexpr double kEpsilon = 1e-12;     // far below every gradient that is not zero
}  // namespace

Adam::Adam(std::vector<double> units)
    : units_(std::move(units)), mean_(units_.size(), 0.0), square_(units_.size(), 0.0) {}

void Adam::step(std::span<const double> gradient, double rate, std::span<double> parameters) {
  BITGRID_ASSERT(gradient.size() == units_.size() && parameters.size() == units_.size());
  ++steps_;
  const auto t = static_cast<double>(steps_);
  const double mean_share = 1 - std::pow(kMeanDecay, t);
  const double square_share = 1 - std::pow(kSquareDecay, t);
  for (std::size_t i = 0; i < units_.size(); ++i) {
    const double g = units_[i] * gradient[i];
    mean_[i] = kMeanDecay * mean_[i] + (1 - kMeanDecay) * g;
    square_[i] = kSquareDecay * square_[i] + (1 - kSquareDecay) * g * g;
    const double slope = std::sqrt(square_[i] / square_share) + kEpsilon;
    parameters[i] -= rate * units_[i] * (mean_[i] / mean_share) / slope;
  }
}

double cosine_rate(double peak, std::int64_t step, std::int64_t steps) {
  const double passed = static_cast<double>(step) / static_cast<double>(steps);
  return peak * 0.5 * (1 + std::cos(std::numbers::pi * passed));
}

}  // namespace bitgrid

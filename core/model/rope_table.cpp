#include <cmath>
#include <numbers>

#include "core/model/segments.hpp"

namespace bitgrid {
namespace {
// Llama 3.1 stretches slow components and leaves fast ones, by wavelength in tokens.
double scaled_frequency(double frequency, const RopeScaling& scaling) {
  const double wavelength = 2 * std::numbers::pi / frequency;
  const auto context = static_cast<double>(scaling.original_max_position_embeddings);
  if (wavelength < context / scaling.high_freq_factor) return frequency;
  if (wavelength > context / scaling.low_freq_factor) return frequency / scaling.factor;
  const double share = (context / wavelength - scaling.low_freq_factor) /
                       (scaling.high_freq_factor - scaling.low_freq_factor);
  return (1 - share) * frequency / scaling.factor + share * frequency;
}
}  // namespace

// The frequency is rounded to fp32 and multiplied by the position in fp32, as the reference
// implementation does: at position 8000 an exact angle would differ by more than the rounding of
// the weights.
RopeTable make_rope_table(const LlamaConfig& config, std::int64_t positions) {
  const std::int64_t half = config.head_size / 2;
  RopeTable table{.cos = Matrix<float>(positions, half), .sin = Matrix<float>(positions, half)};
  for (std::int64_t j = 0; j < half; ++j) {
    double exact = std::pow(config.rope_theta,
                            -2.0 * static_cast<double>(j) / static_cast<double>(config.head_size));
    if (config.rope_scaled) exact = scaled_frequency(exact, config.rope_scaling);
    const auto frequency = static_cast<float>(exact);
    for (std::int64_t p = 0; p < positions; ++p) {
      const float angle = static_cast<float>(p) * frequency;
      table.cos(p, j) = static_cast<float>(std::cos(static_cast<double>(angle)));
      table.sin(p, j) = static_cast<float>(std::sin(static_cast<double>(angle)));
    }
  }
  return table;
}

}  // namespace bitgrid

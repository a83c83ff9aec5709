#pragma once

namespace bitgrid {

// A binary weight is mean ± deviation. Sums of two or three values, in this order, so that whoever
// decodes gets the same bits.
inline float binary_value(float mean, float deviation, bool positive) {
  return positive ? mean + deviation : mean - deviation;
}

// Binarized, and what was left of it once more: one mean, two deviations.
inline float residual_value(float mean, float first, float second, bool positive,
                            bool second_positive) {
  return binary_value(binary_value(mean, first, positive), second, second_positive);
}

}  // namespace bitgrid

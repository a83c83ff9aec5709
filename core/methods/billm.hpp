#pragma once

#include "core/methods/method.hpp"

namespace bitgrid {

// BiLLM (Huang et al. 2024): slab after slab of columns, a few salient columns are binarized twice,
// the other weights of each row in two sets by magnitude; the slab's error is fed into the columns
// behind it. Nominally 1.1 bits. Where H cannot be factored, by magnitude and without feedback.
std::vector<QuantizedLinear> round_billm(const Place& place, const TapTask& task, TapWork& work);

}  // namespace bitgrid

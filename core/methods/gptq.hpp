#pragma once

#include "core/methods/method.hpp"

namespace bitgrid {

// GPTQ (Frantar et al. 2023): column after column to the nearest code, each column's error fed into
// those that are still free through the inverse of H = 2XᵀX/N. Where H cannot be factored, RTN.
std::vector<QuantizedLinear> round_gptq(const Place& place, const TapTask& task, TapWork& work);

}  // namespace bitgrid

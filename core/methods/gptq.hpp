#pragma once

#include "core/methods/rounding.hpp"

namespace bitgrid {

// GPTQ (Frantar et al. 2023): columns are rounded one after another, and each column's error is
// pushed onto the columns that are still free through the inverse of H = 2XᵀX/N.
extern const RoundingSteps kGptqSteps;

}  // namespace bitgrid

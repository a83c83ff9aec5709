#pragma once

#include "core/methods/rounding.hpp"

namespace bitgrid {

// Round to nearest: every weight goes to the closest point of its group's grid. No statistics, no
// feedback.
extern const RoundingSteps kRtnSteps;

}  // namespace bitgrid

#pragma once

#include "core/methods/method.hpp"

namespace bitgrid {

// Round to nearest: every weight to the closest code of its group's grid, no statistics. Its loss
// is the squared error of the weights: it knows of nothing else.
std::vector<QuantizedLinear> round_rtn(const Place& place, const TapTask& task, TapWork& work);

}  // namespace bitgrid

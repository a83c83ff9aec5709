#pragma once

#include "sweeps/runner.hpp"

namespace bitgrid {

// `bitgrid plan`: what a sweep would take on so many ranks, printed. Reads headers and texts, no
// weights, writes nothing.
int run_plan(const SweepCommand& command, int ranks);

}  // namespace bitgrid

#pragma once

#include <vector>

#include "dist/stop.hpp"
#include "sweeps/jobs.hpp"
#include "sweeps/rank_context.hpp"
#include "sweeps/stage_runner.hpp"

namespace bitgrid {

// Chooses the bits of every linear for the cells that have a budget and work to do; collective over
// the world. The calibration windows walk the unquantized layers once; at each tap every linear is
// rounded with each number of bits that the cell's rounding takes, and the relative error of its
// output is noted. The choice (choose_candidates) is made on rank 0 and set in `sweep` on all
// ranks: a function of model, calibration and recipe alone, so that a run that is started again
// chooses alike. A cell for which it cannot be made gets the reason as its job's failure.
StageVerdict choose_bits(RankContext& rank, Sweep& sweep, std::vector<CellJob>& jobs,
                         dist::StopRequest& stop);

}  // namespace bitgrid

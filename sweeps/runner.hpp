#pragma once

#include <string>

#include "dist/comm.hpp"
#include "sweeps/sweep.hpp"

namespace bitgrid {

struct SweepCommand {
  std::string file;
  std::string text;  // the sweep itself, where it is in no file; `file` is what messages call it
  SweepOverrides overrides;
  bool prune = false;  // remove cells that the sweep does not list
  bool quiet = false;  // no progress
};

// `bitgrid sweep`: every cell that is not finished yet is quantized, evaluated and stored.
// Collective over the world; prints on rank 0 only. Returns the exit code: 0 done, 1 some cell
// failed, 2 bad input (nothing touched), 3 the run could not go on, 75 stopped by a signal.
int run_sweep(dist::Comm& world, const SweepCommand& command);

}  // namespace bitgrid

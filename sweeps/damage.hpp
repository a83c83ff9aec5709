#pragma once

#include <string>
#include <vector>

#include "dist/comm.hpp"
#include "kernels/place.hpp"
#include "results/store.hpp"

namespace bitgrid {

// A stored file that is not what was written there.
struct Damage {
  std::string part;   // "cells/NAME.KEY8/layer-0017"
  std::string fault;  // one line that names the file
};

// Collective: verifies the parts that rank 0 lists, spread over ranks and threads, and returns the
// damaged ones on rank 0, in their order. Throws AgreedFailure where a file cannot be read at
// all.
std::vector<Damage> find_damage(const dist::Comm& world, const Place& place,
                                const results::Store& store, std::vector<std::string> parts);

}  // namespace bitgrid

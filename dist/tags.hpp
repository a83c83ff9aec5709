#pragma once

#include "dist/comm.hpp"

namespace bitgrid::dist {

// Tags of messages between the parts of dist itself; callers' tags are below. MPI promises tags up
// to 32767.
inline constexpr int kGatherTag = Comm::kTagCount;
inline constexpr int kTreeTag = Comm::kTagCount + 1;
inline constexpr int kTickTag = Comm::kTagCount + 2;
inline constexpr int kStopTag = Comm::kTagCount + 3;

}  // namespace bitgrid::dist

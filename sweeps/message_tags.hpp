#pragma once

namespace bitgrid {

// Tags of the runner's messages between two ranks of the world.
inline constexpr int kHandOverTag = 1;  // a cell's hidden states, to the next stage
inline constexpr int kProgressTag = 2;  // finished layers and cells, to rank 0
inline constexpr int kFarewellTag = 3;  // a stage has seen all cells, to the stage before

}  // namespace bitgrid

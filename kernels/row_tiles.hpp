#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/parallel.hpp"

namespace bitgrid {

// Calls body(first, end) for tiles of rows that are large enough to be worth waking a thread. For
// operations whose rows do not depend on each other.
template <class Body>
void for_row_tiles(const Place& place, std::int64_t rows, Body&& body) {
  constexpr std::int64_t tile = 32;
  parallel_for(place, (rows + tile - 1) / tile,
               [&](std::int64_t t) { body(t * tile, std::min(rows, (t + 1) * tile)); });
}

}  // namespace bitgrid

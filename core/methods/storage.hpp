#pragma once

#include <cstdint>

#include "core/methods/recipe.hpp"

namespace bitgrid {

// Bytes of the arrays that a linear is stored as.
struct StoredBytes {
  std::int64_t required = 0;  // those that rebuilding needs: bits per weight
  std::int64_t all = 0;       // diagnostics of the linear, too
  StoredBytes& operator+=(const StoredBytes& other);
  bool operator==(const StoredBytes&) const = default;
};

// What the recipe's rounding stores of a linear [rows, cols], known before anything is rounded:
// exact where every column has inputs (columns without may be listed) and H can be factored, but
// for slim-llm, which chooses how many pairs of slabs get one bit less and one more. Half of them
// are taken to: where a run of codes of a slab fills its last byte, as it does in every real model,
// any number comes to the same from 3 bits on; at 2 bits a slab of one bit stores a mean instead of
// a zero, and bits per weight are off by 3.75/group at most.
StoredBytes stored_bytes(const Recipe& recipe, Linear linear, std::int64_t rows, std::int64_t cols);

}  // namespace bitgrid

#pragma once

#include <bit>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "kernels/place.hpp"

namespace bitgrid {

// Values ≥ 0 in the order of their bits: the key of an fp32 value.
inline std::uint32_t magnitude_key(float value) {
  return std::bit_cast<std::uint32_t>(value) & 0x7fffffffu;
}
inline float key_value(std::uint32_t key) { return std::bit_cast<float>(key); }

// Many keys, a tile at a time: fill writes a tile's keys, at most tile_keys_max, and returns how
// many there are. Tiles are filled several times, from many threads.
struct KeyTiles {
  std::int64_t tiles = 0;
  std::int64_t tile_keys_max = 0;
  std::function<std::int64_t(std::int64_t tile, std::uint32_t* keys)> fill;
};

// The keys, below 2^31, that stand at these places (0-based, ascending) when all keys are sorted.
// Exact; three rounds of counting, no sort. Throws Error where there are fewer keys.
struct RankedKey {
  std::uint32_t key = 0;
  std::int64_t below = 0;  // how many keys are smaller
};
std::vector<RankedKey> select_ranks(const Place& place, const KeyTiles& keys,
                                    std::span<const std::int64_t> ranks);

}  // namespace bitgrid

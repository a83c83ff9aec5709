#include "core/methods/pb_mask.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/pb_rows.hpp"
#include "kernels/select_ranks.hpp"

namespace bitgrid {
namespace {

constexpr std::int64_t kTileRows = 64;

// Weights are finite and d is positive, so that a salience is a number or infinite.
std::uint32_t salience_key(const PbMask& mask, float w, std::int64_t j) {
  if (mask.d.empty()) return magnitude_key(w);
  const float ratio = w / mask.d[static_cast<std::size_t>(j)];
  return magnitude_key(ratio * ratio);
}

struct Columns {
  std::int64_t first, end;
  std::vector<std::int32_t> live;
};

Columns columns_of(const PbMask& mask, std::int64_t scope) {
  const auto in = static_cast<std::int64_t>(mask.dead.size());
  Columns columns{scope * mask.scope, std::min(in, (scope + 1) * mask.scope), {}};
  for (std::int64_t j = columns.first; j < columns.end; ++j)
    if (!mask.dead[static_cast<std::size_t>(j)])
      columns.live.push_back(static_cast<std::int32_t>(j));
  return columns;
}

// The place of the count-th weight (from 1) whose salience has this key.
std::int64_t place_of(const PbMask& mask, MatrixView<const float> w, const Columns& columns,
                      std::uint32_t key, std::int64_t count) {
  for (std::int64_t r = 0; r < w.rows; ++r)
    for (const std::int32_t j : columns.live)
      if (salience_key(mask, w(r, j), j) == key && --count == 0) return r * w.cols + j;
  return w.rows * w.cols;
}

}  // namespace

std::int64_t pb_binary_count(std::int64_t weights, double low_frac) {
  const double count = std::floor(static_cast<double>(weights) * low_frac);
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(count), 0, weights);
}

PbCut pb_cut(const Place& place, const PbMask& mask, MatrixView<const float> w,
             std::int64_t scope) {
  const Columns columns = columns_of(mask, scope);
  const std::int64_t weights = w.rows * std::ssize(columns.live);
  const std::int64_t binary = pb_binary_count(weights, mask.low_frac);
  if (binary == 0) return {};
  KeyTiles keys;
  keys.tiles = (w.rows + kTileRows - 1) / kTileRows;
  keys.tile_keys_max = kTileRows * std::ssize(columns.live);
  keys.fill = [&](std::int64_t tile, std::uint32_t* out) {
    const std::uint32_t* begin = out;
    const std::int64_t end = std::min(w.rows, (tile + 1) * kTileRows);
    for (std::int64_t r = tile * kTileRows; r < end; ++r)
      for (const std::int32_t j : columns.live) *out++ = salience_key(mask, w(r, j), j);
    return out - begin;
  };
  const std::int64_t last_rank = binary - 1;
  const RankedKey cut = select_ranks(place, keys, {&last_rank, 1}).front();
  return {cut.key, place_of(mask, w, columns, cut.key, last_rank + 1 - cut.below)};
}

void pb_kinds(const PbMask& mask, MatrixView<const float> w, std::int64_t first,
              std::span<const PbCut> cuts, MatrixView<std::uint8_t> kinds) {
  for (std::int64_t r = 0; r < kinds.rows; ++r) {
    const std::int64_t row = first + r;
    for (std::int64_t j = 0; j < w.cols; ++j) {
      const PbCut& cut = cuts[static_cast<std::size_t>(j / mask.scope)];
      const std::uint32_t key = salience_key(mask, w(row, j), j);
      const bool binary = key < cut.key || (key == cut.key && row * w.cols + j <= cut.last);
      const PbKind kind = mask.dead[static_cast<std::size_t>(j)] ? PbKind::dead
                          : binary                               ? PbKind::binary
                                                                 : PbKind::salient;
      kinds(r, j) = static_cast<std::uint8_t>(kind);
    }
  }
}

}  // namespace bitgrid

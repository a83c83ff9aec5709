#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// Which weights of a linear PB-LLM makes binary: in every scope, a range of columns with all rows,
// the ⌊m·low_frac⌋ of its m live weights with the smallest salience; of equal ones those that come
// first, row after row. Salience is (w/d_j)², or |w| where there are no d.
struct PbMask {
  double low_frac = 0;
  std::int64_t scope = 0;          // columns; a last scope may be shorter
  std::span<const float> d;        // [in], or nothing
  std::vector<std::uint8_t> dead;  // [in] whether a column has no input
  std::int64_t scopes() const {
    const auto in = static_cast<std::int64_t>(dead.size());
    return (in + scope - 1) / scope;
  }
};

// Where a scope is cut: binary are the weights whose salience has a smaller key, and those with
// this key up to the last place, r·in + j.
struct PbCut {
  std::uint32_t key = 0;
  std::int64_t last = -1;
};
// Of the live weights of a scope, how many are binary.
std::int64_t pb_binary_count(std::int64_t weights, double low_frac);
PbCut pb_cut(const Place& place, const PbMask& mask, MatrixView<const float> w, std::int64_t scope);

// Kinds (PbKind) of rows [first, first + kinds.rows) of w.
//   cuts: one for each scope    kinds [rows, in]
void pb_kinds(const PbMask& mask, MatrixView<const float> w, std::int64_t first,
              std::span<const PbCut> cuts, MatrixView<std::uint8_t> kinds);

}  // namespace bitgrid

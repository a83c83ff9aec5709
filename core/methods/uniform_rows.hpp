#pragma once

#include <cstdint>
#include <span>

#include "core/methods/rounding.hpp"
#include "kernels/grid.hpp"

namespace bitgrid {

// Steps that every method with a uniform grid takes on a tile of rows.

// Throws Error naming the first weight that is NaN or infinite.
void check_weights(const Place& place, MatrixView<const float> w);

// Rounds w to its groups' grids, without feedback: the whole of RTN.
void round_rows_to_nearest(const Place& place, const UniformGrid& grid, std::int64_t group,
                           MatrixView<const float> w, MatrixView<float> scales,
                           MatrixView<std::uint8_t> zeros, MatrixView<std::uint8_t> codes);

// Stores scales as fp16 and measures what rounding has cost each row. Pointers of `out` that are
// null are skipped.
//   w [rows, in]: the original weight    group_of [in]: by column    gram: [in, in] or empty
//   (output_* become NaN)
// Throws Error when a scale does not fit fp16.
void finish_rows(const Place& place, MatrixView<const float> w,
                 std::span<const std::int32_t> group_of, MatrixView<const float> scales,
                 MatrixView<const float> gram, const RowsOut& out);

}  // namespace bitgrid

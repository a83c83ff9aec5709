#pragma once

#include <cstdint>
#include <span>

#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// A lower triangle as one run of n·(n+1)/2 values, row after row: what ranks exchange, half the
// size of the square.
constexpr std::int64_t packed_triangle_size(std::int64_t n) { return n * (n + 1) / 2; }

void pack_lower(const Place& place, MatrixView<const double> s, std::span<double> packed);
// Writes the lower triangle; what lies above the diagonal is left alone.
void unpack_lower(const Place& place, std::span<const double> packed, MatrixView<double> s);
// into[i] += from[i]
void add_packed(const Place& place, std::span<const double> from, std::span<double> into);

namespace cpu {
void pack_lower(const Place& place, MatrixView<const double> s, std::span<double> packed);
void unpack_lower(const Place& place, std::span<const double> packed, MatrixView<double> s);
void add_packed(const Place& place, std::span<const double> from, std::span<double> into);
}  // namespace cpu
namespace cuda {
void pack_lower(const Place& place, MatrixView<const double> s, std::span<double> packed);
void unpack_lower(const Place& place, std::span<const double> packed, MatrixView<double> s);
void add_packed(const Place& place, std::span<const double> from, std::span<double> into);
}  // namespace cuda

}  // namespace bitgrid

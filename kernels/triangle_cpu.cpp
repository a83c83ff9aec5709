#include <algorithm>
#include <cstring>

#include "kernels/parallel.hpp"
#include "kernels/triangle.hpp"

namespace bitgrid::cpu {
namespace {
constexpr std::int64_t kRowsPerTask = 64;
constexpr std::int64_t kValuesPerTask = 1 << 16;
}  // namespace

void pack_lower(const Place& place, MatrixView<const double> s, std::span<double> packed) {
  parallel_for(place, (s.rows + kRowsPerTask - 1) / kRowsPerTask, [&](std::int64_t task) {
    for (std::int64_t r = task * kRowsPerTask; r < std::min(s.rows, (task + 1) * kRowsPerTask); ++r)
      std::memcpy(packed.data() + packed_triangle_size(r), s.row(r),
                  static_cast<std::size_t>(r + 1) * sizeof(double));
  });
}

void unpack_lower(const Place& place, std::span<const double> packed, MatrixView<double> s) {
  parallel_for(place, (s.rows + kRowsPerTask - 1) / kRowsPerTask, [&](std::int64_t task) {
    for (std::int64_t r = task * kRowsPerTask; r < std::min(s.rows, (task + 1) * kRowsPerTask); ++r)
      std::memcpy(s.row(r), packed.data() + packed_triangle_size(r),
                  static_cast<std::size_t>(r + 1) * sizeof(double));
  });
}

void add_packed(const Place& place, std::span<const double> from, std::span<double> into) {
  const auto size = static_cast<std::int64_t>(from.size());
  parallel_for(place, (size + kValuesPerTask - 1) / kValuesPerTask, [&](std::int64_t task) {
    const std::int64_t end = std::min(size, (task + 1) * kValuesPerTask);
    const double* source = from.data();
    double* target = into.data();
    for (std::int64_t i = task * kValuesPerTask; i < end; ++i) target[i] += source[i];
  });
}

}  // namespace bitgrid::cpu

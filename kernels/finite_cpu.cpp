#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "kernels/finite.hpp"
#include "kernels/multiversion.hpp"
#include "kernels/parallel.hpp"

namespace bitgrid::cpu {
namespace {

constexpr std::int64_t kRowsPerTask = 32;

// Integer arithmetic: an exponent of all ones is a NaN or an infinity.
BITGRID_MULTIVERSION
bool all_finite(const float* x, std::int64_t count) {
  std::uint32_t bad = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto bits = std::bit_cast<std::uint32_t>(x[i]);
    bad |= (bits & 0x7f800000u) == 0x7f800000u ? 1u : 0u;
  }
  return bad == 0;
}

}  // namespace

std::optional<Element> find_non_finite(const Place& place, MatrixView<const float> x, bool lower) {
  const std::int64_t tasks = (x.rows + kRowsPerTask - 1) / kRowsPerTask;
  std::vector<std::int64_t> first_row(static_cast<std::size_t>(tasks), -1);
  const auto columns = [&](std::int64_t r) { return lower ? r + 1 : x.cols; };
  parallel_for(place, tasks, [&](std::int64_t task) {
    for (std::int64_t r = task * kRowsPerTask; r < std::min(x.rows, (task + 1) * kRowsPerTask); ++r)
      if (!all_finite(x.row(r), columns(r))) {
        first_row[static_cast<std::size_t>(task)] = r;
        return;
      }
  });
  for (const std::int64_t r : first_row) {
    if (r < 0) continue;
    for (std::int64_t c = 0; c < columns(r); ++c)
      if (!std::isfinite(x(r, c))) return Element{r, c};
  }
  return std::nullopt;
}

}  // namespace bitgrid::cpu

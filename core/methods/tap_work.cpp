#include "core/methods/tap_work.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/error.hpp"
#include "kernels/finite.hpp"
#include "kernels/gptq_rows.hpp"

namespace bitgrid {

// Many tiles for many threads and ranks, and the tile in which the column loop works anyway.
std::int64_t solve_tile_rows(std::int64_t rows) {
  constexpr std::int64_t kLanes = 16;  // rows that the column loop takes side by side
  const std::int64_t sixteenth = (rows + 15) / 16;
  return std::clamp((sixteenth + kLanes - 1) / kLanes * kLanes, kLanes, kGptqTileRows);
}

const Matrix<float>& shared_gram(TapWork& work) {
  const Shared& shared = work.once("gram", [](const Statistics& statistics) {
    const Matrix<double>& s = statistics.gram;
    Shared made;
    Matrix<float>& gram = made.matrices.emplace_back(s.rows(), s.cols());
    for (std::int64_t i = 0; i < s.rows(); ++i)
      for (std::int64_t j = 0; j < s.cols(); ++j)
        gram(i, j) = j <= i ? static_cast<float>(s(i, j)) : 0.0f;
    if (const auto bad = find_non_finite_lower(Place{}, gram.view()))
      throw Error(
          fmt::format("gram is {} at row {}, column {}: the activations are not finite or "
                      "their sum overflows",
                      gram(bad->row, bad->col), bad->row, bad->col));
    return made;
  });
  return shared.matrices.front();
}

}  // namespace bitgrid

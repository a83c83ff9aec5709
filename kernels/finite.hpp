#pragma once

#include <cstdint>
#include <optional>

#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

struct Element {
  std::int64_t row = 0;
  std::int64_t col = 0;
  bool operator==(const Element&) const = default;
};

// The first NaN or infinity of x in row-major order, if there is one.
std::optional<Element> find_non_finite(const Place& place, MatrixView<const float> x);
// The same for a square matrix of which only the lower triangle is meant.
std::optional<Element> find_non_finite_lower(const Place& place, MatrixView<const float> s);

namespace cpu {
std::optional<Element> find_non_finite(const Place& place, MatrixView<const float> x, bool lower);
}
namespace cuda {
std::optional<Element> find_non_finite(const Place& place, MatrixView<const float> x, bool lower);
}

}  // namespace bitgrid

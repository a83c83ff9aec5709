#include "kernels/finite.hpp"

#include "kernels/error.hpp"

namespace bitgrid {
namespace {

std::optional<Element> find(const Place& place, MatrixView<const float> x, bool lower) {
  switch (place.device) {
    case Device::cpu:
      return cpu::find_non_finite(place, x, lower);
    case Device::cuda:
      return cuda::find_non_finite(place, x, lower);
  }
  return std::nullopt;
}

}  // namespace

std::optional<Element> find_non_finite(const Place& place, MatrixView<const float> x) {
  return find(place, x, false);
}

std::optional<Element> find_non_finite_lower(const Place& place, MatrixView<const float> s) {
  if (s.rows != s.cols) throw Error("find_non_finite_lower: the matrix must be square");
  return find(place, s, true);
}

}  // namespace bitgrid

#include "kernels/rotate.hpp"

#include <string>

#include "kernels/error.hpp"

namespace bitgrid {
namespace {

bool fits(MatrixView<const float> factors, std::int64_t size, std::int64_t copies) {
  return factors.cols == size && (factors.rows == size || factors.rows == size * copies);
}

void check(const Rotation& m, std::int64_t length) {
  const auto d = static_cast<std::size_t>(m.size());
  if (m.size() != length)
    throw Error("rotate: a rotation of " + std::to_string(m.size()) +
                " dimensions for vectors of " + std::to_string(length));
  if (m.identity()) return;
  if (!fits(m.a, m.p0, m.p1) || !fits(m.b, m.p1, m.p0))
    throw Error("rotate: factors must be [p0, p0] and [p1, p1], or one for each block");
  if (m.gather.size() != d || m.pick.size() != d)
    throw Error("rotate: permutations must have one entry per dimension");
  for (const auto permutation : {m.gather, m.pick})
    for (const std::int32_t i : permutation)
      if (i < 0 || i >= length) throw Error("rotate: a permutation leaves its range");
}

template <class T>
void copy(MatrixView<const T> x, MatrixView<T> y) {
  for (std::int64_t r = 0; r < x.rows; ++r)
    for (std::int64_t j = 0; j < x.cols; ++j) y(r, j) = x(r, j);
}

template <class T>
void dispatch(const Place& place, const Rotation& m, Turn turn, Along along, MatrixView<const T> x,
              MatrixView<T> y) {
  if (x.rows != y.rows || x.cols != y.cols) throw Error("rotate: x and y must have one shape");
  check(m, along == Along::rows ? x.cols : x.rows);
  if (m.identity()) return copy(x, y);
  switch (place.device) {
    case Device::cpu:
      return cpu::rotate(place, m, turn, along, x, y);
    case Device::cuda:
      return cuda::rotate(place, m, turn, along, x, y);
  }
}

}  // namespace

void rotate_rows(const Place& place, const Rotation& m, Turn turn, MatrixView<const float> x,
                 MatrixView<float> y) {
  dispatch(place, m, turn, Along::rows, x, y);
}
void rotate_columns(const Place& place, const Rotation& m, Turn turn, MatrixView<const float> x,
                    MatrixView<float> y) {
  dispatch(place, m, turn, Along::columns, x, y);
}
void rotate_rows(const Place& place, const Rotation& m, Turn turn, MatrixView<const double> x,
                 MatrixView<double> y) {
  dispatch(place, m, turn, Along::rows, x, y);
}
void rotate_columns(const Place& place, const Rotation& m, Turn turn, MatrixView<const double> x,
                    MatrixView<double> y) {
  dispatch(place, m, turn, Along::columns, x, y);
}

}  // namespace bitgrid

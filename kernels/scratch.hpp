#pragma once

#include <cstdint>

#include "kernels/matrix.hpp"

namespace bitgrid {

// A rows × cols view of a buffer that is kept between calls and grows when it is too small. What
// was in it is lost.
template <class T>
MatrixView<T> scratch_view(Matrix<T>& buffer, std::int64_t rows, std::int64_t cols) {
  if (buffer.size() < rows * cols) {
    buffer = Matrix<T>();  // the old memory goes first
    buffer = Matrix<T>(rows, cols);
  }
  return {buffer.data(), rows, cols};
}

}  // namespace bitgrid

#include <cblas.h>

#include <algorithm>

#include "kernels/linear_backward.hpp"
#include "kernels/parallel.hpp"

namespace bitgrid::cpu {
namespace {
constexpr std::int64_t kRowTile = 512;
constexpr std::int64_t kColTile = 2048;

std::int64_t tiles(std::int64_t size, std::int64_t tile) { return (size + tile - 1) / tile; }

// body(row, rows, col, cols) for tiles of a [rows, cols] result; tiles of the same columns are
// neighbours.
template <class Body>
void for_tiles(const Place& place, MatrixView<float> out, const Body& body) {
  const std::int64_t row_tiles = tiles(out.rows, kRowTile);
  parallel_for(place, row_tiles * tiles(out.cols, kColTile), [&](std::int64_t tile) {
    const std::int64_t row = tile % row_tiles * kRowTile;
    const std::int64_t col = tile / row_tiles * kColTile;
    body(row, std::min(kRowTile, out.rows - row), col, std::min(kColTile, out.cols - col));
  });
}
}  // namespace

void linear_backward_input(const Place& place, MatrixView<const float> dy,
                           MatrixView<const float> w, MatrixView<float> dx, Accumulate accumulate) {
  const float beta = accumulate == Accumulate::yes ? 1.0f : 0.0f;
  for_tiles(place, dx,
            [&](std::int64_t row, std::int64_t rows, std::int64_t col, std::int64_t cols) {
              cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, static_cast<int>(rows),
                          static_cast<int>(cols), static_cast<int>(w.rows), 1.0f, dy.row(row),
                          static_cast<int>(dy.stride), w.data + col, static_cast<int>(w.stride),
                          beta, &dx(row, col), static_cast<int>(dx.stride));
            });
}

void linear_backward_weight(const Place& place, MatrixView<const float> dy,
                            MatrixView<const float> x, MatrixView<float> dw,
                            Accumulate accumulate) {
  const float beta = accumulate == Accumulate::yes ? 1.0f : 0.0f;
  for_tiles(place, dw,
            [&](std::int64_t row, std::int64_t rows, std::int64_t col, std::int64_t cols) {
              cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, static_cast<int>(rows),
                          static_cast<int>(cols), static_cast<int>(x.rows), 1.0f, dy.data + row,
                          static_cast<int>(dy.stride), x.data + col, static_cast<int>(x.stride),
                          beta, &dw(row, col), static_cast<int>(dw.stride));
            });
}

}  // namespace bitgrid::cpu

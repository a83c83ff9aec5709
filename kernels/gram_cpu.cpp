#include <cblas.h>

#include <algorithm>
#include <vector>

#include "kernels/gram.hpp"
#include "kernels/parallel.hpp"

namespace bitgrid::cpu {
namespace {

// Small enough that the tiles of a triangle keep many threads equally busy, large enough for a fast
// gemm, and a function of `in` alone, so that every BLAS call has the same shape on every machine.
std::int64_t tile_size(std::int64_t in) { return in <= 4096 ? 512 : 1024; }

struct Tile {
  std::int64_t row = 0, col = 0;
};

std::vector<Tile> lower_tiles(std::int64_t in, std::int64_t tile) {
  std::vector<Tile> tiles;
  for (std::int64_t row = 0; row < in; row += tile)
    for (std::int64_t col = 0; col <= row; col += tile) tiles.push_back({row, col});
  return tiles;
}

}  // namespace

void accumulate_gram(const Place& place, MatrixView<const float> x, MatrixView<float> s) {
  const std::int64_t size = tile_size(x.cols);
  const std::vector<Tile> tiles = lower_tiles(x.cols, size);
  const int tokens = static_cast<int>(x.rows);
  const int ldx = static_cast<int>(x.stride);
  const int lds = static_cast<int>(s.stride);
  parallel_for(place, static_cast<std::int64_t>(tiles.size()), [&](std::int64_t i) {
    const Tile t = tiles[static_cast<std::size_t>(i)];
    const int rows = static_cast<int>(std::min(size, x.cols - t.row));
    const int cols = static_cast<int>(std::min(size, x.cols - t.col));
    if (t.row == t.col) {
      cblas_ssyrk(CblasRowMajor, CblasLower, CblasTrans, rows, tokens, 1.0f, x.data + t.row, ldx,
                  1.0f, &s(t.row, t.col), lds);
    } else {
      cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, rows, cols, tokens, 1.0f, x.data + t.row,
                  ldx, x.data + t.col, ldx, 1.0f, &s(t.row, t.col), lds);
    }
  });
}

}  // namespace bitgrid::cpu

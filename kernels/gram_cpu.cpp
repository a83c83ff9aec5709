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

// One tile of s += xᵀx over x's rows.
struct TileSum {
  const Tile& at;
  int rows, cols;
};

void add_exact(const TileSum& tile, MatrixView<const double> x, MatrixView<double> s) {
  const int tokens = static_cast<int>(x.rows), ldx = static_cast<int>(x.stride);
  double* target = &s(tile.at.row, tile.at.col);
  if (tile.at.row == tile.at.col) {
    cblas_dsyrk(CblasRowMajor, CblasLower, CblasTrans, tile.rows, tokens, 1.0, x.data + tile.at.row,
                ldx, 1.0, target, static_cast<int>(s.stride));
  } else {
    cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, tile.rows, tile.cols, tokens, 1.0,
                x.data + tile.at.row, ldx, x.data + tile.at.col, ldx, 1.0, target,
                static_cast<int>(s.stride));
  }
}

void add_chunk(const TileSum& tile, MatrixView<const float> x, MatrixView<float> chunk,
               MatrixView<double> s) {
  const int tokens = static_cast<int>(x.rows), ldx = static_cast<int>(x.stride);
  const int ld = static_cast<int>(chunk.stride);
  const bool diagonal = tile.at.row == tile.at.col;
  if (diagonal) {
    cblas_ssyrk(CblasRowMajor, CblasLower, CblasTrans, tile.rows, tokens, 1.0f,
                x.data + tile.at.row, ldx, 0.0f, chunk.data, ld);
  } else {
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, tile.rows, tile.cols, tokens, 1.0f,
                x.data + tile.at.row, ldx, x.data + tile.at.col, ldx, 0.0f, chunk.data, ld);
  }
  for (std::int64_t i = 0; i < tile.rows; ++i) {
    double* to = &s(tile.at.row + i, tile.at.col);
    const float* from = chunk.row(i);
    for (std::int64_t j = 0; j < (diagonal ? i + 1 : tile.cols); ++j)
      to[j] += static_cast<double>(from[j]);
  }
}

// Calls each(tokens) for runs of at most kGramChunk rows of x.
template <class Each>
void in_chunks(MatrixView<const float> x, const Each& each) {
  for (std::int64_t first = 0; first < x.rows; first += kGramChunk)
    each(x.rows_from(first, std::min(kGramChunk, x.rows - first)));
}

Matrix<double> widened(MatrixView<const float> x) {
  Matrix<double> wide(x.rows, x.cols);
  for (std::int64_t t = 0; t < x.rows; ++t) std::copy_n(x.row(t), x.cols, wide.row(t));
  return wide;
}

}  // namespace

void accumulate_gram(const Place& place, MatrixView<const float> x, MatrixView<double> s) {
  const std::int64_t size = tile_size(x.cols);
  const std::vector<Tile> tiles = lower_tiles(x.cols, size);
  const auto each_tile = [&](const auto& work) {
    parallel_for(place, static_cast<std::int64_t>(tiles.size()), [&](std::int64_t i) {
      const Tile& at = tiles[static_cast<std::size_t>(i)];
      work(TileSum{at, static_cast<int>(std::min(size, x.cols - at.row)),
                   static_cast<int>(std::min(size, x.cols - at.col))});
    });
  };
  if (x.cols <= kExactGramIn) {
    in_chunks(x, [&](MatrixView<const float> tokens) {
      const Matrix<double> wide = widened(tokens);
      each_tile([&](const TileSum& tile) { add_exact(tile, wide.view(), s); });
    });
    return;
  }
  each_tile([&](const TileSum& tile) {
    Matrix<float> chunk(tile.rows, tile.cols);
    in_chunks(x, [&](MatrixView<const float> tokens) { add_chunk(tile, tokens, chunk.view(), s); });
  });
}

}  // namespace bitgrid::cpu

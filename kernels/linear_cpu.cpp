#include <cblas.h>

#include <algorithm>

#include "kernels/linear.hpp"
#include "kernels/parallel.hpp"

namespace bitgrid::cpu {
namespace {
// BLAS packs a tile's weights once per call, so a tile wants many tokens; threads want many tiles.
constexpr std::int64_t kTokenTile = 512;
constexpr std::int64_t kOutTile = 2048;

std::int64_t tiles(std::int64_t size, std::int64_t tile) { return (size + tile - 1) / tile; }
}  // namespace

void linear(const Place& place, MatrixView<const float> x, MatrixView<const float> w,
            MatrixView<float> y, Accumulate accumulate) {
  const float beta = accumulate == Accumulate::yes ? 1.0f : 0.0f;
  const std::int64_t token_tiles = tiles(x.rows, kTokenTile);
  // Tiles that share weights are neighbours.
  parallel_for(place, token_tiles * tiles(w.rows, kOutTile), [&](std::int64_t tile) {
    const std::int64_t token = tile % token_tiles * kTokenTile;
    const std::int64_t out = tile / token_tiles * kOutTile;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans,
                static_cast<int>(std::min(kTokenTile, x.rows - token)),
                static_cast<int>(std::min(kOutTile, w.rows - out)), static_cast<int>(x.cols), 1.0f,
                x.row(token), static_cast<int>(x.stride), w.row(out), static_cast<int>(w.stride),
                beta, &y(token, out), static_cast<int>(y.stride));
  });
}

}  // namespace bitgrid::cpu

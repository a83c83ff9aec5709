#include <cblas.h>

#include <algorithm>
#include <cmath>

#include "kernels/inverse_factor.hpp"
#include "kernels/parallel.hpp"

// LAPACK's Fortran entry points; OpenBLAS runs them on the calling thread.
extern "C" {
void dpotrf_(const char* uplo, const int* n, double* a, const int* lda, int* info);
void dtrtri_(const char* uplo, const char* diag, const int* n, double* a, const int* lda,
             int* info);
}

namespace bitgrid::cpu {
namespace {

constexpr std::int64_t kTile = 256;  // fixed: the shapes of all BLAS calls follow from `in`

// The lower triangle of an in x in matrix in tiles, worked on in place. LAPACK sees a row-major
// lower triangle as a column-major upper one.
class TiledTriangle {
 public:
  TiledTriangle(const Place& place, std::int64_t in)
      // Eight more doubles per row: a stride that is a power of two would map a tile's rows to the
      // same cache sets.
      : place_(place),
        in_(in),
        a_(in, in + 8),
        inverse_diagonal_(in, kTile),
        tiles_((in + kTile - 1) / kTile) {}

  void load_reversed(const ScaledGram& h);
  std::int64_t cholesky();  // A = L·Lᵀ; −1, or the row of the pivot that failed
  void invert();            // L becomes L⁻¹
  void store_reversed(MatrixView<float> u) const;
  // Of L: g[i, p] = L[p', i']/L[i', i'] and d[i] = L[i', i']², i' = in − 1 − i.
  void store_feedback(MatrixView<float> g, std::span<double> d) const;

 private:
  std::int64_t first(std::int64_t tile) const { return tile * kTile; }
  int size(std::int64_t tile) const { return static_cast<int>(std::min(kTile, in_ - first(tile))); }
  double* at(std::int64_t row_tile, std::int64_t col_tile) {
    return &a_(first(row_tile), first(col_tile));
  }
  int ld() const { return static_cast<int>(a_.cols()); }
  std::int64_t factor_diagonal(std::int64_t tile);
  double* inverse_diagonal(std::int64_t tile) { return inverse_diagonal_.row(first(tile)); }

  const Place& place_;
  std::int64_t in_;
  Matrix<double> a_;
  Matrix<double>
      inverse_diagonal_;  // [in, kTile]: L⁻¹ of each diagonal tile, zero above its diagonal
  std::int64_t tiles_;
};

void TiledTriangle::load_reversed(const ScaledGram& h) {
  const auto column = [&](std::int64_t position) {
    return h.order.empty() ? position : std::int64_t{h.order[static_cast<std::size_t>(position)]};
  };
  parallel_for(place_, tiles_, [&](std::int64_t tile) {
    for (std::int64_t i = first(tile); i < first(tile) + size(tile); ++i) {
      const std::int64_t a = column(in_ - 1 - i);
      for (std::int64_t j = 0; j < i; ++j) {
        const std::int64_t b = column(in_ - 1 - j);
        a_(i, j) = h.scale * h.s(std::max(a, b), std::min(a, b));
      }
      a_(i, i) = h.diagonal[static_cast<std::size_t>(a)];
      // Diagonal tiles are multiplied as squares later on: the part above the diagonal must be
      // zero.
      for (std::int64_t j = i + 1; j < first(tile) + size(tile); ++j) a_(i, j) = 0;
    }
  });
}

std::int64_t TiledTriangle::factor_diagonal(std::int64_t tile) {
  const int n = size(tile);
  const int lda = ld();
  int info = 0;
  dpotrf_("U", &n, at(tile, tile), &lda, &info);
  if (info > 0) return first(tile) + info - 1;
  for (std::int64_t i = 0; i < n; ++i)  // a NaN passes through LAPACK's own check
    if (!std::isfinite(a_(first(tile) + i, first(tile) + i))) return first(tile) + i;
  const int stride = static_cast<int>(kTile);
  for (std::int64_t i = 0; i < n; ++i)
    std::copy_n(&a_(first(tile) + i, first(tile)), n, inverse_diagonal(tile) + i * kTile);
  dtrtri_("U", "N", &n, inverse_diagonal(tile), &stride, &info);
  BITGRID_ASSERT(info == 0);  // Cholesky left a positive diagonal
  return -1;
}

std::int64_t TiledTriangle::cholesky() {
  for (std::int64_t k = 0; k < tiles_; ++k) {
    // Column k of tiles minus the product of everything to its left: one gemm per tile, its K is
    // all columns so far.
    const int done = static_cast<int>(first(k));
    if (k > 0)
      parallel_for(place_, tiles_ - k, [&](std::int64_t down) {
        const std::int64_t i = k + down;
        if (i == k) {
          cblas_dsyrk(CblasRowMajor, CblasLower, CblasNoTrans, size(k), done, -1.0, at(k, 0), ld(),
                      1.0, at(k, k), ld());
        } else {
          cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, size(i), size(k), done, -1.0,
                      at(i, 0), ld(), at(k, 0), ld(), 1.0, at(i, k), ld());
        }
      });
    if (const std::int64_t failed = factor_diagonal(k); failed >= 0) return failed;
    parallel_for(place_, tiles_ - k - 1, [&](std::int64_t down) {
      const std::int64_t i = k + 1 + down;
      // A product with the inverted tile, which is needed anyway, is twice as fast as solving with
      // the tile.
      cblas_dtrmm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, size(i), size(k),
                  1.0, inverse_diagonal(k), static_cast<int>(kTile), at(i, k), ld());
    });
  }
  return -1;
}

void TiledTriangle::invert() {
  // With L = [A 0; B C]: L⁻¹ = [A⁻¹ 0; −C⁻¹·B·A⁻¹ C⁻¹]. From the last column of tiles to the first,
  // C⁻¹ is there already.
  Matrix<double> below(in_, kTile);
  for (std::int64_t k = tiles_ - 1; k >= 0; --k) {
    const int n = size(k);
    for (std::int64_t r = 0; r < n; ++r)
      std::copy_n(inverse_diagonal(k) + r * kTile, n, &a_(first(k) + r, first(k)));
    const std::int64_t start = first(k + 1);
    parallel_for(place_, tiles_ - k - 1, [&](std::int64_t down) {
      const std::int64_t i = k + 1 + down;
      for (std::int64_t r = 0; r < size(i); ++r)
        std::copy_n(&a_(first(i) + r, first(k)), n, below.row(first(i) + r));
    });
    parallel_for(place_, tiles_ - k - 1, [&](std::int64_t up) {
      const std::int64_t i = tiles_ - 1 - up;  // the longest products first
      const int reach = static_cast<int>(first(i) + size(i) - start);
      cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, size(i), n, reach, -1.0, at(i, k + 1),
                  ld(), below.row(start), static_cast<int>(kTile), 0.0, at(i, k), ld());
      cblas_dtrmm(CblasRowMajor, CblasRight, CblasLower, CblasNoTrans, CblasNonUnit, size(i), n,
                  1.0, at(k, k), ld(), at(i, k), ld());
    });
  }
}

void TiledTriangle::store_reversed(MatrixView<float> u) const {
  parallel_for(place_, tiles_, [&](std::int64_t tile) {
    for (std::int64_t i = first(tile); i < first(tile) + size(tile); ++i) {
      float* row = u.row(i);
      std::fill(row, row + i, 0.0f);
      const double* from = a_.row(in_ - 1 - i) + in_ - 1;
      for (std::int64_t j = i; j < in_; ++j) row[j] = static_cast<float>(from[-j]);
    }
  });
}

void TiledTriangle::store_feedback(MatrixView<float> g, std::span<double> d) const {
  parallel_for(place_, tiles_, [&](std::int64_t tile) {
    const std::int64_t begin = first(tile), end = begin + size(tile);
    for (std::int64_t i = begin; i < end; ++i) {
      const double pivot = a_(in_ - 1 - i, in_ - 1 - i);
      d[static_cast<std::size_t>(i)] = pivot * pivot;
      std::fill(g.row(i) + i + 1, g.row(i) + in_, 0.0f);
    }
    // Transposed: a row of L is a column of G, kept in the cache for all rows of this tile.
    for (std::int64_t p = 0; p < end; ++p) {
      const double* from = a_.row(in_ - 1 - p);
      for (std::int64_t i = std::max(begin, p); i < end; ++i)
        g(i, p) = static_cast<float>(from[in_ - 1 - i] / a_(in_ - 1 - i, in_ - 1 - i));
    }
  });
}

}  // namespace

std::int64_t inverse_factor(const Place& place, const ScaledGram& h, MatrixView<float> u) {
  const std::int64_t in = h.s.cols;
  if (in == 0) return -1;
  TiledTriangle triangle(place, in);
  triangle.load_reversed(h);
  if (const std::int64_t failed = triangle.cholesky(); failed >= 0) return in - 1 - failed;
  triangle.invert();
  triangle.store_reversed(u);
  return -1;
}

std::int64_t feedback_factor(const Place& place, const ScaledGram& h, MatrixView<float> g,
                             std::span<double> d) {
  const std::int64_t in = h.s.cols;
  if (in == 0) return -1;
  TiledTriangle triangle(place, in);
  triangle.load_reversed(h);
  if (const std::int64_t failed = triangle.cholesky(); failed >= 0) return in - 1 - failed;
  triangle.store_feedback(g, d);
  return -1;
}

}  // namespace bitgrid::cpu

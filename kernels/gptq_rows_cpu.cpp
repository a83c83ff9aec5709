#include <cblas.h>

#include <algorithm>
#include <vector>

#include "kernels/feed_back.hpp"
#include "kernels/gptq_rows.hpp"
#include "kernels/grid_lanes.hpp"
#include "kernels/multiversion.hpp"
#include "kernels/parallel.hpp"

namespace bitgrid::cpu {
namespace {

constexpr std::int64_t kTile = kGptqTileRows;
static_assert(kTile % kLanes == 0);
// Rows that are transposed together: 16 floats are a cache line, and 16 rows of a weight stay in
// the cache while their columns are picked in any order.
constexpr std::int64_t kChunk = 16;

// Everything below works on kLanes rows: pointers are to the first lane, consecutive columns are
// kTile floats apart.
struct BlockLanes {
  float* w;                     // column 0 of the block
  float* e;                     // errors by column of the block
  std::uint8_t* code;           // codes by column of the block
  double* loss;                 // kLanes values
  const float* factor_columns;  // u[j·block + p] = U[block start + p, block start + j]
  std::int64_t block;           // length of a factor column
};

// Feeds the errors of the block's columns [0, done) into its columns [first, last).
BITGRID_MULTIVERSION
void catch_up(const BlockLanes& b, std::int64_t done, std::int64_t first, std::int64_t last) {
  for (std::int64_t j = first; j < last; ++j)
    feed_back<kTile>(b.e, b.factor_columns + j * b.block, 0, done, b.w + j * kTile);
}

// Rounds the block's columns [first, last), which have been fed the errors of [0, fed). scale and
// zero: kLanes values for each group, kTile apart.
BITGRID_MULTIVERSION
void round_columns(const BlockLanes& b, std::int64_t fed, std::int64_t first, std::int64_t last,
                   const std::int32_t* group_of, const float* scale, const float* zero,
                   float maxq) {
  for (std::int64_t j = first; j < last; ++j) {
    const float* u = b.factor_columns + j * b.block;
    float* w = b.w + j * kTile;
    float* e = b.e + j * kTile;
    std::uint8_t* code = b.code + j * kTile;
    feed_back<kTile>(b.e, u, fed, j, w);
    const float* s = scale + group_of[j] * kTile;
    const float* z = zero + group_of[j] * kTile;
    const float diagonal = u[j];
    for (int l = 0; l < kLanes; ++l) {
      const float q = grid_code(w[l], s[l], z[l], maxq);
      e[l] = (w[l] - grid_value(q, s[l], z[l])) / diagonal;
      code[l] = static_cast<std::uint8_t>(static_cast<std::int32_t>(q));
    }
    for (int l = 0; l < kLanes; ++l) {
      const double error = e[l];
      b.loss[l] += 0.5 * error * error;
    }
  }
}

// One tile of rows, transposed: column by position, rows as lanes; rows that are missing are zero.
class Tile {
 public:
  Tile(const GptqColumns& c, MatrixView<const float> w, std::int64_t groups);
  void load_grids(MatrixView<const float> scales, MatrixView<const std::uint8_t> zeros);
  void solve();
  void store(MatrixView<float> scales, MatrixView<std::uint8_t> zeros,
             MatrixView<std::uint8_t> codes, double* loss) const;

 private:
  std::int64_t column(std::int64_t position) const {
    return c_.order.empty() ? position : std::int64_t{c_.order[static_cast<std::size_t>(position)]};
  }
  void solve_block(std::int64_t begin, std::int64_t end);
  void solve_lanes(std::int64_t begin, std::int64_t end, std::int64_t lane);

  const GptqColumns& c_;
  std::int64_t in_, rows_;
  Matrix<float> w_;               // [in, kTile]
  Matrix<std::uint8_t> code_;     // [in, kTile]
  Matrix<float> scale_, zero_;    // [groups, kTile]
  Matrix<float> error_;           // [block, kTile]
  Matrix<float> factor_columns_;  // [block, block], transposed diagonal block of U
  std::vector<double> loss_;      // [kTile]
};

Tile::Tile(const GptqColumns& c, MatrixView<const float> w, std::int64_t groups)
    : c_(c),
      in_(w.cols),
      rows_(w.rows),
      w_(in_, kTile),
      code_(in_, kTile),
      scale_(groups, kTile),
      zero_(groups, kTile),
      error_(std::min(c.block, in_), kTile),
      factor_columns_(std::min(c.block, in_), std::min(c.block, in_)),
      loss_(kTile, 0.0) {
  scale_.fill(1.0f);
  zero_.fill(0.0f);
  if (rows_ < kTile) {  // the product over all lanes must find numbers in those that nobody solves
    w_.fill(0.0f);
    error_.fill(0.0f);
  }
  for (std::int64_t r = 0; r < rows_; r += kChunk) {
    const std::int64_t rows = std::min(kChunk, rows_ - r);
    for (std::int64_t i = 0; i < in_; ++i) {
      const float* from = w.row(r) + column(i);
      float* to = w_.row(i) + r;
      for (std::int64_t l = 0; l < rows; ++l) to[l] = from[l * w.stride];
    }
  }
}

void Tile::load_grids(MatrixView<const float> scales, MatrixView<const std::uint8_t> zeros) {
  for (std::int64_t r = 0; r < rows_; ++r)
    for (std::int64_t g = 0; g < scales.cols; ++g) {
      scale_(g, r) = scales(r, g);
      zero_(g, r) = static_cast<float>(zeros(r, g));
    }
}

void Tile::solve_lanes(std::int64_t begin, std::int64_t end, std::int64_t lane) {
  const std::int64_t size = end - begin;
  const std::int64_t group = c_.dynamic_group;
  const BlockLanes b{w_.row(begin) + lane, error_.data() + lane,   code_.row(begin) + lane,
                     loss_.data() + lane,  factor_columns_.data(), factor_columns_.cols()};
  const std::int32_t* group_of = c_.group_of.data() + begin;
  std::int64_t fed = 0;
  for (std::int64_t first = 0; first < size;) {
    std::int64_t last = size;
    if (group > 0) {
      const std::int64_t past_start = (begin + first) % group;
      last = std::min(size, first + group - past_start);
      if (past_start == 0) {  // a group starts here
        if (!c_.stale_range && first > 0) {
          catch_up(b, first, first, last);
          fed = first;
        }
        fit_group_lanes(c_.grid, b.w + first * kTile, group, kTile,
                        scale_.row(group_of[first]) + lane, zero_.row(group_of[first]) + lane);
      }
    }
    round_columns(b, fed, first, last, group_of, scale_.data() + lane, zero_.data() + lane,
                  c_.grid.maxq());
    first = last;
  }
}

void Tile::solve_block(std::int64_t begin, std::int64_t end) {
  const std::int64_t size = end - begin;
  for (std::int64_t p = 0; p < size; ++p)
    for (std::int64_t j = p; j < size; ++j) factor_columns_(j, p) = c_.factor(begin + p, begin + j);
  for (std::int64_t lane = 0; lane < rows_; lane += kLanes) solve_lanes(begin, end, lane);
  if (end == in_) return;
  const int n = static_cast<int>(kTile);
  cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, static_cast<int>(in_ - end), n,
              static_cast<int>(size), -1.0f, &c_.factor(begin, end),
              static_cast<int>(c_.factor.stride), error_.data(), n, 1.0f, w_.row(end), n);
}

void Tile::solve() {
  for (std::int64_t begin = 0; begin < in_;) {
    const std::int64_t end = gptq_block_end(c_, in_, begin);
    solve_block(begin, end);
    begin = end;
  }
}

void Tile::store(MatrixView<float> scales, MatrixView<std::uint8_t> zeros,
                 MatrixView<std::uint8_t> codes, double* loss) const {
  for (std::int64_t r = 0; r < rows_; r += kChunk) {
    const std::int64_t rows = std::min(kChunk, rows_ - r);
    for (std::int64_t i = 0; i < in_; ++i) {
      std::uint8_t* to = codes.row(r) + column(i);
      const std::uint8_t* from = code_.row(i) + r;
      for (std::int64_t l = 0; l < rows; ++l) to[l * codes.stride] = from[l];
    }
  }
  for (std::int64_t r = 0; r < rows_; ++r) {
    loss[r] = loss_[static_cast<std::size_t>(r)];
    if (c_.dynamic_group == 0) continue;
    for (std::int64_t g = 0; g < scales.cols; ++g) {
      scales(r, g) = scale_(g, r);
      zeros(r, g) = static_cast<std::uint8_t>(zero_(g, r));
    }
  }
}

}  // namespace

void gptq_rows(const Place& place, const GptqColumns& columns, MatrixView<const float> w,
               MatrixView<float> scales, MatrixView<std::uint8_t> zeros,
               MatrixView<std::uint8_t> codes, std::span<double> loss) {
  parallel_for(place, (w.rows + kTile - 1) / kTile, [&](std::int64_t index) {
    const std::int64_t first = index * kTile;
    const std::int64_t rows = std::min(kTile, w.rows - first);
    Tile tile(columns, w.rows_from(first, rows), scales.cols);
    if (columns.dynamic_group == 0)
      tile.load_grids(scales.rows_from(first, rows), zeros.rows_from(first, rows));
    tile.solve();
    tile.store(scales.rows_from(first, rows), zeros.rows_from(first, rows),
               codes.rows_from(first, rows), loss.data() + first);
  });
}

}  // namespace bitgrid::cpu

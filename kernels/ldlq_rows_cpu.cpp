#include <cblas.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/feed_back.hpp"
#include "kernels/grid.hpp"
#include "kernels/ldlq_rows.hpp"
#include "kernels/multiversion.hpp"
#include "kernels/parallel.hpp"

namespace bitgrid::cpu {
namespace {

constexpr std::int64_t kTile = kLdlqTileRows;
static_assert(kTile % kLanes == 0);
constexpr std::int64_t kChunk = 16;  // rows that are transposed together

// Everything below works on kLanes rows: pointers are to the first lane, consecutive positions are
// kTile elements apart.
struct BlockLanes {
  float* e;           // v, and where a position is rounded v − u
  const float* base;  // what the positions outside the block say of each of its own
  std::uint8_t* code;
  double* loss;               // kLanes values
  const float* coefficients;  // [block, block]: row j feeds earlier positions of the block into j
  std::int64_t block;
  const double* weight;  // D or the diagonal of H
  float maxq;
};

inline float clamp_code(float q, float maxq) {
  const float lower = q < 0.0f ? 0.0f : q;
  return lower > maxq ? maxq : lower;
}

// v = w/delta + maxq/2
BITGRID_MULTIVERSION
void to_steps(float* v, std::int64_t count, float delta, float maxq, bool preclamp) {
  for (std::int64_t i = 0; i < count; ++i) v[i] = v[i] / delta + 0.5f * maxq;
  if (!preclamp) return;
  for (std::int64_t i = 0; i < count; ++i) v[i] = clamp_code(v[i], maxq);
}

// coefficients hold −G.
BITGRID_MULTIVERSION
void round_columns(const BlockLanes& b, std::int64_t size, bool nearest) {
  for (std::int64_t j = 0; j < size; ++j) {
    float* e = b.e + j * kTile;
    const float* base = b.base + j * kTile;
    float z[kLanes];
    for (int l = 0; l < kLanes; ++l) z[l] = e[l] + base[l];
    feed_back<kTile>(b.e, b.coefficients + j * b.block, 0, j, z);
    std::uint8_t* code = b.code + j * kTile;
    const double weight = b.weight[j];
    for (int l = 0; l < kLanes; ++l) {
      const float q = clamp_code(rne(nearest ? e[l] : z[l]), b.maxq);
      z[l] -= q;
      e[l] -= q;
      code[l] = static_cast<std::uint8_t>(static_cast<std::int32_t>(q));
    }
    for (int l = 0; l < kLanes; ++l) {
      const double error = z[l];
      b.loss[l] += weight * (error * error);
    }
  }
}

// One greedy pass over a block; base holds (v − u)H as it was at the block's start, coefficients H.
//   step [block, kTile]: what every position of the block was changed by
// A step from u to u' changes the loss by H_ii·((u' − t)² − (u − t)²), which is never above zero.
// Returns whether any code has changed.
BITGRID_MULTIVERSION
bool descend_columns(const BlockLanes& b, float* step, std::int64_t size) {
  float changed = 0;
  for (std::int64_t j = 0; j < size; ++j) {
    float* e = b.e + j * kTile;
    const float* base = b.base + j * kTile;
    float z[kLanes];
    for (int l = 0; l < kLanes; ++l) z[l] = base[l];
    feed_back<kTile>(step, b.coefficients + j * b.block, 0, j, z);
    std::uint8_t* code = b.code + j * kTile;
    float* by = step + j * kTile;
    const double weight = b.weight[j];
    const float diagonal = b.coefficients[j * b.block + j];
    float gain[kLanes];
    for (int l = 0; l < kLanes; ++l) {
      const float q = static_cast<float>(static_cast<std::int32_t>(code[l]));
      const float off = z[l] / diagonal;  // t − u
      const float next = clamp_code(rne(q + off), b.maxq);
      const float change = next - q;
      // (u' − t)² − (u − t)²
      gain[l] = change * (change - 2.0f * off);
      by[l] = change;
      e[l] -= change;
      code[l] = static_cast<std::uint8_t>(static_cast<std::int32_t>(next));
    }
    for (int l = 0; l < kLanes; ++l) {
      b.loss[l] += weight * static_cast<double>(gain[l]);
      changed += by[l] * by[l];
    }
  }
  return changed > 0;
}

// One tile of rows, transposed: positions by rows; rows that are missing are zero.
class Tile {
 public:
  Tile(const LdlqColumns& c, MatrixView<const float> w);
  void round();
  void descend();
  void store(MatrixView<std::uint8_t> codes) const;
  double loss(std::int64_t row) const { return loss_[static_cast<std::size_t>(row)]; }

 private:
  std::int64_t column(std::int64_t position) const {
    return c_.order[static_cast<std::size_t>(position)];
  }
  float maxq() const { return static_cast<float>((1 << c_.bits) - 1); }
  std::int64_t end_of(std::int64_t begin) const { return std::min(in_, begin + c_.block); }
  void copy_coefficients(MatrixView<const float> from, std::int64_t begin, std::int64_t size,
                         float sign);
  void multiply(MatrixView<const float> rows, std::int64_t begin, std::int64_t size,
                std::int64_t inner);
  bool descend_block(std::int64_t begin, std::int64_t end);
  BlockLanes lanes(std::int64_t begin, std::int64_t lane, const double* weight) {
    return {e_.row(begin) + lane,
            base_.data() + lane,
            code_.row(begin) + lane,
            loss_.data() + lane,
            coefficients_.data(),
            coefficients_.cols(),
            weight,
            maxq()};
  }

  const LdlqColumns& c_;
  std::int64_t in_, rows_;
  Matrix<float> e_;             // [in, kTile]
  Matrix<std::uint8_t> code_;   // [in, kTile]
  Matrix<float> base_, step_;   // [block, kTile]
  Matrix<float> coefficients_;  // [block, block], without gaps
  std::vector<double> loss_;    // [kTile]
};

Tile::Tile(const LdlqColumns& c, MatrixView<const float> w)
    : c_(c),
      in_(w.cols),
      rows_(w.rows),
      e_(in_, kTile),
      code_(in_, kTile),
      base_(std::min(c.block, in_), kTile),
      step_(c.greedy_passes > 0 ? base_.rows() : 0, kTile),
      coefficients_(base_.rows(), base_.rows()),
      loss_(kTile, 0.0) {
  if (rows_ < kTile) {  // products over all lanes must find numbers in those that nobody solves
    e_.fill(0.0f);
    step_.fill(0.0f);
  }
  for (std::int64_t r = 0; r < rows_; r += kChunk) {
    const std::int64_t rows = std::min(kChunk, rows_ - r);
    for (std::int64_t i = 0; i < in_; ++i) {
      const float* from = w.row(r) + column(i);
      float* to = e_.row(i) + r;
      for (std::int64_t l = 0; l < rows; ++l) to[l] = from[l * w.stride];
    }
  }
  to_steps(e_.data(), e_.size(), c.delta, maxq(), c.preclamp);
}

void Tile::copy_coefficients(MatrixView<const float> from, std::int64_t begin, std::int64_t size,
                             float sign) {
  for (std::int64_t j = 0; j < size; ++j)
    for (std::int64_t p = 0; p <= j; ++p) coefficients_(j, p) = sign * from(begin + j, begin + p);
}

// base = rows [begin, begin + size) of a matrix times the first `inner` positions of e.
void Tile::multiply(MatrixView<const float> rows, std::int64_t begin, std::int64_t size,
                    std::int64_t inner) {
  if (inner == 0) return base_.fill(0.0f);
  const int n = static_cast<int>(kTile);
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, static_cast<int>(size), n,
              static_cast<int>(inner), 1.0f, rows.row(begin), static_cast<int>(rows.stride),
              e_.data(), n, 0.0f, base_.data(), n);
}

void Tile::round() {
  const bool feeds = c_.feedback.rows > 0;
  const std::vector<double> ones(feeds ? 0 : static_cast<std::size_t>(in_), 1.0);
  const double* weight = feeds ? c_.d.data() : ones.data();
  if (!feeds) coefficients_.fill(0.0f);
  for (std::int64_t begin = 0; begin < in_; begin = end_of(begin)) {
    const std::int64_t size = end_of(begin) - begin;
    if (feeds) copy_coefficients(c_.feedback, begin, size, -1.0f);
    multiply(c_.feedback, begin, size, feeds ? begin : 0);
    for (std::int64_t lane = 0; lane < rows_; lane += kLanes)
      round_columns(lanes(begin, lane, weight + begin), size, c_.nearest || !feeds);
  }
}

bool Tile::descend_block(std::int64_t begin, std::int64_t end) {
  const std::int64_t size = end - begin;
  copy_coefficients(c_.h, begin, size, 1.0f);
  multiply(c_.h, begin, size, in_);
  std::vector<double> diagonal(static_cast<std::size_t>(size));
  for (std::int64_t j = 0; j < size; ++j)
    diagonal[static_cast<std::size_t>(j)] = static_cast<double>(coefficients_(j, j));
  bool changed = false;
  for (std::int64_t lane = 0; lane < rows_; lane += kLanes)
    changed |= descend_columns(lanes(begin, lane, diagonal.data()), step_.data() + lane, size);
  return changed;
}

void Tile::descend() {
  if (c_.feedback.rows == 0) return;
  for (std::int64_t pass = 0; pass < c_.greedy_passes; ++pass) {
    bool changed = false;
    for (std::int64_t begin = 0; begin < in_; begin = end_of(begin))
      changed |= descend_block(begin, end_of(begin));
    if (!changed) return;
  }
}

void Tile::store(MatrixView<std::uint8_t> codes) const {
  for (std::int64_t r = 0; r < rows_; r += kChunk) {
    const std::int64_t rows = std::min(kChunk, rows_ - r);
    for (std::int64_t i = 0; i < in_; ++i) {
      std::uint8_t* to = codes.row(r) + column(i);
      const std::uint8_t* from = code_.row(i) + r;
      for (std::int64_t l = 0; l < rows; ++l) to[l * codes.stride] = from[l];
    }
  }
}

}  // namespace

void ldlq_rows(const Place& place, const LdlqColumns& columns, MatrixView<const float> w,
               MatrixView<std::uint8_t> codes, MatrixView<double> loss) {
  parallel_for(place, (w.rows + kTile - 1) / kTile, [&](std::int64_t index) {
    const std::int64_t first = index * kTile;
    const std::int64_t rows = std::min(kTile, w.rows - first);
    Tile tile(columns, w.rows_from(first, rows));
    tile.round();
    for (std::int64_t r = 0; r < rows; ++r) loss(first + r, 0) = tile.loss(r);
    tile.descend();
    for (std::int64_t r = 0; r < rows; ++r) loss(first + r, 1) = tile.loss(r);
    tile.store(codes.rows_from(first, rows));
  });
}

}  // namespace bitgrid::cpu

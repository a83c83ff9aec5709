#include "kernels/feedback_tile.hpp"

#include <cblas.h>

#include <algorithm>

#include "kernels/multiversion.hpp"

namespace bitgrid::cpu {
namespace {

constexpr std::int64_t kBlock = 128;  // columns between two updates of the rest
// Rows that are transposed together: 16 floats are a cache line.
constexpr std::int64_t kChunk = 16;

// Feeds the errors of the block's columns [0, done) into its columns [first, last).
BITGRID_MULTIVERSION
void catch_up(const FeedbackLanes& b, std::int64_t done, std::int64_t first, std::int64_t last) {
  for (std::int64_t j = first; j < last; ++j)
    feed_back_lanes(b.e, b.factor_columns + j * b.block, 0, done, b.w + j * kTileStride);
}

}  // namespace

FeedbackTile::FeedbackTile(MatrixView<const float> factor, std::int64_t group,
                           MatrixView<const float> w)
    : factor_(factor),
      in_(w.cols),
      rows_(w.rows),
      group_(group),
      block_(std::min(kBlock, w.cols)),
      w_(in_, kTileStride),
      code_(in_, kTileStride),
      error_(block_, kTileStride),
      factor_columns_(factor.rows > 0 ? block_ : 0, block_),
      loss_(kTileStride, 0.0) {
  if (rows_ < kTileStride) {  // the product over all lanes must find numbers in those without a row
    w_.fill(0.0f);
    error_.fill(0.0f);
  }
  for (std::int64_t r = 0; r < rows_; r += kChunk) {
    const std::int64_t rows = std::min(kChunk, rows_ - r);
    for (std::int64_t i = 0; i < in_; ++i) {
      const float* from = w.row(r) + i;
      float* to = w_.row(i) + r;
      for (std::int64_t l = 0; l < rows; ++l) to[l] = from[l * w.stride];
    }
  }
}

// A block holds whole groups, or a group holds whole blocks: where a group starts, all its columns
// have been fed what lies before the block.
std::int64_t FeedbackTile::block_end(std::int64_t begin) const {
  if (group_ <= kBlock) return std::min(in_, begin + kBlock / group_ * group_);
  return std::min(begin + kBlock, begin / group_ * group_ + group_);
}

void FeedbackTile::solve_lanes(std::int64_t begin, std::int64_t end, std::int64_t lane,
                               const Fit& fit, const Round& round) {
  const FeedbackLanes b{begin,
                        w_.row(begin) + lane,
                        error_.data() + lane,
                        code_.row(begin) + lane,
                        loss_.data() + lane,
                        factor_.rows > 0 ? factor_columns_.data() : nullptr,
                        block_};
  std::int64_t fed = 0;
  for (std::int64_t at = begin; at < end;) {
    const std::int64_t group = at / group_;
    const std::int64_t last = std::min(end, (group + 1) * group_);
    if (at == group * group_) {
      if (factor_.rows > 0 && at > begin) {
        fed = at - begin;
        catch_up(b, fed, fed, last - begin);
      }
      fit(group, lane, b.w + (at - begin) * kTileStride);
    }
    round(b, group, lane, fed, at - begin, last - begin);
    at = last;
  }
}

void FeedbackTile::solve_block(std::int64_t begin, std::int64_t end, const Fit& fit,
                               const Round& round) {
  const std::int64_t size = end - begin;
  if (factor_.rows > 0)
    for (std::int64_t p = 0; p < size; ++p)
      for (std::int64_t j = p; j < size; ++j) factor_columns_(j, p) = factor_(begin + p, begin + j);
  for (std::int64_t lane = 0; lane < rows_; lane += kLanes)
    solve_lanes(begin, end, lane, fit, round);
  if (end == in_ || factor_.rows == 0) return;
  const int n = static_cast<int>(kTileStride);
  cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, static_cast<int>(in_ - end), n,
              static_cast<int>(size), -1.0f, &factor_(begin, end), static_cast<int>(factor_.stride),
              error_.data(), n, 1.0f, w_.row(end), n);
}

void FeedbackTile::solve(const Fit& fit, const Round& round) {
  for (std::int64_t begin = 0; begin < in_;) {
    const std::int64_t end = block_end(begin);
    solve_block(begin, end, fit, round);
    begin = end;
  }
}

void FeedbackTile::store_codes(MatrixView<std::uint8_t> codes) const {
  for (std::int64_t r = 0; r < rows_; r += kChunk) {
    const std::int64_t rows = std::min(kChunk, rows_ - r);
    for (std::int64_t i = 0; i < in_; ++i) {
      std::uint8_t* to = codes.row(r) + i;
      const std::uint8_t* from = code_.row(i) + r;
      for (std::int64_t l = 0; l < rows; ++l) to[l * codes.stride] = from[l];
    }
  }
}

}  // namespace bitgrid::cpu

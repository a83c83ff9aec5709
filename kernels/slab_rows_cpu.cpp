#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/feedback_tile.hpp"
#include "kernels/multiversion.hpp"
#include "kernels/parallel.hpp"
#include "kernels/slab_rows.hpp"

namespace bitgrid::cpu {
namespace {

// mean and α = mean|w − mean| of the columns that are not dead.
BITGRID_MULTIVERSION
void binary_means(const float* w, const std::uint8_t* dead, std::int64_t columns, bool f16,
                  float* alpha, float* mean) {
  alignas(64) double sum[kLanes];
  for (int l = 0; l < kLanes; ++l) sum[l] = 0;
  double live = 0;
  for (std::int64_t j = 0; j < columns; ++j) {
    if (dead != nullptr && dead[j] != 0) continue;
    live += 1;
    for (int l = 0; l < kLanes; ++l) sum[l] += static_cast<double>(w[j * kTileStride + l]);
  }
  const double per_column = live > 0 ? 1 / live : 0;
  for (int l = 0; l < kLanes; ++l) {
    mean[l] = static_cast<float>(sum[l] * per_column);
    if (f16) mean[l] = f16_to_f32(f32_to_f16(mean[l]));
    sum[l] = 0;
  }
  for (std::int64_t j = 0; j < columns; ++j) {
    if (dead != nullptr && dead[j] != 0) continue;
    for (int l = 0; l < kLanes; ++l)
      sum[l] += static_cast<double>(std::fabs(w[j * kTileStride + l] - mean[l]));
  }
  for (int l = 0; l < kLanes; ++l) {
    alpha[l] = static_cast<float>(sum[l] * per_column);
    if (f16) alpha[l] = f16_to_f32(f32_to_f16(alpha[l]));
  }
}

// Column j of the block gets the errors of [fed, j), and what its diagonal of U is.
[[gnu::always_inline]] inline float feed_column(const FeedbackLanes& b, std::int64_t fed,
                                                std::int64_t j) {
  if (b.factor_columns == nullptr) return 1.0f;
  const float* u = b.factor_columns + j * b.block;
  feed_back_lanes(b.e, u, fed, j, b.w + j * kTileStride);
  return u[j];
}

[[gnu::always_inline]] inline void add_loss(const FeedbackLanes& b, std::int64_t j) {
  for (int l = 0; l < kLanes; ++l) {
    const double error = b.e[j * kTileStride + l];
    b.loss[l] += 0.5 * error * error;
  }
}

BITGRID_MULTIVERSION
void round_uniform(const FeedbackLanes& b, std::int64_t fed, std::int64_t first, std::int64_t last,
                   const float* scale, const float* zero, float maxq) {
  for (std::int64_t j = first; j < last; ++j) {
    const float diagonal = feed_column(b, fed, j);
    const float* w = b.w + j * kTileStride;
    float* e = b.e + j * kTileStride;
    std::uint8_t* code = b.code + j * kTileStride;
    for (int l = 0; l < kLanes; ++l) {
      const float q = grid_code(w[l], scale[l], zero[l], maxq);
      e[l] = (w[l] - grid_value(q, scale[l], zero[l])) / diagonal;
      code[l] = static_cast<std::uint8_t>(static_cast<std::int32_t>(q));
    }
    add_loss(b, j);
  }
}

// dead: by column of the block, or null.
BITGRID_MULTIVERSION
void round_binary(const FeedbackLanes& b, std::int64_t fed, std::int64_t first, std::int64_t last,
                  const float* alpha, const float* mean, const std::uint8_t* dead) {
  for (std::int64_t j = first; j < last; ++j) {
    const float diagonal = feed_column(b, fed, j);
    const float* w = b.w + j * kTileStride;
    float* e = b.e + j * kTileStride;
    std::uint8_t* code = b.code + j * kTileStride;
    const float alive = dead != nullptr && dead[j] != 0 ? 0.0f : 1.0f;
    for (int l = 0; l < kLanes; ++l) {
      const float q = w[l] >= mean[l] ? 1.0f : 0.0f;
      const float value = w[l] >= mean[l] ? mean[l] + alpha[l] : mean[l] - alpha[l];
      e[l] = (w[l] - alive * value) / diagonal;
      code[l] = static_cast<std::uint8_t>(static_cast<std::int32_t>(alive * q));
    }
    add_loss(b, j);
  }
}

// 1/U_jj² of every column, the largest in a slab 1.
std::vector<float> hessian_weights(const SlabColumns& c) {
  std::vector<float> weights;
  for (std::int64_t begin = 0; begin < c.factor.rows; begin += c.group) {
    double smallest = c.factor(begin, begin);
    for (std::int64_t j = begin; j < begin + c.group; ++j)
      smallest = std::min(smallest, static_cast<double>(c.factor(j, j)));
    for (std::int64_t j = begin; j < begin + c.group; ++j) {
      const double ratio = smallest / static_cast<double>(c.factor(j, j));
      weights.push_back(static_cast<float>(ratio * ratio));
    }
  }
  return weights;
}

// One tile of rows while it is being solved.
struct SlabTile {
  SlabTile(const SlabColumns& columns, std::span<const float> hessian, MatrixView<const float> w,
           MatrixView<const float> element_weights)
      : c(columns),
        column_weights(hessian),
        scale(std::ssize(c.widths), kTileStride),
        zero(std::ssize(c.widths), kTileStride),
        weights(element_weights.rows > 0 ? w.cols : 0, kTileStride) {
    weights.fill(0.0f);
    for (std::int64_t r = 0; r < element_weights.rows; ++r)
      for (std::int64_t j = 0; j < w.cols; ++j) weights(j, r) = element_weights(r, j);
  }

  int width(std::int64_t slab) const { return c.widths[static_cast<std::size_t>(slab)]; }
  const std::uint8_t* dead_from(std::int64_t column) const {
    return c.dead.empty() ? nullptr : c.dead.data() + column;
  }

  void fit(std::int64_t slab, std::int64_t lane, const float* w) {
    float* s = scale.row(slab) + lane;
    float* z = zero.row(slab) + lane;
    const std::int64_t first = slab * c.group;
    if (width(slab) == 1) return binary_means(w, dead_from(first), c.group, c.scale_f16, s, z);
    RangeSearch search;
    if (c.search != SlabSearch::none) search.factors = c.factors;
    if (c.search == SlabSearch::hessian) search.column_weights = column_weights.data() + first;
    if (!weights.empty()) search.element_weights = weights.row(first) + lane;
    search_group_lanes(grid(slab), search, w, c.group, kTileStride, s, z);
  }

  void round(const FeedbackLanes& b, std::int64_t slab, std::int64_t lane, std::int64_t fed,
             std::int64_t first, std::int64_t last) const {
    const float* s = scale.row(slab) + lane;
    const float* z = zero.row(slab) + lane;
    if (width(slab) == 1)
      round_binary(b, fed, first, last, s, z, dead_from(b.begin));
    else
      round_uniform(b, fed, first, last, s, z, grid(slab).maxq());
  }

  UniformGrid grid(std::int64_t slab) const {
    UniformGrid grid;
    grid.bits = width(slab);
    grid.scale_f16 = c.scale_f16;
    return grid;
  }

  const SlabColumns& c;
  std::span<const float> column_weights;
  Matrix<float> scale, zero;  // [slabs, kTileStride]
  Matrix<float> weights;      // [in, kTileStride] or empty
};

void solve_tile(const SlabColumns& c, std::span<const float> hessian, MatrixView<const float> w,
                MatrixView<const float> element_weights, MatrixView<float> scale,
                MatrixView<float> zero, MatrixView<std::uint8_t> codes, double* loss) {
  SlabTile slabs(c, hessian, w, element_weights);
  FeedbackTile tile(c.factor, c.group, w);
  tile.solve(
      [&](std::int64_t slab, std::int64_t lane, const float* columns) {
        slabs.fit(slab, lane, columns);
      },
      [&](const FeedbackLanes& b, std::int64_t slab, std::int64_t lane, std::int64_t fed,
          std::int64_t first, std::int64_t last) { slabs.round(b, slab, lane, fed, first, last); });
  tile.store_codes(codes);
  for (std::int64_t r = 0; r < w.rows; ++r) {
    loss[r] = tile.loss(r);
    for (std::int64_t g = 0; g < scale.cols; ++g) {
      scale(r, g) = slabs.scale(g, r);
      zero(r, g) = slabs.zero(g, r);
    }
  }
}

}  // namespace

void slab_rows(const Place& place, const SlabColumns& columns, MatrixView<const float> w,
               MatrixView<float> scale, MatrixView<float> zero, MatrixView<std::uint8_t> codes,
               std::span<double> loss) {
  std::vector<float> hessian;
  if (columns.search == SlabSearch::hessian) hessian = hessian_weights(columns);
  parallel_for(place, (w.rows + kTileStride - 1) / kTileStride, [&](std::int64_t index) {
    const std::int64_t first = index * kTileStride;
    const std::int64_t rows = std::min(kTileStride, w.rows - first);
    const MatrixView<const float> weights = columns.element_weights;
    solve_tile(columns, hessian, w.rows_from(first, rows),
               weights.rows > 0 ? weights.rows_from(first, rows) : weights,
               scale.rows_from(first, rows), zero.rows_from(first, rows),
               codes.rows_from(first, rows), loss.data() + first);
  });
}

}  // namespace bitgrid::cpu

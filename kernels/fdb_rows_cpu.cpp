#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/fdb_rows.hpp"
#include "kernels/feedback_tile.hpp"
#include "kernels/multiversion.hpp"
#include "kernels/parallel.hpp"

namespace bitgrid::cpu {
namespace {

// fp32 sums are this long at most; longer ones go on in fp64.
constexpr std::int64_t kChunk = 64;
constexpr int kFirstStep = 20, kLastStep = 100, kStep = 2;  // the search's f, in hundredths

// The columns of one group on kLanes rows.
struct GroupLanes {
  const float* w;      // kTileStride apart
  const float* h;      // by column
  std::int64_t count;  // columns
};

// The nearest level's code and value; ties as the header says.
struct Level {
  float code, value;
};
[[gnu::always_inline]] inline Level nearest_level(float w, float a1, float a2) {
  const float both = a1 + a2;
  float best = std::fabs(w - both);
  Level level{3.0f, both};
  const float d1 = std::fabs(w - a2);
  level.code = d1 < best ? 1.0f : level.code;
  level.value = d1 < best ? a2 : level.value;
  best = d1 < best ? d1 : best;
  const float d2 = std::fabs(w - a1);
  level.code = d2 < best ? 2.0f : level.code;
  level.value = d2 < best ? a1 : level.value;
  best = d2 < best ? d2 : best;
  const float d0 = std::fabs(w);
  level.code = d0 < best ? 0.0f : level.code;
  level.value = d0 < best ? 0.0f : level.value;
  const bool zeros = a1 == 0.0f && a2 == 0.0f;
  level.code = zeros ? 0.0f : level.code;
  return level;
}

struct Extremes {
  alignas(64) float lo[kLanes];
  alignas(64) float hi[kLanes];
};

BITGRID_MULTIVERSION
void find_extremes(const GroupLanes& g, Extremes& x) {
  for (int l = 0; l < kLanes; ++l) x.lo[l] = x.hi[l] = g.w[l];
  for (std::int64_t j = 1; j < g.count; ++j) {
    const float* w = g.w + j * kTileStride;
    for (int l = 0; l < kLanes; ++l) {
      x.lo[l] = w[l] < x.lo[l] ? w[l] : x.lo[l];
      x.hi[l] = w[l] > x.hi[l] ? w[l] : x.hi[l];
    }
  }
}

// Weighted squared errors of the levels −s, 0, s, 2s (plain) and −2s, −s, 0, s (mirrored), s > 0,
// or 0 where all weights are 0.
BITGRID_MULTIVERSION
void search_errors(const GroupLanes& g, const float* s, double* plain, double* mirrored) {
  alignas(64) float inverse[kLanes], a[kLanes], b[kLanes];
  for (int l = 0; l < kLanes; ++l) {
    inverse[l] = s[l] > 0.0f ? 1.0f / s[l] : 0.0f;
    plain[l] = mirrored[l] = 0;
  }
  for (std::int64_t start = 0; start < g.count; start += kChunk) {
    for (int l = 0; l < kLanes; ++l) a[l] = b[l] = 0.0f;
    const std::int64_t end = std::min(g.count, start + kChunk);
    for (std::int64_t j = start; j < end; ++j) {
      const float* w = g.w + j * kTileStride;
      const float h = g.h[j];
      for (int l = 0; l < kLanes; ++l) {
        const float t = std::rint(w[l] * inverse[l]);
        const float up = t > -1.0f ? t : -1.0f;
        const float down = t < 1.0f ? t : 1.0f;
        const float off_up = w[l] - s[l] * (up < 2.0f ? up : 2.0f);
        const float off_down = w[l] - s[l] * (down > -2.0f ? down : -2.0f);
        a[l] += h * off_up * off_up;
        b[l] += h * off_down * off_down;
      }
    }
    for (int l = 0; l < kLanes; ++l) {
      plain[l] += static_cast<double>(a[l]);
      mirrored[l] += static_cast<double>(b[l]);
    }
  }
}

// s of each lane, negative where the levels are mirrored.
void search_start(const GroupLanes& g, const Extremes& x, float* best_s) {
  alignas(64) float s[kLanes];
  alignas(64) double best[kLanes], plain[kLanes], mirrored[kLanes];
  std::fill(best, best + kLanes, std::numeric_limits<double>::infinity());
  for (int hundredths = kFirstStep; hundredths <= kLastStep; hundredths += kStep) {
    const float f = static_cast<float>(hundredths) / 100.0f;
    for (int l = 0; l < kLanes; ++l) s[l] = f * (0.5f * std::max(-x.lo[l], x.hi[l]));
    search_errors(g, s, plain, mirrored);
    for (int l = 0; l < kLanes; ++l) {
      if (plain[l] < best[l]) {
        best[l] = plain[l];
        best_s[l] = s[l];
      }
      if (mirrored[l] < best[l]) {
        best[l] = mirrored[l];
        best_s[l] = -s[l];
      }
    }
  }
}

// Sums over the columns of code 1, 2 and 3: H_c = Σ h, R_c = Σ h·w.
struct CodeSums {
  alignas(64) double h[3][kLanes];
  alignas(64) double r[3][kLanes];
};

BITGRID_MULTIVERSION
void sum_codes(const GroupLanes& g, const float* a1, const float* a2, CodeSums& sums) {
  alignas(64) float h1[kLanes], h2[kLanes], h3[kLanes], r1[kLanes], r2[kLanes], r3[kLanes];
  for (int c = 0; c < 3; ++c)
    for (int l = 0; l < kLanes; ++l) sums.h[c][l] = sums.r[c][l] = 0;
  for (std::int64_t start = 0; start < g.count; start += kChunk) {
    for (int l = 0; l < kLanes; ++l) h1[l] = h2[l] = h3[l] = r1[l] = r2[l] = r3[l] = 0.0f;
    const std::int64_t end = std::min(g.count, start + kChunk);
    for (std::int64_t j = start; j < end; ++j) {
      const float* w = g.w + j * kTileStride;
      const float h = g.h[j];
      for (int l = 0; l < kLanes; ++l) {
        const float code = nearest_level(w[l], a1[l], a2[l]).code;
        const float is1 = code == 1.0f ? h : 0.0f;
        const float is2 = code == 2.0f ? h : 0.0f;
        const float is3 = code == 3.0f ? h : 0.0f;
        h1[l] += is1;
        h2[l] += is2;
        h3[l] += is3;
        r1[l] += is1 * w[l];
        r2[l] += is2 * w[l];
        r3[l] += is3 * w[l];
      }
    }
    for (int l = 0; l < kLanes; ++l) {
      sums.h[0][l] += static_cast<double>(h1[l]);
      sums.h[1][l] += static_cast<double>(h2[l]);
      sums.h[2][l] += static_cast<double>(h3[l]);
      sums.r[0][l] += static_cast<double>(r1[l]);
      sums.r[1][l] += static_cast<double>(r2[l]);
      sums.r[2][l] += static_cast<double>(r3[l]);
    }
  }
}

// The best scales for the codes that a1 and a2 lead to: the normal equations with s₁₁ = H₂ + H₃,
// s₂₂ = H₁ + H₃, s₁₂ = H₃, r₁ = R₂ + R₃, r₂ = R₁ + R₃. Written in sums over codes, their
// determinant has no cancellation. Returns whether a scale changed.
bool improve_scales(const GroupLanes& g, float* a1, float* a2) {
  CodeSums sums;
  sum_codes(g, a1, a2, sums);
  bool changed = false;
  for (int l = 0; l < kLanes; ++l) {
    const double h1 = sums.h[0][l], h2 = sums.h[1][l], h3 = sums.h[2][l];
    const double r1 = sums.r[0][l], r2 = sums.r[1][l], r3 = sums.r[2][l];
    const double determinant = h1 * h2 + h1 * h3 + h2 * h3;
    if (!(determinant > 1e-9 * (h2 + h3) * (h1 + h3)))
      continue;  // one plane is empty, or both equal
    const auto first = static_cast<float>((h1 * (r2 + r3) + h3 * (r2 - r1)) / determinant);
    const auto second = static_cast<float>((h2 * (r1 + r3) + h3 * (r1 - r2)) / determinant);
    changed = changed || first != a1[l] || second != a2[l];
    a1[l] = first;
    a2[l] = second;
  }
  return changed;
}

void fit_lanes(const FdbColumns& c, const GroupLanes& g, float* a1, float* a2) {
  Extremes x;
  find_extremes(g, x);
  alignas(64) float s[kLanes];
  for (int l = 0; l < kLanes; ++l) {
    const float range = (x.hi[l] - x.lo[l]) / 3.0f;
    const float half = 0.5f * std::max(-x.lo[l], x.hi[l]);
    s[l] = c.start == FdbStart::range ? range : half;
    if (x.lo[l] == x.hi[l]) s[l] = 0.5f * x.lo[l];  // one value: α₁ alone
  }
  if (c.start == FdbStart::search) search_start(g, x, s);
  for (int l = 0; l < kLanes; ++l) {
    const bool zeros = x.lo[l] == 0.0f && x.hi[l] == 0.0f;
    a1[l] = zeros ? 0.0f : 2.0f * s[l];
    a2[l] = zeros ? 0.0f : -s[l];
  }
  for (int step = 0; step < c.scale_steps; ++step)
    if (!improve_scales(g, a1, a2)) break;
  for (int l = 0; l < kLanes && c.scale_f16; ++l) {
    a1[l] = f16_to_f32(f32_to_f16(a1[l]));
    a2[l] = f16_to_f32(f32_to_f16(a2[l]));
  }
}

BITGRID_MULTIVERSION
void round_columns(const FeedbackLanes& b, std::int64_t fed, std::int64_t first, std::int64_t last,
                   const float* a1, const float* a2) {
  for (std::int64_t j = first; j < last; ++j) {
    float* w = b.w + j * kTileStride;
    float* e = b.e + j * kTileStride;
    std::uint8_t* code = b.code + j * kTileStride;
    float diagonal = 1.0f;
    if (b.factor_columns != nullptr) {
      const float* u = b.factor_columns + j * b.block;
      feed_back_lanes(b.e, u, fed, j, w);
      diagonal = u[j];
    }
    for (int l = 0; l < kLanes; ++l) {
      const Level level = nearest_level(w[l], a1[l], a2[l]);
      e[l] = (w[l] - level.value) / diagonal;
      code[l] = static_cast<std::uint8_t>(static_cast<std::int32_t>(level.code));
    }
    for (int l = 0; l < kLanes; ++l) {
      const double error = e[l];
      b.loss[l] += 0.5 * error * error;
    }
  }
}

// The columns' weights, their mean 1 in every group.
std::vector<float> normalized(const FdbColumns& c, std::int64_t in) {
  std::vector<float> h(static_cast<std::size_t>(in), 1.0f);
  if (c.weights.empty()) return h;
  const auto group = static_cast<std::size_t>(c.group);
  for (std::size_t begin = 0; begin < h.size(); begin += group) {
    double sum = 0;
    for (std::size_t j = begin; j < begin + group; ++j) sum += static_cast<double>(c.weights[j]);
    for (std::size_t j = begin; j < begin + group && sum > 0; ++j)
      h[j] =
          static_cast<float>(static_cast<double>(c.weights[j]) * static_cast<double>(group) / sum);
  }
  return h;
}

void solve_tile(const FdbColumns& c, std::span<const float> h, MatrixView<const float> w,
                MatrixView<float> scale1, MatrixView<float> scale2, MatrixView<std::uint8_t> codes,
                double* loss) {
  Matrix<float> a1(scale1.cols, kTileStride), a2(scale1.cols, kTileStride);  // groups, by lane
  a1.fill(0.0f);
  a2.fill(0.0f);
  if (!c.fit)
    for (std::int64_t r = 0; r < w.rows; ++r)
      for (std::int64_t g = 0; g < scale1.cols; ++g) {
        a1(g, r) = scale1(r, g);
        a2(g, r) = scale2(r, g);
      }
  FeedbackTile tile(c.factor, c.group, w);
  tile.solve(
      [&](std::int64_t g, std::int64_t lane, const float* columns) {
        if (c.fit)
          fit_lanes(c, {columns, h.data() + g * c.group, c.group}, a1.row(g) + lane,
                    a2.row(g) + lane);
      },
      [&](const FeedbackLanes& block, std::int64_t g, std::int64_t lane, std::int64_t fed,
          std::int64_t first, std::int64_t last) {
        round_columns(block, fed, first, last, a1.row(g) + lane, a2.row(g) + lane);
      });
  tile.store_codes(codes);
  for (std::int64_t r = 0; r < w.rows; ++r) {
    loss[r] = tile.loss(r);
    for (std::int64_t g = 0; g < scale1.cols && c.fit; ++g) {
      scale1(r, g) = a1(g, r);
      scale2(r, g) = a2(g, r);
    }
  }
}

}  // namespace

void fdb_rows(const Place& place, const FdbColumns& columns, MatrixView<const float> w,
              MatrixView<float> scale1, MatrixView<float> scale2, MatrixView<std::uint8_t> codes,
              std::span<double> loss) {
  const std::vector<float> h = normalized(columns, w.cols);
  parallel_for(place, (w.rows + kTileStride - 1) / kTileStride, [&](std::int64_t index) {
    const std::int64_t first = index * kTileStride;
    const std::int64_t rows = std::min(kTileStride, w.rows - first);
    solve_tile(columns, h, w.rows_from(first, rows), scale1.rows_from(first, rows),
               scale2.rows_from(first, rows), codes.rows_from(first, rows), loss.data() + first);
  });
}

}  // namespace bitgrid::cpu

#include <cblas.h>

#include <algorithm>
#include <vector>

#include "kernels/dtype.hpp"
#include "kernels/fdb_joint_scales.hpp"
#include "kernels/fdb_rows.hpp"
#include "kernels/multiversion.hpp"
#include "kernels/parallel.hpp"
#include "kernels/quadratic_form.hpp"

extern "C" void dposv_(const char* uplo, const int* n, const int* nrhs, double* a, const int* lda,
                       double* b, const int* ldb, int* info);

namespace bitgrid::cpu {
namespace {

constexpr double kRidge = 1e-8;

// Σ_j t[j]·b₁[j] and Σ_j t[j]·b₂[j] over one group, planes from codes.
struct PlaneSums {
  double one = 0, two = 0;
};
BITGRID_MULTIVERSION
PlaneSums sum_planes(const float* t, const std::uint8_t* codes, std::int64_t count) {
  constexpr int kPartial = 16;  // partial sums, so that the loop vectorizes
  double one[kPartial] = {}, two[kPartial] = {};
  std::int64_t j = 0;
  for (; j + kPartial <= count; j += kPartial)
    for (int l = 0; l < kPartial; ++l) {
      one[l] += (codes[j + l] & 2) != 0 ? static_cast<double>(t[j + l]) : 0.0;
      two[l] += (codes[j + l] & 1) != 0 ? static_cast<double>(t[j + l]) : 0.0;
    }
  PlaneSums sums;
  for (; j < count; ++j) {
    sums.one += (codes[j] & 2) != 0 ? static_cast<double>(t[j]) : 0.0;
    sums.two += (codes[j] & 1) != 0 ? static_cast<double>(t[j]) : 0.0;
  }
  for (int l = 0; l < kPartial; ++l) {
    sums.one += one[l];
    sums.two += two[l];
  }
  return sums;
}

// Up to kFdbJointTileRows rows; m holds the lower triangles of BᵀHB, one row after the other.
struct JointTile {
  JointTile(const FdbObjective& o, MatrixView<const float> weights,
            MatrixView<const std::uint8_t> plane_codes)
      : objective(o),
        w(weights),
        codes(plane_codes),
        groups(w.cols / o.group),
        unknowns(2 * groups),
        m(w.rows, unknowns * unknowns),
        right(w.rows, unknowns) {}
  void make_matrices();
  void make_right_sides();

  const FdbObjective& objective;
  MatrixView<const float> w;
  MatrixView<const std::uint8_t> codes;
  std::int64_t groups, unknowns;
  Matrix<double> m;      // [rows, unknowns²]
  Matrix<double> right;  // [rows, unknowns]
};

// Group after group: T = B_g S_g,below for both planes of all rows at once, then selected sums of T
// over the groups below.
void JointTile::make_matrices() {
  const std::int64_t group = objective.group, in = w.cols, planes = 2 * w.rows;
  Matrix<float> b(planes, group), t(planes, in), s(group, group);
  for (std::int64_t g = 0; g < groups; ++g) {
    const std::int64_t first = g * group, below = first + group;
    for (std::int64_t r = 0; r < w.rows; ++r)
      for (std::int64_t j = 0; j < group; ++j) {
        b(2 * r, j) = static_cast<float>(codes(r, first + j) >> 1 & 1);
        b(2 * r + 1, j) = static_cast<float>(codes(r, first + j) & 1);
      }
    cblas_ssymm(CblasRowMajor, CblasRight, CblasLower, static_cast<int>(planes),
                static_cast<int>(group), 1.0f, &objective.gram(first, first),
                static_cast<int>(objective.gram.stride), b.data(), static_cast<int>(group), 0.0f,
                &t(0, first), static_cast<int>(in));
    if (below < in)
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<int>(planes),
                  static_cast<int>(in - below), static_cast<int>(group), 1.0f, b.data(),
                  static_cast<int>(group), &objective.gram(below, first),
                  static_cast<int>(objective.gram.stride), 0.0f, &t(0, below),
                  static_cast<int>(in));
    for (std::int64_t p = 0; p < planes; ++p) {
      const std::int64_t r = p / 2, column = 2 * g + p % 2;
      for (std::int64_t other = g; other < groups; ++other) {
        const PlaneSums sums = sum_planes(&t(p, other * group), &codes(r, other * group), group);
        double* out = m.row(r) + column;
        out[2 * other * unknowns] = objective.scale * sums.one;
        out[(2 * other + 1) * unknowns] = objective.scale * sums.two;
      }
    }
    // The damping: how many columns of the group each pair of planes shares.
    for (std::int64_t r = 0; r < w.rows; ++r) {
      double ones = 0, twos = 0, both = 0;
      for (std::int64_t j = first; j < below; ++j) {
        ones += codes(r, j) >> 1;
        twos += codes(r, j) & 1;
        both += codes(r, j) == 3;
      }
      double* corner = m.row(r) + 2 * g * unknowns + 2 * g;
      corner[0] += objective.damping * ones;
      corner[unknowns] += objective.damping * both;
      corner[unknowns + 1] += objective.damping * twos;
    }
  }
}

void JointTile::make_right_sides() {
  Matrix<float> hw(w.rows, w.cols);
  cblas_ssymm(CblasRowMajor, CblasRight, CblasLower, static_cast<int>(w.rows),
              static_cast<int>(w.cols), static_cast<float>(objective.scale), objective.gram.data,
              static_cast<int>(objective.gram.stride), w.data, static_cast<int>(w.stride), 0.0f,
              hw.data(), static_cast<int>(w.cols));
  for (std::int64_t r = 0; r < w.rows; ++r) {
    for (std::int64_t j = 0; j < w.cols; ++j)
      hw(r, j) += static_cast<float>(objective.damping) * w(r, j);
    for (std::int64_t g = 0; g < groups; ++g) {
      const PlaneSums sums =
          sum_planes(&hw(r, g * objective.group), &codes(r, g * objective.group), objective.group);
      right(r, 2 * g) = sums.one;
      right(r, 2 * g + 1) = sums.two;
    }
  }
}

// Solves for one row in place; false where the matrix is not positive definite.
bool solve_row(JointTile& tile, std::int64_t r) {
  const std::int64_t n = tile.unknowns;
  double* m = tile.m.row(r);
  double trace = 0;
  for (std::int64_t i = 0; i < n; ++i) trace += m[i * n + i];
  if (!(trace > 0)) return false;
  for (std::int64_t i = 0; i < n; ++i) m[i * n + i] += kRidge * trace / static_cast<double>(n);
  const int size = static_cast<int>(n), one = 1;
  int info = 0;
  dposv_("U", &size, &one, m, &size, tile.right.row(r), &size,
         &info);  // U: rows are LAPACK's columns
  return info == 0;
}

void tile_losses(const FdbObjective& objective, MatrixView<const float> w,
                 MatrixView<const float> scale1, MatrixView<const float> scale2,
                 MatrixView<const std::uint8_t> codes, std::span<double> loss) {
  Matrix<float> off(w.rows, w.cols);
  std::vector<double> squares(static_cast<std::size_t>(w.rows), 0.0);
  for (std::int64_t r = 0; r < w.rows; ++r)
    for (std::int64_t j = 0; j < w.cols; ++j) {
      const std::int64_t g = j / objective.group;
      off(r, j) = w(r, j) - fdb_value(codes(r, j), scale1(r, g), scale2(r, g));
      squares[static_cast<std::size_t>(r)] +=
          static_cast<double>(off(r, j)) * static_cast<double>(off(r, j));
    }
  cpu::quadratic_form(Place{}, off.view(), objective.gram, loss);
  for (std::size_t r = 0; r < squares.size(); ++r)
    loss[r] = 0.5 * (objective.scale * loss[r] + objective.damping * squares[r]);
}

void solve_tile(const FdbObjective& objective, MatrixView<const float> w,
                MatrixView<const std::uint8_t> codes, MatrixView<float> scale1,
                MatrixView<float> scale2, double* loss) {
  JointTile tile(objective, w, codes);
  tile.make_matrices();
  tile.make_right_sides();
  Matrix<float> new1(w.rows, tile.groups), new2(w.rows, tile.groups);
  const auto stored = [&](double v) {
    const auto f = static_cast<float>(v);
    return objective.scale_f16 ? f16_to_f32(f32_to_f16(f)) : f;
  };
  for (std::int64_t r = 0; r < w.rows; ++r) {
    const bool solved = solve_row(tile, r);
    for (std::int64_t g = 0; g < tile.groups; ++g) {
      new1(r, g) = solved ? stored(tile.right(r, 2 * g)) : scale1(r, g);
      new2(r, g) = solved ? stored(tile.right(r, 2 * g + 1)) : scale2(r, g);
    }
  }
  std::vector<double> now(static_cast<std::size_t>(w.rows));
  tile_losses(objective, w, scale1, scale2, codes, {loss, now.size()});
  tile_losses(objective, w, new1.view(), new2.view(), codes, now);
  for (std::int64_t r = 0; r < w.rows; ++r) {
    if (!(now[static_cast<std::size_t>(r)] < loss[r])) continue;
    loss[r] = now[static_cast<std::size_t>(r)];
    std::copy_n(new1.row(r), tile.groups, scale1.row(r));
    std::copy_n(new2.row(r), tile.groups, scale2.row(r));
  }
}

}  // namespace

void fdb_row_losses(const Place& place, const FdbObjective& objective, MatrixView<const float> w,
                    MatrixView<const float> scale1, MatrixView<const float> scale2,
                    MatrixView<const std::uint8_t> codes, std::span<double> loss) {
  constexpr std::int64_t kRows = kFdbJointTileRows;
  parallel_for(place, (w.rows + kRows - 1) / kRows, [&](std::int64_t index) {
    const std::int64_t first = index * kRows, rows = std::min(kRows, w.rows - first);
    tile_losses(objective, w.rows_from(first, rows), scale1.rows_from(first, rows),
                scale2.rows_from(first, rows), codes.rows_from(first, rows),
                loss.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(rows)));
  });
}

void fdb_joint_scales(const Place& place, const FdbObjective& objective, MatrixView<const float> w,
                      MatrixView<const std::uint8_t> codes, MatrixView<float> scale1,
                      MatrixView<float> scale2, std::span<double> loss) {
  constexpr std::int64_t kRows = kFdbJointTileRows;
  parallel_for(place, (w.rows + kRows - 1) / kRows, [&](std::int64_t index) {
    const std::int64_t first = index * kRows, rows = std::min(kRows, w.rows - first);
    solve_tile(objective, w.rows_from(first, rows), codes.rows_from(first, rows),
               scale1.rows_from(first, rows), scale2.rows_from(first, rows), loss.data() + first);
  });
}

}  // namespace bitgrid::cpu

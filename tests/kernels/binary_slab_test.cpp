#include "kernels/binary_slab.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernels/dtype.hpp"
#include "kernels/error.hpp"
#include "kernels/select_ranks.hpp"
#include "tests/oracle/binary.hpp"
#include "tests/oracle/random.hpp"
#include "tests/tolerance.hpp"

namespace bitgrid::test {
namespace {

const Place kPlace = cpu_place(2);

Matrix<float> panels_of(MatrixView<const float> w) {
  Matrix<float> panels(panel_count(w.rows), w.cols * kPanelRows);
  load_panels(kPlace, w, panels.view());
  return panels;
}

TEST(RowPanels, ComeBackAndMissingRowsAreZero) {
  Random random(1);
  for (const std::int64_t rows : {1L, 3L, 16L, 17L, 129L}) {
    const Matrix<float> w = random.normals(rows, 7);
    const Matrix<float> panels = panels_of(w.view());
    Matrix<float> back(rows, 7);
    store_panels(kPlace, panels.view(), back.view());
    EXPECT_TRUE(std::equal(w.data(), w.data() + w.size(), back.data()));
    for (std::int64_t r = rows; r < panels.rows() * kPanelRows; ++r)
      EXPECT_EQ(panels(r / kPanelRows, 3 * kPanelRows + r % kPanelRows), 0.0f);
  }
}

TEST(RowPanels, SubtractProducts) {
  Random random(2);
  for (const std::int64_t rows : {1L, 17L, 257L})
    for (const std::int64_t count : {1L, 5L, 129L})
      for (const std::int64_t columns : {1L, 6L, 13L, 101L}) {
        const Matrix<float> e = random.normals(rows, count), u = random.normals(count, columns);
        const Matrix<float> w = random.normals(rows, columns);
        Matrix<float> panels = panels_of(w.view());
        subtract_products(kPlace, panels_of(e.view()).view(), u.view(), panels.view());
        Matrix<float> found(rows, columns);
        store_panels(kPlace, panels.view(), found.view());
        for (std::int64_t r = 0; r < rows; ++r)
          for (std::int64_t j = 0; j < columns; ++j) {
            double sum = w(r, j), magnitude = std::fabs(sum);
            for (std::int64_t p = 0; p < count; ++p) {
              const double product = static_cast<double>(e(r, p)) * static_cast<double>(u(p, j));
              sum -= product;
              magnitude += std::fabs(product);
            }
            ASSERT_NEAR(found(r, j), sum, dot_tolerance(count + 1, magnitude));
          }
      }
}

TEST(RowPanels, SolveFeedback) {
  Random random(3);
  for (const std::int64_t count : {1L, 6L, 7L, 128L}) {
    const std::int64_t rows = 19;
    Matrix<float> u = random.normals(count, count, 0.1);
    for (std::int64_t i = 0; i < count; ++i) {
      for (std::int64_t j = 0; j < i; ++j) u(i, j) = 1e9f;  // must not be looked at
      u(i, i) = static_cast<float>(random.between(1, 2));
    }
    const Matrix<float> d = random.normals(rows, count);
    Matrix<float> panels = panels_of(d.view());
    solve_feedback(kPlace, u.view(), panels.view());
    Matrix<float> e(rows, count);
    store_panels(kPlace, panels.view(), e.view());
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t j = 0; j < count; ++j) {
        double sum = 0, magnitude = std::fabs(d(r, j));
        for (std::int64_t p = 0; p <= j; ++p) {
          sum += static_cast<double>(e(r, p)) * static_cast<double>(u(p, j));
          magnitude += std::fabs(static_cast<double>(e(r, p)) * static_cast<double>(u(p, j)));
        }
        ASSERT_NEAR(sum, d(r, j), dot_tolerance(count + 1, magnitude));
      }
  }
}

TEST(SelectRanks, AgreesWithSorting) {
  Random random(4);
  std::vector<std::uint32_t> all;
  for (int i = 0; i < 5000; ++i)
    all.push_back(i % 5 == 0 ? 77u : magnitude_key(static_cast<float>(random.normal() * 1e-3)));
  for (int i = 0; i < 100; ++i) all.push_back(0x7f800000u);
  KeyTiles keys;
  keys.tiles = 13;
  keys.tile_keys_max = 400;
  keys.fill = [&](std::int64_t tile, std::uint32_t* out) {
    const std::size_t first = static_cast<std::size_t>(tile) * 400;
    const std::size_t count = std::min<std::size_t>(400, all.size() - first);
    std::copy_n(all.begin() + static_cast<std::ptrdiff_t>(first), count, out);
    return static_cast<std::int64_t>(count);
  };
  std::vector<std::uint32_t> sorted = all;
  std::sort(sorted.begin(), sorted.end());
  std::vector<std::int64_t> ranks = {0, 0, 1, 999, 1000, 1001, 2500, 2501, 4000, 5050, 5099};
  for (const int threads : {1, 2}) {
    const auto found = select_ranks(cpu_place(threads), keys, ranks);
    ASSERT_EQ(found.size(), ranks.size());
    for (std::size_t i = 0; i < ranks.size(); ++i) {
      EXPECT_EQ(found[i].key, sorted[static_cast<std::size_t>(ranks[i])]);
      EXPECT_EQ(found[i].below,
                std::lower_bound(sorted.begin(), sorted.end(), found[i].key) - sorted.begin());
    }
  }
  ranks.push_back(5100);
  EXPECT_THROW(select_ranks(kPlace, keys, ranks), Error);
  EXPECT_TRUE(select_ranks(kPlace, keys, {}).empty());
}

// A slab with its columns in some order, one of them left out.
struct SlabCase {
  SlabCase(std::int64_t rows, std::int64_t columns, std::uint64_t seed)
      : z(Random(seed).normals(rows, columns)), panels(panels_of(z.view())) {
    Random random(seed + 1);
    for (std::int64_t j = 0; j < columns; ++j)
      if (columns == 1 || j != 1) ranked.push_back(static_cast<std::int32_t>(j));
    for (std::size_t j = 0; j + 1 < ranked.size(); ++j)
      std::swap(ranked[j], ranked[j + static_cast<std::size_t>(random.below(
                                          static_cast<std::int64_t>(ranked.size() - j)))]);
    for (std::size_t j = 0; j < ranked.size(); ++j)
      weights.push_back(static_cast<float>(random.between(0.01, 1)));
    errors = Matrix<double>(panels.rows(), 96);
  }

  SlabColumns columns(bool wide) const { return {ranked, weights, wide}; }
  Values row(std::int64_t r) const {
    Values values;
    for (const std::int32_t j : ranked) values.push_back(z(r, j));
    return values;
  }
  double error(const Values& w, const std::vector<Values>& parts) const {
    double sum = 0;
    for (std::size_t j = 0; j < w.size(); ++j) {
      double off = w[j];
      for (const Values& part : parts) off -= part[j];
      sum += static_cast<double>(weights[j]) * off * off;
    }
    return sum;
  }
  double total(std::int64_t column) const {
    double sum = 0;
    for (std::int64_t i = 0; i < errors.rows(); ++i) sum += errors(i, column);
    return sum;
  }

  Matrix<float> z, panels;
  std::vector<std::int32_t> ranked;
  std::vector<float> weights;
  Matrix<double> errors;
};

// Sums over at most 129 values that are at most as large as what they are compared with, in fp32,
// taken a few times over.
constexpr double kTolerance = 8 * 129 * kRoundF32;

TEST(BinarySlab, ColumnErrors) {
  for (const auto& [rows, columns] : {std::pair{1L, 3L}, {16L, 4L}, {17L, 33L}, {5L, 129L}})
    for (const int order : {1, 2})
      for (const bool wide : {false, true}) {
        SlabCase c(rows, columns, 10);
        const auto live = static_cast<std::int64_t>(c.ranked.size());
        const std::int64_t tried = std::min<std::int64_t>(live - 1, 49);
        slab_column_errors(kPlace, c.panels.view(), c.columns(wide), order, tried, c.errors.view());
        for (std::int64_t i = 1; i <= tried; ++i) {
          double expected = 0, magnitude = 0;
          for (std::int64_t r = 0; r < rows; ++r) {
            const Values w = c.row(r);
            std::vector<bool> first(w.size()), rest(w.size());
            for (std::size_t j = 0; j < w.size(); ++j) {
              first[j] = static_cast<std::int64_t>(j) < i;
              rest[j] = !first[j];
            }
            expected +=
                c.error(w, {binarized_oracle(w, first, order), binarized_oracle(w, rest, order)});
            magnitude += c.error(w, {});
          }
          ASSERT_NEAR(c.total(i - 1), expected, (wide ? 1e-12 : kTolerance) * magnitude) << i;
        }
      }
}

TEST(BinarySlab, SplitErrorsAndValues) {
  std::vector<float> thresholds;
  for (int i = 0; i < kBreakPoints; ++i) thresholds.push_back(0.03f * static_cast<float>(i));
  for (const auto& [rows, columns] : {std::pair{1L, 1L}, {3L, 3L}, {17L, 33L}, {5L, 129L}})
    for (const bool means : {true, false})
      for (const bool wide : {false, true})
        for (const std::int64_t salient : {0L, 1L, 5L}) {
          SlabCase c(rows, columns, 20);
          if (salient > std::ssize(c.ranked)) continue;
          slab_split_errors(kPlace, c.panels.view(), c.columns(wide), salient, thresholds, means,
                            c.errors.view());
          Matrix<float> parameters(c.panels.rows(), kSlabParameters * kPanelRows);
          Matrix<float> values(c.panels.rows(), columns * kPanelRows);
          Matrix<std::uint8_t> codes(c.panels.rows(), columns * kPanelRows);
          for (int t = 0; t < kBreakPoints; t += 16) {
            const float p = thresholds[static_cast<std::size_t>(t)];
            binarize_slab(kPlace, c.panels.view(), c.panels.view(), c.columns(wide),
                          {salient, p, means, false},
                          {parameters.view(), codes.view(), values.view()});
            double expected = 0, magnitude = 0;
            for (std::int64_t r = 0; r < rows; ++r) {
              const Values w = c.row(r);
              std::vector<bool> twice(w.size()), small(w.size()), large(w.size());
              for (std::size_t j = 0; j < w.size(); ++j) {
                twice[j] = static_cast<std::int64_t>(j) < salient;
                small[j] = !twice[j] && std::fabs(w[j]) < static_cast<double>(p);
                large[j] = !twice[j] && !small[j];
              }
              const std::vector<Values> parts = {binarized_oracle(w, twice, 2),
                                                 binarized_oracle(w, small, 1, means),
                                                 binarized_oracle(w, large, 1, means)};
              expected += c.error(w, parts);
              magnitude += c.error(w, {});
              for (std::size_t j = 0; j < w.size(); ++j)
                ASSERT_NEAR(values(r / kPanelRows, c.ranked[j] * kPanelRows + r % kPanelRows),
                            parts[0][j] + parts[1][j] + parts[2][j], 1e-6);
            }
            ASSERT_NEAR(c.total(t), expected, (wide ? 1e-12 : kTolerance) * magnitude) << t;
          }
          for (std::int64_t r = 0; r < rows && columns > 1; ++r) {  // the column that was left out
            EXPECT_EQ(values(r / kPanelRows, kPanelRows + r % kPanelRows), 0.0f);
          }
        }
}

TEST(BinarySlab, ParametersAreRoundedToHalf) {
  SlabCase c(17, 20, 30);
  Matrix<float> parameters(2, kSlabParameters * kPanelRows), values(2, 20 * kPanelRows);
  Matrix<std::uint8_t> codes(2, 20 * kPanelRows);
  binarize_slab(kPlace, c.panels.view(), c.panels.view(), c.columns(false), {2, 0.5f, true, true},
                {parameters.view(), codes.view(), values.view()});
  for (std::int64_t i = 0; i < parameters.size(); ++i)
    EXPECT_EQ(parameters.data()[i], f16_to_f32(f32_to_f16(parameters.data()[i])));
}

TEST(BinarySlab, TotalsAndSalience) {
  SlabCase c(37, 11, 40);
  std::vector<double> squares(11), magnitudes(11);
  slab_column_totals(kPlace, c.panels.view(), true, squares);
  slab_column_totals(kPlace, c.panels.view(), false, magnitudes);
  std::vector<float> factors;
  for (int j = 0; j < 11; ++j) factors.push_back(0.5f * static_cast<float>(j));
  Matrix<float> z(c.panels.rows(), c.panels.cols());
  slab_salience(kPlace, c.panels.view(), factors, z.view());
  for (std::int64_t j = 0; j < 11; ++j) {
    double square = 0, magnitude = 0;
    for (std::int64_t r = 0; r < 37; ++r) {
      square += static_cast<double>(c.z(r, j)) * static_cast<double>(c.z(r, j));
      magnitude += std::fabs(static_cast<double>(c.z(r, j)));
      EXPECT_FLOAT_EQ(z(r / kPanelRows, j * kPanelRows + r % kPanelRows),
                      0.5f * static_cast<float>(j) * c.z(r, j) * c.z(r, j));
    }
    EXPECT_NEAR(squares[static_cast<std::size_t>(j)], square, 1e-13 * square);
    EXPECT_NEAR(magnitudes[static_cast<std::size_t>(j)], magnitude, 1e-13 * magnitude);
  }
}

// Where all columns weigh the same, the second plane takes k·(μ₂² + α₂²) off what the first one
// left of a row's k values, be they spread, heavy-tailed, of one sign, two values or one.
TEST(BinarySlab, TheSecondPlaneNeverMakesItWorse) {
  constexpr std::int64_t kKinds = 5;
  for (const auto& [rows, columns] :
       {std::pair{1L, 1L}, {3L, 3L}, {16L, 4L}, {17L, 33L}, {5L, 129L}, {129L, 20L}})
    for (std::int64_t kind = 0; kind < kKinds; ++kind) {
      SlabCase c(rows, columns, 60 + static_cast<std::uint64_t>(kind));
      for (std::int64_t i = 0; i < c.z.size(); ++i) {
        float& z = c.z.data()[i];
        const float values[] = {z, z * z * z, 3 + std::fabs(z), z > 0.5f ? 1.1f : -0.3f, 0.7f};
        z = values[kind];
      }
      c.panels = panels_of(c.z.view());
      std::fill(c.weights.begin(), c.weights.end(), 1.0f);
      const std::int64_t live = std::ssize(c.ranked);
      // Every value is salient, or sparse.
      Matrix<float> values(c.panels.rows(), columns * kPanelRows);
      const auto row_errors = [&](std::int64_t salient) {
        Matrix<float> parameters(c.panels.rows(), kSlabParameters * kPanelRows);
        Matrix<std::uint8_t> codes(c.panels.rows(), columns * kPanelRows);
        binarize_slab(kPlace, c.panels.view(), c.panels.view(), c.columns(false),
                      {salient, 0.0f, true, false},
                      {parameters.view(), codes.view(), values.view()});
        std::vector<double> errors;
        for (std::int64_t r = 0; r < rows; ++r) {
          Values part;
          for (const std::int32_t j : c.ranked)
            part.push_back(values(r / kPanelRows, j * kPanelRows + r % kPanelRows));
          errors.push_back(c.error(c.row(r), {part}));
        }
        return errors;
      };
      const std::vector<double> once = row_errors(0), twice = row_errors(live);
      for (std::int64_t r = 0; r < rows; ++r) {
        const auto at = static_cast<std::size_t>(r);
        // A value is the sum of three that are rounded to fp32.
        ASSERT_LE(twice[at], once[at] + 8 * kRoundF32 * c.error(c.row(r), {})) << kind;
      }
      for (const bool wide : {false, true}) {
        const std::int64_t tried = std::min<std::int64_t>(live - 1, 49);
        Matrix<double> first(c.panels.rows(), 96), second(c.panels.rows(), 96);
        slab_column_errors(kPlace, c.panels.view(), c.columns(wide), 1, tried, first.view());
        slab_column_errors(kPlace, c.panels.view(), c.columns(wide), 2, tried, second.view());
        double magnitude = 0;
        for (std::int64_t r = 0; r < rows; ++r) magnitude += c.error(c.row(r), {});
        for (std::int64_t p = 0; p < first.rows(); ++p)
          for (std::int64_t i = 0; i < tried; ++i)
            ASSERT_LE(second(p, i), first(p, i) + (wide ? 1e-12 : kTolerance) * magnitude) << kind;
      }
    }
}

TEST(BinarySlab, RefusesShapesThatDoNotFit) {
  SlabCase c(17, 5, 50);
  Matrix<double> few(2, 1);
  EXPECT_THROW(slab_column_errors(kPlace, c.panels.view(), c.columns(false), 2, 2, few.view()),
               Error);
  EXPECT_THROW(slab_column_errors(kPlace, c.panels.view(), c.columns(false), 3, 1, few.view()),
               Error);
  c.ranked[0] = 5;
  EXPECT_THROW(slab_column_errors(kPlace, c.panels.view(), c.columns(false), 2, 1, few.view()),
               Error);
}

}  // namespace
}  // namespace bitgrid::test

#include "core/methods/incoherence.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/error.hpp"
#include "tests/oracle/random.hpp"

namespace bitgrid::test {
namespace {

using testing::ElementsAre;
using Words = std::array<std::uint32_t, 4>;

// The known answers of the generator's authors.
TEST(Philox, GivesTheKnownAnswers) {
  constexpr std::uint32_t ones = 0xffffffff;
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({ones, ones, ones, ones}, {ones, ones}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, ReadsAStreamBlockByBlock) {
  PhiloxStream stream(1, 0);
  const auto [p, q] = stream.next();
  EXPECT_EQ(p, 0xe3e80670e50a0ebcu);
  EXPECT_EQ(q, 0x95f222c0b615aa27u);
  // Block 1 of stream 2 of a seed with a high word.
  PhiloxStream other(0x100000005u, 2);
  other.next();
  const Words expected = philox({1, 0, 2, 0}, {5, 1});
  EXPECT_EQ(other.next().p, std::uint64_t{expected[0]} << 32 | expected[1]);
}

TEST(Philox, DrawsNormals) {
  PhiloxStream stream(1, 0);
  const Matrix<double> g = draw_normals(stream, 1, 5);
  const double expected[] = {-0.4138978147, -0.2473335908, -0.8811635468, 0.1361977710,
                             -0.3837412719};
  for (int i = 0; i < 5; ++i) EXPECT_NEAR(g(0, i), expected[i], 1e-10) << i;
  // Five values take three blocks; the next matrix starts at a fresh one.
  PhiloxStream fresh(1, 0);
  for (int i = 0; i < 3; ++i) fresh.next();
  EXPECT_EQ(draw_normals(stream, 1, 1)(0, 0), draw_normals(fresh, 1, 1)(0, 0));
}

TEST(Philox, DrawsPermutations) {
  PhiloxStream two(1, 2), three(1, 3);
  EXPECT_THAT(draw_permutation(two, 10), ElementsAre(3, 0, 7, 2, 1, 5, 8, 4, 6, 9));
  EXPECT_THAT(draw_permutation(three, 5), ElementsAre(3, 0, 4, 1, 2));
  PhiloxStream one(1, 2);
  EXPECT_THAT(draw_permutation(one, 1), ElementsAre(0));
}

TEST(Philox, SeedsRotations) {
  EXPECT_EQ(rotation_seed(7, 3, 6, RotationSide::inputs), 0x70bf32c629613c37u);
  EXPECT_NE(rotation_seed(7, 3, 6, RotationSide::outputs), 0x70bf32c629613c37u);
  EXPECT_NE(rotation_seed(7, 2, 6, RotationSide::inputs), 0x70bf32c629613c37u);
  EXPECT_NE(rotation_seed(7, 3, 5, RotationSide::inputs), 0x70bf32c629613c37u);
  EXPECT_NE(rotation_seed(7 | 1ull << 40, 3, 6, RotationSide::inputs), 0x70bf32c629613c37u);
}

TEST(Orthogonal, IsTheKnownMatrix) {
  PhiloxStream stream(1, 0);
  const Matrix<double> a = draw_orthogonal(stream, 2);
  EXPECT_NEAR(a(0, 0), -0.4251515912, 1e-10);
  EXPECT_NEAR(a(0, 1), -0.9051221600, 1e-10);
  EXPECT_NEAR(a(1, 0), -0.9051221600, 1e-10);
  EXPECT_NEAR(a(1, 1), 0.4251515912, 1e-10);
}

TEST(Orthogonal, IsOrthogonalAndFactorsItsNormals) {
  for (const std::int64_t p : {1L, 2L, 3L, 17L, 64L}) {
    PhiloxStream stream(5, 0), again(5, 0);
    const Matrix<double> q = draw_orthogonal(stream, p), g = draw_normals(again, p, p);
    for (std::int64_t i = 0; i < p; ++i)
      for (std::int64_t j = 0; j < p; ++j) {
        double dot = 0, r = 0;  // qᵀq and R = qᵀg: upper triangular with a positive diagonal
        for (std::int64_t k = 0; k < p; ++k) {
          dot += q(k, i) * q(k, j);
          r += q(k, i) * g(k, j);
        }
        ASSERT_NEAR(dot, i == j ? 1 : 0, 1e-14 * static_cast<double>(p));
        if (i > j) {
          ASSERT_NEAR(r, 0, 1e-13 * static_cast<double>(p));
        }
        if (i == j) {
          ASSERT_GT(r, 0);
        }
      }
  }
}

// Haar measure: an entry of O(p) has mean 0 and variance 1/p, and both signs of the determinant
// turn up. 4000 draws: four standard errors.
TEST(Orthogonal, IsUniform) {
  constexpr int draws = 4000;
  PhiloxStream stream(11, 0);
  double sum = 0, squares = 0, fourth = 0;
  int positive = 0;
  for (int i = 0; i < draws; ++i) {
    const Matrix<double> q = draw_orthogonal(stream, 2);
    const double x = q(0, 0);
    sum += x;
    squares += x * x;
    fourth += x * x * x * x;
    positive += q(0, 0) * q(1, 1) - q(0, 1) * q(1, 0) > 0;
  }
  EXPECT_NEAR(sum / draws, 0, 4 * std::sqrt(0.5 / draws));
  EXPECT_NEAR(squares / draws, 0.5, 4 * std::sqrt(0.125 / draws));
  EXPECT_NEAR(fourth / draws, 0.375, 4 * std::sqrt(0.14 / draws));
  EXPECT_NEAR(positive / static_cast<double>(draws), 0.5, 4 * std::sqrt(0.25 / draws));
}

TEST(Split, IsTheTable) {
  using Split = RotationKind::Split;
  struct Row {
    std::int64_t d;
    RotationSplit reference, balanced;
  };
  for (const Row& row : std::vector<Row>{{512, {32, 16}, {16, 32}},
                                         {1024, {32, 32}, {32, 32}},
                                         {2048, {64, 32}, {32, 64}},
                                         {3072, {96, 32}, {48, 64}},
                                         {4096, {64, 64}, {64, 64}},
                                         {8192, {128, 64}, {64, 128}},
                                         {11008, {688, 16}, {86, 128}},
                                         {14336, {64, 224}, {112, 128}},
                                         {28672, {448, 64}, {128, 224}},
                                         {1, {1, 1}, {1, 1}},
                                         {13, {13, 1}, {1, 13}}}) {
    EXPECT_EQ(split_dimension(row.d, Split::reference), row.reference) << row.d;
    EXPECT_EQ(split_dimension(row.d, Split::balanced), row.balanced) << row.d;
  }
}

// ‖MᵀM − I‖ of the matrix that the factors stand for, by turning unit vectors.
TEST(Rotation, IsOrthogonalAndInverted) {
  const Place place = cpu_place(2);
  using Kind = RotationKind;
  for (const auto form : {Kind::Form::kronecker, Kind::Form::blocked, Kind::Form::none})
    for (const auto split : {Kind::Split::balanced, Kind::Split::reference})
      for (const std::int64_t d : {1L, 2L, 7L, 48L, 129L, 200L}) {
        const DrawnRotation drawn = draw_rotation(9, d, {form, split});
        const Rotation m = drawn.view();
        Matrix<float> unit(d, d), turned(d, d), back(d, d);
        unit.fill(0);
        for (std::int64_t i = 0; i < d; ++i) unit(i, i) = 1;
        rotate_rows(place, m, Turn::forward, unit.view(), turned.view());  // Mᵀ
        for (std::int64_t i = 0; i < d; ++i)
          for (std::int64_t j = 0; j < d; ++j) {
            double dot = 0;
            for (std::int64_t k = 0; k < d; ++k)
              dot += static_cast<double>(turned(k, i)) * static_cast<double>(turned(k, j));
            ASSERT_NEAR(dot, i == j ? 1 : 0, 1e-5);
          }
        rotate_rows(place, m, Turn::inverse, turned.view(), back.view());
        for (std::int64_t i = 0; i < d; ++i)
          for (std::int64_t j = 0; j < d; ++j) ASSERT_NEAR(back(i, j), unit(i, j), 2e-6);
      }
}

TEST(Rotation, DrawsBlocksOneAfterTheOther) {
  const DrawnRotation drawn = draw_rotation(4, 6, {RotationKind::Form::blocked, {}});
  ASSERT_EQ(drawn.a.rows(), 2 * 3);
  ASSERT_EQ(drawn.b.rows(), 3 * 2);
  PhiloxStream a(4, 0), b(4, 1);
  for (int block = 0; block < 3; ++block) {
    const Matrix<double> q = draw_orthogonal(a, 2);
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < 2; ++j) EXPECT_EQ(drawn.a(2 * block + i, j), static_cast<float>(q(i, j)));
  }
  for (int block = 0; block < 2; ++block) {
    const Matrix<double> q = draw_orthogonal(b, 3);
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < 3; ++j) EXPECT_EQ(drawn.b(3 * block + i, j), static_cast<float>(q(i, j)));
  }
}

TEST(Rotation, RefusesLargePrimes) {
  try {
    draw_rotation(1, 2 * 4099, {});
    FAIL() << "expected an Error";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), testing::HasSubstr("4099"));
  }
  EXPECT_NO_THROW(draw_rotation(1, 2 * 4099, {RotationKind::Form::none, {}}));
}

TEST(Rotation, IsHashedWhole) {
  const auto draw = [](std::uint64_t seed) { return draw_rotation(seed, 6, {}); };
  const std::string hash = rotation_hash(draw(1), draw(2));
  EXPECT_EQ(rotation_hash(draw(1), draw(2)), hash);
  EXPECT_NE(rotation_hash(draw(2), draw(1)), hash);
  DrawnRotation other = draw(2);
  std::swap(other.pick[0], other.pick[1]);
  EXPECT_NE(rotation_hash(draw(1), other), hash);
  other = draw(2);
  other.b(2, 1) = std::nextafter(other.b(2, 1), 9.0f);
  EXPECT_NE(rotation_hash(draw(1), other), hash);
}

}  // namespace
}  // namespace bitgrid::test

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <thread>
#include <vector>

#include "kernels/error.hpp"
#include "kernels/finite.hpp"
#include "kernels/pack_codes.hpp"
#include "kernels/parallel.hpp"
#include "kernels/quadratic_form.hpp"
#include "kernels/triangle.hpp"
#include "tests/oracle/linear_algebra.hpp"
#include "tests/oracle/random.hpp"
#include "tests/tolerance.hpp"

namespace bitgrid::test {
namespace {

TEST(PackCodes, UnpackIsTheInverse) {
  const Place place = cpu_place(2);
  Random random(1);
  for (int bits = 1; bits <= 8; ++bits)
    for (const std::int64_t cols : {1, 2, 3, 7, 8, 9, 63, 129, 257})
      for (const std::int64_t rows : {1, 3, 70}) {
        Matrix<std::uint8_t> codes(rows, cols), back(rows, cols);
        for (std::int64_t i = 0; i < codes.size(); ++i)
          codes.data()[i] = static_cast<std::uint8_t>(random.below(1 << bits));
        std::vector<std::byte> packed(
            static_cast<std::size_t>(rows * packed_row_bytes(cols, bits)));
        pack_codes(place, codes.view(), bits, packed);
        unpack_codes(place, packed, bits, back.view());
        ASSERT_TRUE(std::equal(codes.data(), codes.data() + codes.size(), back.data()))
            << bits << " bits, " << cols << " columns";
      }
}

// Bit i of code j is bit j·bits + i of the row, counted from the lowest bit of its first byte.
TEST(PackCodes, PutsEveryBitWhereTheFormatSays) {
  Random random(2);
  for (int bits = 1; bits <= 8; ++bits) {
    Matrix<std::uint8_t> codes(2, 19);
    for (std::int64_t i = 0; i < codes.size(); ++i)
      codes.data()[i] = static_cast<std::uint8_t>(random.below(1 << bits));
    const std::int64_t row_bytes = (19 * bits + 7) / 8;
    std::vector<std::byte> packed(static_cast<std::size_t>(2 * row_bytes), std::byte{0xff});
    pack_codes(cpu_place(1), codes.view(), bits, packed);
    for (std::int64_t r = 0; r < 2; ++r)
      for (std::int64_t at = 0; at < 8 * row_bytes; ++at) {
        const auto byte =
            static_cast<unsigned>(packed[static_cast<std::size_t>(r * row_bytes + at / 8)]);
        const unsigned expected = at < 19 * bits ? (codes(r, at / bits) >> (at % bits)) & 1u : 0u;
        ASSERT_EQ((byte >> (at % 8)) & 1u, expected) << bits << " bits, bit " << at;
      }
  }
}

TEST(PackCodes, RefusesWhatDoesNotFit) {
  const Place place = cpu_place(1);
  Matrix<std::uint8_t> codes(1, 5);
  codes.fill(4);
  std::vector<std::byte> packed(2);
  EXPECT_THROW(pack_codes(place, codes.view(), 2, packed), Error);  // 4 needs two bits
  EXPECT_NO_THROW(pack_codes(place, codes.view(), 3, packed));
  EXPECT_THROW(pack_codes(place, codes.view(), 4, packed), Error);  // two bytes
  EXPECT_THROW(unpack_codes(place, packed, 9, codes.view()), Error);
  EXPECT_THROW(unpack_codes(place, packed, 0, codes.view()), Error);
}

TEST(Triangle, PacksRowAfterRow) {
  const Place place = cpu_place(2);
  for (const std::int64_t n : {1, 2, 5, 65, 130}) {
    Matrix<double> s(n, n);
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = 0; j < n; ++j)
        s(i, j) = j <= i ? static_cast<double>(i * 1000 + j) : std::nan("");
    std::vector<double> packed(static_cast<std::size_t>(n * (n + 1) / 2));
    pack_lower(place, s.view(), packed);
    std::size_t at = 0;
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = 0; j <= i; ++j) ASSERT_EQ(packed[at++], s(i, j));
    Matrix<double> back(n, n);
    back.fill(-1);
    unpack_lower(place, packed, back.view());
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = 0; j < n; ++j) ASSERT_EQ(back(i, j), j <= i ? s(i, j) : -1.0);
    packed.push_back(0);
    EXPECT_THROW(pack_lower(place, s.view(), packed), Error);
    EXPECT_THROW(unpack_lower(place, packed, back.view()), Error);
  }
}

TEST(Triangle, Adds) {
  std::vector<double> a(200001), b(200001);
  std::iota(a.begin(), a.end(), 0.0);
  std::iota(b.begin(), b.end(), 7.0);
  add_packed(cpu_place(2), a, b);
  for (std::size_t i = 0; i < b.size(); ++i) ASSERT_EQ(b[i], static_cast<double>(2 * i + 7));
  b.pop_back();
  EXPECT_THROW(add_packed(cpu_place(2), a, b), Error);
}

TEST(Finite, FindsTheFirst) {
  const Place place = cpu_place(2);
  Matrix<float> x = Random(3).normals(100, 33);
  x(3, 3) = std::numeric_limits<float>::max();
  x(4, 4) = -std::numeric_limits<float>::denorm_min();
  EXPECT_EQ(find_non_finite(place, x.view()), std::nullopt);
  x(99, 32) = std::numeric_limits<float>::infinity();
  EXPECT_EQ(find_non_finite(place, x.view()), (Element{99, 32}));
  x(70, 5) = -std::numeric_limits<float>::infinity();
  x(70, 6) = std::nanf("");
  EXPECT_EQ(find_non_finite(place, x.view()), (Element{70, 5}));
  x(0, 0) = std::nanf("");
  EXPECT_EQ(find_non_finite(place, x.view()), (Element{0, 0}));
  EXPECT_EQ(find_non_finite(place, x.view().cols_from(6, 5)), (Element{70, 0}));  // a view
}

TEST(Finite, LooksAtTheLowerTriangleOnly) {
  Matrix<float> s(40, 40);
  for (std::int64_t i = 0; i < 40; ++i)
    for (std::int64_t j = 0; j < 40; ++j) s(i, j) = j <= i ? 1.0f : std::nanf("");
  EXPECT_EQ(find_non_finite_lower(cpu_place(2), s.view()), std::nullopt);
  s(39, 39) = std::nanf("");
  EXPECT_EQ(find_non_finite_lower(cpu_place(2), s.view()), (Element{39, 39}));
}

TEST(QuadraticForm, MatchesTheDoubleSum) {
  const Place place = cpu_place(2);
  for (const std::int64_t in : {1, 3, 129, 513, 700}) {
    Random random(static_cast<std::uint64_t>(in));
    const Matrix<float> x = random.activations(in + 5, in);
    const Matrix<float> s = narrowed(to_lower(gram_oracle(x.view()), std::nan("")));
    const Matrix<float> d = random.normals(in > 500 ? 3 : 131, in);
    std::vector<double> values(static_cast<std::size_t>(d.rows()));
    quadratic_form(place, d.view(), s.view(), values);
    const Square exact = from_lower(s.view());
    Square magnitude(in);
    for (std::size_t i = 0; i < exact.a.size(); ++i) magnitude.a[i] = std::fabs(exact.a[i]);
    for (std::int64_t r = 0; r < d.rows(); r += 13) {
      std::vector<double> row(d.row(r), d.row(r) + in), size;
      for (const double v : row) size.push_back(std::fabs(v));
      ASSERT_NEAR(values[static_cast<std::size_t>(r)], quadratic_oracle(exact, row),
                  dot_tolerance(in, quadratic_oracle(magnitude, size)));
    }
  }
}

TEST(QuadraticForm, DoesNotDependOnThreadsOrOtherTiles) {
  Random random(4);
  const Matrix<float> d = random.normals(300, 90);
  const Matrix<float> s = narrowed(to_lower(gram_oracle(random.activations(100, 90).view())));
  std::vector<double> one(300), two(300), tile(128);
  quadratic_form(cpu_place(1), d.view(), s.view(), one);
  quadratic_form(cpu_place(2), d.view(), s.view(), two);
  EXPECT_EQ(one, two);
  quadratic_form(cpu_place(1), d.view().rows_from(kQuadraticTileRows, kQuadraticTileRows), s.view(),
                 tile);
  EXPECT_TRUE(std::equal(tile.begin(), tile.end(), one.begin() + kQuadraticTileRows));
}

// oneTBB would print a warning, once in a process.
TEST(Workers, MayBeMoreThanTheProcessors) {
  const int processors = static_cast<int>(std::thread::hardware_concurrency());
  testing::internal::CaptureStderr();
  const Place some = cpu_place(processors + 1), more = cpu_place(processors + 3);
  std::vector<int> seen(1000, 0);
  for (const Place* place : {&more, &some})
    parallel_for(*place, 1000, [&](std::int64_t i) { ++seen[static_cast<std::size_t>(i)]; });
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(seen, std::vector<int>(1000, 2));
  EXPECT_EQ(place_threads(more), processors + 3);
}

}  // namespace
}  // namespace bitgrid::test

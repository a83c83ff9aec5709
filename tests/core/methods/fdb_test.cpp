#include "core/methods/fdb.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/methods/recipe_needs.hpp"
#include "core/methods/resolve_recipe.hpp"
#include "core/methods/stored_arrays.hpp"
#include "kernels/error.hpp"
#include "tests/core/methods/solo_work.hpp"
#include "tests/oracle/random.hpp"
#include "tests/oracle/toy_layer.hpp"

namespace bitgrid::test {
namespace {

using testing::HasSubstr;

Recipe fdb(const char* method, std::int64_t group,
           std::map<std::string, OptionValue> options = {}) {
  return resolve_recipe(method, 2, group, options);
}

std::string failure(const std::function<void()>& fn) {
  try {
    fn();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

// The toy layer's numbers, but for scales in fp16 (2⁻¹¹ relative) and H = 2S/N.
TEST(Fdb, IsCloseToTheUnitVector) {
  const ToyLayer toy;
  const auto loss = [&](const Recipe& recipe) {
    const RoundedLinear r = round_linear(cpu_place(1), recipe, toy.w.view(), toy.x.view());
    const double own = toy.loss(r.weight.view());
    if (recipe.chain.front() == "fdb-gptq" && recipe.flag("feedback")) {
      EXPECT_NEAR(r.stored.diagnostics.loss * 24, own, 1e-4 * own);
    }
    return own;
  };
  EXPECT_NEAR(loss(fdb("fdb", 8)), 24.581984, 0.05);
  EXPECT_NEAR(loss(fdb("fdb-gptq", 8)), 11.780670, 0.05);
  EXPECT_NEAR(loss(fdb("fdb-gptq", 8, {{"feedback", false}})), 11.986134, 0.05);
  EXPECT_NEAR(loss(fdb("fdb-gptq", 8, {{"scale_steps", std::int64_t{0}}})), 30.388675, 0.1);
  const double joint = loss(fdb("fdb-gptq", 8, {{"joint_rounds", std::int64_t{1}}}));
  EXPECT_NEAR(joint, 10.566767, 0.05);
  EXPECT_LE(loss(fdb("fdb-gptq", 8, {{"joint_rounds", std::int64_t{2}}})), joint);
}

TEST(Fdb, StoresTwoPlanesAndTwoScalesPerGroup) {
  const ToyLayer toy;
  const RoundedLinear r =
      round_linear(cpu_place(1), fdb("fdb-gptq", 8), toy.w.view(), toy.x.view());
  EXPECT_EQ(r.stored.format, "two-binary");
  EXPECT_EQ(r.stored.bits, 2);
  EXPECT_DOUBLE_EQ(r.stored.bits_per_weight(), 2 + 2 * 16.0 / 8);  // 288 bits
  EXPECT_EQ(r.stored.bits_per_weight() * 48, 288);
  const Matrix<std::uint8_t> plane1 = read_packed(r.stored, "plane1", 3, 16, 1);
  const Matrix<std::uint8_t> plane2 = read_packed(r.stored, "plane2", 3, 16, 1);
  const Matrix<float> a1 = read_halves(r.stored, "scales1", 3, 2);
  const Matrix<float> a2 = read_halves(r.stored, "scales2", 3, 2);
  const int codes[] = {1, 0, 3, 0, 1, 2, 2, 1, 0, 2, 0, 1, 1, 1, 0, 2};
  for (std::int64_t j = 0; j < 16; ++j) EXPECT_EQ(2 * plane1(0, j) + plane2(0, j), codes[j]);
  for (std::int64_t i = 0; i < 3; ++i)
    for (std::int64_t j = 0; j < 16; ++j) {
      const float both = a1(i, j / 8) + a2(i, j / 8);
      const float one = plane1(i, j) != 0 ? a1(i, j / 8) : plane2(i, j) != 0 ? a2(i, j / 8) : 0;
      EXPECT_EQ(r.weight(i, j), plane1(i, j) != 0 && plane2(i, j) != 0 ? both : one);
    }
}

TEST(Fdb, IsTheSameBytesForAnyThreadsAndTiles) {
  const Matrix<float> w = Random(4).normals(300, 96, 0.05);
  const Matrix<float> x = Random(5).activations(200, 96);
  for (const Recipe& recipe : {fdb("fdb", 32), fdb("fdb-gptq", 32), fdb("fdb-gptq", -1),
                               fdb("fdb-gptq", 32, {{"joint_rounds", std::int64_t{2}}})}) {
    const RoundedLinear one = round_linear(cpu_place(1), recipe, w.view(), x.view());
    for (const bool whole : {false, true}) {
      const Place place = cpu_place(2);
      SoloTapWork work(place, x.view(), recipe_needs(recipe).rounding);
      work.one_tile = whole;
      const RoundedLinear two = round_linear(place, recipe, w.view(), work);
      EXPECT_EQ(one.stored.arrays, two.stored.arrays);
      EXPECT_EQ(one.stored.diagnostics.loss, two.stored.diagnostics.loss);
    }
  }
}

TEST(Fdb, FeedbackWeightsAndJointScalesEachHelp) {
  const Matrix<float> w = Random(6).normals(64, 128, 0.05);
  const Matrix<float> x = Random(7).activations(512, 128);
  const auto error = [&](const Recipe& recipe) {
    const RoundedLinear r = round_linear(cpu_place(2), recipe, w.view(), x.view());
    Matrix<float> off(64, 128);
    double sum = 0;
    for (std::int64_t t = 0; t < x.rows(); ++t)
      for (std::int64_t i = 0; i < 64; ++i) {
        double y = 0;
        for (std::int64_t j = 0; j < 128; ++j)
          y += static_cast<double>(x(t, j)) * static_cast<double>(w(i, j) - r.weight(i, j));
        sum += y * y;
      }
    return sum;
  };
  const double absmax =
      error(fdb("fdb", 32, {{"start", std::string("absmax")}, {"scale_steps", std::int64_t{0}}}));
  const double plain = error(fdb("fdb", 32));
  const double weighted = error(fdb("fdb-gptq", 32, {{"feedback", false}}));
  const double fed = error(fdb("fdb-gptq", 32));
  const double joint = error(fdb("fdb-gptq", 32, {{"joint_rounds", std::int64_t{1}}}));
  EXPECT_LT(plain, 0.8 * absmax);
  EXPECT_LT(weighted, 0.95 * plain);
  EXPECT_LT(fed, 0.8 * weighted);
  EXPECT_LT(joint, fed);
}

TEST(Fdb, ServesDeadColumnsAndInputsThatSayNothing) {
  const Matrix<float> w = Random(8).normals(5, 24, 0.05);
  Matrix<float> x = Random(9).activations(64, 24);
  for (std::int64_t t = 0; t < 64; ++t)
    for (const std::int64_t j : {3L, 8L, 9L, 10L, 11L, 12L, 13L, 14L, 15L}) x(t, j) = 0;
  const Recipe recipe = fdb("fdb-gptq", 8, {{"joint_rounds", std::int64_t{2}}});
  const RoundedLinear r = round_linear(cpu_place(1), recipe, w.view(), x.view());
  EXPECT_EQ(r.stored.diagnostics.dead_columns, 9);
  for (std::int64_t i = 0; i < 5; ++i) {
    EXPECT_EQ(r.weight(i, 3), 0.0f);
    for (std::int64_t j = 8; j < 16; ++j) EXPECT_EQ(r.weight(i, j), 0.0f);
  }
  x.fill(0);
  const RoundedLinear none = round_linear(cpu_place(1), recipe, w.view(), x.view());
  for (std::int64_t i = 0; i < none.weight.size(); ++i) EXPECT_EQ(none.weight.data()[i], 0.0f);
  Statistics indefinite;  // falls back to what needs no data
  indefinite.tokens = 1;
  indefinite.gram = Matrix<double>(24, 24);
  for (std::int64_t i = 0; i < 24; ++i)
    for (std::int64_t j = 0; j < 24; ++j) indefinite.gram(i, j) = i == j ? 1 + i : 50;
  const Place place = cpu_place(1);
  SoloTapWork work(place, std::move(indefinite));
  const RoundedLinear fallback = round_linear(place, recipe, w.view(), work);
  EXPECT_TRUE(fallback.stored.diagnostics.fallback);
  const RoundedLinear plain = round_linear(place, fdb("fdb", 8), w.view(), x.view());
  EXPECT_EQ(fallback.stored.arrays, plain.stored.arrays);
}

TEST(Fdb, ServesTheSmallestLinear) {
  Matrix<float> w(1, 1), x(2, 1);
  w(0, 0) = -0.75f;
  x(0, 0) = 1;
  x(1, 0) = 2;
  for (const char* method : {"fdb", "fdb-gptq"})
    EXPECT_EQ(round_linear(cpu_place(1), fdb(method, -1), w.view(), x.view()).weight(0, 0), -0.75f);
}

TEST(Fdb, RefusesWhatItCannotStore) {
  Matrix<float> w = Random(1).normals(2, 8, 1);
  const Matrix<float> x = Random(2).activations(16, 8);
  w(1, 5) = 1e9f;
  for (const char* method : {"fdb", "fdb-gptq"}) {
    EXPECT_THAT(failure([&] { round_linear(cpu_place(1), fdb(method, 4), w.view(), x.view()); }),
                HasSubstr("row 1, group 1"));
    w(1, 5) = NAN;
    EXPECT_THAT(failure([&] { round_linear(cpu_place(1), fdb(method, 4), w.view(), x.view()); }),
                HasSubstr("row 1, column 5"));
    w(1, 5) = 1e9f;
  }
  EXPECT_THAT(failure([] { resolve_recipe("fdb", 3, 32, {}); }), HasSubstr("bits"));
  EXPECT_THAT(failure([] {
                fdb("fdb-gptq", 32, {{"joint_rounds", std::int64_t{11}}});
              }),
              HasSubstr("a whole number from 0 to 10"));
}

TEST(Fdb, RebuildingNamesTheArrayThatDoesNotFit) {
  const ToyLayer toy;
  const QuantizedLinear good =
      round_linear(cpu_place(1), fdb("fdb", 8), toy.w.view(), toy.x.view()).stored;
  for (const char* name : {"plane1", "plane2", "scales1", "scales2"}) {
    QuantizedLinear missing = good, cut = good;
    std::erase_if(missing.arrays, [&](const StoredArray& a) { return a.name == name; });
    for (StoredArray& a : cut.arrays)
      if (a.name == name) a.data.pop_back();
    EXPECT_THAT(failure([&] { rebuild_weight(Place{}, missing); }), HasSubstr(name));
    EXPECT_THAT(failure([&] { rebuild_weight(Place{}, cut); }), HasSubstr(name));
  }
}

}  // namespace
}  // namespace bitgrid::test

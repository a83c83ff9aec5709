#include "core/methods/billm.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "core/methods/billm_linear.hpp"
#include "core/methods/factor.hpp"
#include "core/methods/resolve_recipe.hpp"
#include "core/methods/stored_arrays.hpp"
#include "kernels/error.hpp"
#include "tests/core/methods/solo_work.hpp"
#include "tests/oracle/binary.hpp"
#include "tests/oracle/random.hpp"

namespace bitgrid::test {
namespace {

const Place kOneThread = cpu_place(1), kTwoThreads = cpu_place(2);

using testing::ElementsAre;
using testing::HasSubstr;
using Options = std::map<std::string, OptionValue>;

Recipe billm(std::int64_t group, Options options = {}) {
  return resolve_recipe("billm", 1.1, group, options);
}

template <class Fn>
std::string message_of(Fn&& fn) {
  try {
    fn();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

// All slabs of one linear, as the method goes through them.
BillmLinear run_slabs(const Place& place, const BillmSettings& settings, MatrixView<const float> w,
                      MatrixView<const float> u, std::vector<std::int32_t> dead = {},
                      std::int64_t slabs = -1) {
  BillmLinear linear(settings, w, u, dead);
  SoloTapWork work(place);
  const auto pass = [&](RowBlock block) { work.solve_rows({&block, 1}); };
  pass(linear.load(place));
  for (std::int64_t s = 0; s < (slabs < 0 ? linear.slabs() : slabs); ++s) {
    linear.rank_columns(place, s);
    pass(linear.search_columns(place));
    linear.choose_columns(place);
    pass(linear.search_split(place));
    linear.choose_split();
    pass(linear.round(place, {}));
  }
  return linear;
}

BillmSettings toy_settings(BillmVariant variant, BillmFeedback feedback) {
  BillmSettings settings;
  settings.variant = variant;
  settings.feedback = feedback;
  settings.slab = 8;
  settings.half = false;
  return settings;
}

std::vector<std::int64_t> salient_of(const BillmLinear& linear) {
  std::vector<std::int64_t> columns;
  const std::vector<std::uint8_t> flags = linear.salient_columns();
  for (std::size_t j = 0; j < flags.size(); ++j)
    if (flags[j]) columns.push_back(static_cast<std::int64_t>(j));
  return columns;
}

TEST(Billm, MatchesTheUnitVector) {
  const ToyLayer toy;
  const Place place = kOneThread;
  const BillmLinear linear =
      run_slabs(place, toy_settings(BillmVariant::project, BillmFeedback::exact), toy.w.view(),
                toy.u_f32.view());
  EXPECT_THAT(salient_of(linear), ElementsAre(4, 5, 6, 7, 12, 13, 14));
  // Errors are weighted with (least/U_jj)².
  double least = toy.u(0, 0);
  for (std::int64_t j = 0; j < 8; ++j) least = std::min(least, toy.u(j, j));
  const double scale = 1 / (least * least);
  const double errors[] = {.399077, .341258, .750081, .197471, .347627, 1.764569, .741607};
  ASSERT_EQ(linear.slab(0).column_errors.size(), 7u);
  for (std::size_t i = 0; i < 7; ++i)
    EXPECT_NEAR(scale * linear.slab(0).column_errors[i], errors[i], 3e-5 * errors[i]) << i;
  EXPECT_NEAR(scale * *std::min_element(linear.slab(0).split_errors.begin(),
                                        linear.slab(0).split_errors.end()),
              .025885, 1e-6);
  const Matrix<std::uint8_t> codes = linear.codes();
  std::vector<std::pair<int, int>> sparse;
  for (int r = 0; r < 3; ++r)
    for (int j = 0; j < 4; ++j)
      if (codes(r, j) & 2) sparse.emplace_back(r, j);
  EXPECT_THAT(sparse, testing::ElementsAreArray(std::vector<std::pair<int, int>>{
                          {0, 0}, {0, 2}, {1, 0}, {1, 2}, {1, 3}, {2, 1}, {2, 3}}));
  const double row[] = {-.848000, -.290000, .564000, -.280000, -.806000, .892000,
                        .980000,  -.718000, .062955, .866436,  .062955,  -.269707,
                        -.511810, -.404601, .023029, .713686};
  const Matrix<float> off = linear.off(0, 3);
  for (std::int64_t j = 0; j < 16; ++j) EXPECT_NEAR(toy.w(0, j) - off(0, j), row[j], 5e-6) << j;
  EXPECT_NEAR(linear.total_loss(), 5.117949, 2e-5);
  EXPECT_NEAR(toy.loss(off.view()), 5.117949, 2e-5);
}

TEST(Billm, VariantsMatchTheirLosses) {
  const ToyLayer toy;
  const auto loss = [&](BillmVariant variant, BillmFeedback feedback) {
    const BillmLinear linear =
        run_slabs(kOneThread, toy_settings(variant, feedback), toy.w.view(), toy.u_f32.view());
    if (variant == BillmVariant::repository && feedback == BillmFeedback::diagonal) {
      EXPECT_THAT(salient_of(linear), ElementsAre(4, 6, 12, 13, 14));
    }
    return toy.loss(linear.off(0, 3).view());
  };
  EXPECT_NEAR(loss(BillmVariant::project, BillmFeedback::diagonal), 5.145344, 3e-5);
  EXPECT_NEAR(loss(BillmVariant::repository, BillmFeedback::diagonal), 9.666243, 5e-5);
  EXPECT_NEAR(loss(BillmVariant::repository, BillmFeedback::exact), 6.260159, 3e-5);
  EXPECT_NEAR(loss(BillmVariant::magnitude, BillmFeedback::diagonal), 7.335512, 4e-5);
  EXPECT_NEAR(loss(BillmVariant::paper, BillmFeedback::diagonal), 5.161448, 3e-5);
}

// 2 planes, 7 parameters of 16 bits per row and slab, 1 bit per column.
TEST(Billm, StoresWhatTheFormulaSays) {
  Random random(1);
  const Matrix<float> w = random.normals(40, 256);
  Matrix<float> x = random.activations(600, 256);
  for (const bool means : {true, false})
    for (const bool dead : {false, true}) {
      for (std::int64_t t = 0; t < 600; ++t) x(t, 200) = dead ? 0.0f : 1.0f;
      const RoundedLinear r =
          round_linear(kTwoThreads, billm(128, {{"means", means}}), w.view(), x.view());
      const double expected = 2 + (means ? 7 : 5) * 16 / 128.0 + (dead ? 2 : 1) / 40.0;
      EXPECT_DOUBLE_EQ(r.stored.bits_per_weight(), expected);
    }
}

// The best change of the columns behind a slab is that of least squares.
TEST(Billm, ExactFeedbackIsTheMinimizer) {
  const ToyLayer toy;
  const Square inverse = inverse_oracle([&] {
    Square rest(8);
    for (std::int64_t i = 0; i < 8; ++i)
      for (std::int64_t j = 0; j < 8; ++j) rest(i, j) = toy.h(8 + i, 8 + j);
    return rest;
  }());
  double proxies[2];
  for (const bool exact : {true, false}) {
    const BillmLinear linear = run_slabs(
        kOneThread,
        toy_settings(BillmVariant::project, exact ? BillmFeedback::exact : BillmFeedback::diagonal),
        toy.w.view(), toy.u_f32.view(), {}, 1);
    const Matrix<float> off = linear.off(0, 3);  // second slab: fed back, not rounded
    proxies[exact] = toy.loss(off.view());
    if (!exact) continue;
    for (std::int64_t r = 0; r < 3; ++r)
      for (std::int64_t j = 0; j < 8; ++j) {
        double best = 0;  // H_RR·δ_R = −H_Rb·δ_b
        for (std::int64_t i = 0; i < 8; ++i)
          for (std::int64_t b = 0; b < 8; ++b)
            best -= inverse(j, i) * toy.h(8 + i, b) * static_cast<double>(off(r, b));
        EXPECT_NEAR(off(r, 8 + j), best, 2e-5);
      }
    EXPECT_NEAR(linear.total_loss(), proxies[exact], 1e-5);
  }
  EXPECT_LT(proxies[1], proxies[0]);
}

TEST(Billm, ADiagonalHessianNeedsNoFeedback) {
  Random random(2);
  const Matrix<float> w = random.normals(20, 64);
  Statistics diagonal;
  diagonal.tokens = 64;
  diagonal.gram = Matrix<double>(64, 64);
  diagonal.gram.fill(0);
  for (std::int64_t j = 0; j < 64; ++j) diagonal.gram(j, j) = random.between(1, 2);
  SoloTapWork work(kOneThread, std::move(diagonal));
  std::vector<std::string> hashes;
  for (const char* mode : {"none", "diag", "exact"})
    hashes.push_back(
        round_linear(kOneThread, billm(16, {{"compensation", std::string(mode)}}), w.view(), work)
            .stored.code_hash());
  EXPECT_EQ(hashes[0], hashes[1]);
  EXPECT_EQ(hashes[0], hashes[2]);
}

TEST(Billm, LossIsTheObjective) {
  Random random(3);
  const std::int64_t in = 96, rows = 21;
  Matrix<float> x = random.activations(400, in);
  for (std::int64_t t = 0; t < x.rows(); ++t) x(t, 40) = 0;
  const Matrix<float> w = random.normals(rows, in);
  const Square s = gram_oracle(x.view());
  double mean = 0;
  for (std::int64_t j = 0; j < in; ++j) mean += 2 * s(j, j) / 400 / (in - 1);
  for (const Options& options :
       {Options{}, Options{{"compensation", std::string("diag")}},
        Options{{"compensation", std::string("none")}},
        Options{{"variant", std::string("repository")}}, Options{{"means", false}},
        Options{{"candidates", std::int64_t{5}}}}) {
    const RoundedLinear r = round_linear(kTwoThreads, billm(32, options), w.view(), x.view());
    double loss = 0;
    for (std::int64_t i = 0; i < rows; ++i) {
      std::vector<double> off;
      for (std::int64_t j = 0; j < in; ++j) off.push_back(w(i, j) - r.weight(i, j));
      EXPECT_EQ(r.weight(i, 40), 0.0f);
      off[40] = 0;
      loss += quadratic_oracle(s, off) / 400;
      for (const double v : off) loss += 0.5 * 0.01 * mean * v * v;
    }
    EXPECT_NEAR(r.stored.diagnostics.loss, loss, 2e-4 * loss);
  }
}

// What is stored is what was fed back, bit for bit; a row has two values per set.
TEST(Billm, RebuiltWeightIsTheUsedWeight) {
  Random random(4);
  const std::int64_t in = 130, rows = 37;
  const Matrix<float> w = random.normals(rows, in, 0.05), x = random.activations(300, in);
  SoloTapWork work(kTwoThreads, x.view(), {.gram = true});
  const Factor factor = shared_factor(kTwoThreads, work, {});
  BillmSettings settings;
  settings.slab = 65;
  const BillmLinear linear = run_slabs(kTwoThreads, settings, w.view(), factor.u);
  const RoundedLinear r = round_linear(kTwoThreads, billm(65), w.view(), work);
  const Matrix<float> off = linear.off(0, rows);
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < in; ++j)
      ASSERT_EQ(w(i, j) - r.weight(i, j), off(i, j)) << i << " " << j;
  const std::vector<std::uint8_t> salient = linear.salient_columns();
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t s = 0; s < 2; ++s) {
      std::set<float> ordinary, twice;
      for (std::int64_t j = s * 65; j < (s + 1) * 65; ++j)
        (salient[static_cast<std::size_t>(j)] ? twice : ordinary).insert(r.weight(i, j));
      EXPECT_LE(ordinary.size(), 4u);
      EXPECT_LE(twice.size(), 4u);
    }
}

// In the first slab the weights are still the original ones.
TEST(Billm, SparseWeightsAreThoseFromTheBreakPointOn) {
  Random random(5);
  const Matrix<float> w = random.normals(50, 64), x = random.activations(300, 64);
  SoloTapWork work(kTwoThreads, x.view(), {.gram = true});
  const Factor factor = shared_factor(kTwoThreads, work, {});
  BillmSettings settings;
  settings.slab = 32;
  const BillmLinear linear = run_slabs(kTwoThreads, settings, w.view(), factor.u);
  const Matrix<std::uint8_t> codes = linear.codes();
  const std::vector<std::uint8_t> salient = linear.salient_columns();
  std::int64_t sparse = 0;
  for (std::int64_t r = 0; r < 50; ++r)
    for (std::int64_t j = 0; j < 32; ++j) {
      if (salient[static_cast<std::size_t>(j)]) continue;
      EXPECT_EQ((codes(r, j) & 2) != 0, std::fabs(w(r, j)) >= linear.slab(0).split.threshold);
      sparse += codes(r, j) >> 1;
    }
  EXPECT_GT(sparse, 0);
}

TEST(Billm, IsTheSameForAnyThreadsAndTiles) {
  Random random(6);
  const Matrix<float> q = random.normals(133, 96), k = random.normals(61, 96),
                      x = random.activations(300, 96);
  for (const char* variant : {"project", "repository", "paper", "magnitude"}) {
    std::vector<std::string> hashes[3];
    std::vector<double> losses[3];
    for (const int run : {0, 1, 2}) {
      const Place place = run == 0 ? kOneThread : kTwoThreads;
      SoloTapWork work(place, x.view(), {.gram = true});
      work.one_tile = run == 2;
      const Recipe recipe = billm(32, {{"variant", std::string(variant)}});
      for (const RoundedLinear& r : round_tap(place, task_of(recipe, {q.view(), k.view()}), work)) {
        hashes[run].push_back(r.stored.code_hash());
        losses[run].push_back(r.stored.diagnostics.loss);
      }
    }
    EXPECT_EQ(hashes[0], hashes[1]);
    EXPECT_EQ(hashes[0], hashes[2]);
    EXPECT_EQ(losses[0], losses[1]);
    EXPECT_EQ(losses[0], losses[2]);
  }
}

TEST(Billm, TwiceTheInputsChangeNothing) {
  Random random(7);
  const Matrix<float> w = random.normals(20, 64), x = random.activations(200, 64);
  Matrix<float> twice = x.clone();
  for (std::int64_t i = 0; i < twice.size(); ++i) twice.data()[i] *= 2;  // S four times as large
  EXPECT_EQ(round_linear(kOneThread, billm(32), w.view(), x.view()).stored.code_hash(),
            round_linear(kOneThread, billm(32), w.view(), twice.view()).stored.code_hash());
}

// Feedback helps, and so does the weighted search over the published one.
TEST(Billm, ChoicesMatter) {
  Random random(8);
  const Matrix<float> w = random.normals(96, 128, 0.05), x = random.activations(600, 128);
  const auto error = [&](Options options) {
    return round_linear(kTwoThreads, billm(32, options), w.view(), x.view())
        .stored.diagnostics.relative_output_error;
  };
  const double project = error({});
  EXPECT_LT(project, 0.9 * error({{"compensation", std::string("none")}}));
  EXPECT_LT(project,
            error({{"variant", std::string("repository")}, {"compensation", std::string("diag")}}));
  EXPECT_NE(project, error({{"means", false}}));
  EXPECT_NE(project, error({{"candidates", std::int64_t{2}}}));
}

TEST(Billm, TakesStrangeLinears) {
  for (const auto& [rows, in] : {std::pair{1L, 1L}, {3L, 1L}, {1L, 3L}, {17L, 129L}, {5L, 2L}}) {
    Random random(9);
    const Matrix<float> w = random.normals(rows, in);
    const Matrix<float> x = random.activations(2 * in + 3, in);
    for (const char* variant : {"project", "repository", "paper", "magnitude"}) {
      const RoundedLinear r = round_linear(
          kTwoThreads, billm(-1, {{"variant", std::string(variant)}}), w.view(), x.view());
      for (std::int64_t i = 0; i < w.size(); ++i) ASSERT_TRUE(std::isfinite(r.weight.data()[i]));
    }
  }
  Random random(10);
  const Matrix<float> x = random.activations(80, 32);
  for (const float value : {0.0f, 0.25f}) {  // constant rows have no deviation
    Matrix<float> flat(18, 32);
    flat.fill(value);
    const RoundedLinear r = round_linear(
        kOneThread, billm(-1, {{"compensation", std::string("none")}}), flat.view(), x.view());
    for (std::int64_t i = 0; i < flat.size(); ++i) EXPECT_EQ(r.weight.data()[i], value);
  }
  Matrix<float> nothing(80, 32);
  nothing.fill(0);
  Matrix<float> w = random.normals(4, 32);
  RoundedLinear r = round_linear(kOneThread, billm(16), w.view(), nothing.view());
  for (std::int64_t i = 0; i < w.size(); ++i) EXPECT_EQ(r.weight.data()[i], 0.0f);
  EXPECT_EQ(r.stored.diagnostics.dead_columns, 32);
  Matrix<float> half = x.clone();  // a slab without any input
  for (std::int64_t t = 0; t < 80; ++t) std::fill_n(half.row(t), 17, 0.0f);
  r = round_linear(kOneThread, billm(16), w.view(), half.view());
  for (std::int64_t j = 0; j < 32; ++j) EXPECT_EQ(r.weight(0, j) == 0.0f, j < 17) << j;
}

// A slab that the width does not divide, as the last one.
TEST(Billm, TheLastSlabMayBeShort) {
  Random random(13);
  const Matrix<float> w = random.normals(19, 70), x = random.activations(300, 70);
  SoloTapWork work(kOneThread, x.view(), {.gram = true});
  const Factor factor = shared_factor(kOneThread, work, {});
  BillmSettings settings;
  settings.slab = 23;
  const BillmLinear linear = run_slabs(kOneThread, settings, w.view(), factor.u);
  EXPECT_EQ(linear.slabs(), 4);
  EXPECT_EQ(linear.slab(3).split.salient, 1);  // one column: nothing to search
  Square h = gram_oracle(x.view());
  for (double& value : h.a) value *= 2.0 / 300;
  h = damped(h, factor.damping);
  const Matrix<float> off = linear.off(0, 19);
  double loss = 0;
  for (std::int64_t r = 0; r < 19; ++r)
    loss += 0.5 * quadratic_oracle(h, {off.row(r), off.row(r) + 70});
  EXPECT_NEAR(linear.total_loss(), loss, 1e-4 * loss);
}

TEST(Billm, RefusesWhatCannotBe) {
  Random random(11);
  Matrix<float> w = random.normals(20, 32);
  const Matrix<float> x = random.activations(80, 32);
  const auto message = [&](const Recipe& recipe) {
    return message_of([&] { round_linear(kTwoThreads, recipe, w.view(), x.view()); });
  };
  w(17, 9) = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(message(billm(16)), HasSubstr("row 17, column 9"));
  w(17, 9) = 1e30f;
  EXPECT_THAT(message(billm(16)), HasSubstr("too large to be binarized"));
  w(17, 9) = 1e7f;
  EXPECT_THAT(message(billm(16)), HasSubstr("row 17, columns from 0"));
  EXPECT_THROW(resolve_recipe("billm", 2, 16, {}), InputError);
  EXPECT_THROW(resolve_recipe("billm", 1, 16, {}), InputError);
  EXPECT_THROW(billm(16, {{"candidates", std::int64_t{1}}}), InputError);
  EXPECT_THROW(billm(16, {{"candidates", std::int64_t{98}}}), InputError);
  EXPECT_THROW(billm(16, {{"variant", std::string("mine")}}), InputError);
  EXPECT_EQ(recipe_name(billm(128)), "billm-w1.1-g128");
}

TEST(Billm, RebuildRefusesDamage) {
  Random random(12);
  Matrix<float> x = random.activations(80, 32);
  for (std::int64_t t = 0; t < 80; ++t) x(t, 4) = 0;
  const Matrix<float> w = random.normals(6, 32);
  const RoundedLinear good = round_linear(kOneThread, billm(16), w.view(), x.view());
  for (std::size_t a = 0; a < good.stored.arrays.size(); ++a) {
    const std::string& name = good.stored.arrays[a].name;
    if (!good.stored.arrays[a].required) continue;
    QuantizedLinear bad = good.stored;
    bad.arrays[a].data.pop_back();
    EXPECT_THAT(message_of([&] { rebuild_weight(kOneThread, bad); }), HasSubstr(name));
    bad = good.stored;
    bad.arrays[a].shape.back() += 9;
    EXPECT_THAT(message_of([&] { rebuild_weight(kOneThread, bad); }), HasSubstr(name));
    if (name == "dead_columns" || name.ends_with("concentrated_mean") || name == "sparse_mean")
      continue;
    bad = good.stored;
    bad.arrays.erase(bad.arrays.begin() + static_cast<std::ptrdiff_t>(a));
    EXPECT_THAT(message_of([&] { rebuild_weight(kOneThread, bad); }),
                HasSubstr("self_attn.q_proj: array '" + name + "' is missing"));
  }
}

}  // namespace
}  // namespace bitgrid::test

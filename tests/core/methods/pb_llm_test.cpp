#include "core/methods/pb_llm.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "core/methods/pb_mask.hpp"
#include "core/methods/resolve_recipe.hpp"
#include "core/methods/stored_arrays.hpp"
#include "kernels/error.hpp"
#include "kernels/gptq_rows.hpp"
#include "kernels/pb_rows.hpp"
#include "kernels/round_to_grid.hpp"
#include "tests/core/methods/solo_work.hpp"
#include "tests/oracle/binary.hpp"
#include "tests/oracle/random.hpp"

namespace bitgrid::test {
namespace {

const Place kOneThread = cpu_place(1), kTwoThreads = cpu_place(2);

using testing::HasSubstr;
using Options = std::map<std::string, OptionValue>;

constexpr auto kSalient = static_cast<std::uint8_t>(PbKind::salient);
constexpr auto kBinary = static_cast<std::uint8_t>(PbKind::binary);

Recipe pb(double bits, std::int64_t group, Options options = {}) {
  return resolve_recipe("pb-llm", bits, group, options);
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

// The toy layer through the method's parts, nothing rounded to 16 bits.
struct ToyRun {
  Matrix<std::uint8_t> kinds{3, 16}, codes{3, 16}, zeros{3, 1};
  Matrix<float> means, deviations, scales{3, 1}, value{3, 16};
  std::vector<double> loss = std::vector<double>(3);
  std::vector<std::int32_t> saturated = std::vector<std::int32_t>(3);
  double total() const { return std::accumulate(loss.begin(), loss.end(), 0.0); }
};

ToyRun toy_run(const ToyLayer& toy, std::int64_t group, std::int64_t scope, bool hessian,
               bool diluted) {
  const Place place = kOneThread;
  std::vector<float> d;
  if (hessian)
    for (std::int64_t j = 0; j < 16; ++j) d.push_back(toy.u_f32(j, j));
  PbMask mask;
  mask.low_frac = 0.8;
  mask.scope = scope;
  mask.d = d;
  mask.dead.resize(16);
  std::vector<PbCut> cuts;
  for (std::int64_t s = 0; s < mask.scopes(); ++s)
    cuts.push_back(pb_cut(place, mask, toy.w.view(), s));
  ToyRun run;
  const std::int64_t groups = 16 / group;
  run.means = Matrix<float>(3, groups);
  run.deviations = Matrix<float>(3, groups);
  pb_kinds(mask, toy.w.view(), 0, cuts, run.kinds.view());
  pb_parameters(place, group, diluted, toy.w.view(), run.kinds.view(), run.means.view(),
                run.deviations.view());
  UniformGrid grid;
  grid.bits = 8;
  grid.scale_f16 = false;
  fit_grid(place, grid, toy.w.view(), 16, run.scales.view(), run.zeros.view());
  PbColumns columns;
  columns.factor = toy.u_f32.view();
  columns.group = group;
  pb_rows(place, columns,
          {toy.w.view(), run.kinds.view(), run.means.view(), run.deviations.view(),
           run.scales.view(), run.zeros.view(), run.codes.view(), run.loss, run.saturated});
  for (std::int64_t r = 0; r < 3; ++r)
    for (std::int64_t j = 0; j < 16; ++j) {
      const float mu = run.means(r, j / group), alpha = run.deviations(r, j / group);
      run.value(r, j) = run.kinds(r, j) == kBinary
                            ? (run.codes(r, j) ? mu + alpha : mu - alpha)
                            : run.scales(r, 0) * (static_cast<float>(run.codes(r, j)) -
                                                  static_cast<float>(run.zeros(r, 0)));
    }
  return run;
}

TEST(PbLlm, MatchesTheUnitVector) {
  const ToyLayer toy;
  EXPECT_NEAR(toy.h(0, 0) - 0.460994, 2.057617, 2e-6);
  EXPECT_NEAR(toy.u(0, 0), 0.801312, 1e-6);
  EXPECT_NEAR(toy.u(15, 15), 0.097841, 1e-6);
  const ToyRun run = toy_run(toy, 8, 8, true, false);
  std::vector<std::pair<int, int>> salient;
  for (int r = 0; r < 3; ++r)
    for (int j = 0; j < 16; ++j)
      if (run.kinds(r, j) == kSalient) salient.emplace_back(r, j);
  EXPECT_THAT(
      salient,
      testing::ElementsAreArray(std::vector<std::pair<int, int>>{
          {0, 4}, {0, 5}, {0, 6}, {0, 15}, {1, 6}, {1, 14}, {2, 7}, {2, 12}, {2, 13}, {2, 15}}));
  const double means[] = {-.310000, -.056857, -.362571, .132571, .257714, .038000};
  const double deviations[] = {.369600, .328735, .383347, .300327, .435265, .340000};
  const double scales[] = {.007082, .007020, .007310}, zeros[] = {120, 127, 125};
  for (std::int64_t i = 0; i < 6; ++i) {
    EXPECT_NEAR(run.means.data()[i], means[i], 1e-6);
    EXPECT_NEAR(run.deviations.data()[i], deviations[i], 1e-6);
  }
  for (std::int64_t r = 0; r < 3; ++r) {
    EXPECT_NEAR(run.scales(r, 0), scales[r], 1e-6);
    EXPECT_EQ(run.zeros(r, 0), zeros[r]);
  }
  const double row[] = {-.679600, -.679600, .059600, .059600, -.722400, .956118,
                        .878212,  -.679600, .271878, .271878, .271878,  -.385592,
                        -.385592, -.385592, .271878, .743647};
  for (std::int64_t j = 0; j < 16; ++j) EXPECT_NEAR(run.value(0, j), row[j], 2e-6) << j;
  EXPECT_NEAR(run.total(), 33.793567, 1e-4);
  EXPECT_EQ(std::accumulate(run.saturated.begin(), run.saturated.end(), 0), 2);
  EXPECT_NEAR(toy_run(toy, 8, 8, true, true).total(), 32.433781, 1e-4);
  EXPECT_NEAR(toy_run(toy, 8, 8, false, false).total(), 40.736059, 1e-4);
  EXPECT_NEAR(toy_run(toy, 16, 16, true, false).total(), 36.187441, 1e-4);
}

// n·k + n_b + 8·n_s + 32·n·groups + n·(16 + 8 + 32) + 16·n·⌈k/128⌉, and k for dead columns.
TEST(PbLlm, StoresWhatTheFormulaSays) {
  Random random(1);
  for (const std::int64_t cols : {64L, 256L, 384L}) {
    Matrix<float> x = random.activations(2 * cols, cols);
    for (std::int64_t t = 0; t < x.rows(); ++t) x(t, 3) = 0;
    const Matrix<float> w = random.normals(40, cols);
    const std::int64_t group = std::min<std::int64_t>(cols, 128), groups = cols / group;
    const RoundedLinear r = round_linear(kTwoThreads, pb(2, group), w.view(), x.view());
    std::int64_t binary = 0;
    for (std::int64_t g = 0; g < groups; ++g) {
      const std::int64_t live = 40 * (group - (g == 0));
      binary += static_cast<std::int64_t>(std::floor(static_cast<double>(live) * (6.0 / 7)));
    }
    const std::int64_t salient = 40 * (cols - 1) - binary;
    EXPECT_EQ(r.stored.find("signs")->shape[1], binary);
    EXPECT_EQ(r.stored.find("salient_codes")->shape[1], salient);
    const std::int64_t bits = 40 * cols + (binary + 7) / 8 * 8 + 8 * salient + 32 * 40 * groups +
                              40 * (16 + 8 + 32) + 16 * 40 * ((cols + 127) / 128) + cols;
    EXPECT_DOUBLE_EQ(r.stored.bits_per_weight() * 40 * static_cast<double>(cols),
                     static_cast<double>(bits));
  }
}

// All weights salient: GPTQ, row by row, on an asymmetric grid.
TEST(PbLlm, WithoutBinaryWeightsItIsGptq) {
  for (const int bits : {3, 4, 8}) {
    Random random(2);
    const std::int64_t in = 96, rows = 37;
    const Matrix<float> x = random.activations(250, in), w = random.normals(rows, in);
    const RoundedLinear gptq =
        round_linear(kOneThread, resolve_recipe("gptq", bits, -1, {{"order", std::string("none")}}),
                     w.view(), x.view());
    const RoundedLinear r = round_linear(
        kOneThread, pb(bits, 32, {{"salient_bits", std::to_string(bits)}}), w.view(), x.view());
    EXPECT_EQ(r.stored.find("signs"), nullptr);
    EXPECT_EQ(read_packed(r.stored, "salient_codes", 1, rows * in, bits).view()(0, 5),
              read_packed(gptq.stored, "codes", rows, in, bits)(0, 5));
    for (std::int64_t i = 0; i < w.size(); ++i)
      ASSERT_EQ(r.weight.data()[i], gptq.weight.data()[i]) << bits << " at " << i;
    EXPECT_NEAR(r.stored.diagnostics.loss, gptq.stored.diagnostics.loss,
                1e-6 * gptq.stored.diagnostics.loss);
  }
}

TEST(PbLlm, AnIdentityFactorMeansNoFeedback) {
  const ToyLayer toy;
  Matrix<float> one(16, 16);
  one.fill(0);
  for (std::int64_t j = 0; j < 16; ++j) one(j, j) = 1;
  Matrix<std::uint8_t> kinds(3, 16), zeros(3, 1);
  for (std::int64_t i = 0; i < 48; ++i) kinds.data()[i] = i % 3 == 0 ? kSalient : kBinary;
  zeros.fill(128);
  Matrix<float> means(3, 2), deviations(3, 2), scales(3, 1);
  scales.fill(0.01f);
  pb_parameters(kOneThread, 8, false, toy.w.view(), kinds.view(), means.view(), deviations.view());
  std::vector<Matrix<std::uint8_t>> codes;
  std::vector<std::vector<double>> losses;
  for (const bool identity : {false, true}) {
    PbColumns columns;
    if (identity) columns.factor = one.view();
    columns.group = 8;
    std::vector<double>& loss = losses.emplace_back(3);
    std::vector<std::int32_t> saturated(3);
    Matrix<std::uint8_t>& code = codes.emplace_back(3, 16);
    pb_rows(kOneThread, columns,
            {toy.w.view(), kinds.view(), means.view(), deviations.view(), scales.view(),
             zeros.view(), code.view(), loss, saturated});
  }
  EXPECT_TRUE(std::equal(codes[0].data(), codes[0].data() + 48, codes[1].data()));
  EXPECT_EQ(losses[0], losses[1]);
}

// w' = mean + deviation·sgn(w − mean), ‖w − w'‖² = Σ(w − mean)² − k·deviation²
TEST(PbLlm, WithoutSalientWeightsItIsOneBit) {
  Random random(3);
  const std::int64_t in = 129, rows = 5;
  const Matrix<float> w = random.normals(rows, in), x = random.activations(300, in);
  const RoundedLinear r =
      round_linear(kOneThread, pb(1, -1, {{"feedback", false}}), w.view(), x.view());
  for (std::int64_t i = 0; i < rows; ++i) {
    double mean = 0, deviation = 0, squares = 0, error = 0;
    for (std::int64_t j = 0; j < in; ++j) mean += w(i, j) / 129.0;
    for (std::int64_t j = 0; j < in; ++j) deviation += std::fabs(w(i, j) - mean) / 129.0;
    for (std::int64_t j = 0; j < in; ++j) {
      squares += (w(i, j) - mean) * (w(i, j) - mean);
      error += std::pow(static_cast<double>(w(i, j) - r.weight(i, j)), 2);
      // Two parameters, each rounded to fp16: |mean| < 1, deviation < 1.
      EXPECT_NEAR(r.weight(i, j), mean + (w(i, j) >= mean ? deviation : -deviation), 0x1p-10);
    }
    EXPECT_NEAR(error, squares - 129 * deviation * deviation, 129 * 4e-3);
  }
}

TEST(PbLlm, MasksHoldExactlyTheirShare) {
  Random random(4);
  const std::int64_t in = 160, rows = 53;
  Matrix<float> w = random.normals(rows, in);
  for (std::int64_t i = 0; i < w.size(); ++i)  // many equal values
    w.data()[i] = std::round(w.data()[i] * 4) / 4;
  for (std::int64_t j = 0; j < in; ++j) w(7, j) = 0;
  for (const double low_frac : {0.0, 0.001, 0.5, 0.8, 6.0 / 7, 0.9, 1.0})
    for (const std::int64_t scope : {32L, 96L, 160L}) {
      PbMask mask;
      mask.low_frac = low_frac;
      mask.scope = scope;
      mask.dead.resize(in);
      mask.dead[5] = mask.dead[100] = 1;
      std::vector<PbCut> cuts;
      for (std::int64_t s = 0; s < mask.scopes(); ++s) {
        cuts.push_back(pb_cut(kOneThread, mask, w.view(), s));
        const PbCut again = pb_cut(kTwoThreads, mask, w.view(), s);
        EXPECT_EQ(cuts.back().key, again.key);
        EXPECT_EQ(cuts.back().last, again.last);
      }
      Matrix<std::uint8_t> kinds(rows, in), parts(rows, in);
      pb_kinds(mask, w.view(), 0, cuts, kinds.view());
      for (std::int64_t r = 0; r < rows; r += 13)
        pb_kinds(mask, w.view(), r, cuts, parts.rows_from(r, std::min<std::int64_t>(13, rows - r)));
      EXPECT_TRUE(std::equal(kinds.data(), kinds.data() + kinds.size(), parts.data()));
      for (std::int64_t s = 0; s < mask.scopes(); ++s) {
        // An oracle that sorts: by magnitude, then by place.
        std::vector<std::tuple<float, std::int64_t, std::int64_t>> order;
        for (std::int64_t r = 0; r < rows; ++r)
          for (std::int64_t j = s * scope; j < std::min(in, (s + 1) * scope); ++j)
            if (!mask.dead[static_cast<std::size_t>(j)])
              order.emplace_back(std::fabs(w(r, j)), r, j);
        std::sort(order.begin(), order.end());
        const auto share = static_cast<std::size_t>(static_cast<double>(order.size()) * low_frac);
        for (std::size_t i = 0; i < order.size(); ++i)
          ASSERT_EQ(kinds(std::get<1>(order[i]), std::get<2>(order[i])) == kBinary, i < share)
              << low_frac << " " << scope << " " << i;
      }
      for (std::int64_t r = 0; r < rows; ++r)
        EXPECT_EQ(kinds(r, 100), static_cast<std::uint8_t>(PbKind::dead));
    }
}

TEST(PbLlm, LossIsTheObjective) {
  Random random(5);
  const std::int64_t in = 200, rows = 9;
  Matrix<float> x = random.activations(500, in);
  for (std::int64_t t = 0; t < x.rows(); ++t) x(t, 17) = 0;
  const Matrix<float> w = random.normals(rows, in);
  const Square s = gram_oracle(x.view());
  double mean = 0;
  for (std::int64_t j = 0; j < in; ++j) mean += 2 * s(j, j) / 500 / 199;
  for (const Options& options :
       {Options{}, Options{{"feedback", false}}, Options{{"parameters", std::string("compat")}},
        Options{{"metric", std::string("paper")}},
        Options{{"mask_scope", std::string("matrix")}}}) {
    const RoundedLinear r = round_linear(kTwoThreads, pb(1.7, 40, options), w.view(), x.view());
    double loss = 0;
    for (std::int64_t i = 0; i < rows; ++i) {
      std::vector<double> off;
      for (std::int64_t j = 0; j < in; ++j) off.push_back(w(i, j) - r.weight(i, j));
      EXPECT_EQ(r.weight(i, 17), 0.0f);
      off[17] = 0;
      loss += quadratic_oracle(s, off) / 500;
      for (const double v : off) loss += 0.5 * 0.01 * mean * v * v;
    }
    EXPECT_NEAR(r.stored.diagnostics.loss, loss, 2e-4 * loss);
    EXPECT_EQ(r.stored.diagnostics.dead_columns, 1);
  }
}

// Feedback lowers the output error; the Hessian's choice is better than the magnitude's.
TEST(PbLlm, ChoicesMatter) {
  Random random(6);
  const std::int64_t in = 128, rows = 64;
  const Matrix<float> w = random.normals(rows, in, 0.05), x = random.activations(600, in);
  const auto error = [&](Options options) {
    return round_linear(kTwoThreads, pb(1.7, 128, options), w.view(), x.view())
        .stored.diagnostics.relative_output_error;
  };
  EXPECT_LT(error({}), 0.8 * error({{"feedback", false}}));
  EXPECT_LT(error({}), 0.9 * error({{"metric", std::string("magnitude")}}));
  EXPECT_NE(error({}), error({{"metric", std::string("paper")}}));
  EXPECT_NE(error({}), error({{"parameters", std::string("compat")}}));
}

TEST(PbLlm, TwiceTheInputsChangeNothing) {
  Random random(7);
  const Matrix<float> w = random.normals(20, 64), x = random.activations(200, 64);
  Matrix<float> twice(400, 64);  // every token twice: S doubles, and so does N
  for (std::int64_t t = 0; t < 400; ++t) std::copy_n(x.row(t % 200), 64, twice.row(t));
  SoloTapWork work(kOneThread, x.view(), {.gram = true});
  Statistics doubled;
  doubled.tokens = work.statistics().tokens;
  doubled.gram = work.statistics().gram.clone();
  for (std::int64_t i = 0; i < doubled.gram.size(); ++i) doubled.gram.data()[i] *= 2;
  SoloTapWork scaled(kOneThread, std::move(doubled));
  const RoundedLinear a = round_linear(kOneThread, pb(2, 32), w.view(), work);
  const RoundedLinear b = round_linear(kOneThread, pb(2, 32), w.view(), twice.view());
  const RoundedLinear c = round_linear(kOneThread, pb(2, 32), w.view(), scaled);
  EXPECT_EQ(a.stored.code_hash(), b.stored.code_hash());
  EXPECT_EQ(a.stored.code_hash(), c.stored.code_hash());
}

TEST(PbLlm, IsTheSameForAnyThreadsAndTiles) {
  Random random(8);
  const Matrix<float> q = random.normals(133, 96), k = random.normals(61, 96),
                      x = random.activations(300, 96);
  for (const std::int64_t group : {-1L, 24L}) {
    std::vector<std::string> hashes[3];
    for (const int run : {0, 1, 2}) {
      const Place place = run == 0 ? kOneThread : kTwoThreads;
      SoloTapWork work(place, x.view(), {.gram = true});
      work.one_tile = run == 2;
      for (const RoundedLinear& r :
           round_tap(place, task_of(pb(1.7, group), {q.view(), k.view()}), work))
        hashes[run].push_back(r.stored.code_hash());
    }
    EXPECT_EQ(hashes[0], hashes[1]);
    EXPECT_EQ(hashes[0], hashes[2]);
  }
}

TEST(PbLlm, TakesStrangeLinears) {
  for (const auto& [rows, in] : {std::pair{1L, 1L}, {3L, 1L}, {1L, 3L}, {17L, 129L}}) {
    Random random(9);
    Matrix<float> w = random.normals(rows, in);
    const Matrix<float> x = random.activations(2 * in + 3, in);
    for (const double bits : {1.0, 1.7, 2.0, 3.3, 8.0}) {
      const RoundedLinear r = round_linear(kTwoThreads, pb(bits, -1), w.view(), x.view());
      for (std::int64_t i = 0; i < w.size(); ++i) ASSERT_TRUE(std::isfinite(r.weight.data()[i]));
    }
  }
  Random random(10);
  Matrix<float> zero(4, 32);
  zero.fill(0);
  const Matrix<float> x = random.activations(80, 32);
  RoundedLinear r = round_linear(kOneThread, pb(2, 32), zero.view(), x.view());
  for (std::int64_t i = 0; i < zero.size(); ++i) EXPECT_EQ(r.weight.data()[i], 0.0f);
  Matrix<float> nothing(80, 32);
  nothing.fill(0);
  const Matrix<float> w = random.normals(4, 32);
  r = round_linear(kOneThread, pb(2, 32), w.view(), nothing.view());
  for (std::int64_t i = 0; i < w.size(); ++i) EXPECT_EQ(r.weight.data()[i], 0.0f);
  EXPECT_EQ(r.stored.diagnostics.dead_columns, 32);
}

TEST(PbLlm, RefusesWhatCannotBe) {
  Random random(11);
  Matrix<float> w = random.normals(20, 32);
  const Matrix<float> x = random.activations(80, 32);
  const auto message = [&](const Recipe& recipe) {
    return message_of([&] { round_linear(kTwoThreads, recipe, w.view(), x.view()); });
  };
  w(17, 9) = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(message(pb(2, 16)), HasSubstr("row 17, column 9"));
  EXPECT_THAT(message(pb(2, -1)), HasSubstr("row 17, column 9"));
  w(17, 9) = 1e30f;
  EXPECT_THAT(message(pb(2, 16)), HasSubstr("row 17"));
  w(17, 9) = 0;
  EXPECT_THAT(message_of([] {
                pb(5, 16, {{"salient_bits", std::string("4")}});
              }),
              HasSubstr("salient weights of 4 bits"));
  EXPECT_THROW(pb(0.9, 16), InputError);
  EXPECT_THROW(pb(8.1, 16), InputError);
  EXPECT_EQ(recipe_name(pb(1.7, 128)), "pb-llm-w1.7-g128");
}

TEST(PbLlm, RebuildRefusesDamage) {
  Random random(12);
  Matrix<float> x = random.activations(80, 32);
  for (std::int64_t t = 0; t < 80; ++t) x(t, 4) = 0;
  const Matrix<float> w = random.normals(6, 32);
  const RoundedLinear good = round_linear(kOneThread, pb(2, 16), w.view(), x.view());
  for (std::size_t a = 0; a < good.stored.arrays.size(); ++a) {
    const std::string& name = good.stored.arrays[a].name;
    if (!good.stored.arrays[a].required) continue;
    QuantizedLinear bad = good.stored;
    bad.arrays.erase(bad.arrays.begin() + static_cast<std::ptrdiff_t>(a));
    EXPECT_THAT(message_of([&] { rebuild_weight(kOneThread, bad); }),
                HasSubstr("self_attn.q_proj: array"));
    bad = good.stored;
    bad.arrays[a].data.pop_back();
    EXPECT_THAT(message_of([&] { rebuild_weight(kOneThread, bad); }), HasSubstr(name));
    bad = good.stored;
    bad.arrays[a].shape.back() += 9;
    EXPECT_THAT(message_of([&] { rebuild_weight(kOneThread, bad); }), HasSubstr(name));
  }
  for (const char* name : {"binary", "row_offsets", "salient_counts", "dead_columns"}) {
    QuantizedLinear bad = good.stored;
    for (StoredArray& array : bad.arrays)
      if (array.name == name) array.data[0] ^= std::byte{1};
    EXPECT_THAT(message_of([&] { rebuild_weight(kOneThread, bad); }),
                HasSubstr("self_attn.q_proj: array '"))
        << name;
  }
}

}  // namespace
}  // namespace bitgrid::test

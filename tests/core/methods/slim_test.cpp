#include "core/methods/slim.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "core/methods/mixed_width.hpp"
#include "core/methods/resolve_recipe.hpp"
#include "core/methods/slab_widths.hpp"
#include "core/methods/stored_arrays.hpp"
#include "kernels/error.hpp"
#include "tests/core/methods/solo_work.hpp"
#include "tests/oracle/quantization.hpp"
#include "tests/oracle/random.hpp"
#include "tests/oracle/toy_layer.hpp"

namespace bitgrid::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Recipe slim(double bits, std::int64_t group, std::map<std::string, OptionValue> options = {}) {
  return resolve_recipe("slim-llm", bits, group, options);
}

std::string failure(const std::function<void()>& fn) {
  try {
    fn();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

SlabWidths widths_of(const Recipe& recipe, MatrixView<const float> w, MatrixView<const float> x,
                     WidthSearch search = {}, int threads = 1) {
  const Place place = cpu_place(threads);
  SoloTapWork work(place, x, {.gram = true}, 4);
  const Factor factor = shared_factor(place, work, {0.01, "none", -1});
  return search_slab_widths(place, task_of(recipe, {w}), work, factor, search).front();
}

TEST(SlabWidths, MatchTheUnitVector) {
  const ToyLayer toy;
  WidthSearch search;
  search.scale_f16 = false;
  const SlabWidths two = widths_of(slim(2, 4), toy.w.view(), toy.x.view(), search);
  EXPECT_THAT(two.bits, ElementsAre(1, 2, 2, 3));
  const double curve2[] = {.017126672, .013350111, .019523908};
  const double curve3[] = {.011124493, .002717825, .006579549};
  const SlabWidths three = widths_of(slim(3, 4), toy.w.view(), toy.x.view(), search);
  EXPECT_THAT(three.bits, ElementsAre(2, 3, 3, 4));
  ASSERT_EQ(two.curve.size(), 3u);
  for (std::size_t p = 0; p < 3; ++p) {
    EXPECT_NEAR(two.curve[p], curve2[p], 2e-7);
    EXPECT_NEAR(three.curve[p], curve3[p], 2e-7);
  }
  // The vector's salience is of H = S + λI; ours of 2S/N, N = 48.
  const double salience[] = {.432138, 3.160286, 6.791629, 49.105768};
  for (std::size_t s = 0; s < 4; ++s)
    EXPECT_NEAR(two.salience[s] * 24, salience[s], 1e-5 * salience[s]);
}

TEST(SlabWidths, OrderIsStable) {
  EXPECT_THAT(salience_order({3, 1, 3, 0, 1}), ElementsAre(3, 1, 4, 0, 2));
  EXPECT_THAT(salience_order({}), ElementsAre());
  std::vector<std::int32_t> natural(100);
  std::iota(natural.begin(), natural.end(), 0);
  EXPECT_EQ(salience_order(std::vector<double>(100, 7.0)), natural);
}

// Every candidate by the definition: all slabs quantized, a full product, a softmax. In fp64.
std::vector<double> curve_oracle(MatrixView<const float> w, MatrixView<const float> x, int bits,
                                 std::int64_t group, const std::vector<std::int32_t>& order,
                                 bool from_quantized, std::int64_t stride, std::int64_t window) {
  const auto slabs = std::ssize(order);
  std::vector<double> curve;
  for (std::int64_t p = 0; p <= slabs / 2; ++p) {
    std::vector<std::vector<double>> q;
    for (std::int64_t r = 0; r < w.rows; ++r) {
      q.emplace_back(static_cast<std::size_t>(w.cols));
      for (std::int64_t rank = 0; rank < slabs; ++rank) {
        const std::int64_t first = order[static_cast<std::size_t>(rank)] * group;
        const int width = rank < p ? bits - 1 : rank >= slabs - p ? bits + 1 : bits;
        const std::vector<double> slab(w.row(r) + first, w.row(r) + first + group);
        double mean = 0, away = 0;
        for (const double v : slab) mean += v / static_cast<double>(group);
        for (const double v : slab) away += std::fabs(v - mean) / static_cast<double>(group);
        const GridOracle grid{width, false, false};
        const ScaleZero s = grid_oracle(grid, slab);
        for (std::int64_t j = 0; j < group; ++j) {
          const double v = slab[static_cast<std::size_t>(j)];
          q.back()[static_cast<std::size_t>(first + j)] =
              width == 1 ? mean + (v >= mean ? away : -away)
                         : s.scale * (code_oracle(grid, v, s) - s.zero);
        }
      }
    }
    double sum = 0, tokens = 0;
    for (std::int64_t t = 0; t < x.rows; ++t) {
      if (t % window % stride != 0) continue;
      std::vector<double> a, f;
      double za = 0, zf = 0;
      for (std::int64_t r = 0; r < w.rows; ++r) {
        double ya = 0, yf = 0;
        for (std::int64_t j = 0; j < w.cols; ++j) {
          ya += double{x(t, j)} * q[static_cast<std::size_t>(r)][static_cast<std::size_t>(j)];
          yf += double{x(t, j)} * double{w(r, j)};
        }
        a.push_back(ya);
        f.push_back(yf);
        za += std::exp(ya);
        zf += std::exp(yf);
      }
      for (std::size_t r = 0; r < a.size(); ++r) {
        const double la = a[r] - std::log(za), lf = f[r] - std::log(zf);
        sum += from_quantized ? std::exp(la) * (la - lf) : std::exp(lf) * (lf - la);
      }
      tokens += 1;
    }
    curve.push_back(sum / tokens);
  }
  return curve;
}

TEST(SlabWidths, CurveIsThatOfTheDefinition) {
  const Matrix<float> w = Random(6).normals(23, 144, 0.3);
  const Matrix<float> x = Random(7).activations(4 * 65, 144);
  for (const int bits : {2, 3})
    for (const std::int64_t group : {4L, 48L, 72L})
      for (const bool from_quantized : {true, false}) {
        WidthSearch search;
        search.from_quantized = from_quantized;
        search.scale_f16 = false;  // fp64 and fp32 would round some scales to different halves
        search.token_stride = group == 48 ? 8 : 1;
        const SlabWidths widths = widths_of(slim(bits, group), w.view(), x.view(), search, 2);
        const std::vector<double> expected =
            curve_oracle(w.view(), x.view(), bits, group, salience_order(widths.salience),
                         from_quantized, search.token_stride, 65);
        ASSERT_EQ(widths.curve.size(), expected.size());
        for (std::size_t p = 0; p < expected.size(); ++p)
          EXPECT_NEAR(widths.curve[p], expected[p], 2e-5 * expected[p]) << p;
        const auto best = static_cast<std::int64_t>(
            std::min_element(widths.curve.begin(), widths.curve.end()) - widths.curve.begin());
        EXPECT_EQ(std::count(widths.bits.begin(), widths.bits.end(), bits - 1), best);
        EXPECT_EQ(std::count(widths.bits.begin(), widths.bits.end(), bits + 1), best);
        EXPECT_EQ(std::accumulate(widths.bits.begin(), widths.bits.end(), 0), bits * 144 / group);
      }
}

TEST(SlabWidths, LookAtEveryEighthTokenWhereSlabsAreMany) {
  const Matrix<float> w = Random(6).normals(5, 130, 0.3);
  const Matrix<float> x = Random(7).activations(4 * 40, 130);
  WidthSearch automatic, eighth, all;
  automatic.token_stride = 0;
  eighth.token_stride = 8;
  const auto curve = [&](std::int64_t group, const WidthSearch& search) {
    return widths_of(slim(3, group), w.view(), x.view(), search).curve;
  };
  EXPECT_EQ(curve(2, automatic), curve(2, eighth));  // 65 slabs
  EXPECT_EQ(curve(5, automatic), curve(5, all));
  EXPECT_NE(curve(5, all), curve(5, eighth));
}

TEST(SlabWidths, OfOneSlabAndWithoutSearchAreAllAlike) {
  const Matrix<float> w = Random(6).normals(5, 24, 0.3);
  const Matrix<float> x = Random(7).activations(64, 24);
  const SlabWidths one = widths_of(slim(3, -1), w.view(), x.view());
  EXPECT_THAT(one.bits, ElementsAre(3));
  EXPECT_TRUE(one.curve.empty());
  WidthSearch none;
  none.search = false;
  EXPECT_THAT(widths_of(slim(3, 12), w.view(), x.view(), none).bits, ElementsAre(3, 3));
  for (const std::int64_t group : {8L, 12L})  // three slabs, and two
    EXPECT_EQ(widths_of(slim(3, group), w.view(), x.view()).curve.size(), 2u);
}

TEST(Slim, StoresWhatTheUnitVectorCounts) {
  const ToyLayer toy;
  const RoundedLinear r = round_linear(cpu_place(1), slim(2, 4), toy.w.view(), toy.x.view());
  EXPECT_NEAR(toy.loss(r.weight.view()), 5.522295, 0.02);  // scales are fp16
  EXPECT_NEAR(r.stored.diagnostics.loss * 24, toy.loss(r.weight.view()), 1e-3);
  EXPECT_EQ(r.stored.format, "mixed-width");
  const auto bytes = [&](const char* name) { return std::ssize(r.stored.find(name)->data); };
  // 365 bits, were it not for whole bytes: codes 12 + 24 + 24 + 36, zeros 6 + 6 + 9, widths 8.
  EXPECT_EQ(bytes("codes"), 2 + 3 + 3 + 5);
  EXPECT_EQ(bytes("zeros"), 1 + 1 + 2);
  EXPECT_EQ(bytes("widths"), 1);
  EXPECT_EQ(bytes("means"), 3 * 2);
  EXPECT_EQ(bytes("scales"), 3 * 4 * 2);
  EXPECT_DOUBLE_EQ(r.stored.bits_per_weight() * 48, 8 * (13 + 4 + 1 + 6 + 24));
  EXPECT_FALSE(r.stored.find("divergence")->required);
  EXPECT_EQ(r.stored.find("dead"), nullptr);
}

TEST(Slim, BitsPerWeightFollowTheFormula) {
  const Matrix<float> w = Random(6).normals(64, 128, 0.05);
  const Matrix<float> x = Random(7).activations(512, 128);
  for (const int bits : {2, 3, 7}) {
    const RoundedLinear r = round_linear(cpu_place(1), slim(bits, 16), w.view(), x.view());
    const Matrix<std::uint8_t> widths = read_packed(r.stored, "widths", 1, 8, 2);
    double sum = 0, zeros = 0;
    for (std::int64_t s = 0; s < 8; ++s) {
      const int width = bits - 1 + widths(0, s);
      sum += width;
      zeros += width == 1 ? 16 : width;
    }
    EXPECT_EQ(sum, 8 * bits);
    EXPECT_NEAR(r.stored.bits_per_weight(), bits + 16 / 16.0 + zeros / 8 / 16 + 2.0 / (64 * 16),
                1e-9);
  }
}

TEST(Slim, WithoutSearchesIsGptq) {
  const Matrix<float> w = Random(6).normals(40, 128, 0.05);
  const Matrix<float> x = Random(7).activations(512, 128);
  for (const int bits : {2, 4}) {
    const Recipe plain = slim(bits, 32, {{"sba", false}, {"sqc", std::string("none")}});
    const RoundedLinear a = round_linear(cpu_place(1), plain, w.view(), x.view());
    const Recipe gptq = resolve_recipe("gptq", bits, 32, {{"order", std::string("none")}});
    const RoundedLinear b = round_linear(cpu_place(1), gptq, w.view(), x.view());
    EXPECT_EQ(0, std::memcmp(a.weight.data(), b.weight.data(),
                             static_cast<std::size_t>(a.weight.size()) * sizeof(float)));
    EXPECT_EQ(a.stored.diagnostics.loss, b.stored.diagnostics.loss);
  }
}

double output_error(const RoundedLinear& r) { return r.stored.diagnostics.relative_output_error; }

TEST(Slim, EverySearchHelps) {
  Matrix<float> w = Random(8).normals(96, 256, 0.05);
  const Matrix<float> x = Random(9).activations(1024, 256);
  const auto error = [&](int bits, std::map<std::string, OptionValue> options) {
    return output_error(
        round_linear(cpu_place(2), slim(bits, 32, std::move(options)), w.view(), x.view()));
  };
  const OptionValue none = std::string("none"), hessian = std::string("hessian");
  const double plain = error(2, {{"sba", false}, {"sqc", none}});
  const double ranges = error(2, {{"sba", false}});
  EXPECT_LT(ranges, 0.95 * plain);
  EXPECT_LT(error(2, {}), ranges * 1.02);
  EXPECT_LT(error(2, {{"sqc", hessian}, {"range", std::string("wide")}}), 0.9 * error(2, {}));
}

TEST(Slim, SalientWeightsCountOnlyWhereTheyDiffer) {
  Matrix<float> w = Random(8).normals(48, 64, 0.05);
  w(3, 5) = 1;
  const Matrix<float> x = Random(9).activations(256, 64);
  const auto arrays = [&](double weight, const char* sqc) {
    const Recipe recipe = slim(2, 16, {{"salient_weight", weight}, {"sqc", std::string(sqc)}});
    return round_linear(cpu_place(1), recipe, w.view(), x.view()).stored.arrays;
  };
  EXPECT_NE(arrays(1, "power"), arrays(5, "power"));
  EXPECT_EQ(arrays(1, "hessian"), arrays(5, "hessian"));
}

TEST(Slim, IsTheSameBytesForAnyThreadsAndTiles) {
  const Matrix<float> w = Random(4).normals(300, 96, 0.05);
  const Matrix<float> x = Random(5).activations(320, 96);
  for (const Recipe& recipe :
       {slim(2, 16), slim(3, 32, {{"sqc", std::string("hessian")}, {"range", std::string("wide")}}),
        slim(2, 16, {{"salient_weight", 3.0}})}) {
    const Place single = cpu_place(1), place = cpu_place(2);
    SoloTapWork alone(single, x.view(), {.gram = true}, 8);
    const RoundedLinear one = round_linear(single, recipe, w.view(), alone);
    for (const bool whole : {false, true}) {
      SoloTapWork work(place, x.view(), {.gram = true}, 8);
      work.one_tile = whole;
      const RoundedLinear two = round_linear(place, recipe, w.view(), work);
      EXPECT_EQ(one.stored.arrays, two.stored.arrays);
      EXPECT_EQ(one.stored.diagnostics.loss, two.stored.diagnostics.loss);
    }
  }
}

TEST(Slim, LinearsBehindOneTapAreAlone) {
  const Matrix<float> a = Random(1).normals(20, 48, 0.1), b = Random(2).normals(7, 48, 0.1);
  const Matrix<float> x = Random(5).activations(128, 48);
  const Place place = cpu_place(1);
  SoloTapWork work(place, x.view(), {.gram = true}, 4);
  const auto both = round_tap(place, task_of(slim(2, 8), {a.view(), b.view()}), work);
  const std::vector<MatrixView<const float>> weights = {a.view(), b.view()};
  for (std::size_t i = 0; i < 2; ++i) {
    SoloTapWork own(place, x.view(), {.gram = true}, 4);
    const RoundedLinear r = round_linear(place, slim(2, 8), weights[i], own);
    EXPECT_EQ(r.stored.arrays, both[i].stored.arrays) << i;
  }
}

TEST(Slim, ServesDeadColumnsInSlabsOfAnyWidth) {
  const Matrix<float> w = Random(8).normals(6, 64, 0.05);
  Matrix<float> x = Random(9).activations(256, 64);
  for (std::int64_t t = 0; t < x.rows(); ++t) {
    for (std::int64_t j = 0; j < 64; j += 5) x(t, j) = 0;
    for (std::int64_t j = 8; j < 16; ++j) x(t, j) = 0;  // a whole slab
  }
  const RoundedLinear r = round_linear(cpu_place(1), slim(2, 8), w.view(), x.view());
  for (std::int64_t j = 0; j < 64; ++j)
    for (std::int64_t i = 0; i < 6; ++i)
      if (j % 5 == 0 || (j >= 8 && j < 16)) {
        EXPECT_EQ(r.weight(i, j), 0.0f) << j;
      }
  // The dead slab is the least salient one, so it has one bit where any has.
  const Matrix<std::uint8_t> widths = read_packed(r.stored, "widths", 1, 8, 2);
  ASSERT_EQ(widths(0, 1), 0);
  const StoredArray* dead = r.stored.find("dead");
  ASSERT_NE(dead, nullptr);
  EXPECT_TRUE(dead->required);
  EXPECT_GE(dead->shape[0], 8);
}

TEST(Slim, ServesInputsThatSayNothing) {
  const Matrix<float> w = Random(8).normals(5, 24, 0.05);
  Matrix<float> x(64, 24);
  x.fill(0);
  const RoundedLinear none = round_linear(cpu_place(1), slim(2, 8), w.view(), x.view());
  for (std::int64_t i = 0; i < none.weight.size(); ++i) EXPECT_EQ(none.weight.data()[i], 0.0f);
  Statistics indefinite;
  indefinite.tokens = 1;
  indefinite.gram = Matrix<double>(24, 24);
  for (std::int64_t i = 0; i < 24; ++i)
    for (std::int64_t j = 0; j < 24; ++j) indefinite.gram(i, j) = i == j ? 1 : 50;
  const Place place = cpu_place(1);
  for (const char* sqc : {"hessian", "none"}) {
    Statistics s;
    s.tokens = 1;
    s.gram = indefinite.gram.clone();
    SoloTapWork work(place, std::move(s));
    const Recipe recipe = slim(3, 8, {{"sqc", std::string(sqc)}});
    const RoundedLinear r = round_linear(place, recipe, w.view(), work);
    EXPECT_TRUE(r.stored.diagnostics.fallback);
    if (std::string(sqc) != "none") continue;
    const RoundedLinear rtn =
        round_linear(place, resolve_recipe("rtn", 3, 8, {}), w.view(), x.view());
    for (std::int64_t i = 0; i < w.size(); ++i) EXPECT_EQ(r.weight.data()[i], rtn.weight.data()[i]);
  }
}

TEST(Slim, ServesTheSmallestLinearAndConstantRows) {
  Matrix<float> w(1, 1), x(2, 1);
  w(0, 0) = -0.75f;
  x(0, 0) = 1;
  x(1, 0) = 2;
  EXPECT_NEAR(round_linear(cpu_place(1), slim(2, -1), w.view(), x.view()).weight(0, 0), -0.75f,
              0.0003);
  Matrix<float> rows(3, 16);
  rows.fill(0);
  for (std::int64_t j = 0; j < 16; ++j) rows(1, j) = 0.5f;
  const RoundedLinear r = round_linear(cpu_place(1), slim(2, 4, {{"salient_weight", 2.0}}),
                                       rows.view(), Random(3).activations(40, 16).view());
  for (std::int64_t j = 0; j < 16; ++j) {
    EXPECT_EQ(r.weight(0, j), 0.0f);
    EXPECT_NEAR(r.weight(1, j), 0.5f, 0.001);
  }
}

TEST(Slim, RefusesWhatItCannotStore) {
  Matrix<float> w = Random(1).normals(2, 8, 1);
  const Matrix<float> x = Random(2).activations(16, 8);
  for (const float bad : {NAN, HUGE_VALF}) {
    w(1, 5) = bad;
    EXPECT_THAT(failure([&] { round_linear(cpu_place(1), slim(3, 4), w.view(), x.view()); }),
                HasSubstr("self_attn.q_proj: weight at row 1, column 5"));
  }
  w(1, 5) = 1e9f;
  EXPECT_THAT(failure([&] {
                round_linear(cpu_place(1), slim(3, 4, {{"sba", false}}), w.view(), x.view());
              }),
              HasSubstr("row 1, group 1"));
  EXPECT_THAT(failure([&] { round_linear(cpu_place(1), slim(2, 4), w.view(), x.view()); }),
              HasSubstr("divergence"));
  for (const double bits : {1.0, 8.0, 2.5})
    EXPECT_THAT(failure([&] { slim(bits, 32); }), HasSubstr("bits")) << bits;
}

TEST(MixedWidth, RebuildingNamesTheArrayThatDoesNotFit) {
  const ToyLayer toy;
  const QuantizedLinear good =
      round_linear(cpu_place(1), slim(2, 4), toy.w.view(), toy.x.view()).stored;
  for (const char* name : {"widths", "codes", "scales", "zeros", "means"}) {
    QuantizedLinear missing = good, cut = good, reshaped = good;
    std::erase_if(missing.arrays, [&](const StoredArray& a) { return a.name == name; });
    for (StoredArray& a : cut.arrays)
      if (a.name == name) a.data.pop_back();
    for (StoredArray& a : reshaped.arrays)
      if (a.name == name) a.shape.back() += 1;
    for (const QuantizedLinear* bad : {&missing, &cut, &reshaped})
      EXPECT_THAT(failure([&] { rebuild_weight(Place{}, *bad); }), HasSubstr(name));
  }
  const auto change = [&](const char* name, const std::function<void(StoredArray&)>& fn) {
    QuantizedLinear bad = good;
    for (StoredArray& a : bad.arrays)
      if (a.name == name) fn(a);
    return failure([&] { rebuild_weight(Place{}, bad); });
  };
  EXPECT_THAT(change("widths", [](StoredArray& a) { a.data[0] = std::byte{0xff}; }),
              HasSubstr("widths"));
  EXPECT_THAT(change("widths", [](StoredArray& a) { a.data[0] = std::byte{0x00}; }),
              HasSubstr("codes"));
  QuantizedLinear one = good;
  one.bits = 1;
  EXPECT_THAT(failure([&] { rebuild_weight(Place{}, one); }), HasSubstr("widths"));
  for (const std::int32_t column : {-1, 5, 16}) {  // 5 lies in a slab of two bits
    QuantizedLinear bad = good;
    bad.arrays.push_back(index_array("dead", std::span(&column, 1), true));
    EXPECT_THAT(failure([&] { rebuild_weight(Place{}, bad); }), HasSubstr("dead"));
  }
}

}  // namespace
}  // namespace bitgrid::test

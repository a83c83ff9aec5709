#include "core/methods/quip.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>

#include "core/methods/incoherent_factor.hpp"
#include "core/methods/incoherent_format.hpp"
#include "core/methods/recipe_needs.hpp"
#include "core/methods/resolve_recipe.hpp"
#include "core/methods/rotated_weight.hpp"
#include "kernels/error.hpp"
#include "tests/core/methods/solo_work.hpp"
#include "tests/oracle/quip.hpp"
#include "tests/oracle/random.hpp"
#include "tests/tolerance.hpp"

namespace bitgrid::test {
namespace {

using testing::HasSubstr;
using Options = std::map<std::string, OptionValue>;

constexpr StatisticsNeeds kGram{.gram = true};

Recipe quip(double bits, const Options& options = {}, const std::string& method = "quip") {
  return resolve_recipe(method, bits, -1, options);
}

// Weights whose rows and columns differ in size, as those of a model.
Matrix<float> weights(std::int64_t rows, std::int64_t in, std::uint64_t seed) {
  Random random(seed);
  Matrix<float> w = random.normals(rows, in, 0.05);
  for (std::int64_t j = 0; j < in; ++j) {
    const auto size = static_cast<float>(random.between(0.3, 2));
    for (std::int64_t r = 0; r < rows; ++r) w(r, j) *= size;
  }
  w(0, in / 2) = 1.5f;
  return w;
}

double error_of(const Recipe& recipe, const Matrix<float>& w, const Matrix<float>& x) {
  return round_linear(cpu_place(2), recipe, w.view(), x.view())
      .stored.diagnostics.relative_output_error;
}

// ‖(W − Q)Xᵀ‖²/‖W Xᵀ‖², for roundings that do not measure it.
double output_error(const Matrix<float>& w, const Matrix<float>& q, const Matrix<float>& x) {
  double off = 0, all = 0;
  for (std::int64_t r = 0; r < w.rows(); ++r)
    for (std::int64_t t = 0; t < x.rows(); ++t) {
      double error = 0, output = 0;
      for (std::int64_t j = 0; j < w.cols(); ++j) {
        error += static_cast<double>(w(r, j) - q(r, j)) * static_cast<double>(x(t, j));
        output += static_cast<double>(w(r, j)) * static_cast<double>(x(t, j));
      }
      off += error * error;
      all += output * output;
    }
  return off / all;
}

std::string refusal(const std::string& method, const Options& options = {}, double bits = 4,
                    std::int64_t group = -1) {
  try {
    resolve_recipe(method, bits, group, options);
  } catch (const InputError& e) {
    return e.what();
  }
  return "accepted";
}

Square dense(const DrawnRotation& r) {
  DenseFactors f{r.split.p0, r.split.p1, {}, {}, r.gather, r.pick};
  const auto square = [](const Matrix<float>& m, std::int64_t first) {
    Square s(m.cols());
    for (std::int64_t i = 0; i < s.n; ++i)
      for (std::int64_t j = 0; j < s.n; ++j) s(i, j) = static_cast<double>(m(first + i, j));
    return s;
  };
  for (std::int64_t i = 0; i < r.a.rows(); i += r.a.cols()) f.a.push_back(square(r.a, i));
  for (std::int64_t i = 0; i < r.b.rows(); i += r.b.cols()) f.b.push_back(square(r.b, i));
  return rotation_oracle(f);
}

// A linear, its inputs, and both after the transformation.
struct Transformed {
  Transformed(std::int64_t rows, std::int64_t in, const RotationKind& kind, bool rescale)
      : place(cpu_place(2)),
        w(weights(rows, in, 3)),
        x(Random(4).activations(3 * in + 5, in)),
        work(place, x.view(), kGram),
        v(draw_rotation(12, in, kind)) {
    const std::vector<MatrixView<const float>> views = {w.view()};
    norms = column_norms(place, views);
    factor =
        shared_incoherent_factor(place, work, {norms, v, 12, kind, rescale, 0.0201, "last", true});
    if (factor.fallback) throw Error("H is not positive definite");
    rotated = rotate_weight(place, w.view(), factor, v, 13, kind);
  }
  // H̃ in column order, without damping.
  double h(std::int64_t i, std::int64_t j) const {
    const std::int64_t in = w.cols();  // position p is column in − 1 − p
    return static_cast<double>(factor.h(in - 1 - i, in - 1 - j)) - (i == j ? factor.damping : 0);
  }

  Place place;
  Matrix<float> w, x;
  SoloTapWork work;
  DrawnRotation v;
  std::vector<double> norms;
  IncoherentFactor factor;
  RotatedWeight rotated;
};

constexpr RotationKind kKinds[] = {{RotationKind::Form::kronecker, RotationKind::Split::balanced},
                                   {RotationKind::Form::kronecker, RotationKind::Split::reference},
                                   {RotationKind::Form::blocked, RotationKind::Split::balanced},
                                   {RotationKind::Form::none, RotationKind::Split::balanced}};

// H̃ = V·diag(1/s)·S·diag(1/s)·Vᵀ·scale and W̃ = U·W·diag(s)·Vᵀ, by dense products in fp64.
TEST(Incoherent, TransformsTheWeightAndItsGram) {
  for (const RotationKind& kind : kKinds) {
    const std::int64_t rows = 21, in = 60;
    const Transformed t(rows, in, kind, true);
    const bool turned = kind.form != RotationKind::Form::none;
    Square u(rows), v(in);
    for (std::int64_t i = 0; i < rows; ++i) u(i, i) = 1;
    for (std::int64_t i = 0; i < in; ++i) v(i, i) = 1;
    if (turned) {
      u = dense(t.rotated.u);
      v = dense(t.v);
    }
    const Square s = gram_oracle(t.x.view());
    for (std::int64_t i = 0; i < in; ++i)
      for (std::int64_t j = 0; j < in; ++j) {
        double sum = 0;
        for (std::int64_t a = 0; a < in; ++a)
          for (std::int64_t b = 0; b < in; ++b)
            sum += v(i, a) * s(a, b) * v(j, b) /
                   (t.factor.scales[static_cast<std::size_t>(a)] *
                    t.factor.scales[static_cast<std::size_t>(b)]);
        ASSERT_NEAR(t.h(i, j), t.factor.gram_scale * sum, 1e-5);
      }
    Matrix<double> half(rows, in);
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t j = 0; j < in; ++j) {
        half(r, j) = 0;
        for (std::int64_t a = 0; a < in; ++a)
          half(r, j) += static_cast<double>(t.w(r, a)) *
                        t.factor.scales[static_cast<std::size_t>(a)] * v(j, a);
      }
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t j = 0; j < in; ++j) {
        double sum = 0;
        for (std::int64_t a = 0; a < rows; ++a) sum += u(r, a) * half(a, j);
        ASSERT_NEAR(t.rotated.w(r, j), sum, 1e-5);
      }
  }
}

// s_j = (H_jj/ω_j)^¼ over the geometric mean, in fp16, and H̃'s mean diagonal is 1.
TEST(Incoherent, RescalesAsThePaperDoes) {
  const Transformed t(20, 30, {}, true);
  const Square s = gram_oracle(t.x.view());
  std::vector<double> expected;
  double logs = 0, trace = 0;
  for (std::int64_t j = 0; j < 30; ++j) {
    double norm = 0;
    for (std::int64_t r = 0; r < 20; ++r)
      norm += static_cast<double>(t.w(r, j)) * static_cast<double>(t.w(r, j));
    EXPECT_NEAR(t.norms[static_cast<std::size_t>(j)], norm, 1e-12 * norm);
    expected.push_back(std::pow(s(j, j) / norm, 0.25));
    logs += std::log(expected.back());
    trace += t.h(j, j);
  }
  for (std::size_t j = 0; j < 30; ++j) {
    const double scale = expected[j] / std::exp(logs / 30);
    EXPECT_NEAR(t.factor.scales[j], scale, kRoundF16 * scale);
    EXPECT_EQ(t.factor.scales[j],
              static_cast<double>(f16_to_f32(f32_to_f16(static_cast<float>(t.factor.scales[j])))));
  }
  EXPECT_NEAR(trace, 30, 1e-4);
  const Transformed plain(20, 30, {}, false);
  for (const double scale : plain.factor.scales) EXPECT_EQ(scale, 1.0);
}

TEST(Incoherent, LeavesTheTraceAsItIs) {
  for (const RotationKind& kind : kKinds)
    for (const bool rescale : {true, false}) {
      const std::int64_t rows = 33, in = 70;
      const Transformed t(rows, in, kind, rescale);
      const Square s = gram_oracle(t.x.view());
      double before = 0, after = 0;
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t i = 0; i < in; ++i)
          for (std::int64_t j = 0; j < in; ++j) {
            before += static_cast<double>(t.w(r, i)) * s(i, j) * static_cast<double>(t.w(r, j));
            after += static_cast<double>(t.rotated.w(r, i)) * t.h(i, j) *
                     static_cast<double>(t.rotated.w(r, j));
          }
      EXPECT_NEAR(after, t.factor.gram_scale * before, 1e-4 * after);
    }
}

TEST(Incoherent, ChecksTheRotationAsItRuns) {
  Transformed t(33, 70, {}, true);
  const Matrix<float>& gram = shared_gram(t.work);
  EXPECT_NO_THROW(check_rotation(t.rotated, t.w.view(), gram, t.factor));
  const float kept = t.rotated.w(5, 6);
  t.rotated.w(5, 6) += 1;
  EXPECT_THROW(check_rotation(t.rotated, t.w.view(), gram, t.factor), Error);
  t.rotated.w(5, 6) = kept;
  IncoherentFactor other = t.factor;
  other.gram_scale *= 1.01;
  EXPECT_THROW(check_rotation(t.rotated, t.w.view(), gram, other), Error);
  Matrix<float> another = gram.clone();
  another(40, 3) *= 2;
  EXPECT_THROW(check_rotation(t.rotated, t.w.view(), another, t.factor), Error);
}

TEST(Quip, RebuildsWhatItsArraysSay) {
  for (const char* rotation : {"kronecker", "blocked", "none"})
    for (const int bits : {2, 4, 8}) {
      const std::int64_t rows = 30, in = 44;
      const Matrix<float> w = weights(rows, in, 5), x = Random(6).activations(200, in);
      const Recipe recipe = quip(bits, {{"rotation", std::string(rotation)}, {"seed", 5L}});
      const RoundedLinear r = round_linear(cpu_place(2), recipe, w.view(), x.view());
      ASSERT_EQ(r.stored.format, "incoherent");
      const auto array = [&](const char* name) { return r.stored.find(name)->data.data(); };
      float delta = 0;
      std::memcpy(&delta, array("delta"), 4);
      std::uint64_t seeds[2];
      std::memcpy(seeds, array("seeds"), 16);
      EXPECT_EQ(seeds[0], rotation_seed(5, 0, 0, RotationSide::outputs));
      EXPECT_EQ(seeds[1], rotation_seed(5, 0, 0, RotationSide::inputs));
      Square u(rows), v(in);
      for (std::int64_t i = 0; i < rows; ++i) u(i, i) = 1;
      for (std::int64_t i = 0; i < in; ++i) v(i, i) = 1;
      if (recipe.word("rotation") != "none") {
        u = dense(draw_rotation(seeds[0], rows, rotation_kind(recipe)));
        v = dense(draw_rotation(seeds[1], in, rotation_kind(recipe)));
      }
      const int codes_per_byte = 8 / bits, mask = (1 << bits) - 1;
      double difference = 0;
      for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < in; ++j) {
          double sum = 0;
          for (std::int64_t a = 0; a < rows; ++a)
            for (std::int64_t b = 0; b < in; ++b) {
              const auto byte =
                  std::to_integer<int>(array("codes")[a * (in * bits / 8) + b / codes_per_byte]);
              const int code = byte >> (b % codes_per_byte * bits) & mask;
              sum += u(a, i) * static_cast<double>(delta) * (code - 0.5 * mask) * v(b, j);
            }
          std::uint16_t half = 0;
          std::memcpy(&half, array("column_scales") + 2 * j, 2);
          difference = std::max(difference, std::fabs(sum / static_cast<double>(f16_to_f32(half)) -
                                                      static_cast<double>(r.weight(i, j))));
        }
      EXPECT_LT(difference, 1e-5);
    }
}

// b + 16/n_tap + 160/(n·k), the scales counted with the first linear that has them.
TEST(Quip, CountsBitsHonestly) {
  const std::int64_t in = 64;
  const Matrix<float> q = weights(32, in, 7), k = weights(16, in, 8), v = weights(16, in, 9);
  const Matrix<float> x = Random(10).activations(200, in);
  const Place place = cpu_place(2);
  for (const bool share : {true, false})
    for (const bool rescale : {true, false}) {
      const Recipe recipe = quip(3, {{"share_tap", share}, {"rescale", rescale}});
      SoloTapWork work(place, x.view(), kGram);
      const auto rounded = round_tap(place, task_of(recipe, {q.view(), k.view(), v.view()}), work);
      double bits = 0;
      for (std::size_t i = 0; i < 3; ++i) {
        const QuantizedLinear& linear = rounded[i].stored;
        const auto count = static_cast<double>(linear.rows * in);
        bits += linear.bits_per_weight() * count;
        std::int64_t all = 0;
        for (const StoredArray& array : linear.arrays) all += std::ssize(array.data);
        const IncoherentBytes bytes =
            incoherent_bytes(recipe, kLinears[i], linear.rows, linear.cols);
        EXPECT_DOUBLE_EQ(8 * static_cast<double>(bytes.required) / count, linear.bits_per_weight());
        EXPECT_EQ(bytes.all, all);
      }
      const double scales = rescale ? (share ? 1 : 3) * 16 * in : 0;
      EXPECT_DOUBLE_EQ(bits, 3.0 * 64 * in + scales + 3 * 160);
    }
}

TEST(Quip, IsTheSameBytesForAnyThreadsAndTiles) {
  const Matrix<float> w = weights(300, 96, 11), x = Random(12).activations(300, 96);
  for (const char* method : {"quip", "quip-rg", "incoherence+rtn", "incoherence+gptq"}) {
    const Recipe recipe = quip(3, {}, method);
    const Place one = cpu_place(1), two = cpu_place(2);
    SoloTapWork alone(one, x.view(), kGram), together(two, x.view(), kGram);
    SoloTapWork whole(two, x.view(), kGram);
    whole.one_tile = true;
    const RoundedLinear a = round_linear(one, recipe, w.view(), alone);
    const RoundedLinear b = round_linear(two, recipe, w.view(), together);
    const RoundedLinear c = round_linear(two, recipe, w.view(), whole);
    EXPECT_EQ(a.stored.arrays, b.stored.arrays);
    EXPECT_EQ(a.stored.code_hash(), c.stored.code_hash());
    EXPECT_EQ(std::memcmp(a.weight.data(), b.weight.data(), 4 * 300 * 96), 0);
  }
}

// As measured on synthetic layers: every step of the method is worth something.
TEST(Quip, IsBetterWithEachOfItsParts) {
  const Matrix<float> w = weights(96, 128, 13), x = Random(14).activations(600, 128);
  for (const int bits : {2, 3, 4}) {
    const double nearest = error_of(quip(bits, {}, "incoherence+rtn"), w, x);
    const double feedback = error_of(quip(bits), w, x);
    const double greedy = error_of(quip(bits, {}, "quip-rg"), w, x);
    EXPECT_LT(feedback, 0.8 * nearest);
    EXPECT_LT(greedy, feedback);
    const double preclamp = error_of(quip(bits, {{"preclamp", true}}), w, x);
    EXPECT_GT(preclamp, feedback);
    const Recipe rtn = resolve_recipe("rtn", bits, -1, {});
    const Matrix<float> plain = round_linear(cpu_place(2), rtn, w.view(), x.view()).weight;
    EXPECT_LT(nearest, output_error(w, plain, x));
    const double forward = error_of(quip(bits, {}, "incoherence+gptq"), w, x);
    EXPECT_NE(forward, feedback);
    EXPECT_LT(forward, 0.8 * nearest);
  }
}

TEST(Quip, FindsTheBestRange) {
  const Matrix<float> w = weights(48, 64, 15), x = Random(16).activations(300, 64);
  for (const int bits : {2, 4})
    for (const char* method : {"quip", "quip-rg"}) {
      const auto loss = [&](const OptionValue& rho) {
        return round_linear(cpu_place(2), quip(bits, {{"rho", rho}}, method), w.view(), x.view())
            .stored.diagnostics.loss;
      };
      double best = HUGE_VAL;
      for (const double rho : {1.6, 2.0, 2.4, 2.8, 3.2}) best = std::min(best, loss(rho));
      EXPECT_EQ(loss("auto"), best);
      EXPECT_EQ(loss(std::int64_t{2}), loss(2.0));
    }
}

// The loss is the damped output error per token: a little above the output error itself.
TEST(Quip, ReportsItsProxyPerToken) {
  const Matrix<float> w = weights(48, 64, 15), x = Random(16).activations(300, 64);
  const RoundedLinear r = round_linear(cpu_place(2), quip(3), w.view(), x.view());
  double outputs = 0;  // per token
  const Square s = gram_oracle(x.view());
  for (std::int64_t i = 0; i < 48; ++i)
    outputs += quadratic_oracle(s, {w.row(i), w.row(i) + 64}) / static_cast<double>(x.rows());
  const double error = outputs * output_error(w, r.weight, x);
  EXPECT_GT(r.stored.diagnostics.loss, error);
  EXPECT_LT(r.stored.diagnostics.loss, 1.3 * error);
  EXPECT_EQ(r.stored.diagnostics.damping, 0.0201);
  EXPECT_EQ(r.stored.diagnostics.damping_attempts, 1);
}

TEST(Quip, SharesATapAndDrawsFromTheSeed) {
  const std::int64_t in = 64;
  const Matrix<float> q = weights(32, in, 7), k = weights(16, in, 8);
  const Matrix<float> x = Random(10).activations(200, in);
  const Place place = cpu_place(2);
  const auto run = [&](const Options& options, std::uint64_t seed, std::int64_t layer,
                       std::size_t* factors = nullptr) {
    SoloTapWork work(place, x.view(), kGram);
    TapTask task = task_of(quip(4, options), {q.view(), k.view()});
    task.seed = seed;
    task.layer = layer;
    auto rounded = round_tap(place, task, work);
    if (factors != nullptr)
      *factors = static_cast<std::size_t>(
          std::count_if(work.asked.begin(), work.asked.end(),
                        [](const std::string& key) { return key.starts_with("incoherent"); }));
    return rounded;
  };
  const auto seeds = [](const RoundedLinear& r) {
    std::array<std::uint64_t, 2> s{};
    std::memcpy(s.data(), r.stored.find("seeds")->data.data(), 16);
    return s;
  };
  std::size_t factors = 0;
  const auto shared = run({}, 7, 3, &factors);
  EXPECT_EQ(factors, 1u);
  EXPECT_EQ(seeds(shared[0])[1], rotation_seed(7, 3, 0, RotationSide::inputs));
  EXPECT_EQ(seeds(shared[1])[1], seeds(shared[0])[1]);
  EXPECT_EQ(seeds(shared[1])[0], rotation_seed(7, 3, 1, RotationSide::outputs));
  EXPECT_EQ(shared[0].stored.find("column_scales")->data,
            shared[1].stored.find("column_scales")->data);
  const auto apart = run({{"share_tap", false}}, 7, 3, &factors);
  EXPECT_EQ(factors, 2u);
  EXPECT_EQ(seeds(apart[1])[1], rotation_seed(7, 3, 1, RotationSide::inputs));
  EXPECT_NE(apart[0].stored.find("column_scales")->data,
            apart[1].stored.find("column_scales")->data);
  EXPECT_EQ(run({{"seed", 7L}}, 0, 3)[0].stored.arrays, shared[0].stored.arrays);
  EXPECT_NE(run({}, 8, 3)[0].stored.code_hash(), shared[0].stored.code_hash());
  EXPECT_NE(run({}, 7, 2)[0].stored.code_hash(), shared[0].stored.code_hash());
}

// Cells share a tap's factor only where they mean the same.
TEST(Quip, NamesEverythingThatItsFactorDependsOn) {
  const Matrix<float> w = weights(16, 24, 17), other = weights(16, 24, 18);
  const Matrix<float> x = Random(19).activations(100, 24);
  const Place place = cpu_place(1);
  SoloTapWork work(place, x.view(), kGram);
  std::size_t asked = 1;  // the Gram matrix
  const auto expect_new = [&](bool is_new, const Recipe& recipe, const Matrix<float>& of) {
    const RoundedLinear together = round_linear(place, recipe, of.view(), work);
    const RoundedLinear alone = round_linear(place, recipe, of.view(), x.view());
    EXPECT_EQ(together.stored.arrays, alone.stored.arrays);
    asked += is_new;
    EXPECT_EQ(work.asked.size(), asked) << recipe_name(recipe);
  };
  expect_new(true, quip(4), w);
  expect_new(false, quip(2), w);
  expect_new(false, quip(4, {{"preclamp", true}}), w);
  expect_new(false, quip(4, {}, "incoherence+rtn"), w);
  expect_new(true, quip(4), other);
  expect_new(true, quip(4, {{"seed", 2L}}), w);
  expect_new(true, quip(4, {{"damp", 0.05}}), w);
  expect_new(true, quip(4, {{"rescale", false}}), w);
  expect_new(true, quip(4, {{"rotation", "blocked"}}), w);
  expect_new(true, quip(4, {{"factors", "reference"}}), w);
  expect_new(true, quip(4, {{"greedy_passes", 1L}}), w);
  expect_new(true, quip(4, {{"reorder", true}}), w);
  expect_new(true, quip(4, {}, "incoherence+gptq"), w);
}

// Without rotation, rescaling and correlation there is nothing left but nearest rounding on one
// symmetric grid without a zero.
TEST(Quip, IsNearestRoundingWhereNothingIsLeft) {
  const std::int64_t rows = 12, in = 20;
  const Matrix<float> w = weights(rows, in, 20);
  Matrix<float> x(in, in);
  x.fill(0);
  for (std::int64_t j = 0; j < in; ++j) x(j, j) = 2;
  for (const char* method : {"quip", "quip-rg", "incoherence+rtn", "incoherence+gptq"}) {
    const Recipe recipe = quip(3, {{"rotation", "none"}, {"rescale", false}}, method);
    const RoundedLinear r = round_linear(cpu_place(1), recipe, w.view(), x.view());
    double squares = 0;
    for (std::int64_t i = 0; i < w.size(); ++i)
      squares += static_cast<double>(w.data()[i]) * static_cast<double>(w.data()[i]);
    const double range = 2.4 * std::sqrt(squares / static_cast<double>(w.size()));
    for (std::int64_t i = 0; i < w.size(); ++i) {
      const double code = code_oracle((static_cast<double>(w.data()[i]) / range + 1) / 2 * 7, 3);
      EXPECT_NEAR(r.weight.data()[i], range * (2 * code / 7 - 1), 1e-5 * range) << method;
    }
  }
}

TEST(Quip, HandlesColumnsWithoutInput) {
  const std::int64_t in = 40;
  const Matrix<float> w = weights(20, in, 21);
  Matrix<float> x = Random(22).activations(100, in), live(100, in - 2);
  for (std::int64_t t = 0; t < 100; ++t) x(t, 3) = x(t, 39) = 0;
  for (const bool rescale : {true, false}) {
    const RoundedLinear r =
        round_linear(cpu_place(1), quip(4, {{"rescale", rescale}}), w.view(), x.view());
    EXPECT_EQ(r.stored.diagnostics.dead_columns, 2);
    EXPECT_LT(r.stored.diagnostics.relative_output_error, 0.05);
    for (std::int64_t i = 0; i < 20; ++i) {
      EXPECT_EQ(r.weight(i, 3), 0.0f);
      EXPECT_EQ(r.weight(i, 39), 0.0f);
      EXPECT_NE(r.weight(i, 4), 0.0f);
    }
  }
  x.fill(0);
  const RoundedLinear nothing = round_linear(cpu_place(1), quip(4), w.view(), x.view());
  for (std::int64_t i = 0; i < w.size(); ++i) ASSERT_EQ(nothing.weight.data()[i], 0.0f);
}

TEST(Quip, HandlesZerosAndTinyAndPrimeShapes) {
  Matrix<float> zeros(6, 10);
  zeros.fill(0);
  const Matrix<float> x = Random(23).activations(50, 10);
  for (const char* method : {"quip", "quip-rg", "incoherence"}) {
    const RoundedLinear r = round_linear(cpu_place(1), quip(2, {}, method), zeros.view(), x.view());
    for (std::int64_t i = 0; i < 60; ++i) EXPECT_EQ(r.weight.data()[i], 0.0f);
  }
  for (const std::int64_t rows : {1L, 2L, 13L, 129L})
    for (const std::int64_t in : {1L, 2L, 3L, 31L})
      for (const int bits : {2, 8}) {
        const Matrix<float> w = weights(rows, in, 24);
        const Matrix<float> inputs = Random(25).activations(40, in);
        const RoundedLinear r =
            round_linear(cpu_place(2), quip(bits, {}, "quip-rg"), w.view(), inputs.view());
        if (bits == 8) {
          // One weight may be most of a small matrix, and then lies beyond the range.
          EXPECT_LT(r.stored.diagnostics.relative_output_error, 0.2);
        }
      }
}

TEST(Quip, RefusesWhatIsNotFinite) {
  const Matrix<float> x = Random(26).activations(50, 32);
  for (const float bad : {std::nanf(""), HUGE_VALF}) {
    Matrix<float> w = weights(4, 32, 27);
    w(2, 9) = bad;
    try {
      round_linear(cpu_place(1), quip(4), w.view(), x.view());
      FAIL() << "expected an Error";
    } catch (const Error& e) {
      EXPECT_THAT(e.what(),
                  testing::AllOf(HasSubstr("self_attn.q_proj"), HasSubstr("row 2, column 9")));
    }
    Matrix<float> inputs = x.clone();
    inputs(3, 4) = bad;
    EXPECT_THROW(round_linear(cpu_place(1), quip(4), weights(4, 32, 27).view(), inputs.view()),
                 Error);
    Statistics sums;  // of finite inputs that are too large to be summed
    sums.tokens = 1;
    sums.gram = Matrix<double>(32, 32);
    for (std::int64_t i = 0; i < 32; ++i)
      for (std::int64_t j = 0; j < 32; ++j) sums.gram(i, j) = i == j ? 1 : 0;
    sums.gram(9, 5) = bad;
    const Place place = cpu_place(1);
    SoloTapWork work(place, std::move(sums));
    try {
      round_linear(place, quip(4), weights(4, 32, 27).view(), work);
      FAIL() << "expected an Error";
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), testing::AllOf(HasSubstr("gram"), HasSubstr("row 9, column 5")));
    }
  }
  Matrix<float> large(4, 32);
  large.fill(3e38f);
  try {
    round_linear(cpu_place(1), quip(4), large.view(), x.view());
    FAIL() << "expected an Error";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(),
                testing::AllOf(HasSubstr("self_attn.q_proj"), HasSubstr("too large for fp32")));
  }
}

// S says that two columns are correlated beyond what their sizes allow: no damping mends that.
TEST(Quip, RoundsToNearestWhereNothingCanBeFactored) {
  Statistics statistics;
  statistics.gram = Matrix<double>(4, 4);
  statistics.gram.fill(0);
  for (std::int64_t j = 0; j < 4; ++j) statistics.gram(j, j) = 1;
  statistics.gram(2, 1) = 50;
  statistics.tokens = 10;
  const Place place = cpu_place(1);
  SoloTapWork work(place, std::move(statistics));
  const Matrix<float> w = weights(5, 4, 28);
  const RoundedLinear r = round_linear(place, quip(8), w.view(), work);
  EXPECT_TRUE(r.stored.diagnostics.fallback);
  EXPECT_EQ(r.stored.diagnostics.damping_attempts, 6);
  EXPECT_LT(r.stored.diagnostics.relative_weight_error, 0.01);
}

TEST(Quip, RefusesArraysThatDoNotFit) {
  const Matrix<float> w = weights(6, 10, 29), x = Random(30).activations(60, 10);
  const QuantizedLinear good =
      round_linear(cpu_place(1), quip(3, {{"rotation", "blocked"}}), w.view(), x.view()).stored;
  const auto array = [](QuantizedLinear& q, const std::string& name) -> StoredArray& {
    for (StoredArray& a : q.arrays)
      if (a.name == name) return a;
    throw std::logic_error(name);
  };
  const auto set = [&](const char* name, std::size_t at, int byte) {
    return [=](QuantizedLinear& q) { array(q, name).data[at] = static_cast<std::byte>(byte); };
  };
  const std::vector<std::pair<std::string, std::function<void(QuantizedLinear&)>>> damages = {
      {"codes", [](auto& q) { q.cols = 12; }},
      {"codes", [](auto& q) { q.bits = 4; }},
      {"'codes' is missing", [](auto& q) { q.arrays.erase(q.arrays.begin()); }},
      {"delta", [&](auto& q) { array(q, "delta").shape = {2}; }},
      {"delta", set("delta", 3, 0xff)},
      {"delta", [&](auto& q) { array(q, "delta").data.clear(); }},
      {"seeds", [&](auto& q) { array(q, "seeds").dtype = DType::u32; }},
      {"rotation_hash", set("seeds", 5, 77)},
      {"rotation_hash", set("rotation_hash", 5, 'x')},
      {"column_scales", set("column_scales", 1, 0x7c)},
      {"column_scales", set("column_scales", 3, 0xbc)},
      {"column_scales", [&](auto& q) { array(q, "column_scales").shape = {10}; }},
      {"rotation", set("rotation", 0, 3)},
      {"rotation", set("rotation", 0, 8)},
      {"rotation", [&](auto& q) { array(q, "rotation").packed_bits = 0; }},
  };
  EXPECT_NO_THROW(rebuild_weight(cpu_place(1), good));
  for (const auto& [what, damage] : damages) {
    QuantizedLinear bad = good;
    damage(bad);
    try {
      rebuild_weight(cpu_place(1), bad);
      ADD_FAILURE() << what << ": expected an Error";
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), testing::AllOf(HasSubstr("self_attn.q_proj"), HasSubstr(what)));
    }
  }
}

TEST(Quip, StandsInChains) {
  EXPECT_EQ(resolve_recipe("incoherence+ldlq", 4, -1, {}), resolve_recipe("quip", 4, -1, {}));
  EXPECT_EQ(resolve_recipe("incoherence", 4, -1, {}), resolve_recipe("incoherence+rtn", 4, -1, {}));
  EXPECT_EQ(recipe_name(resolve_recipe("incoherence+rtn", 3, -1, {{"rho", "auto"}})),
            "incoherence+rtn-w3-pc-rho=auto");
  EXPECT_EQ(recipe_name(resolve_recipe("quip-rg", 3, 128, {})), "quip-rg-w3-pc");
  EXPECT_EQ(resolve_recipe("quip", 3, 128, {}), resolve_recipe("quip", 3, -1, {}));
  EXPECT_TRUE(recipe_needs(resolve_recipe("incoherence+rtn", 4, -1, {})).rounding.gram);
  EXPECT_EQ(recipe_rounding(resolve_recipe("incoherence+gptq", 4, -1, {})), &round_quip);
  EXPECT_NE(recipe_rounding(resolve_recipe("gptq", 4, -1, {})), &round_quip);
  EXPECT_FALSE(recipe_full_inputs(resolve_recipe("incoherence+rtn", 4, -1, {})));
  EXPECT_TRUE(recipe_full_inputs(resolve_recipe("quip", 4, -1, {{"inputs", "full"}})));
}

TEST(Quip, RefusesChainsAndOptionsThatMakeNoSense) {
  EXPECT_THAT(refusal("incoherence+quip"),
              testing::AllOf(HasSubstr("rtn and gptq"), HasSubstr("rotates by itself")));
  EXPECT_THAT(refusal("incoherence+slim-llm"),
              testing::AllOf(HasSubstr("with LDLQ that is quip"), HasSubstr("slim-llm chooses")));
  EXPECT_THAT(refusal("quip", {{"seed", -1L}}),
              HasSubstr("whole number from 0 to 4611686018427387904"));
  EXPECT_THAT(refusal("ldlq"), HasSubstr("incoherence+ldlq"));
  EXPECT_THAT(refusal("gptq+ldlq"), HasSubstr("incoherence+ldlq"));
  EXPECT_THAT(refusal("incoherence+incoherence+rtn"), HasSubstr("appears twice"));
  EXPECT_THAT(refusal("incoherence+fp16", {}, 16), HasSubstr("stands alone"));
  EXPECT_THAT(refusal("rtn+quip"), HasSubstr("one rounding"));
  EXPECT_THAT(refusal("incoherence+rtn", {{"symmetric", true}}), HasSubstr("symmetric"));
  EXPECT_THAT(refusal("incoherence+gptq", {{"order", "act"}}), HasSubstr("order"));
  EXPECT_THAT(refusal("incoherence+rtn", {{"greedy_passes", 3L}}), HasSubstr("belongs to"));
  EXPECT_THAT(refusal("quip", {{"rho", "best"}}), HasSubstr("at most 64, or auto"));
  EXPECT_THAT(refusal("quip", {{"rho", 0.0}}), HasSubstr("a number above 0"));
  EXPECT_THAT(refusal("quip", {{"greedy_passes", -1L}}), HasSubstr("whole number from 0 to 100"));
  EXPECT_THAT(refusal("quip", {{"greedy_passes", 1.0}}), HasSubstr("whole number"));
  EXPECT_THAT(refusal("quip", {{"seed", -1L}}), HasSubstr("seed"));
  EXPECT_THAT(refusal("quip", {}, 9), HasSubstr("from 2 to 8"));
  EXPECT_THAT(refusal("quip", {}, 2.5), HasSubstr("whole number"));
  EXPECT_THAT(refusal("quip", {}, 4, 0), HasSubstr("group must be"));
}

}  // namespace
}  // namespace bitgrid::test

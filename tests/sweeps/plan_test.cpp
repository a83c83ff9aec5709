// What a sweep will cost: against numbers worked out by hand, and against what is really stored.
#include "sweeps/plan.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "core/methods/costs.hpp"
#include "core/methods/recipe_needs.hpp"
#include "core/methods/registry.hpp"
#include "core/methods/resolve_recipe.hpp"
#include "core/methods/storage.hpp"
#include "core/model/linear.hpp"
#include "kernels/error.hpp"
#include "tests/core/methods/solo_work.hpp"
#include "tests/oracle/random.hpp"

namespace bitgrid {
namespace {

LlamaConfig llama_8b() {
  LlamaConfig c;
  c.hidden_size = 4096;
  c.intermediate_size = 14336;
  c.layer_count = 32;
  c.head_count = 32;
  c.kv_head_count = 8;
  c.head_size = 128;
  c.vocab_size = 128256;
  return c;
}

// Odd sizes: packed rows end in the middle of a byte.
LlamaConfig small() {
  LlamaConfig c;
  c.hidden_size = 12;
  c.intermediate_size = 21;
  c.layer_count = 3;
  c.head_count = 3;
  c.kv_head_count = 1;
  c.head_size = 6;
  c.vocab_size = 50;
  return c;
}

Sweep sweep_of(const std::string& grids) {
  return parse_sweep("name = \"s\"\nmodel = \"m\"\noutput = \"o\"\n" + grids, "s.toml", {});
}

constexpr const char* kFp16 = "[[grid]]\nmethod = \"fp16\"\n";
constexpr const char* kRtn = "[[grid]]\nmethod = \"rtn\"\nbits = 4\n";
constexpr const char* kGptq = "[[grid]]\nmethod = \"gptq\"\nbits = 4\norder = \"none\"\n";

// All rates 1e-9 G/s: seconds are operations.
MachineRates unit_rates() { return {1, 1e-9, 1e-9, 1e-9, 1e30}; }

// Linears as the methods store them, layer 0 of any model; linears behind a tap together.
std::vector<QuantizedLinear> rounded(const Recipe& recipe, const LlamaConfig& config) {
  std::vector<QuantizedLinear> all;
  for (const Tap tap : kTaps) {
    const std::int64_t cols = tap_size(config, tap);
    const Matrix<float> x = test::Random(2).activations(2 * cols, cols);
    const Place place = cpu_place(1);
    test::SoloTapWork work(place, x.view(), recipe_needs(recipe).rounding);
    std::vector<Matrix<float>> weights;
    TapTask task;
    task.tap = tap;
    for (const Linear linear : linears_of(tap)) {
      weights.push_back(test::Random(1).normals(linear_rows(config, linear), cols));
      task.linears.push_back({linear, weights.back().view(), recipe});
    }
    for (RoundedLinear& linear : round_tap(place, task, work))
      all.push_back(std::move(linear.stored));
  }
  return all;
}

StoredBytes bytes_of(const QuantizedLinear& linear) {
  StoredBytes bytes;
  for (const auto& array : linear.arrays) {
    const auto size = static_cast<std::int64_t>(array.data.size());
    bytes += {array.required ? size : 0, size};
  }
  return bytes;
}

// Where what is stored is known beforehand.
void expect_stored(const std::string& grids) {
  const Sweep sweep = sweep_of(grids);
  const Plan plan = make_plan(sweep, small(), {}, {}, {});
  std::int64_t output = 0;
  for (std::size_t i = 0; i < plan.cells.size(); ++i) {
    const std::vector<QuantizedLinear> linears = rounded(sweep.cells[i], small());
    StoredBytes sum;
    double weights = 0;
    for (int l = 0; l < kLinearCount; ++l) {
      const QuantizedLinear& q = linears[static_cast<std::size_t>(l)];
      EXPECT_EQ(stored_bytes(sweep.cells[i], kLinears[static_cast<std::size_t>(l)], q.rows, q.cols),
                bytes_of(q))
          << plan.cells[i].name << " " << q.name;
      sum += bytes_of(q);
      weights += static_cast<double>(q.rows * q.cols);
    }
    EXPECT_NEAR(plan.cells[i].bits_per_weight, 8 * static_cast<double>(sum.required) / weights,
                1e-12)
        << plan.cells[i].name;
    EXPECT_EQ(plan.cells[i].output_bytes, sum.all * small().layer_count) << plan.cells[i].name;
    output += sum.all * small().layer_count;
  }
  EXPECT_EQ(plan.output_bytes, output);
}

// Grids whose cells store what follows from shapes, by method.
const std::map<std::string, std::string>& exact_grids() {
  static const std::map<std::string, std::string> grids = {
      {"rtn", "bits = [2, 3, 5, 8]\ngroup = [3, -1]\nsymmetric = [false, true]\n"},
      {"gptq",
       "bits = [3, 4]\ngroup = [3, -1]\norder = [\"none\", \"act\", \"static\", \"gar\"]\n"
       "symmetric = [false, true]\n"},
      {"quip",
       "bits = [2, 3]\nrescale = [true, false]\nshare_tap = [true, false]\n"
       "rotation = [\"kronecker\", \"blocked\", \"none\"]\n"},
      {"quip-rg", "bits = 4\nfactors = [\"balanced\", \"reference\"]\n"},
      {"incoherence", "bits = 3\n"},
      {"pb-llm",
       "bits = [1, 1.7, 2.75, 8]\ngroup = [3, -1]\nmask_scope = [\"group\", \"slab\", "
       "\"matrix\"]\n"},
      {"billm", "bits = 1.1\ngroup = [3, -1]\nmeans = [true, false]\n"},
      {"slim-llm", "bits = [2, 3, 7]\ngroup = [3, 1, -1]\nsba = false\n"},
      {"fdb", "bits = 2\ngroup = [3, -1]\n"},
      {"fdb-gptq", "bits = 2\ngroup = [3, -1]\n"},
      {"fdb-block", "bits = 2\ngroup = 3\n"},
  };
  return grids;
}

std::string grid_of(const std::string& method, const std::string& options) {
  return "[[grid]]\nmethod = \"" + method + "\"\n" + options;
}

TEST(PlanStorage, IsWhatEveryMethodStores) {
  for (const Method& method : all_methods()) {
    if (!method.later.empty() || method.round == nullptr) continue;
    const auto options = exact_grids().find(std::string(method.name));
    ASSERT_NE(options, exact_grids().end()) << method.name;
    expect_stored(grid_of(options->first, options->second));
  }
}

TEST(PlanStorage, IsWhatChainsStore) {
  expect_stored(grid_of("incoherence+gptq", "bits = 3\n"));
  expect_stored(grid_of("awq", "bits = 3\ngroup = 3\nminmax = [true, false]\n"));
  expect_stored(grid_of("awq+fdb", "bits = 2\ngroup = 3\n"));
  expect_stored(grid_of(  // fp32 scales
      "smoothquant",
      "bits = 8\ngroup = [3, -1]\nsymmetric = [true, false]\nfull_range = [true, "
      "false]\n"));
}

TEST(PlanStorage, PbLlmOfAwkwardSlabs) {
  LlamaConfig wide = small();  // the last slab of a row has 2 columns
  wide.hidden_size = 130;
  for (const double bits : {1.3, 2.7}) {
    const Recipe recipe =
        resolve_recipe("pb-llm", bits, -1,
                       {{"mask_scope", std::string("slab")}, {"salient_bits", std::string("3")}});
    const std::vector<QuantizedLinear> linears = rounded(recipe, wide);
    for (std::size_t l = 0; l < linears.size(); ++l)
      EXPECT_EQ(stored_bytes(recipe, kLinears[l], linears[l].rows, linears[l].cols),
                bytes_of(linears[l]));
  }
}

// Sizes as models have them: no run of codes ends in the middle of a byte.
TEST(PlanStorage, SlimLlmMayChooseItsWidths) {
  LlamaConfig config = small();
  config.hidden_size = 64;
  config.intermediate_size = 96;
  config.head_count = 4;
  config.head_size = 16;
  constexpr std::int64_t kGroup = 16;
  std::int64_t chosen = 0;
  for (const int bits : {2, 3, 4, 7}) {
    const Recipe recipe = resolve_recipe("slim-llm", bits, kGroup, {});
    const std::vector<QuantizedLinear> linears = rounded(recipe, config);
    for (std::size_t l = 0; l < linears.size(); ++l) {
      const QuantizedLinear& q = linears[l];
      StoredBytes planned = stored_bytes(recipe, kLinears[l], q.rows, q.cols);
      const auto weights = static_cast<double>(q.rows * q.cols);
      EXPECT_NEAR(8 * static_cast<double>(planned.required) / weights, q.bits_per_weight(),
                  bits == 2 ? 3.75 / kGroup : 0);
      // Of a pair of slabs 3 + 16 bits a row beside the codes, instead of 2 + 2.
      const StoredArray* means = q.find("means");
      const std::int64_t narrow = means == nullptr ? 0 : means->shape[1];
      const std::int64_t expected = q.cols / kGroup / 2 / 2;
      chosen += narrow;
      if (bits == 2) {
        const std::int64_t more = (narrow - expected) * 15 * q.rows / 8;
        planned += {more, more};
      }
      EXPECT_EQ(planned, bytes_of(q)) << bits << " bits, " << q.name;
    }
  }
  EXPECT_GT(chosen, 0);
}

TEST(PlanStorage, OfKnownShapes) {
  const Plan plan = make_plan(
      sweep_of("[[grid]]\nmethod = \"rtn\"\nbits = 4\ngroup = 128\nsymmetric = [true, false]\n"),
      llama_8b(), {}, {}, {});
  EXPECT_DOUBLE_EQ(plan.cells[0].bits_per_weight, 4.125);    // 16/128 for the scale
  EXPECT_DOUBLE_EQ(plan.cells[1].bits_per_weight, 4.15625);  // and 4/128 for the zero
  EXPECT_EQ(plan.cells[0].output_bytes, 6979321856 / 8 * 4.125);
}

TEST(PlanStorage, ABudgetIsUsedAsFarAsItCanBe) {
  const std::string grid = "[[grid]]\nmethod = \"gptq\"\ngroup = 128\nbudget = ";
  const Plan fits = make_plan(sweep_of(grid + "3.5\n"), llama_8b(), {}, {}, unit_rates());
  EXPECT_EQ(fits.cells[0].bits_per_weight, 3.5);
  EXPECT_TRUE(fits.warnings.empty());
  const Plan more = make_plan(sweep_of(grid + "16\n"), llama_8b(), {}, {}, unit_rates());
  EXPECT_EQ(more.cells[0].bits_per_weight, 8 + 16.0 / 128 + 8.0 / 128);
  ASSERT_EQ(more.warnings.size(), 1u);
  EXPECT_EQ(more.warnings[0],
            "s.toml:7: cell gptq-b16-g128: a budget of 16 bits per weight is more than the 8.188 "
            "that these linears can take at most with groups of 128");
  EXPECT_NE(plan_text(more).find("\nwarning: s.toml:7: "), std::string::npos);
}

TEST(PlanStorage, NothingIsKeptButMetrics) {
  Sweep sweep = sweep_of(kRtn);
  sweep.run.keep_tensors = false;
  EXPECT_EQ(make_plan(sweep, llama_8b(), {}, {}, {}).output_bytes, 0);
  EXPECT_EQ(make_plan(sweep_of(kFp16), llama_8b(), {}, {}, {}).output_bytes, 0);
}

TEST(PlanStorage, GroupsMustDivide) {
  try {
    make_plan(sweep_of("[[grid]]\nmethod = \"rtn\"\nbits = 4\ngroup = 4\n"), small(), {}, {}, {});
    FAIL();
  } catch (const InputError& e) {
    EXPECT_NE(std::string(e.what()).find("self_attn.o_proj"), std::string::npos) << e.what();
  }
}

TEST(PlanFlops, OfLlama8b) {
  const EvaluationSizes wikitext{{{"wikitext2", 141, 2048}}, {}};
  const Plan plan =
      make_plan(sweep_of(std::string(kFp16) + kRtn + kGptq), llama_8b(), {}, wikitext, {});
  const double evaluation = 141 * (28.587e12 + 2.1518e12 + 1.1e12);
  for (const auto& cell : plan.cells) EXPECT_NEAR(cell.flops.evaluation / evaluation, 1, 1e-3);
  EXPECT_EQ(plan.cells[0].flops.total(), plan.cells[0].flops.evaluation);
  EXPECT_EQ(plan.cells[1].flops.forward + plan.cells[1].flops.statistics +
                plan.cells[1].flops.factorization,
            0);
  EXPECT_EQ(plan.cells[1].flops.solve, 10.0 * 6979321856);
  const CellFlops& gptq = plan.cells[2].flops;
  EXPECT_NEAR(gptq.forward / (128 * (28.587e12 + 1.1e12)), 1, 1e-3);
  const double k = 4096, f = 14336, tokens = 128 * 2048;
  EXPECT_NEAR(gptq.statistics / (32 * tokens * (3 * k * k + f * f)), 1, 1e-3);
  EXPECT_NEAR(gptq.factorization / (32 * 2.0 / 3 * (3 * k * k * k + f * f * f)), 1, 1e-12);
  // n·k² for the column loop and for each of two quadratic forms.
  EXPECT_NEAR(gptq.solve / (32 * 3 * ((6144 + 4096 + 28672) * k * k + k * f * f)), 1, 1e-12);
  EXPECT_DOUBLE_EQ(plan.flops.total(), plan.cells[0].flops.total() + plan.cells[1].flops.total() +
                                           plan.cells[2].flops.total());
}

TEST(PlanFlops, WithoutTrueSequentialALayerIsWalkedTwice) {
  const Plan plan = make_plan(sweep_of(std::string(kGptq) + kGptq + "true_sequential = false\n"),
                              small(), {}, {}, {});
  ASSERT_EQ(plan.cells.size(), 2u);
  EXPECT_EQ(plan.cells[1].flops.forward, 2 * plan.cells[0].flops.forward);
  EXPECT_EQ(plan.cells[1].flops.statistics, plan.cells[0].flops.statistics);
}

// One layer of Llama 3 8B, 128 windows of 2048 tokens.
struct Costs {
  static constexpr double k = 4096, kv = 1024, f = 14336, tokens = 128 * 2048;
  static constexpr double weights = 2 * k * k + 2 * k * kv + 3 * k * f;
  static constexpr double squares = (2 * k + 2 * kv + 2 * f) * k * k + k * f * f;  // Σ out·in²
  static constexpr double attention = 2 * k * tokens * 2049;
  static constexpr double walk = 2 * tokens * weights + attention;
  static constexpr double cubes = 3 * k * k * k + f * f * f;
};
LayerCost cost_of(const std::string& chain, double bits, std::int64_t group,
                  const std::map<std::string, OptionValue>& options = {}) {
  return layer_cost(resolve_recipe(chain, bits, group, options), llama_8b(), {128, 2048});
}

TEST(PlanCosts, AwqTriesModulesAndLinears) {
  const LayerCost awq = cost_of("awq", 4, 128);
  const double k = Costs::k, kv = Costs::kv, f = Costs::f, tokens = Costs::tokens;
  EXPECT_NEAR(awq.walks / Costs::walk, 1, 1e-12);
  // 20 points each; the module as it was once for every 42 points of q, k, v and 9 of gate, up.
  const double qkv = 2 * tokens * k * (k + 2 * kv) + Costs::attention, o = 2 * tokens * k * k;
  const double gate_up = 2 * tokens * 2 * k * f, down = 2 * tokens * k * f;
  EXPECT_NEAR(awq.searches / (20 * (qkv + o + gate_up + down) + qkv + 3 * gate_up), 1, 1e-12);
  // down by its Gram matrix, 20 points on a sixteenth of the rows and 2 on all; o's heads
  // share channels.
  const double trials = 20.0 / 16 + 2;
  const double clips = 20.0 * 128 * Costs::weights;
  EXPECT_NEAR((awq.solve - awq.elementwise) / (trials * k * f * f + clips), 1, 1e-12);
  const double tried = 20 * (Costs::weights - k * k - k * f) + trials * k * f;
  EXPECT_NEAR(awq.elementwise / (10 * (Costs::weights + tried)), 1, 1e-12);
  EXPECT_GT(awq.statistics, tokens * (3 * k * k + f * f));
  EXPECT_EQ(awq.factorization, 0);

  const LayerCost linear = cost_of("awq", 4, 128, {{"search", std::string("linear")}});
  EXPECT_EQ(linear.searches, 0);
  EXPECT_NEAR((linear.solve - linear.elementwise) / (trials * (Costs::squares - k * k * k) + clips),
              1, 1e-12);
  const LayerCost both = cost_of("awq+gptq", 4, 128);
  EXPECT_EQ(both.walks, 2 * awq.walks);
  EXPECT_EQ(both.searches, awq.searches);
}

TEST(PlanCosts, SlimWalksItsCandidates) {
  const LayerCost slim = cost_of("slim-llm", 3, 128);
  const double k = Costs::k, f = Costs::f, tokens = Costs::tokens;
  const double up = 2 * k + 2 * Costs::kv + 2 * f;  // rows with k columns: 16 pairs of slabs
  // down has 112 slabs: every eighth token.
  const double walks = 6 * tokens * (up * k + k * f / 8);
  const double divergences = 40 * tokens * (17 * up + 57 * k / 8);
  EXPECT_NEAR(slim.searches / (walks + divergences), 1, 1e-12);
  EXPECT_NEAR(slim.elementwise / (divergences + 3030 * Costs::weights), 1, 1e-12);
  EXPECT_NEAR((slim.solve - 3030 * Costs::weights) / (3 * Costs::squares), 1, 1e-12);
  EXPECT_EQ(cost_of("slim-llm", 3, 128, {{"sba", false}}).searches, 0);
  EXPECT_EQ(cost_of("slim-llm", 3, -1).searches, 0);
}

TEST(PlanCosts, QuipRotatesAndDescends) {
  const LayerCost quip = cost_of("quip", 2, -1);
  const double k = Costs::k, kv = Costs::kv, f = Costs::f;
  // 4096 = 64·64, 14336 = 112·128, 1024 = 32·32
  const double in = 2 * 128, inner = 2 * 240;
  EXPECT_NEAR(quip.factorization / (Costs::cubes / 3 + 2 * (3 * k * k * in + f * f * inner)), 1,
              1e-12);
  const double turns = 2 * k * k * in + 2 * k * kv * in + 3 * k * f * in  // sides of 4096
                       + 2 * k * kv * 2 * 64 + 2 * k * k * in + 3 * k * f * inner;
  EXPECT_NEAR(quip.solve / (3 * Costs::squares + 2 * turns), 1, 1e-12);
  const LayerCost greedy = cost_of("quip-rg", 2, -1);
  EXPECT_NEAR((greedy.solve - quip.solve) / (5 * 2 * Costs::squares), 1, 1e-12);
  const LayerCost five = cost_of("quip", 2, -1, {{"rho", std::string("auto")}});
  EXPECT_NEAR((five.solve - quip.solve) / (4 * Costs::squares), 1, 1e-12);
  const LayerCost apart = cost_of("quip", 2, -1, {{"share_tap", false}});
  EXPECT_NEAR((apart.factorization - quip.factorization) / (3 * (k * k * k / 3 + 2 * k * k * in)),
              1, 1e-12);
  const LayerCost straight = cost_of("quip", 2, -1, {{"rotation", std::string("none")}});
  EXPECT_NEAR(straight.solve / (3 * Costs::squares), 1, 1e-12);
}

TEST(PlanCosts, SearchesOfBinaryMethods) {
  const LayerCost billm = cost_of("billm", 1.1, 128);
  EXPECT_NEAR(billm.elementwise / ((49 * 40 + 81 * 20) * Costs::weights), 1, 1e-12);
  EXPECT_NEAR((billm.solve - billm.elementwise) / (3 * Costs::squares), 1, 1e-12);
  const LayerCost few = cost_of("billm", 1.1, 128, {{"candidates", std::int64_t{2}}});
  EXPECT_LT(few.elementwise, billm.elementwise / 2);
  const LayerCost fdb = cost_of("fdb", 2, 128), feedback = cost_of("fdb-gptq", 2, 128);
  EXPECT_EQ(fdb.walks + fdb.statistics + fdb.factorization, 0);
  EXPECT_NEAR(fdb.solve / ((82 * 8 + 20 * 12 + 10) * Costs::weights), 1, 1e-12);
  EXPECT_NEAR((feedback.solve - feedback.elementwise) / (3 * Costs::squares), 1, 1e-12);
  const LayerCost tuned = cost_of("fdb-block", 2, 128);
  EXPECT_NEAR(tuned.searches / (28 * Costs::walk), 1, 1e-12);  // 4 + 3 · 8 epochs
  EXPECT_GT(cost_of("fdb-gptq", 2, 128, {{"joint_rounds", std::int64_t{1}}}).solve,
            feedback.solve + 5 * Costs::squares);
}

TEST(PlanCosts, SearchesOfRanges) {
  const LayerCost plain = cost_of("gptq", 4, 128), mse = cost_of("gptq", 4, 128, {{"mse", true}});
  EXPECT_EQ(plain.elementwise, 0);
  EXPECT_NEAR(mse.elementwise / (80 * 30 * Costs::weights), 1, 1e-12);
  EXPECT_NEAR((mse.solve - plain.solve) / mse.elementwise, 1, 1e-9);
  const LayerCost errors = cost_of("slim-llm", 3, -1, {{"sqc", std::string("hessian")}});
  EXPECT_NEAR(errors.elementwise / (101 * 10 * Costs::weights), 1, 1e-12);
  EXPECT_EQ(cost_of("slim-llm", 3, -1, {{"sqc", std::string("none")}}).elementwise, 0);
}

// A survey rounds every linear with 2 to 8 bits.
TEST(PlanCosts, ABudgetIsSpreadFirst) {
  const LayerCost plain = cost_of("gptq", 4, 128);
  const LayerCost budget = cost_of("gptq", 4, 128, {{"budget", true}});
  EXPECT_EQ(budget.walks, 2 * plain.walks);
  EXPECT_EQ(budget.statistics, 2 * plain.statistics);
  EXPECT_EQ(budget.solve, 8 * plain.solve);
  EXPECT_GT(cost_of("rtn", 4, 128, {{"budget", true}}).walks, 0);
}

TEST(PlanCosts, WhatACellTriesIsNotShared) {
  const Sweep sweep = sweep_of("[[grid]]\nmethod = \"awq\"\nbits = [3, 4]\ngroup = 128\n");
  const Plan plan = make_plan(sweep, llama_8b(), {}, {}, {});
  ASSERT_EQ(plan.cells.size(), 2u);
  EXPECT_EQ(plan.cells[1].shares_with, plan.cells[0].name);
  EXPECT_NEAR(plan.cells[0].flops.forward - plan.cells[1].flops.forward, 32 * Costs::walk,
              1e-9 * plan.cells[0].flops.forward);
  EXPECT_GT(plan.cells[1].flops.forward, 0);
}

TEST(PlanCosts, RotatedFactorsAreOthers) {
  const auto name = [](const std::string& chain, double bits, std::int64_t group,
                       const std::map<std::string, OptionValue>& options = {}) {
    return factor_name(resolve_recipe(chain, bits, group, options));
  };
  const std::map<std::string, OptionValue> natural = {{"order", std::string("none")}};
  EXPECT_EQ(name("gptq", 4, 128, natural), name("slim-llm", 3, -1));
  EXPECT_EQ(name("gptq", 4, 128), name("gptq", 3, 64));
  const std::map<std::string, OptionValue> gar = {{"order", std::string("gar")}};
  EXPECT_NE(name("gptq", 4, 128, gar), name("gptq", 4, 64, gar));
  EXPECT_NE(name("gptq", 4, 128), name("quip", 4, -1, {{"damp", 0.01}}));
  EXPECT_EQ(name("quip", 2, -1), name("quip", 3, -1));
  EXPECT_NE(name("quip", 2, -1), name("incoherence+gptq", 2, -1));
  EXPECT_NE(name("quip", 2, -1), name("quip", 2, -1, {{"seed", std::int64_t{3}}}));
}

constexpr std::int64_t kMiB = 1 << 20;

TEST(PlanMemory, OfLlama8bOnOneRank) {
  const EvaluationSizes sets{{{"wikitext2", 141, 2048}, {"c4", 256, 1024}}, {}};
  const RankMemory m = make_plan(sweep_of(kGptq), llama_8b(), {1, 1, 3}, sets, {}).memory;
  EXPECT_EQ(m.hidden, (128 + 141 + 128) * 32 * kMiB);  // 2048 x 4096 x 4 B = 32 MiB a window
  EXPECT_EQ(m.taps, 128 * (32 + 32 + 112) * kMiB);     // 2048 x (4096 + 4096 + 14336) x 4 B
  EXPECT_EQ(m.weights, 2 * 4 * std::int64_t{218112000});
  // 16 shards: 5 packed partial sums and a square; for the factor 8 + 8 + 4 + 4 bytes.
  const std::int64_t f = 14336;
  EXPECT_EQ(m.statistics, std::max(8 * f * f + 5 * 4 * f * (f + 1), 24 * f * f));
  EXPECT_EQ(m.head, 4 * std::int64_t{525336576});
  EXPECT_EQ(m.scratch % 3, 0);
  EXPECT_GE(m.scratch / 3, 4 * 2048 * (4096 + 2 * 14336));
  EXPECT_EQ(m.total(), m.hidden + m.taps + m.weights + m.statistics + m.head + m.scratch);
}

// Cells that see the unquantized model's inputs: the first one pays for walk, statistics and
// factor.
TEST(PlanSharing, CellsWithFullInputsCostLess) {
  const Sweep sweep = sweep_of(
      "[[grid]]\nmethod = \"gptq\"\ngroup = -1\nbits = [4, 3]\ninputs = \"full\"\n"
      "damp = [0.01, 0.1]\n" +
      std::string(kRtn));
  const EvaluationSizes sets{{{"wikitext2", 16, 2048}}, {}};
  const Plan plan = make_plan(sweep, llama_8b(), {}, sets, {});
  ASSERT_EQ(plan.cells.size(), 5u);
  const CellFlops& first = plan.cells[0].flops;
  EXPECT_EQ(plan.cells[0].shares_with, "");
  EXPECT_GT(first.forward * first.statistics * first.factorization, 0);
  for (int i = 1; i < 4; ++i) {
    EXPECT_EQ(plan.cells[i].shares_with, plan.cells[0].name);
    EXPECT_EQ(plan.cells[i].flops.forward + plan.cells[i].flops.statistics, 0);
    EXPECT_EQ(plan.cells[i].flops.solve, first.solve);
  }
  // Another damping is another factor, made once.
  EXPECT_EQ(plan.cells[1].flops.factorization, first.factorization);
  EXPECT_EQ(plan.cells[2].flops.factorization + plan.cells[3].flops.factorization, 0);
  EXPECT_EQ(plan.cells[4].shares_with, "");
  EXPECT_NE(plan_text(plan).find("shared with " + plan.cells[0].name), std::string::npos);

  // Four quantized layers and four cells' evaluation windows; half as many where that does not fit.
  EXPECT_EQ(plan.memory.shared_cells, 4);
  const Plan alone = make_plan(sweep_of(kGptq), llama_8b(), {}, sets, {});
  EXPECT_EQ(plan.memory.total() - alone.memory.total(),
            4 * 4 * std::int64_t{218112000} + 3 * 16 * 32 * kMiB);
  Sweep small_memory = sweep;
  small_memory.run.memory_bytes = plan.memory.total() - 1;
  EXPECT_EQ(rank_memory(small_memory, llama_8b(), {}, sets).shared_cells, 2);
}

TEST(PlanMemory, SharesOfReplicas) {
  const EvaluationSizes sets{{{"wikitext2", 16, 2048}}, {}};
  const RankMemory m = make_plan(sweep_of(kGptq), llama_8b(), {2, 3, 1}, sets, {}).memory;
  // Of 16 shards a replica has 5, 5 or 6: 48 of 128 windows and 6 of 16.
  EXPECT_EQ(m.hidden, (48 + 6) * 32 * kMiB);
  EXPECT_EQ(m.taps, 48 * 176 * kMiB);
}

// The widest tap of all windows, 14 GiB, against that of a shard of 8 windows and of one more.
TEST(PlanMemory, TheWidestTapIsMadeAgainWhereItDoesNotFit) {
  Sweep sweep = sweep_of(kGptq);
  const RankMemory whole = rank_memory(sweep, llama_8b(), {1, 1, 3}, {});
  EXPECT_TRUE(whole.keeps_widest_tap);
  EXPECT_EQ(whole.limit, 0);
  EXPECT_EQ(memory_warning(whole), "");
  sweep.run.memory_bytes = whole.total();
  EXPECT_EQ(rank_memory(sweep, llama_8b(), {1, 1, 3, 1}, {}).total(), whole.total());
  sweep.run.memory_bytes = whole.total() - 1;
  const RankMemory again = rank_memory(sweep, llama_8b(), {1, 1, 3, 1}, {});
  EXPECT_FALSE(again.keeps_widest_tap);
  EXPECT_EQ(whole.taps - again.taps, (128 - 3 * (1 + 8)) * 112 * kMiB);
  EXPECT_EQ(memory_warning(again), "");
}

TEST(PlanMemory, AutoIsWhatTheMachineHas) {
  const Sweep sweep = sweep_of(kGptq);
  const RankMemory little = rank_memory(sweep, llama_8b(), {1, 1, 1, 1024 * kMiB}, {});
  EXPECT_EQ(little.limit, 1024 * kMiB);
  EXPECT_FALSE(little.keeps_widest_tap);
  EXPECT_EQ(
      memory_warning(little),
      "warning: a rank needs about 20.2 GiB, more than the 1.0 GiB that this machine has left "
      "for it; use more replicas or fewer windows");
  const RankMemory enough = rank_memory(sweep, llama_8b(), {1, 1, 1, 1024 * 1024 * kMiB}, {});
  EXPECT_TRUE(enough.keeps_widest_tap);
  EXPECT_EQ(memory_warning(enough), "");
}

TEST(PlanMemory, TheRemedyFitsTheLargestPart) {
  RankMemory memory;
  memory.limit = kMiB;
  memory.limit_given = true;
  memory.weights = 2 * kMiB;
  EXPECT_EQ(memory_warning(memory),
            "warning: a rank needs about 2.0 MiB, more than the 1.0 MiB that [run] memory allows; "
            "use fewer ranks on each machine, or raise [run] memory");
  memory.scratch = 3 * kMiB;
  EXPECT_NE(memory_warning(memory).find("; use fewer threads per rank or shorter windows, or"),
            std::string::npos);
  memory.hidden = memory.taps = 2 * kMiB;
  EXPECT_NE(memory_warning(memory).find("; use more replicas or fewer windows, or"),
            std::string::npos);
  memory.limit = memory.total();
  EXPECT_EQ(memory_warning(memory), "");
}

TEST(PlanMemory, WithoutCalibrationOrEvaluation) {
  const EvaluationSizes sets{{{"wikitext2", 141, 2048}}, {}};
  const RankMemory rtn = make_plan(sweep_of(kRtn), llama_8b(), {}, sets, {}).memory;
  EXPECT_EQ(rtn.hidden, 141 * 32 * kMiB);
  EXPECT_EQ(rtn.taps + rtn.statistics, 0);
  const RankMemory gptq = make_plan(sweep_of(kGptq), llama_8b(), {}, {}, {}).memory;
  EXPECT_EQ(gptq.hidden, 128 * 32 * kMiB);
  EXPECT_EQ(gptq.head, 0);
}

// Beside the cell's own logits those of the unquantized model are made, from its states, which are
// kept: one more set of windows, and one more tile of logits per thread.
TEST(Plan, ComparingCostsAHeadAndTheBaselinesStates) {
  const EvaluationSizes sets{{{"wikitext2", 141, 2048}}, {}};
  const LlamaConfig config = llama_8b();
  Sweep sweep = sweep_of(std::string(kFp16) + kRtn);
  sweep.evaluation.perplexity = {"wikitext2"};
  const Plan with = make_plan(sweep, config, {1, 1, 3}, sets, {});
  sweep.evaluation.divergence = false;
  const Plan without = make_plan(sweep, config, {1, 1, 3}, sets, {});
  EXPECT_EQ(with.cells[0].flops, without.cells[0].flops);
  const double head = 2 * 141 * 2048.0 * 4096 * static_cast<double>(config.vocab_size);
  EXPECT_DOUBLE_EQ(with.cells[1].flops.evaluation - without.cells[1].flops.evaluation, head);
  EXPECT_GT(with.cells[1].seconds, without.cells[1].seconds);
  EXPECT_EQ(with.memory.hidden - without.memory.hidden, 141 * 32 * kMiB);
  EXPECT_EQ(with.memory.scratch - without.memory.scratch, 0);  // a window's is more than two tiles
}

// One question set: what requests share is computed and kept once, and only scored rows meet the
// head.
TEST(Plan, QuestionSetsCostTheirPacks) {
  EvaluationSizes sizes;
  sizes.tasks = {{"mmlu", 400, 5000, 90000, 400, 2048, {2048, 2048, 904}}};
  const LlamaConfig config = llama_8b();
  const Plan plan = make_plan(sweep_of(kFp16), config, {1, 2, 3}, sizes, {});
  const double linears = 2 * 5000.0 * static_cast<double>(parameter_counts(config).layer_linears);
  const double attention = 4 * 90000.0 * 4096;
  const double head = 2 * 400.0 * 4096 * static_cast<double>(config.vocab_size);
  EXPECT_DOUBLE_EQ(plan.flops.evaluation, 32 * (linears + attention) + head);
  EXPECT_EQ(plan.memory.hidden, 4 * 4096 * (5000 / 2 + 2048));
  EXPECT_EQ(plan.memory.head, memory_bytes(config, 1).head);
  EXPECT_EQ(plan.memory.scratch, 3 * memory_bytes(config, 2048).window_scratch);
  EXPECT_NE(plan_text(plan).find("mmlu, 400 requests in 5000 tokens"), std::string::npos);
}

// What does not fit beside calibration is left to further waves, which have only weights, head and
// scratch beside them; a set that does not fit there alone is asked in parts.
TEST(PlanWaves, ByMemory) {
  EvaluationSizes sizes;
  const std::vector<std::int64_t> packs(100, 2048);
  sizes.tasks = {{"piqa", 400, 2048, 90000, 400, 2048, {2048}},
                 {"mmlu", 400, 100 * 2048, 90000, 400, 2048, packs}};
  const LlamaConfig config = llama_8b();
  Sweep sweep = sweep_of(kGptq);
  const RankMemory whole = rank_memory(sweep, config, {}, sizes);
  EXPECT_EQ(whole.waves, 1);
  const std::int64_t pack = 4 * 4096 * 2048;
  EvaluationSizes no_sets = sizes;
  no_sets.tasks.resize(1);
  const std::int64_t beside = rank_memory(sweep, config, {}, no_sets).total() - pack;
  EXPECT_EQ(whole.total(), beside + 101 * pack);
  // Room for piqa alone in the first job: calibration, its taps and its statistics fill memory. The
  // waves after it have room for all of the rest.
  sweep.run.memory_bytes = beside + 3 * pack;
  const RankMemory two = rank_memory(sweep, config, {}, sizes);
  EXPECT_EQ(two.waves, 2);
  EXPECT_EQ(two.rooms.calibrating, 3 * 2048);
  EXPECT_TRUE(two.keeps_widest_tap);
  EXPECT_LE(two.total(), sweep.run.memory_bytes);
  EXPECT_EQ(memory_warning(two), "");
  const Plan plan = make_plan(sweep, config, {}, sizes, {});
  EXPECT_NE(plan_text(plan).find("\nquestion sets: 2 waves, with the layers replayed"),
            std::string::npos);
  EXPECT_EQ(plan.cells[0].waves, 2);
  // Each replay reads all layers once more.
  const double replay = 32 * 6 * static_cast<double>(parameter_counts(config).layer_linears) / 1e10;
  sweep.run.memory_bytes = 0;
  EXPECT_NEAR(plan.seconds - make_plan(sweep, config, {}, sizes, {}).seconds, replay, 1e-3);

  // The baseline has no calibration: weights, head, scratch, and the packs in parts of 30.
  Sweep plain = sweep_of(kFp16);
  const std::int64_t alone = rank_memory(plain, config, {}, sizes).total() - 101 * pack;
  plain.run.memory_bytes = alone + 30 * pack;
  const RankMemory parts = rank_memory(plain, config, {}, sizes);
  EXPECT_EQ(parts.waves, 5);  // piqa, then mmlu's 30, 30, 30 and 10
  EXPECT_EQ(parts.total(), plain.run.memory_bytes);
}

// Cells that go together go on doing so; packs wait for a wave of their own.
TEST(PlanWaves, DoNotCostSharing) {
  EvaluationSizes sizes;
  sizes.tasks = {{"mmlu", 400, 20480, 90000, 400, 2048, std::vector<std::int64_t>(10, 2048)}};
  Sweep sweep = sweep_of("[[grid]]\nmethod = \"gptq\"\nbits = [4, 3]\ninputs = \"full\"\n");
  const std::int64_t pack = 4 * 4096 * 2048;
  const RankMemory whole = rank_memory(sweep, llama_8b(), {}, sizes);
  sweep.run.memory_bytes = whole.total() - 2 * pack;
  const RankMemory less = rank_memory(sweep, llama_8b(), {}, sizes);
  EXPECT_EQ(less.shared_cells, 2);
  EXPECT_EQ(less.waves, 2);
  EXPECT_EQ(less.rooms.shared, 9 * 2048);
}

TEST(PlanWaves, SetBySet) {
  EvaluationSizes sizes;
  for (const char* task : {"piqa", "boolq", "mmlu"})
    sizes.tasks.push_back({task, 400, 2048, 90000, 400, 2048, {2048}});
  Sweep sweep = sweep_of(kFp16);
  sweep.evaluation.wave = "task";
  const RankMemory memory = rank_memory(sweep, llama_8b(), {}, sizes);
  EXPECT_EQ(memory.waves, 3);
  EXPECT_EQ(memory.hidden, 4 * 4096 * 2048);
}

// Where memory does not suffice anyway there is one warning, not a wave for every pack.
TEST(PlanWaves, AreNotManyWhereNothingFits) {
  EvaluationSizes sizes;
  sizes.tasks = {{"mmlu", 400, 204800, 90000, 400, 2048, std::vector<std::int64_t>(100, 2048)}};
  Sweep sweep = sweep_of(kFp16);
  sweep.run.memory_bytes = 32 * kMiB;
  const RankMemory memory = rank_memory(sweep, llama_8b(), {}, sizes);
  EXPECT_LE(memory.waves, 10);
  EXPECT_NE(memory_warning(memory), "");
}

TEST(PlanTime, CountsOperationsOnOneRank) {
  const EvaluationSizes sets{{{"c4", 5, 64}}, {}};
  for (const char* grid : {kFp16, kGptq}) {
    const Plan plan = make_plan(sweep_of(grid), small(), {}, sets, unit_rates());
    EXPECT_NEAR(plan.seconds / plan.flops.total(), 1, 1e-9);
  }
  MachineRates fast_factor = unit_rates();
  fast_factor.factor_gflops = 1e30;
  const Plan plan = make_plan(sweep_of(kGptq), small(), {}, sets, fast_factor);
  EXPECT_NEAR(plan.seconds / (plan.flops.total() - plan.flops.factorization), 1, 1e-9);
}

TEST(PlanTime, ThreadsInProportion) {
  MachineRates rates = unit_rates();
  const double alone = make_plan(sweep_of(kGptq), small(), {1, 1, 1}, {}, rates).seconds;
  EXPECT_NEAR(make_plan(sweep_of(kGptq), small(), {1, 1, 4}, {}, rates).seconds, alone / 4,
              alone * 1e-9);
  rates.threads = 4;
  EXPECT_NEAR(make_plan(sweep_of(kGptq), small(), {1, 1, 1}, {}, rates).seconds, alone * 4,
              alone * 1e-9);
}

// Single elements at a fifth of the speed of products.
TEST(PlanTime, ElementwiseIsSlower) {
  const Plan plan =
      make_plan(sweep_of(kGptq + std::string("mse = true\n")), small(), {}, {}, unit_rates());
  const double elementwise =
      80.0 * 30 * static_cast<double>(parameter_counts(small()).layer_linears) * 3;
  EXPECT_NEAR((plan.seconds - plan.flops.total()) / (4 * elementwise), 1, 1e-9);
}

// Replicas share everything but the factorization.
TEST(PlanTime, Replicas) {
  const Plan one = make_plan(sweep_of(kGptq), small(), {1, 1, 1}, {}, unit_rates());
  const Plan four = make_plan(sweep_of(kGptq), small(), {1, 4, 1}, {}, unit_rates());
  const double factor = one.flops.factorization;
  EXPECT_NEAR(four.seconds, (one.seconds - factor) / 4 + factor, one.seconds * 1e-9);
}

// G cells on S stages take as long as G + S − 1 cells on the busiest stage.
TEST(PlanTime, Pipeline) {
  const std::string cells = std::string(kGptq) + "damp = [0.01, 0.02, 0.03, 0.04, 0.05]\n";
  const Plan one = make_plan(sweep_of(cells), small(), {1, 1, 1}, {}, unit_rates());
  const Plan three = make_plan(sweep_of(cells), small(), {3, 1, 1}, {}, unit_rates());
  EXPECT_EQ(one.efficiency, 1);
  EXPECT_DOUBLE_EQ(three.efficiency, 5.0 / 7);
  EXPECT_NEAR(three.seconds, one.seconds / 3 * 7 / 5, one.seconds * 1e-9);
  // Two stages of three layers: the second has two of them.
  const Plan two = make_plan(sweep_of(cells), small(), {2, 1, 1}, {}, unit_rates());
  EXPECT_NEAR(two.seconds, one.seconds * 2 / 3 * 6 / 5, one.seconds * 1e-9);
}

TEST(PlanTime, TheHeadIsTheLastStages) {
  const EvaluationSizes sets{{{"c4", 5, 64}}, {}};
  const double head = 2.0 * 5 * 64 * 12 * 50;
  const Plan plan = make_plan(sweep_of(kFp16), small(), {3, 1, 1}, sets, unit_rates());
  EXPECT_NEAR(plan.cells[0].seconds, (plan.flops.total() - head) / 3 + head, 1e-6 * head);
}

TEST(PlanText, WholeTable) {
  const EvaluationSizes sets{{{"wikitext2", 141, 2048}, {"c4", 256, 2048}}, {}};
  Sweep sweep = sweep_of(std::string(kFp16) + kRtn + "group = 128\n" + kGptq);
  sweep.run.memory_bytes = 20 * 1024 * kMiB;
  const Plan plan = make_plan(sweep, llama_8b(), {2, 1, 2}, sets, {2, 100, 80, 20, 10});
  EXPECT_EQ(plan_text(plan), R"(s: 3 cells on 2 ranks (2 stages x 1 replica, 2 threads each)
model: 32 layers, hidden 4096, 8.0 G parameters, 7.0 G of them in linears
calibration: c4, 128 windows of 2048 tokens in 16 shards
evaluation: wikitext2, 141 windows of 2048 tokens; c4, 256 windows of 2048 tokens

cell                     bits  forward   gram  factor  solve  evaluate   output         time
fp16                   16.000        -      -       -      -      13 P        -  18 h 45 min
rtn-w4-g128             4.156        -      -       -   70 G      13 P  3.4 GiB  18 h 45 min
gptq-w4-pc-order=none   4.005    3.8 P  2.1 P    67 T  143 T      13 P  3.3 GiB  28 h 25 min
sum                              3.8 P  2.1 P    67 T  144 T      38 P  6.6 GiB     2 d 18 h
(floating-point operations over all ranks; time on the busiest stage)

memory of a rank: 35.8 GiB (hidden states 16.4 GiB, taps 10.0 GiB, weights 1.6 GiB, statistics 5.4 GiB, head 2.0 GiB, scratch 544 MiB)
the widest tap does not fit: it is made again, shard by shard
warning: a rank needs about 35.8 GiB, more than the 20.0 GiB that [run] memory allows; use more replicas or fewer windows, or raise [run] memory
output: 6.6 GiB
time: 3 d 16 h (each stage at work 75 % of it), at 100 GFLOP/s in products, 80 in Gram matrices, 20 in factors, 10 GB/s, with 2 threads
)");
}

TEST(PlanText, SmallestPlan) {
  const std::string text = plan_text(make_plan(sweep_of(kFp16), small(), {}, {}, {}));
  EXPECT_NE(text.find("s: 1 cell on 1 rank (1 stage x 1 replica, 1 thread each)\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("evaluation: none\n"), std::string::npos) << text;
  EXPECT_EQ(text.find("[run] memory"), std::string::npos) << text;
}

TEST(PlanText, MemoryThatIsEnough) {
  Sweep sweep = sweep_of(kFp16);
  sweep.run.memory_bytes = 32 * kMiB;
  std::string text = plan_text(make_plan(sweep, small(), {}, {}, {}));
  EXPECT_NE(text.find("\nwithin the 32.0 MiB that [run] memory allows\n"), std::string::npos);
  sweep.run.memory_bytes = 0;
  const std::int64_t need = make_plan(sweep, small(), {}, {}, {}).memory.total();
  text = plan_text(make_plan(sweep, small(), {1, 1, 1, 3 * need + 1}, {}, {}));
  EXPECT_NE(text.find(" left: room for 3 such ranks\n"), std::string::npos) << text;
}

TEST(BytesText, Values) {
  const std::pair<std::int64_t, const char*> cases[] = {{0, "0 B"},
                                                        {1023, "1023 B"},
                                                        {1024, "1.0 KiB"},
                                                        {1536, "1.5 KiB"},
                                                        {99 * kMiB, "99.0 MiB"},
                                                        {100 * kMiB, "100 MiB"},
                                                        {kMiB * kMiB, "1.0 TiB"},
                                                        {INT64_MAX, "8192 PiB"}};
  for (const auto& [bytes, text] : cases) EXPECT_EQ(bytes_text(bytes), text);
}

TEST(MeasureMachine, RatesArePositive) {
  for (const int threads : {1, 2}) {
    const MachineRates r = measure_machine(cpu_place(threads));
    EXPECT_EQ(r.threads, threads);
    for (const double rate : {r.linear_gflops, r.gram_gflops, r.factor_gflops, r.memory_gbytes}) {
      EXPECT_GT(rate, 0.01);
      EXPECT_LT(rate, 1e6);
    }
  }
}

}  // namespace
}  // namespace bitgrid

#include "core/methods/mixed_precision.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/methods/budget.hpp"
#include "core/methods/recipe_needs.hpp"
#include "core/methods/resolve_recipe.hpp"
#include "kernels/error.hpp"
#include "tests/oracle/random.hpp"

namespace bitgrid::test {
namespace {

using testing::HasSubstr;

TEST(Mix, MatchesPartsOfNames) {
  const auto matches = [](const char* pattern, std::int64_t layer, Linear linear) {
    return rule_matches({pattern, 4}, layer, linear);
  };
  EXPECT_TRUE(matches("down_proj", 3, Linear::down));
  EXPECT_TRUE(matches("mlp", 3, Linear::down));
  EXPECT_TRUE(matches("mlp.down_proj", 3, Linear::down));
  EXPECT_TRUE(matches("layers.3", 3, Linear::q));
  EXPECT_TRUE(matches("layers.2-5.self_attn", 3, Linear::q));
  EXPECT_FALSE(matches("layers.2-5.mlp", 3, Linear::q));
  EXPECT_FALSE(matches("layers.3", 13, Linear::q));
  EXPECT_FALSE(matches("layers.1", 13, Linear::q));
  EXPECT_FALSE(matches("layers.4-12", 13, Linear::q));
  EXPECT_TRUE(matches("layers.4-13", 13, Linear::q));
  EXPECT_FALSE(matches("proj", 3, Linear::down));
}

TEST(Mix, TheLastRuleThatMatchesCounts) {
  const Recipe recipe =
      resolve_recipe("gptq", 3, 32, {{"mix", "down_proj=4+layers.0=8+layers.0.mlp.up_proj=2"}});
  EXPECT_EQ(recipe_name(recipe), "gptq-w3-g32-mix=down_proj=4+layers.0=8+layers.0.mlp.up_proj=2");
  EXPECT_EQ(recipe_for_linear(recipe, 1, Linear::q).bits, 3);
  EXPECT_EQ(recipe_for_linear(recipe, 1, Linear::down).bits, 4);
  EXPECT_EQ(recipe_for_linear(recipe, 0, Linear::down).bits, 8);
  EXPECT_EQ(recipe_for_linear(recipe, 0, Linear::up).bits, 2);
}

TEST(Mix, RefusesWhatItCannotRead) {
  for (const char* bad :
       {"down_proj", "=4", "down_proj=", "down_proj=x", "a=4+", "a..b=4", "a/b=4", "a=4 + b=3"})
    try {
      resolve_recipe("gptq", 3, 32, {{"mix", bad}});
      ADD_FAILURE() << bad;
    } catch (const InputError& e) {
      EXPECT_THAT(e.what(), HasSubstr("option 'mix' must be rules")) << bad;
    }
  EXPECT_THROW(resolve_recipe("gptq", 3, 32, {{"mix", "down_proj=9"}}), InputError);
  EXPECT_THROW(resolve_recipe("gptq", 3, 32, {{"mix", std::string(130, 'a') + "=4"}}), InputError);
}

TEST(Budget, NamesTheCell) {
  const Recipe recipe = resolve_recipe("rtn", 3.25, 128, {{"budget", true}});
  EXPECT_EQ(recipe_name(recipe), "rtn-b3.25-g128");
  EXPECT_TRUE(uses_calibration(recipe));
  EXPECT_THROW(resolve_recipe("rtn", 1.5, 128, {{"budget", true}}), InputError);
  EXPECT_THROW(resolve_recipe("rtn", 3.25, 128, {}), InputError);
}

LlamaConfig two_layers() {
  LlamaConfig c;
  c.hidden_size = 64;
  c.intermediate_size = 96;
  c.layer_count = 2;
  c.head_count = 4;
  c.kv_head_count = 2;
  c.head_size = 16;
  return c;
}

std::string refusal(const Recipe& recipe) {
  try {
    check_budget_fits(recipe, two_layers());
  } catch (const InputError& e) {
    return e.what();
  }
  return "";
}

// Groups of 32 without odd ends: codes, 16 bits of scale and a zero of as many bits as a code.
TEST(Budget, RangeFollowsFromShapes) {
  const LlamaConfig config = two_layers();
  const Recipe recipe = resolve_recipe("gptq", 3, 32, {{"budget", true}});
  const BudgetRange range = budget_range(recipe, config);
  const std::int64_t layer = 2 * 64 * 64 + 2 * 32 * 64 + 3 * 64 * 96;
  EXPECT_EQ(range.weights, 2 * layer);
  // Two or three zeros a row fill a byte at 2 bits, two or three bytes at 8.
  const double bits_of_64 = 2 + 16.0 / 32 + 8.0 / 64, bits_of_96 = 2 + 16.0 / 32 + 8.0 / 96;
  const double fewest = (layer - 64 * 96) * bits_of_64 + 64 * 96 * bits_of_96;
  EXPECT_EQ(range.fewest, static_cast<std::int64_t>(2 * fewest));
  EXPECT_EQ(range.most_per_weight(), 8 + 16.0 / 32 + 8.0 / 32);
  // A rule takes its linears out of the choice.
  const Recipe mixed = resolve_recipe("gptq", 3, 32, {{"budget", true}, {"mix", "layers.1=8"}});
  const BudgetRange fixed = budget_range(mixed, config);
  EXPECT_EQ(fixed.fewest, static_cast<std::int64_t>(fewest + layer * 8.75));
  EXPECT_EQ(fixed.most, range.most);
}

TEST(Budget, MustBeMet) {
  const auto with = [](double bits, const char* mix) {
    return resolve_recipe("gptq", bits, 32, {{"budget", true}, {"mix", mix}});
  };
  EXPECT_THAT(refusal(with(2.1, "")),
              testing::AllOf(HasSubstr("2.1 bits per weight"), HasSubstr("groups of 32"),
                             HasSubstr("at least 2.617")));
  EXPECT_EQ(refusal(with(2.617, "")), "");
  EXPECT_THAT(refusal(with(2.7, "layers.1=8")), HasSubstr("the bits that mix fixes"));
  EXPECT_EQ(refusal(with(5.7, "layers.1=8")), "");
  EXPECT_EQ(refusal(resolve_recipe("gptq", 2, 32, {})), "");  // no budget
  EXPECT_EQ(budget_warning(with(8.75, ""), two_layers()), "");
  EXPECT_THAT(budget_warning(with(16, ""), two_layers()),
              HasSubstr("16 bits per weight is more than the 8.75"));
}

// Every choice of candidates, by counting.
double best_error(const std::vector<std::vector<BitsCandidate>>& candidates, std::int64_t limit) {
  double best = HUGE_VAL;
  std::vector<std::size_t> at(candidates.size(), 0);
  for (;;) {
    std::int64_t bits = 0;
    double error = 0;
    for (std::size_t l = 0; l < at.size(); ++l) {
      bits += candidates[l][at[l]].stored_bits;
      error += candidates[l][at[l]].error;
    }
    if (bits <= limit) best = std::min(best, error);
    std::size_t l = 0;
    while (l < at.size() && ++at[l] == candidates[l].size()) at[l++] = 0;
    if (l == at.size()) return best;
  }
}

TEST(Budget, ComesCloseToTheBestChoice) {
  Random random(3);
  for (int trial = 0; trial < 30; ++trial) {
    std::vector<std::vector<BitsCandidate>> candidates;
    std::int64_t fewest = 0, most = 0;
    double step_max = 0;  // the relaxed problem's optimum is at most one step of error away
    for (int l = 0; l < 6; ++l) {
      const std::int64_t weights = 10 + random.below(50);
      double error = 1.0 + static_cast<double>(random.below(100));
      auto& list = candidates.emplace_back();
      for (int b = 2; b <= 5; ++b) {
        list.push_back({static_cast<double>(b), b * weights, error});
        const double next = error * (0.1 + 0.005 * static_cast<double>(random.below(100)));
        step_max = std::max(step_max, error - next);
        error = next;
      }
      fewest += list.front().stored_bits;
      most += list.back().stored_bits;
    }
    const std::int64_t limit = fewest + random.below(most - fewest + 1);
    const auto chosen = choose_candidates(candidates, limit);
    std::int64_t bits = 0;
    double error = 0;
    for (std::size_t l = 0; l < chosen.size(); ++l) {
      bits += candidates[l][chosen[l]].stored_bits;
      error += candidates[l][chosen[l]].error;
    }
    EXPECT_LE(bits, limit);
    EXPECT_LE(error, best_error(candidates, limit) + step_max);
  }
}

TEST(Budget, TakesAllOrNothingAtTheEnds) {
  const std::vector<std::vector<BitsCandidate>> candidates = {
      {{2, 20, 1.0}, {3, 30, 0.5}, {4, 40, 0.6}},  // 4 bits gain nothing
      {{2, 20, 1.0}, {3, 30, 0.9}, {4, 40, 0.1}},  // 3 bits lie above the hull
  };
  EXPECT_EQ(choose_candidates(candidates, 40), (std::vector<std::size_t>{0, 0}));
  EXPECT_EQ(choose_candidates(candidates, 50), (std::vector<std::size_t>{1, 0}));
  EXPECT_EQ(choose_candidates(candidates, 1000), (std::vector<std::size_t>{1, 2}));
  EXPECT_THROW(choose_candidates(candidates, 39), Error);
}

}  // namespace
}  // namespace bitgrid::test

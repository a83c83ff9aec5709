#include "core/methods/recipe.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <set>

#include "core/methods/recipe_needs.hpp"
#include "core/methods/registry.hpp"
#include "core/methods/resolve_recipe.hpp"
#include "core/text/nearest_word.hpp"
#include "kernels/error.hpp"

namespace bitgrid::test {
namespace {

using Options = std::map<std::string, OptionValue>;
using testing::AllOf;
using testing::HasSubstr;

std::string refusal(const std::string& chain, double bits, std::int64_t group,
                    const Options& options = {}) {
  try {
    resolve_recipe(chain, bits, group, options);
  } catch (const InputError& e) {
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << "one line";
    return e.what();
  }
  return "accepted";
}

TEST(Recipe, NamesSayWhatDiffersFromTheDefault) {
  EXPECT_EQ(recipe_name(resolve_recipe("fp16", 16, -1, {})), "fp16");
  EXPECT_EQ(recipe_name(resolve_recipe("gptq", 4, 128, {})), "gptq-w4-g128");
  EXPECT_EQ(recipe_name(resolve_recipe("rtn", 3, -1, {})), "rtn-w3-pc");
  EXPECT_EQ(recipe_name(resolve_recipe("gptq", 4, 32, {{"order", "none"}})),
            "gptq-w4-g32-order=none");
  EXPECT_EQ(
      recipe_name(resolve_recipe(
          "gptq", 2, 64,
          {{"symmetric", true}, {"order", "act"}, {"damp", 0.05}, {"true_sequential", false}})),
      "gptq-w2-g64-damp=0.05-order=act-symmetric=true-true_sequential=false");
  EXPECT_EQ(recipe_name(resolve_recipe("gptq", 4, 128, {{"damp", 0.01}, {"order", "static"}})),
            "gptq-w4-g128");
  // Names of chains and bits that later methods bring.
  Recipe later{{"awq", "gptq"}, 3, -1, {}};
  EXPECT_EQ(recipe_name(later), "awq+gptq-w3-pc");
  later = {{"pb-llm"}, 1.7, 128, {}};
  EXPECT_EQ(recipe_name(later), "pb-llm-w1.7-g128");
  later = {{"smoothquant"}, 8, -1, {{"activation_bits", std::int64_t{8}}}};
  EXPECT_EQ(recipe_name(later), "smoothquant-w8-a8-pc");
}

TEST(Recipe, OptionTextIsTheShortestThatReadsBack) {
  EXPECT_EQ(option_text(true), "true");
  EXPECT_EQ(option_text(false), "false");
  EXPECT_EQ(option_text(0.01), "0.01");
  EXPECT_EQ(option_text(1.0), "1");
  EXPECT_EQ(option_text(0.1 + 0.2), "0.30000000000000004");
  EXPECT_EQ(option_text(std::int64_t{-3}), "-3");
  EXPECT_EQ(option_text(std::string("act")), "act");
}

TEST(Recipe, CanonicalTextHoldsEveryFieldAndOption) {
  EXPECT_EQ(recipe_canonical(resolve_recipe("rtn", 4, 128, {{"mse", true}})),
            "chain=rtn\nbits=4\ngroup=128\noption.budget=false\noption.mix=\noption.mse=true\n"
            "option.symmetric=false\n");
  std::set<std::string> all;
  for (const char* order : {"none", "act", "static", "gar"})
    for (const double bits : {2, 3, 4})
      for (const std::int64_t group : {-1, 32, 64})
        all.insert(recipe_canonical(resolve_recipe("gptq", bits, group, {{"order", order}})));
  EXPECT_EQ(all.size(), 36u);
}

TEST(Registry, ResolvesDefaults) {
  const Recipe gptq = resolve_recipe("gptq", 4, 128, {});
  EXPECT_EQ(gptq.chain, std::vector<std::string>{"gptq"});
  EXPECT_EQ(gptq.word("order"), "static");
  EXPECT_EQ(gptq.number("damp"), 0.01);
  EXPECT_FALSE(gptq.flag("symmetric"));
  EXPECT_FALSE(gptq.flag("mse"));
  EXPECT_TRUE(gptq.flag("true_sequential"));
  EXPECT_FALSE(gptq.flag("compat"));
  EXPECT_TRUE(recipe_needs(gptq).rounding.gram);
  EXPECT_FALSE(recipe_full_inputs(gptq));
  EXPECT_TRUE(recipe_full_inputs(resolve_recipe("gptq", 4, 128, {{"inputs", "full"}})));
  const Recipe rtn = resolve_recipe("rtn", 8, -1, {});
  EXPECT_EQ(rtn.options.size(), 4u);
  EXPECT_FALSE(recipe_needs(rtn).any());
  EXPECT_FALSE(recipe_needs(resolve_recipe("fp16", 16, 128, {})).any());
  // A whole number will do for a number, and makes the same recipe.
  EXPECT_EQ(resolve_recipe("gptq", 4, 128, {{"damp", std::int64_t{1}}}),
            resolve_recipe("gptq", 4, 128, {{"damp", 1.0}}));
}

TEST(Registry, RefusesUnknownAndLaterMethods) {
  EXPECT_THAT(refusal("gtpq", 4, 128),
              AllOf(HasSubstr("unknown method 'gtpq'"), HasSubstr("did you mean 'gptq'?"),
                    HasSubstr("fp16, rtn, gptq")));
  EXPECT_THAT(refusal("entirely-else", 4, 128),
              AllOf(HasSubstr("unknown method"), testing::Not(HasSubstr("did you mean"))));
  for (const char* name : {"db-llm", "fdb-dad", "qlora", "ir-qlora"})
    EXPECT_THAT(refusal(name, 2, 128), AllOf(HasSubstr(name), HasSubstr("is not in this version")));
}

TEST(Registry, RefusesChainsThatMakeNoSense) {
  EXPECT_THAT(refusal("rtn+gptq", 4, 128), HasSubstr("a chain has one rounding"));
  EXPECT_THAT(refusal("gptq+gptq", 4, 128), HasSubstr("a chain has one rounding"));
  EXPECT_THAT(refusal("fp16+rtn", 4, 128), HasSubstr("stands alone"));
  EXPECT_THAT(refusal("rtn+fp16", 16, 128), HasSubstr("stands alone"));
  for (const char* chain : {"", "+", "gptq+", "+gptq", "rtn++gptq"})
    EXPECT_THAT(refusal(chain, 4, 128), HasSubstr("empty part")) << chain;
}

TEST(Registry, RefusesBitsThatAreNotLegal) {
  for (const char* name : {"rtn", "gptq"}) {
    for (const double bits : {0.0, 9.0, -4.0, 2.5, 1.7, 16.0, 1e300})
      EXPECT_THAT(refusal(name, bits, 128), HasSubstr("bits must be a whole number from 2 to 8"));
    EXPECT_THAT(refusal(name, std::numeric_limits<double>::quiet_NaN(), 128),
                HasSubstr("bits must be a whole number"));
    EXPECT_THAT(refusal(name, 1, 128),
                AllOf(HasSubstr("1-bit weights need a binary method"), HasSubstr("billm")));
    for (int bits = 2; bits <= 8; ++bits) EXPECT_EQ(refusal(name, bits, 128), "accepted");
  }
  EXPECT_THAT(refusal("fp16", 4, -1), HasSubstr("bits = 16"));
}

TEST(Registry, RefusesGroupsThatAreNotLegal) {
  for (const std::int64_t group : {0L, -2L, -128L})
    EXPECT_THAT(refusal("rtn", 4, group), HasSubstr("group must be -1"));
  const Recipe recipe = resolve_recipe("rtn", 4, 96, {});
  EXPECT_NO_THROW(check_group(recipe, "q_proj", 192));
  try {
    check_group(recipe, "self_attn.q_proj", 256);
    FAIL() << "expected an InputError";
  } catch (const InputError& e) {
    EXPECT_THAT(e.what(), AllOf(HasSubstr("group 96"), HasSubstr("256"), HasSubstr("q_proj")));
  }
  EXPECT_NO_THROW(check_group(resolve_recipe("rtn", 4, -1, {}), "q_proj", 7));
}

TEST(Registry, RefusesOptionsThatAreNotLegal) {
  EXPECT_THAT(refusal("rtn", 4, 128, {{"order", "act"}}),
              HasSubstr("option 'order' belongs to method 'gptq', not to 'rtn'"));
  EXPECT_THAT(refusal("gptq", 4, 128, {{"dmap", 0.1}}),
              AllOf(HasSubstr("has no option 'dmap'"), HasSubstr("did you mean 'damp'?"),
                    HasSubstr("symmetric, mse, order, damp, true_sequential, inputs, compat")));
  EXPECT_THAT(refusal("fp16", 16, -1, {{"zeal", true}}), HasSubstr("it has no options"));
  EXPECT_THAT(refusal("fp16", 16, -1, {{"mse", true}}), HasSubstr("belongs to method 'rtn'"));
  EXPECT_THAT(refusal("gptq", 4, 128, {{"order", "acts"}}),
              AllOf(HasSubstr("option 'order' must be one of none, act, static, gar"),
                    HasSubstr("'acts'")));
  EXPECT_THAT(refusal("gptq", 4, 128, {{"order", true}}), HasSubstr("one of none"));
  EXPECT_THAT(refusal("gptq", 4, 128, {{"symmetric", "yes"}}), HasSubstr("true or false"));
  EXPECT_THAT(refusal("gptq", 4, 128, {{"symmetric", std::int64_t{1}}}),
              HasSubstr("true or false"));
  for (const double damp : {0.0, -0.1, 1.5, std::numeric_limits<double>::quiet_NaN()})
    EXPECT_THAT(refusal("gptq", 4, 128, {{"damp", damp}}),
                HasSubstr("option 'damp' must be a number above 0 and at most 1"));
  EXPECT_THAT(refusal("gptq", 4, 128, {{"damp", "0.01"}}), HasSubstr("a number above 0"));
  EXPECT_EQ(refusal("gptq", 4, 128, {{"damp", 1.0}}), "accepted");
}

TEST(Registry, SaysHowAnOptionIsToBeHad) {
  EXPECT_THAT(refusal("gptq", 4, 128, {{"activation_range", "static"}}),
              AllOf(HasSubstr("a chain that starts with smoothquant takes it"),
                    HasSubstr("smoothquant+gptq"), HasSubstr("activation_bits is for any method")));
  EXPECT_THAT(refusal("fp16", 16, -1, {{"activation_range", "static"}}),
              testing::Not(HasSubstr("smoothquant+fp16")));
  EXPECT_THAT(refusal("fdb", 3, 128), HasSubstr("bits must be 2, not 3"));
  EXPECT_THAT(refusal("fdb", 1, 128), HasSubstr("bits must be 2"));
  // Words that are numbers may be given as such: the same cell.
  const Recipe word = resolve_recipe("pb-llm", 2, 128, {{"salient_bits", "3"}});
  EXPECT_EQ(resolve_recipe("pb-llm", 2, 128, {{"salient_bits", std::int64_t{3}}}), word);
  EXPECT_THAT(refusal("pb-llm", 2, 128, {{"salient_bits", std::int64_t{9}}}),
              HasSubstr("one of 2, 3"));
  EXPECT_THAT(refusal("gptq", 2, 128, {{"mix", std::int64_t{9}}}), HasSubstr("must be text"));
}

TEST(Registry, TuningSaysWhichActivationBitsHelp) {
  EXPECT_THAT(refusal("smoothquant+fdb-block", 2, 128),
              AllOf(HasSubstr("give activation_bits = 16"), testing::Not(HasSubstr("leave"))));
  EXPECT_THAT(refusal("fdb-block", 2, 128, {{"activation_bits", std::int64_t{8}}}),
              HasSubstr("leave activation_bits out, or give 16"));
  const OptionValue none = std::int64_t{16};
  EXPECT_EQ(refusal("smoothquant+fdb-block", 2, 128, {{"activation_bits", none}}), "accepted");
  EXPECT_THAT(refusal("smoothquant+fdb-block", 2, 128,
                      {{"activation_bits", none}, {"qkv_bits", std::int64_t{8}}}),
              HasSubstr("leave qkv_bits out"));
}

TEST(Registry, LegalBitsAreLegal) {
  for (const Method& m : all_methods())
    if (m.later.empty()) {
      const std::string name(m.name);
      EXPECT_EQ(refusal(name, legal_bits(name), -1), "accepted") << name;
    }
  EXPECT_EQ(legal_bits("awq+billm"), 1.1);
  EXPECT_EQ(legal_bits("nothing"), 2);
}

TEST(Registry, TableIsSound) {
  std::set<std::string_view> names;
  for (const Method& m : all_methods()) {
    EXPECT_TRUE(names.insert(m.name).second) << m.name;
    EXPECT_EQ(find_method(m.name), &m);
    EXPECT_FALSE(m.title.empty());
    const bool rounds = m.kind == MethodKind::rounding || m.kind == MethodKind::rotation;
    EXPECT_EQ(m.round != nullptr, rounds && m.later.empty()) << m.name;
    EXPECT_EQ(m.start != nullptr, m.kind == MethodKind::transform && m.later.empty()) << m.name;
  }
  EXPECT_EQ(find_method("nothing"), nullptr);
  EXPECT_EQ(all_methods().front().name, "fp16");
}

TEST(NearestWord, FindsWhatWasMeant) {
  const std::vector<std::string> words = {"damp", "order", "symmetric"};
  EXPECT_EQ(nearest_word("damping", words), "");
  EXPECT_EQ(nearest_word("dampp", words), "damp");
  EXPECT_EQ(nearest_word("odrer", words), "order");
  EXPECT_EQ(nearest_word("symetric", words), "symmetric");
  EXPECT_EQ(nearest_word("completely", words), "");
  EXPECT_EQ(nearest_word("", words), "");
  EXPECT_EQ(nearest_word("x", {}), "");
}

}  // namespace
}  // namespace bitgrid::test

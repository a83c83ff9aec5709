#include "core/evaluation/perplexity.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/oracle/llama_oracle.hpp"

namespace bitgrid {
namespace {

LlamaConfig head_config(std::int64_t hidden, std::int64_t vocab) {
  LlamaConfig config;
  config.hidden_size = hidden;
  config.vocab_size = vocab;
  config.rms_norm_eps = 1e-5;
  return config;
}

std::vector<std::int32_t> some_ids(std::int64_t count, std::int64_t vocab) {
  std::vector<std::int32_t> ids;
  for (std::int64_t t = 0; t < count; ++t)
    ids.push_back(static_cast<std::int32_t>((7 * t * t + 3) % vocab));
  return ids;
}

TEST(PerplexityTest, UniformLogitsGiveTheVocabulary) {
  for (const std::int64_t vocab : {1, 3, 1024, 128256}) {
    const LlamaConfig config = head_config(4, vocab);
    OutputWeights output{oracle::random_matrix(1, 4, 1), Matrix<float>(vocab, 4)};
    output.head.fill(0.0f);
    const Matrix<float> x = oracle::random_matrix(5, 4, 2);
    CrossEntropyScratch scratch;
    const double sum =
        window_cross_entropy(cpu_place(2), config, output, x.view(), some_ids(5, vocab), scratch);
    const Perplexity p = perplexity_of(std::vector<double>{sum, sum, sum}, 5);
    EXPECT_NEAR(p.perplexity / static_cast<double>(vocab), 1, 1e-14);
    EXPECT_EQ(p.windows, 3);
    EXPECT_EQ(p.tokens, 12);
  }
}

TEST(PerplexityTest, ProbabilityOneHalfGivesTwo) {
  const LlamaConfig config = head_config(4, 1000);
  OutputWeights output{Matrix<float>(1, 4), Matrix<float>(1000, 4)};
  output.norm.fill(1.0f);
  output.head.fill(-100.0f);  // x is all ones: logits of −400, and 0 for ids 0 and 1
  for (std::int64_t j = 0; j < 4; ++j) output.head(0, j) = output.head(1, j) = 0.0f;
  Matrix<float> x(9, 4);
  x.fill(1.0f);
  CrossEntropyScratch scratch;
  const std::vector<std::int32_t> ids = {5, 0, 1, 1, 0, 0, 1, 0, 1};
  const double sum = window_cross_entropy(cpu_place(1), config, output, x.view(), ids, scratch);
  EXPECT_DOUBLE_EQ(perplexity_of(std::vector<double>{sum}, 9).perplexity, 2);
}

// Row t predicts token t + 1; the first token and the last row play no part. 258 tokens end one
// past a tile of logits.
TEST(PerplexityTest, CrossEntropyMatchesPlainLoops) {
  for (const std::int64_t tokens : {1, 2, 3, 257, 258, 600}) {
    const std::int64_t vocab = 130;
    const LlamaConfig config = head_config(12, vocab);
    const OutputWeights output{oracle::random_matrix(1, 12, 3),
                               oracle::random_matrix(vocab, 12, 4, 0.5)};
    const Matrix<float> x = oracle::random_matrix(tokens, 12, 5);
    const auto ids = some_ids(tokens, vocab);
    const oracle::Rows logits = oracle::linear(
        oracle::rms_norm(oracle::widen(x.view()), oracle::widen(output.norm.view())[0], 1e-5),
        oracle::widen(output.head.view()));
    double expected = 0;
    for (std::size_t t = 0; t + 1 < ids.size(); ++t)
      expected += oracle::token_loss(logits[t], static_cast<std::size_t>(ids[t + 1]));
    CrossEntropyScratch scratch;
    const double one = window_cross_entropy(cpu_place(1), config, output, x.view(), ids, scratch);
    EXPECT_NEAR(one, expected, (1 + expected) * oracle::fp32_tolerance(12, 4)) << tokens;
    EXPECT_EQ(one, window_cross_entropy(cpu_place(2), config, output, x.view(), ids, scratch))
        << "threads";
  }
}

// p from the reference's hidden states: the direction matters, and the last row plays no part.
TEST(PerplexityTest, ComparedWindowMatchesPlainLoops) {
  for (const std::int64_t tokens : {1, 2, 3, 258, 600}) {
    const std::int64_t vocab = 130;
    const LlamaConfig config = head_config(12, vocab);
    const OutputWeights output{oracle::random_matrix(1, 12, 3),
                               oracle::random_matrix(vocab, 12, 4, 0.5)};
    const Matrix<float> x = oracle::random_matrix(tokens, 12, 5);
    Matrix<float> reference = oracle::random_matrix(tokens, 12, 6, 0.3);
    for (std::int64_t i = 0; i < x.size(); ++i) reference.data()[i] += x.data()[i];
    const auto ids = some_ids(tokens, vocab);
    const auto logits = [&](const Matrix<float>& states) {
      return oracle::linear(oracle::rms_norm(oracle::widen(states.view()),
                                             oracle::widen(output.norm.view())[0], 1e-5),
                            oracle::widen(output.head.view()));
    };
    const oracle::Rows p = logits(reference), q = logits(x);
    double divergence = 0;
    std::int64_t agreements = 0;
    for (std::size_t t = 0; t + 1 < ids.size(); ++t) {
      double zp = 0, zq = 0;
      for (std::size_t v = 0; v < p[t].size(); ++v) {
        zp += std::exp(p[t][v]);
        zq += std::exp(q[t][v]);
      }
      for (std::size_t v = 0; v < p[t].size(); ++v)
        divergence += std::exp(p[t][v]) / zp * (p[t][v] - std::log(zp) - q[t][v] + std::log(zq));
      agreements += std::max_element(p[t].begin(), p[t].end()) - p[t].begin() ==
                    std::max_element(q[t].begin(), q[t].end()) - q[t].begin();
    }
    CrossEntropyScratch scratch;
    const WindowScore score =
        compared_window(cpu_place(2), config, output, x.view(), reference.view(), ids, scratch);
    EXPECT_NEAR(score.divergence, divergence, (1 + divergence) * oracle::fp32_tolerance(12, 8));
    EXPECT_EQ(score.agreements, agreements) << tokens;
    EXPECT_EQ(score.cross_entropy,
              window_cross_entropy(cpu_place(1), config, output, x.view(), ids, scratch));
    const WindowScore same =
        compared_window(cpu_place(1), config, output, x.view(), x.view(), ids, scratch);
    EXPECT_EQ(same.divergence, 0);
    EXPECT_EQ(same.agreements, tokens - 1);
  }
}

TEST(PerplexityTest, ComparesWindowsOfOneSize) {
  const LlamaConfig config = head_config(4, 10);
  const OutputWeights output{oracle::random_matrix(1, 4, 6), oracle::random_matrix(10, 4, 7)};
  const Matrix<float> x = oracle::random_matrix(3, 4, 8);
  CrossEntropyScratch scratch;
  EXPECT_THROW(compared_window(cpu_place(1), config, output, x.view(), x.rows_from(0, 2),
                               some_ids(3, 10), scratch),
               Error);
}

TEST(PerplexityTest, AveragesComparisons) {
  // Windows of 5 tokens: 4 predictions each.
  const Comparison c =
      comparison_of(std::vector<double>{4, 8, 24}, std::vector<std::int64_t>{4, 2, 3}, 5);
  EXPECT_DOUBLE_EQ(c.divergence, 3);                         // of 1, 2, 6
  EXPECT_DOUBLE_EQ(c.divergence_error, std::sqrt(7.0 / 3));  // √(14/2/3)
  EXPECT_DOUBLE_EQ(c.agreement, 0.75);                       // of 1, ½, ¾
  EXPECT_DOUBLE_EQ(c.agreement_error, std::sqrt(0.125 / 2 / 3));
  EXPECT_TRUE(std::isnan(
      comparison_of(std::vector<double>{4}, std::vector<std::int64_t>{4}, 5).divergence_error));
}

TEST(PerplexityTest, AHiddenStateThatIsNotFiniteShows) {
  const LlamaConfig config = head_config(4, 10);
  const OutputWeights output{oracle::random_matrix(1, 4, 6), oracle::random_matrix(10, 4, 7)};
  for (const float bad :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    Matrix<float> x = oracle::random_matrix(6, 4, 8);
    x(3, 2) = bad;
    CrossEntropyScratch scratch;
    EXPECT_FALSE(std::isfinite(
        window_cross_entropy(cpu_place(1), config, output, x.view(), some_ids(6, 10), scratch)));
  }
}

TEST(PerplexityTest, IdsMustFitTheWindow) {
  const LlamaConfig config = head_config(4, 10);
  const OutputWeights output{oracle::random_matrix(1, 4, 6), oracle::random_matrix(10, 4, 7)};
  const Matrix<float> x = oracle::random_matrix(3, 4, 8);
  CrossEntropyScratch scratch;
  EXPECT_THROW(
      window_cross_entropy(cpu_place(1), config, output, x.view(), some_ids(4, 10), scratch),
      Error);
  EXPECT_THROW(window_cross_entropy(cpu_place(1), config, output, x.view(),
                                    std::vector<std::int32_t>{0, 10, 0}, scratch),
               Error);
}

TEST(PerplexityTest, AveragesWindowsAndTheirError) {
  // Windows of 3 tokens: 2 predictions each, means of 1, 2 and 6 nats.
  const Perplexity p = perplexity_of(std::vector<double>{2, 4, 12}, 3);
  EXPECT_DOUBLE_EQ(p.cross_entropy, 3);
  EXPECT_DOUBLE_EQ(p.cross_entropy_error, std::sqrt((4.0 + 1 + 9) / 2 / 3));
  EXPECT_DOUBLE_EQ(p.perplexity, std::exp(3.0));
  EXPECT_DOUBLE_EQ(p.perplexity_error, std::exp(3.0) * p.cross_entropy_error);
  EXPECT_EQ(p.windows, 3);
  EXPECT_EQ(p.tokens, 6);
}

TEST(PerplexityTest, OneWindowHasNoErrorEstimate) {
  const Perplexity p = perplexity_of(std::vector<double>{4}, 3);
  EXPECT_DOUBLE_EQ(p.cross_entropy, 2);
  EXPECT_TRUE(std::isnan(p.cross_entropy_error));
  EXPECT_TRUE(std::isnan(p.perplexity_error));
}

TEST(PerplexityTest, NeedsAPrediction) {
  EXPECT_THROW(perplexity_of({}, 3), Error);
  EXPECT_THROW(perplexity_of(std::vector<double>{1}, 1), Error);
}

}  // namespace
}  // namespace bitgrid

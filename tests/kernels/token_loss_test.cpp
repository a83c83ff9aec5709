#include "kernels/token_loss.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/oracle/llama_oracle.hpp"

namespace bitgrid {
namespace {

TokenLoss loss_of(const Matrix<float>& row, std::int32_t target) {
  TokenLoss loss;
  token_loss(cpu_place(1), row.view(), std::span(&target, 1), std::span(&loss, 1));
  return loss;
}

TEST(TokenLossTest, MatchesPlainLoops) {
  for (const std::int64_t vocab : {1, 3, 129, 1024, 1025, 5000})
    for (const int threads : {1, 2}) {
      const Matrix<float> logits = oracle::random_matrix(67, vocab, 1, 3);
      std::vector<std::int32_t> targets;
      for (std::int64_t t = 0; t < 67; ++t)
        targets.push_back(static_cast<std::int32_t>(t * 31 % vocab));
      std::vector<TokenLoss> losses(67);
      token_loss(cpu_place(threads), logits.view(), targets, losses);
      const oracle::Rows rows = oracle::widen(logits.view());
      for (std::size_t t = 0; t < 67; ++t) {
        const double expected = oracle::token_loss(rows[t], static_cast<std::size_t>(targets[t]));
        // Differences to the maximum (some 20) are rounded once, the exponentials within 2 units.
        EXPECT_NEAR(losses[t].loss, expected, 4 * 1.2e-7 * 20) << vocab << " " << t;
      }
    }
}

TEST(TokenLossTest, UniformLogitsGiveTheLogarithmOfTheVocabulary) {
  for (const std::int64_t vocab : {1, 2, 1000, 128256}) {
    Matrix<float> logits(1, vocab);
    logits.fill(-7.25f);
    EXPECT_EQ(loss_of(logits, static_cast<std::int32_t>(vocab - 1)).loss,
              std::log(static_cast<double>(vocab)));
  }
}

TEST(TokenLossTest, SubtractsTheMaximumFirst) {
  Matrix<float> logits(1, 2);
  logits(0, 0) = 3e38f;
  logits(0, 1) = 3e38f;
  EXPECT_DOUBLE_EQ(loss_of(logits, 0).loss, std::log(2.0));
  logits(0, 1) = -3e38f;
  EXPECT_EQ(loss_of(logits, 0).loss, 0.0);
  EXPECT_GT(loss_of(logits, 1).loss, 5e38);
}

TEST(TokenLossTest, IsNotFiniteWhereTheLogitsAreNot) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {infinity, std::numeric_limits<float>::quiet_NaN()})
    for (const std::int64_t at : {0, 20, 32}) {
      Matrix<float> logits = oracle::random_matrix(1, 33, 2);
      logits(0, at) = bad;
      EXPECT_FALSE(std::isfinite(loss_of(logits, 5).loss)) << bad << " at " << at;
    }
  Matrix<float> logits = oracle::random_matrix(1, 33, 2);
  logits(0, 7) = -infinity;  // a probability of 0
  EXPECT_TRUE(std::isfinite(loss_of(logits, 5).loss));
  EXPECT_EQ(loss_of(logits, 7).loss, static_cast<double>(infinity));
}

TEST(TokenLossTest, TellsTheFirstOfEqualMaxima) {
  Matrix<float> logits = oracle::random_matrix(1, 40, 3);
  logits(0, 18) = 50.0f;
  logits(0, 30) = 50.0f;
  EXPECT_TRUE(loss_of(logits, 18).greedy);
  EXPECT_FALSE(loss_of(logits, 30).greedy);
  EXPECT_FALSE(loss_of(logits, 3).greedy);
}

TEST(TokenLossTest, RefusesBadTargetsAndShapes) {
  Matrix<float> logits = oracle::random_matrix(2, 4, 3);
  std::vector<TokenLoss> losses(2);
  EXPECT_THROW(token_loss(cpu_place(1), logits.view(), std::vector<std::int32_t>{0, 4}, losses),
               Error);
  EXPECT_THROW(token_loss(cpu_place(1), logits.view(), std::vector<std::int32_t>{-1, 0}, losses),
               Error);
  EXPECT_THROW(token_loss(cpu_place(1), logits.view(), std::vector<std::int32_t>{0}, losses),
               Error);
  Place cuda;
  cuda.device = Device::cuda;
  EXPECT_THROW(token_loss(cuda, logits.view(), std::vector<std::int32_t>{0, 0}, losses), Error);
}

}  // namespace
}  // namespace bitgrid

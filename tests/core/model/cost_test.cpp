#include "core/model/cost.hpp"

#include <gtest/gtest.h>

namespace bitgrid {
namespace {

LlamaConfig model(std::int64_t layers, std::int64_t hidden, std::int64_t intermediate,
                  std::int64_t heads, std::int64_t kv_heads, std::int64_t head_size, bool tied) {
  LlamaConfig c;
  c.layer_count = layers;
  c.hidden_size = hidden;
  c.intermediate_size = intermediate;
  c.head_count = heads;
  c.kv_head_count = kv_heads;
  c.head_size = head_size;
  c.vocab_size = 128256;
  c.tie_word_embeddings = tied;
  return c;
}
const LlamaConfig k8B = model(32, 4096, 14336, 32, 8, 128, false);
const LlamaConfig k70B = model(80, 8192, 28672, 64, 8, 128, false);

TEST(CostTest, CountsTheParametersOfKnownModels) {
  EXPECT_EQ(parameter_counts(k8B).total, 8'030'261'248);
  EXPECT_EQ(parameter_counts(k70B).total, 70'553'706'496);
  EXPECT_EQ(parameter_counts(model(126, 16384, 53248, 128, 8, 128, false)).total, 405'853'388'800);
  EXPECT_EQ(parameter_counts(model(16, 2048, 8192, 32, 8, 64, true)).total, 1'235'814'400);
  EXPECT_EQ(parameter_counts(model(28, 3072, 8192, 24, 8, 128, true)).total, 3'212'749'824);
  EXPECT_EQ(parameter_counts(k8B).layer_linears, 218'103'808);
  EXPECT_EQ(parameter_counts(k8B).layer, 218'112'000);
  EXPECT_EQ(parameter_counts(k8B).embedding, 525'336'576);
  EXPECT_EQ(parameter_counts(k70B).layer_linears, 855'638'016);
  EXPECT_EQ(parameter_counts(k70B).layer, 855'654'400);
  EXPECT_EQ(parameter_counts(k70B).embedding, 1'050'673'152);
}

TEST(CostTest, CountsTheLinearsPerToken) {
  EXPECT_EQ(32 * layer_flops(k8B, {1, 1}).linears, 13'958'643'712.0);
  EXPECT_EQ(80 * layer_flops(k70B, {1, 1}).linears, 136'902'082'560.0);
  EXPECT_EQ(head_flops(k8B, {1, 1}), 1'050'673'152.0);
  EXPECT_EQ(head_flops(k70B, {1, 1}), 2'101'346'304.0);
}

TEST(CostTest, CountsAttentionOverTheVisibleKeys) {
  EXPECT_EQ(32 * layer_flops(k8B, {1, 1}).attention, 524'288.0);
  EXPECT_EQ(80 * layer_flops(k70B, {1, 1}).attention, 2'621'440.0);
  double total = 0;  // token c sees c keys
  for (int c = 1; c <= 100; ++c) total += 524'288.0 * c;
  EXPECT_EQ(32 * layer_flops(k8B, {1, 100}).attention, total);
  EXPECT_EQ(32 * layer_flops(k8B, {3, 100}).attention, 3 * total);
}

TEST(CostTest, AWindowOf2048Tokens) {
  const Workload window{1, 2048};
  EXPECT_NEAR(32 * layer_flops(k8B, window).forward() + head_flops(k8B, window), 31.8e12, 0.05e12);
  EXPECT_NEAR(80 * layer_flops(k70B, window).forward() + head_flops(k70B, window), 290e12, 0.5e12);
  const Workload wikitext{141, 2048};
  EXPECT_NEAR(32 * layer_flops(k8B, wikitext).forward() + head_flops(k8B, wikitext), 4.5e15,
              0.05e15);
  EXPECT_NEAR(80 * layer_flops(k70B, wikitext).forward() + head_flops(k70B, wikitext), 40.9e15,
              0.05e15);
}

// Brute force over a model small enough to count by hand.
TEST(CostTest, QuantizationTermsMatchCountedLoops) {
  const LlamaConfig config = model(1, 4, 6, 2, 1, 4, false);  // inputs of 4, 8, 4 and 6
  const LayerFlops flops = layer_flops(config, {5, 3});
  const auto gram = [](int in) {
    int operations = 0;
    for (int token = 0; token < 15; ++token)
      for (int i = 0; i < in; ++i)
        for (int j = 0; j <= i; ++j) operations += 2;
    return operations;
  };
  const auto solve = [](int in,
                        int out) {  // after column j its error goes to the columns behind it
    int operations = 0;
    for (int row = 0; row < out; ++row)
      for (int j = 0; j < in; ++j)
        for (int k = j; k < in; ++k) operations += k == j ? 1 : 2;
    return operations;
  };
  EXPECT_EQ(flops.gram, (std::array<double, 4>{double(gram(4)), double(gram(8)), double(gram(4)),
                                               double(gram(6))}));
  EXPECT_EQ(flops.solve, (std::array<double, 4>{double(solve(4, 8 + 4 + 4)), double(solve(8, 4)),
                                                double(solve(4, 6 + 6)), double(solve(6, 4))}));
  EXPECT_DOUBLE_EQ(flops.factorization[1], 2.0 / 3 * 512);
  double sum = 0;
  for (int t = 0; t < 4; ++t) sum += flops.gram[t] + flops.factorization[t] + flops.solve[t];
  EXPECT_DOUBLE_EQ(flops.quantization(), sum);
}

TEST(CostTest, BytesOfBuffers) {
  const MemoryBytes bytes = memory_bytes(k70B, 2048);
  EXPECT_EQ(bytes.layer, 2 * 1'711'308'800ll);
  EXPECT_EQ(bytes.head, 2 * 2'101'346'304ll);
  EXPECT_EQ(bytes.gram[0], 256ll << 20);
  EXPECT_EQ(bytes.gram[3], 28672ll * 28672 * 4);
  EXPECT_EQ(memory_bytes(k8B, 2048).gram[0], 64ll << 20);
  EXPECT_EQ(memory_bytes(k8B, 2048).gram[3], 784ll << 20);
  EXPECT_EQ(bytes.window_hidden, 64ll << 20);
  EXPECT_EQ(bytes.window_tap[3], 2048ll * 28672 * 4);
}

}  // namespace
}  // namespace bitgrid

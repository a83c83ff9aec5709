#include "core/model/token_tree.hpp"

#include <algorithm>

#include "kernels/attention.hpp"
#include "kernels/error.hpp"
#include "kernels/linear.hpp"
#include "kernels/rope.hpp"
#include "kernels/scratch.hpp"

namespace bitgrid {
namespace {

void copy_rows(MatrixView<const float> from, MatrixView<float> to) {
  for (std::int64_t r = 0; r < from.rows; ++r) std::copy_n(from.row(r), from.cols, to.row(r));
}

// Branches come depth first, so that what stands above a branch is still in its place when the
// branch is reached.
void attend(const Place& place, const LlamaConfig& config, const RopeTable& table,
            const TokenTree& tree, MatrixView<float> q, MatrixView<float> k,
            MatrixView<const float> v, MatrixView<float> tap, TreeScratch& scratch) {
  const std::int64_t longest = tree.longest();
  const MatrixView<float> keys = scratch_view(scratch.keys, longest, config.kv_size());
  const MatrixView<float> values = scratch_view(scratch.values, longest, config.kv_size());
  for (const TokenBranch& branch : tree.branches) {
    const auto cos = table.cos.view().rows_from(branch.position, branch.tokens);
    const auto sin = table.sin.view().rows_from(branch.position, branch.tokens);
    const MatrixView<float> own_q = q.rows_from(branch.first, branch.tokens);
    const MatrixView<float> own_k = k.rows_from(branch.first, branch.tokens);
    rope(place, own_q, config.head_size, cos, sin);
    rope(place, own_k, config.head_size, cos, sin);
    copy_rows(own_k, keys.rows_from(branch.position, branch.tokens));
    copy_rows(v.rows_from(branch.first, branch.tokens),
              values.rows_from(branch.position, branch.tokens));
    const std::int64_t seen = branch.position + branch.tokens;
    attention(place, own_q, keys.rows_from(0, seen), values.rows_from(0, seen), config.head_size,
              tap.rows_from(branch.first, branch.tokens));
  }
}

void tree_attention_output(const Place& place, const LlamaConfig& config,
                           const LayerWeights& weights, const RopeTable& table,
                           const TokenTree& tree, MatrixView<const float> input,
                           MatrixView<float> tap, TreeScratch& scratch) {
  SegmentScratch& buffers = scratch.layer.segment;
  const MatrixView<float> q = scratch_view(buffers.a, input.rows, config.query_size());
  const MatrixView<float> k = scratch_view(buffers.b, input.rows, config.kv_size());
  const MatrixView<float> v = scratch_view(buffers.c, input.rows, config.kv_size());
  linear(place, input, weights[Linear::q].view(), q);
  linear(place, input, weights[Linear::k].view(), k);
  linear(place, input, weights[Linear::v].view(), v);
  for (const MatrixView<float> output : {q, k, v})
    fake_quantize(place, weights.activations.qkv, output);
  attend(place, config, table, tree, q, k, v, tap, scratch);
  fake_quantize(place, weights.activations[Tap::attention_output], tap);
}

}  // namespace

std::int64_t TokenTree::longest() const {
  std::int64_t most = 0;
  for (const TokenBranch& branch : branches)
    most = std::max<std::int64_t>(most, branch.position + branch.tokens);
  return most;
}

std::int64_t TokenTree::attended() const {
  std::int64_t pairs = 0;
  for (const TokenBranch& branch : branches) {
    const std::int64_t tokens = branch.tokens;
    pairs += tokens * branch.position + tokens * (tokens + 1) / 2;
  }
  return pairs;
}

void tree_forward(const Place& place, const LlamaConfig& config, const LayerWeights& weights,
                  const RopeTable& table, const TokenTree& tree, MatrixView<float> x,
                  TreeScratch& scratch) {
  BITGRID_ASSERT(x.rows == tree.tokens());
  BITGRID_ASSERT(tree.longest() <= table.cos.rows());
  const auto tap = [&](Matrix<float>& buffer, Tap which) {
    return scratch_view(buffer, x.rows, tap_size(config, which));
  };
  LayerScratch& layer = scratch.layer;
  const MatrixView<float> first = tap(layer.tap_a, Tap::attention_input);
  attention_input(place, config, weights, x, first);
  const MatrixView<float> second = tap(layer.tap_b, Tap::attention_output);
  tree_attention_output(place, config, weights, table, tree, first, second, scratch);
  const MatrixView<float> third = tap(layer.tap_a, Tap::mlp_input);
  mlp_input(place, config, weights, second, x, third, layer.segment);
  const MatrixView<float> fourth = tap(layer.tap_b, Tap::mlp_hidden);
  mlp_hidden(place, config, weights, third, fourth, layer.segment);
  layer_output(place, config, weights, fourth, x, layer.segment);
}

}  // namespace bitgrid

#include "sweeps/layer_source.hpp"

#include "core/methods/method.hpp"
#include "kernels/error.hpp"

namespace bitgrid {
namespace {

void broadcast_matrix(const dist::Comm& comm, Matrix<float>& matrix, std::int64_t rows,
                      std::int64_t cols, int root) {
  if (comm.size() == 1) return;
  if (comm.rank() != root) matrix = Matrix<float>(rows, cols);
  BITGRID_ASSERT(matrix.rows() == rows && matrix.cols() == cols);
  comm.broadcast(
      std::as_writable_bytes(std::span(matrix.data(), static_cast<std::size_t>(matrix.size()))),
      root, "weights of a layer");
}

void broadcast_layer(RankContext& rank, LayerWeights& layer, int root) {
  const LlamaConfig& config = rank.config;
  broadcast_matrix(rank.replicas, layer.input_norm, 1, config.hidden_size, root);
  broadcast_matrix(rank.replicas, layer.post_attention_norm, 1, config.hidden_size, root);
  for (const Linear linear : kLinears)
    broadcast_matrix(rank.replicas, layer[linear], linear_rows(config, linear),
                     linear_cols(config, linear), root);
  static_assert(std::is_trivially_copyable_v<ActivationGrids>);
  if (rank.replicas.size() > 1)
    rank.replicas.broadcast(std::as_writable_bytes(std::span(&layer.activations, 1)), root,
                            "activation grids of a layer");
}

int reader_of(const RankContext& rank, std::int64_t layer) {
  return static_cast<int>(layer % rank.topology.replicas);
}

LayerWeights read_norms(const RankContext& rank, std::int64_t layer) {
  LayerWeights weights;
  weights.input_norm = Matrix<float>(1, rank.config.hidden_size);
  weights.post_attention_norm = Matrix<float>(1, rank.config.hidden_size);
  const std::string prefix = layer_prefix(layer);
  rank.checkpoint.read_rows(prefix + "input_layernorm.weight", 0, weights.input_norm.view());
  rank.checkpoint.read_rows(prefix + "post_attention_layernorm.weight", 0,
                            weights.post_attention_norm.view());
  return weights;
}

}  // namespace

void agree_or_throw(const dist::Comm& comm, const std::optional<dist::Failure>& failure) {
  if (const auto verdict = dist::agree(comm, failure)) throw AgreedFailure{*verdict};
}

LayerWeights fetch_layer(RankContext& rank, std::int64_t layer) {
  LayerWeights weights;
  const int reader = reader_of(rank, layer);
  agree_or_throw(rank.replicas, dist::attempt([&] {
                   if (rank.topology.replica() != reader) return;
                   weights = read_layer(rank.checkpoint, rank.config, layer);
                   rank.checkpoint.drop_pages(layer_prefix(layer));
                   ++rank.counters.layers_read[static_cast<std::size_t>(layer)];
                 }));
  broadcast_layer(rank, weights, reader);
  return weights;
}

LayerWeights fetch_stored_layer(RankContext& rank, const results::CellHeader& cell,
                                std::int64_t layer) {
  LayerWeights weights;
  const int reader = reader_of(rank, layer);
  agree_or_throw(rank.replicas, dist::attempt([&] {
                   if (rank.topology.replica() != reader) return;
                   weights = read_norms(rank, layer);
                   const results::LayerRecord record = rank.store.read_layer(cell, layer);
                   for (const Linear linear : kLinears) {
                     const auto& stored = record.linears.at(static_cast<std::size_t>(linear));
                     BITGRID_ASSERT(stored.name == linear_name(linear));
                     weights[linear] = rebuild_weight(rank.place, stored);
                   }
                   apply_layer_arrays(cell.recipe, record.arrays, weights);
                 }));
  broadcast_layer(rank, weights, reader);
  if (rank.topology.replica() == reader)
    ++rank.counters.layers_replayed[static_cast<std::size_t>(layer)];
  return weights;
}

OutputWeights fetch_output(RankContext& rank) {
  OutputWeights output;
  agree_or_throw(rank.replicas, dist::attempt([&] {
                   if (rank.topology.replica() == 0)
                     output = read_output(rank.checkpoint, rank.config);
                 }));
  broadcast_matrix(rank.replicas, output.norm, 1, rank.config.hidden_size, 0);
  broadcast_matrix(rank.replicas, output.head, rank.config.vocab_size, rank.config.hidden_size, 0);
  return output;
}

}  // namespace bitgrid

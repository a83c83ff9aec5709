#include "core/model/weights.hpp"

#include "core/checkpoint/checkpoint.hpp"
#include "kernels/error.hpp"

namespace bitgrid {
namespace {
Matrix<float> read_tensor(const Checkpoint& checkpoint, const std::string& name, std::int64_t rows,
                          std::int64_t cols) {
  Matrix<float> tensor(rows, cols);
  checkpoint.read_rows(name, 0, tensor.view());
  return tensor;
}
}  // namespace

LayerWeights clone_layer(const LayerWeights& layer) {
  LayerWeights copy;
  copy.input_norm = layer.input_norm.clone();
  copy.post_attention_norm = layer.post_attention_norm.clone();
  for (const Linear linear : kLinears) copy[linear] = layer[linear].clone();
  copy.activations = layer.activations;
  return copy;
}

LayerWeights read_layer(const Checkpoint& checkpoint, const LlamaConfig& config,
                        std::int64_t layer) {
  const std::string prefix = layer_prefix(layer);
  LayerWeights weights;
  weights.input_norm =
      read_tensor(checkpoint, prefix + "input_layernorm.weight", 1, config.hidden_size);
  weights.post_attention_norm =
      read_tensor(checkpoint, prefix + "post_attention_layernorm.weight", 1, config.hidden_size);
  for (const Linear linear : kLinears)
    weights[linear] = read_tensor(checkpoint, prefix + std::string(linear_name(linear)) + ".weight",
                                  linear_rows(config, linear), linear_cols(config, linear));
  return weights;
}

OutputWeights read_output(const Checkpoint& checkpoint, const LlamaConfig& config) {
  // A tied checkpoint may hold a head all the same; the embedding counts, as in Hugging Face.
  const char* head = config.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
  return {.norm = read_tensor(checkpoint, "model.norm.weight", 1, config.hidden_size),
          .head = read_tensor(checkpoint, head, config.vocab_size, config.hidden_size)};
}

}  // namespace bitgrid

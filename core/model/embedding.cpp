#include "core/checkpoint/checkpoint.hpp"
#include "core/model/segments.hpp"
#include "kernels/error.hpp"

namespace bitgrid {

void embed_window(const Checkpoint& checkpoint, const LlamaConfig& config,
                  std::span<const std::int32_t> ids, MatrixView<float> x) {
  if (x.rows != static_cast<std::int64_t>(ids.size()) || x.cols != config.hidden_size)
    throw Error("embedding: x must be [" + std::to_string(ids.size()) + ", " +
                std::to_string(config.hidden_size) + "]");
  for (std::int64_t t = 0; t < x.rows; ++t) {
    const std::int32_t id = ids[static_cast<std::size_t>(t)];
    if (id < 0 || id >= config.vocab_size)
      throw Error("embedding: token " + std::to_string(t) + " has id " + std::to_string(id) +
                  ", the vocabulary ends at " + std::to_string(config.vocab_size - 1));
  }
  checkpoint.read_rows("model.embed_tokens.weight", ids, x);
}

}  // namespace bitgrid

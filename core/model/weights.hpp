#pragma once

#include <array>
#include <cstdint>

#include "core/model/linear.hpp"
#include "kernels/fake_quantize.hpp"
#include "kernels/matrix.hpp"

namespace bitgrid {

class Checkpoint;

// Which activations of a layer are put on a grid on their way: the inputs of its linears, and what
// q, k and v give to the attention, before the rotation.
struct ActivationGrids {
  std::array<ActivationGrid, kTapCount> taps;
  ActivationGrid qkv;
  bool operator==(const ActivationGrids&) const = default;

  ActivationGrid& operator[](Tap tap) { return taps[static_cast<std::size_t>(tap)]; }
  const ActivationGrid& operator[](Tap tap) const { return taps[static_cast<std::size_t>(tap)]; }
};

// One decoder layer in fp32. norms are [1, hidden]; linears are [out, in], indexed by Linear.
struct LayerWeights {
  Matrix<float> input_norm;
  Matrix<float> post_attention_norm;
  std::array<Matrix<float>, kLinearCount> linears;
  ActivationGrids activations;

  Matrix<float>& operator[](Linear l) { return linears[static_cast<int>(l)]; }
  const Matrix<float>& operator[](Linear l) const { return linears[static_cast<int>(l)]; }
};

LayerWeights clone_layer(const LayerWeights& layer);

// Reads one layer and widens it. Throws RunError naming the tensor and the first index if a weight
// is NaN or infinite.
LayerWeights read_layer(const Checkpoint& checkpoint, const LlamaConfig& config,
                        std::int64_t layer);

// The final norm [1, hidden] and the head [vocab, hidden] (the embedding when tied), in fp32.
struct OutputWeights {
  Matrix<float> norm;
  Matrix<float> head;
};
OutputWeights read_output(const Checkpoint& checkpoint, const LlamaConfig& config);

}  // namespace bitgrid

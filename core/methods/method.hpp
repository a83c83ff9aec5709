#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/methods/layer_work.hpp"
#include "core/methods/quantized_linear.hpp"
#include "core/methods/recipe.hpp"
#include "core/methods/tap_work.hpp"
#include "core/model/segments.hpp"

namespace bitgrid {

// One linear that is to be rounded.
struct LinearTask {
  Linear linear = Linear::q;
  MatrixView<const float> w;  // [out, in]
  Recipe recipe;              // with the bits of this linear
  std::string name() const { return std::string(linear_name(linear)); }
};

// The linears behind one tap; their recipes differ in bits at most.
struct TapTask {
  std::int64_t layer = 0;
  Tap tap = Tap::attention_input;
  std::uint64_t seed = 0;  // of the sweep; draws also depend on layer and linear, on nothing else
  std::vector<LinearTask> linears;
  // The Gram matrix is there although the rounding may not use it: output errors can be told.
  bool gram_is_known = false;
  const Recipe& recipe() const { return linears.front().recipe; }
  std::int64_t cols() const { return linears.front().w.cols; }
};

// A rounding: the stored form of every linear, in the task's order, with the method's own loss and
// what it has to say of damping, fallbacks and dead columns. Errors of weights and outputs are
// measured for all methods alike afterwards.
using RoundTap = std::vector<QuantizedLinear> (*)(const Place&, const TapTask&, TapWork&);

// A layer that a transform or a tuning looks at.
struct LayerTask {
  std::int64_t layer = 0;
  std::uint64_t seed = 0;
  const Recipe& recipe;
  const LlamaConfig& config;
  const RopeTable& rope;
  const LayerWeights& weights;  // as the layer is before this transform or tuning
};

// A layer as a transform leaves it: the same function of its input in exact arithmetic, and what is
// stored of it beside the linears.
struct TransformedLayer {
  LayerWeights weights;
  std::vector<StoredArray> arrays;
};

// A transform on its way through one layer: it sees the taps in order, each with the inputs that
// the untransformed layer gives it, and decides at the end.
class Transform {
 public:
  virtual ~Transform() = default;
  virtual void at_tap(const Place& place, Tap tap, TapWork& work) = 0;
  virtual TransformedLayer finish(const Place& place) = 0;
};
using StartTransform = std::unique_ptr<Transform> (*)(const LayerTask&);

// A layer as a tuning leaves it.
struct TunedLayer {
  std::vector<QuantizedLinear> linears;  // in the order of kLinears; empty: nothing got better
  std::vector<StoredArray> arrays;       // of the layer itself, beside those that it has
};
// Looks at a layer as a whole once all its linears are rounded, and changes what is stored of them.
// Errors and losses of the linears are measured again afterwards.
using TuneLayer = TunedLayer (*)(const Place&, const LayerTask&,
                                 std::span<const QuantizedLinear> linears, LayerWork&);

// A linear as quantized, and the weight that stands for it from now on.
struct RoundedLinear {
  QuantizedLinear stored;
  Matrix<float> weight;  // rebuild_weight(stored)
};

// Rounds the linears of one tap by their recipe's last method; both relative errors are still to be
// measured.
std::vector<RoundedLinear> round_unmeasured(const Place& place, const TapTask& task, TapWork& work);

// Rounds them and measures the errors.
std::vector<RoundedLinear> round_tap(const Place& place, const TapTask& task, TapWork& work);

// The diagnostics of linears whose weights have changed after rounding: both relative errors, and
// as loss ½·(w − q)H(w − q)ᵀ over all rows, H = 2S/N, the objective of the column loops without
// damping.
//   weights: what stands for the task's linears now    work: with the Gram matrix
void measure_again(const Place& place, const TapTask& task, TapWork& work,
                   std::span<const MatrixView<const float>> weights,
                   std::span<LinearDiagnostics* const> diagnostics);

// Layer arrays by which a stored layer differs from the checkpoint's, beside its linears.
//   "input_layernorm.weight", "post_attention_layernorm.weight"  [hidden] bf16
//   "activation_scale" [kTapCount] f32: static activation scales
// Sets them in `weights`, with the activation grids of the recipe; layers that are new and layers
// that come from the store go through this alike. Throws Error where they do not fit.
void apply_layer_arrays(const Recipe& recipe, const std::vector<StoredArray>& arrays,
                        LayerWeights& weights);

}  // namespace bitgrid

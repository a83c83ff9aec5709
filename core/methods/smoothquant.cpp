#include "core/methods/smoothquant.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/methods/activation_grids.hpp"
#include "core/methods/stored_arrays.hpp"
#include "kernels/error.hpp"
#include "kernels/scale_columns.hpp"

namespace bitgrid {
namespace {

constexpr float kFloor = 1e-5f;  // of factors, of weight magnitudes and of activation ranges

float reference_factor(float alpha, float a, float v) {
  if (v == 0) return 1;
  return std::pow(a, alpha) / std::pow(std::max(v, kFloor), 1.0f - alpha);
}

float compressor_factor(float alpha, float a, float v) {
  return v == 0 ? a : std::pow(a, alpha) / std::pow(v, 1.0f - alpha);
}

class SmoothQuant : public Transform {
 public:
  explicit SmoothQuant(const LayerTask& task) : task_(task), rule_(task.recipe.word("rule")) {}

  void at_tap(const Place&, Tap tap, TapWork& work) override {
    Inputs& in = inputs_[static_cast<std::size_t>(tap)];
    in.largest = work.abs_max();
    in.magnitude = rule_ == "reference" ? in.largest : channel_ranges(work);
  }

  TransformedLayer finish(const Place& place) override {
    TransformedLayer done{clone_layer(task_.weights), {}};
    LayerWeights& w = done.weights;
    std::array<std::vector<float>, kTapCount> factors;
    for (const Tap tap : {Tap::attention_input, Tap::mlp_input}) {
      const bool attention = tap == Tap::attention_input;
      const char* name = attention ? "input_layernorm.weight" : "post_attention_layernorm.weight";
      std::vector<float>& s = factors[static_cast<std::size_t>(tap)] = factors_at(place, tap);
      smooth_norm(name, attention ? w.input_norm : w.post_attention_norm, s, done.arrays);
      scale_consumers(place, tap, s, w);
    }
    if (task_.recipe.flag("linear_pairs")) {
      smooth_producer(place, Linear::up, Tap::mlp_hidden, factors, w);
      // With grouped queries a row of v feeds several columns of o.
      if (task_.config.kv_head_count == task_.config.head_count)
        smooth_producer(place, Linear::v, Tap::attention_output, factors, w);
    }
    for (const Tap tap : kTaps) {
      const std::vector<float>& s = factors[static_cast<std::size_t>(tap)];
      if (!s.empty())
        done.arrays.push_back(float_array(
            fmt::format("smoothing.{}", linear_name(linears_of(tap).front())), s, false));
    }
    if (static_activations(task_.recipe))
      done.arrays.push_back(float_array("activation_scale", fixed_scales(factors), true));
    return done;
  }

 private:
  struct Inputs {
    std::vector<float> largest;    // max|x| by channel
    std::vector<float> magnitude;  // what the rule calls a
  };

  static std::vector<float> channel_ranges(TapWork& work) {
    const Shared& shared = work.once("channel ranges", [](const Statistics& statistics) {
      Shared made;
      std::vector<double>& range = made.numbers.emplace_back();
      for (std::size_t j = 0; j < statistics.highest.size(); ++j)
        range.push_back(static_cast<double>(statistics.highest[j]) -
                        static_cast<double>(statistics.lowest[j]));
      return made;
    });
    return {shared.numbers.front().begin(), shared.numbers.front().end()};
  }

  // Of the weights as they are before anything is scaled.
  std::vector<float> factors_at(const Place& place, Tap tap) const {
    const std::vector<float>& a = inputs_[static_cast<std::size_t>(tap)].magnitude;
    std::vector<float> v(a.size(), 0.0f);
    for (const Linear linear : linears_of(tap))
      column_maxima(place, task_.weights[linear].view(), v);
    if (rule_ == "llm-compressor")
      for (float& value : v) value *= 2;
    return smoothing_factors(rule_, task_.recipe.number("alpha"), a, v);
  }

  // γ' = bf16(γ/s), stored; s becomes γ/γ'.
  static void smooth_norm(const char* name, Matrix<float>& norm, std::vector<float>& s,
                          std::vector<StoredArray>& arrays) {
    for (std::int64_t j = 0; j < norm.cols(); ++j) {
      float& factor = s[static_cast<std::size_t>(j)];
      const float before = norm(0, j);
      const float after = bf16_to_f32(f32_to_bf16(before / factor));
      const float effective = before == 0 ? 1.0f : before / after;
      if (!std::isfinite(after) || !std::isfinite(effective))
        throw Error(fmt::format("{}: channel {}: {} divided by {} does not fit bf16", name, j,
                                before, factor));
      norm(0, j) = after;
      factor = effective;
    }
    arrays.push_back(bf16_array(name, {norm.data(), static_cast<std::size_t>(norm.cols())}, true));
  }

  static void scale_consumers(const Place& place, Tap tap, std::span<const float> s,
                              LayerWeights& w) {
    for (const Linear linear : linears_of(tap)) scale_columns(place, s, w[linear].view());
  }

  // A linear whose rows feed the channels of a tap one by one takes the division.
  void smooth_producer(const Place& place, Linear producer, Tap tap,
                       std::array<std::vector<float>, kTapCount>& factors, LayerWeights& w) const {
    std::vector<float>& s = factors[static_cast<std::size_t>(tap)] = factors_at(place, tap);
    Matrix<float>& rows = w[producer];
    for (std::int64_t r = 0; r < rows.rows(); ++r)
      for (std::int64_t j = 0; j < rows.cols(); ++j) rows(r, j) /= s[static_cast<std::size_t>(r)];
    scale_consumers(place, tap, s, w);
  }

  // max|x|/qmax of each tap behind its factors.
  std::vector<float> fixed_scales(const std::array<std::vector<float>, kTapCount>& factors) const {
    const float qmax = activation_qmax(recipe_activation_grids(task_.recipe).taps.front().bits);
    std::vector<float> scales;
    for (const Tap tap : kTaps) {
      const std::vector<float>& largest = inputs_[static_cast<std::size_t>(tap)].largest;
      const std::vector<float>& s = factors[static_cast<std::size_t>(tap)];
      float all = kFloor;
      for (std::size_t j = 0; j < largest.size(); ++j)
        all = std::max(all, s.empty() ? largest[j] : largest[j] / std::fabs(s[j]));
      scales.push_back(all / qmax);
    }
    return scales;
  }

  const LayerTask task_;
  const std::string rule_;
  std::array<Inputs, kTapCount> inputs_;
};

}  // namespace

std::vector<float> smoothing_factors(const std::string& rule, double alpha,
                                     std::span<const float> a, std::span<const float> v) {
  BITGRID_ASSERT(a.size() == v.size());
  const auto exponent = static_cast<float>(alpha);
  std::vector<float> s;
  for (std::size_t j = 0; j < a.size(); ++j) {
    if (a[j] == 0) {
      s.push_back(1);
      continue;
    }
    const float factor = rule == "reference"        ? reference_factor(exponent, a[j], v[j])
                         : rule == "llm-compressor" ? compressor_factor(exponent, a[j], v[j])
                                                    : a[j] / std::log2(2.0f + a[j]);
    s.push_back(std::max(factor, kFloor));
  }
  return s;
}

std::unique_ptr<Transform> start_smoothquant(const LayerTask& task) {
  return std::make_unique<SmoothQuant>(task);
}

}  // namespace bitgrid

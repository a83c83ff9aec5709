#include "core/methods/awq.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/methods/awq_search.hpp"
#include "core/methods/grid.hpp"
#include "core/methods/stored_arrays.hpp"
#include "core/methods/uniform_rows.hpp"
#include "kernels/clip_search.hpp"
#include "kernels/error.hpp"
#include "kernels/row_tiles.hpp"

namespace bitgrid {
namespace {

// Not q and k: their error acts through a product inside the softmax.
constexpr std::array kClipped = {Linear::v, Linear::o, Linear::gate, Linear::up, Linear::down};

constexpr std::array<std::string_view, kTapCount> kProducers = {
    "input_layernorm", "v_proj", "post_attention_layernorm", "up_proj"};

Tap tap_of(Linear linear) {
  for (const Tap tap : kTaps)
    for (const Linear l : linears_of(tap))
      if (l == linear) return tap;
  return Tap::attention_input;
}

void multiply_columns(const Place& place, std::span<const float> s, Matrix<float>& w) {
  for_row_tiles(place, w.rows(), [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t r = first; r < end; ++r)
      for (std::int64_t j = 0; j < w.cols(); ++j) w(r, j) *= s[static_cast<std::size_t>(j)];
  });
}

void divide_row(float s, float* row, std::int64_t count) {
  for (std::int64_t j = 0; j < count; ++j) row[j] /= s;
}

// γ' = bf16(γ/s), as it is stored. Returns γ/γ', by which the consumers are scaled instead of s, so
// that the rounding of γ' is made up for.
std::vector<float> divide_norm(std::span<const float> s, Matrix<float>& norm) {
  std::vector<float> effective(s.size(), 1.0f);
  for (std::size_t j = 0; j < s.size(); ++j) {
    float& gamma = norm.data()[j];
    float rounded = bf16_to_f32(f32_to_bf16(gamma / s[j]));
    if (rounded == 0 || !std::isfinite(gamma / rounded)) rounded = bf16_to_f32(f32_to_bf16(gamma));
    if (rounded != 0 && std::isfinite(gamma / rounded)) effective[j] = gamma / rounded;
    gamma = rounded;
  }
  return effective;
}

// Query heads that read one kv head share its channels: their mean, for all of them.
void share_over_heads(const LlamaConfig& config, std::vector<double>& channels) {
  const std::int64_t heads = config.head_count / config.kv_head_count, size = config.head_size;
  for (std::int64_t kv = 0; kv < config.kv_head_count; ++kv)
    for (std::int64_t i = 0; i < size; ++i) {
      double* first = channels.data() + kv * heads * size + i;
      double sum = 0;
      for (std::int64_t h = 0; h < heads; ++h) sum += first[h * size];
      for (std::int64_t h = 0; h < heads; ++h) first[h * size] = sum / static_cast<double>(heads);
    }
}

// Diagonal blocks of the sampled XᵀX, [in, group], of inputs that are divided by s.
Matrix<float> clip_gram(TapWork& work, std::int64_t group, std::span<const float> s) {
  const Shared& shared =
      work.once(fmt::format("sampled-gram-blocks group={}", group), [&](const Statistics& x) {
        Shared made;
        Matrix<float>& blocks = made.matrices.emplace_back(x.sampled_gram.rows(), group);
        for (std::int64_t i = 0; i < blocks.rows(); ++i)
          for (std::int64_t k = 0; k < group; ++k) {
            const std::int64_t j = i / group * group + k;
            blocks(i, k) = static_cast<float>(x.sampled_gram(std::max(i, j), std::min(i, j)));
          }
        return made;
      });
  Matrix<float> blocks = shared.matrices.front().clone();
  for (std::int64_t i = 0; i < blocks.rows(); ++i)
    for (std::int64_t k = 0; k < group; ++k)
      blocks(i, k) /=
          s[static_cast<std::size_t>(i)] * s[static_cast<std::size_t>(i / group * group + k)];
  return blocks;
}

// What the search behind one tap came to.
struct Choice {
  std::int64_t point = -1;
  double exponent = 0;
  std::vector<float> scale;    // s; ones where nothing was chosen
  std::vector<double> losses;  // by point; empty: nothing was searched
};

class Awq : public Transform {
 public:
  explicit Awq(const LayerTask& task) : task_(task) { done_.weights = clone_layer(task.weights); }

  void at_tap(const Place& place, Tap tap, TapWork& work) override {
    Choice& choice = choices_[static_cast<std::size_t>(tap)];
    choice = search(place, tap, work);
    const std::vector<float> effective = apply(place, tap, choice.scale);
    if (!awq_clips(task_.recipe)) return;
    const std::int64_t group = group_size(task_.recipe, tap_size(task_.config, tap));
    clip_grams_[static_cast<std::size_t>(tap)] = clip_gram(work, group, effective);
    // up_proj is the last to get its final weights.
    if (tap == Tap::mlp_hidden) clip(place, work);
  }

  TransformedLayer finish(const Place&) override {
    const auto span = [](const Matrix<float>& m) {
      return std::span(m.data(), static_cast<std::size_t>(m.size()));
    };
    std::vector<StoredArray> arrays;
    arrays.push_back(bf16_array("input_layernorm.weight", span(done_.weights.input_norm), true));
    arrays.push_back(bf16_array("post_attention_layernorm.weight",
                                span(done_.weights.post_attention_norm), true));
    std::vector<std::int32_t> points;
    std::vector<float> exponents;
    for (std::size_t t = 0; t < kTapCount; ++t) {
      const Choice& choice = choices_[t];
      points.push_back(static_cast<std::int32_t>(choice.point));
      exponents.push_back(static_cast<float>(choice.exponent));
      if (choice.losses.empty()) continue;
      const std::vector<float> losses(choice.losses.begin(), choice.losses.end());
      arrays.push_back(
          float_array(fmt::format("awq.{}.scale", kProducers[t]), choice.scale, false));
      arrays.push_back(float_array(fmt::format("awq.{}.losses", kProducers[t]), losses, false));
    }
    arrays.push_back(index_array("awq.points", points, false));
    arrays.push_back(float_array("awq.exponents", exponents, false));
    for (StoredArray& array : done_.arrays) arrays.push_back(std::move(array));
    done_.arrays = std::move(arrays);
    return std::move(done_);
  }

 private:
  Choice search(const Place& place, Tap tap, TapWork& work) const {
    Choice choice;
    choice.scale.assign(static_cast<std::size_t>(tap_size(task_.config, tap)), 1.0f);
    if (!awq_searches(task_.recipe, task_.config, tap)) return choice;
    std::vector<LinearTask> linears;
    for (const Linear linear : linears_of(tap))
      linears.push_back({linear, task_.weights[linear].view(),
                         recipe_for_linear(task_.recipe, task_.layer, linear)});
    const std::vector<ScalePoint> points = scale_points(task_.recipe);
    const ChannelSizes sizes = channel_sizes(place, tap, work, linears);
    Scales scales;
    for (const ScalePoint& point : points) scales.push_back(scale_of_point(point, sizes));
    const bool norm = tap == Tap::attention_input || tap == Tap::mlp_input;
    choice.losses = norm && task_.recipe.word("search") == "module"
                        ? module_losses(place, work, task_, tap, linears, scales)
                        : linear_losses(place, work, linears, scales);
    choice.point = best_point(choice.losses);
    if (choice.point < 0) return choice;
    const auto best = static_cast<std::size_t>(choice.point);
    choice.exponent = points[best].exponent;
    choice.scale = std::move(scales[best]);
    return choice;
  }

  ChannelSizes channel_sizes(const Place& place, Tap tap, const TapWork& work,
                             std::span<const LinearTask> linears) const {
    ChannelSizes sizes;
    for (const double sum : work.abs_sum())
      sizes.input.push_back(sum / static_cast<double>(work.tokens()));
    if (task_.recipe.word("scale") == "duo") sizes.weight = weight_sizes(place, linears);
    if (tap == Tap::attention_output) {
      share_over_heads(task_.config, sizes.input);
      if (!sizes.weight.empty()) share_over_heads(task_.config, sizes.weight);
    }
    return sizes;
  }

  // Divides the producer by s and multiplies the consumers. Returns what the channels are now
  // divided by: s but for the rounding of a norm.
  std::vector<float> apply(const Place& place, Tap tap, const std::vector<float>& s) {
    std::vector<float> effective = s;
    if (tap == Tap::attention_input) effective = divide_norm(s, done_.weights.input_norm);
    if (tap == Tap::mlp_input) effective = divide_norm(s, done_.weights.post_attention_norm);
    if (tap == Tap::attention_output) divide_values(s);
    if (tap == Tap::mlp_hidden) {
      Matrix<float>& up = done_.weights[Linear::up];
      for (std::int64_t r = 0; r < up.rows(); ++r)
        divide_row(s[static_cast<std::size_t>(r)], up.row(r), up.cols());
    }
    for (const Linear linear : linears_of(tap))
      multiply_columns(place, effective, done_.weights[linear]);
    return effective;
  }

  void divide_values(const std::vector<float>& s) {
    const LlamaConfig& config = task_.config;
    const std::int64_t heads = config.head_count / config.kv_head_count;
    Matrix<float>& v = done_.weights[Linear::v];
    for (std::int64_t r = 0; r < v.rows(); ++r) {
      const std::int64_t column =
          r / config.head_size * heads * config.head_size + r % config.head_size;
      divide_row(s[static_cast<std::size_t>(column)], v.row(r), v.cols());
    }
  }

  void clip(const Place& place, TapWork& work) {
    std::array<Matrix<std::uint8_t>, kClipped.size()> steps;
    std::vector<RowBlock> blocks;
    for (std::size_t i = 0; i < kClipped.size(); ++i) {
      const Linear linear = kClipped[i];
      const MatrixView<const float> w = done_.weights[linear].view();
      const Matrix<float>& c = clip_grams_[static_cast<std::size_t>(tap_of(linear))];
      steps[i] = Matrix<std::uint8_t>(w.rows, w.cols / c.cols());
      const UniformGrid grid = trial_grid(recipe_for_linear(task_.recipe, task_.layer, linear));
      const auto solve = [&place, &c, &out = steps[i], w, grid](std::int64_t first,
                                                                std::int64_t count) {
        check_weights(place, w.rows_from(first, count), first);
        search_clip(place, grid, w.rows_from(first, count), c.view(), out.rows_from(first, count));
      };
      blocks.push_back({w.rows, {RowPlane::of(steps[i])}, solve});
    }
    work.solve_rows(blocks);
    for (std::size_t i = 0; i < kClipped.size(); ++i) {
      clip_groups(place, steps[i].view(), done_.weights[kClipped[i]].view());
      done_.arrays.push_back(packed_array(fmt::format("awq.{}.clip", linear_name(kClipped[i])),
                                          steps[i].view(), 4, false));
    }
  }

  const LayerTask task_;
  std::array<Choice, kTapCount> choices_;
  std::array<Matrix<float>, kTapCount> clip_grams_;  // until clip
  TransformedLayer done_;
};

}  // namespace

bool awq_clips(const Recipe& recipe) {
  const auto clip = recipe.options.find("clip");
  return clip != recipe.options.end() && std::get<bool>(clip->second);
}

bool awq_searches(const Recipe& recipe, const LlamaConfig& config, Tap tap) {
  return tap != Tap::attention_output || recipe.flag("gqa") ||
         config.head_count == config.kv_head_count;
}

std::unique_ptr<Transform> start_awq(const LayerTask& task) { return std::make_unique<Awq>(task); }

}  // namespace bitgrid

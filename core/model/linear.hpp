#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/model/llama_config.hpp"

namespace bitgrid {

// The seven weight matrices of a decoder layer, in the order in which a layer uses them.
enum class Linear : std::uint8_t { q, k, v, o, gate, up, down };
inline constexpr std::array kLinears = {Linear::q,    Linear::k,  Linear::v,   Linear::o,
                                        Linear::gate, Linear::up, Linear::down};
constexpr int kLinearCount = 7;

// An input that linears share. A layer is four segments, each ending at a tap.
enum class Tap : std::uint8_t { attention_input, attention_output, mlp_input, mlp_hidden };
inline constexpr std::array kTaps = {Tap::attention_input, Tap::attention_output, Tap::mlp_input,
                                     Tap::mlp_hidden};

constexpr int kTapCount = 4;

std::string_view linear_name(Linear linear);  // "self_attn.q_proj", as in the checkpoint
std::span<const Linear> linears_of(Tap tap);  // {q, k, v}, {o}, {gate, up}, {down}
std::int64_t linear_rows(const LlamaConfig& config, Linear linear);  // out
std::int64_t linear_cols(const LlamaConfig& config, Linear linear);  // in
std::int64_t tap_size(const LlamaConfig& config, Tap tap);  // in, of the linears behind the tap
std::string layer_prefix(std::int64_t layer);               // "model.layers.17."

}  // namespace bitgrid

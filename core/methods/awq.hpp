#pragma once

#include "core/methods/method.hpp"

namespace bitgrid {

// AWQ (Lin et al. 2024): every input channel of the linears behind a tap is multiplied by s_j and
// the producer of the channel divided by it, s = m^r of the channel's mean magnitude with the
// exponent of the smallest output error; then each group's weights are clamped where that helps its
// output.
//   producer                    consumers      error measured at the output of
//   input_layernorm             q, k, v        attention
//   v_proj                      o              o   (heads that share a kv head: only with `gqa`)
//   post_attention_layernorm    gate, up       MLP
//   up_proj                     down           down
// All searches look at the layer as it was. Stored of the layer, beside the norms:
//   "awq.points", "awq.exponents" [kTapCount]  chosen point and its r; −1: none was, s = 1
//   "awq.PRODUCER.scale" [in], "awq.PRODUCER.losses" [points]
//   "awq.LINEAR.clip" [rows, groups]           steps, see clip_bound
// Judged by rounding to nearest (trial_grid); only roundings onto a uniform grid have clip.
std::unique_ptr<Transform> start_awq(const LayerTask& task);

bool awq_clips(const Recipe& recipe);

// Whether scales are searched at a tap: at o_proj's only where a query head has its own kv head, or
// gqa asks for it.
bool awq_searches(const Recipe& recipe, const LlamaConfig& config, Tap tap);

}  // namespace bitgrid

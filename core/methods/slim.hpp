#pragma once

#include "core/methods/method.hpp"

namespace bitgrid {

// SliM-LLM (Huang et al. 2024): a bit width per group of columns, chosen by salience and the
// outputs' divergence; ranges found by search; GPTQ's column loop.
std::vector<QuantizedLinear> round_slim(const Place& place, const TapTask& task, TapWork& work);

// How many ranges of a grid sqc tries.
std::int64_t slim_range_count(const Recipe& recipe);

}  // namespace bitgrid

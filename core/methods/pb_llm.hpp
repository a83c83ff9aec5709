#pragma once

#include "core/methods/method.hpp"

namespace bitgrid {

// PB-LLM (Shang et al. 2023) after training: the most salient weights keep 8 bits, one by one, all
// others become mean ± deviation of their row and group, and GPTQ's column loop feeds every error
// into the columns that are still free. Nominal bits b choose the binary share,
// (salient bits − b)/(salient bits − 1). Where H cannot be factored, by magnitude and without
// feedback.
std::vector<QuantizedLinear> round_pb_llm(const Place& place, const TapTask& task, TapWork& work);

// How many weights of a linear [rows, cols] become binary, where every column has inputs.
std::int64_t pb_binary_weights(const Recipe& recipe, std::int64_t rows, std::int64_t cols);

// Throws InputError where no share of salient weights gives the recipe's bits.
void check_pb_llm(const Recipe& recipe);

}  // namespace bitgrid

#pragma once

#include "core/methods/method.hpp"

namespace bitgrid {

// QuIP (Chee et al. 2023): the weight is rescaled by columns and turned from both sides by random
// orthogonal matrices, H with it, rounded on one grid for the whole linear by LDLQ, and turned
// back. "quip" and "quip-rg" (largest diagonal first, then greedy passes); behind "incoherence",
// "rtn" rounds without feedback and "gptq" with the feedback from the first column to the last,
// which is LDLQ's in reverse.
std::vector<QuantizedLinear> round_quip(const Place& place, const TapTask& task, TapWork& work);

// rho = auto tries these.
inline constexpr double kRhoCandidates[] = {1.6, 2.0, 2.4, 2.8, 3.2};

}  // namespace bitgrid

#pragma once

#include <cstdint>
#include <vector>

#include "core/methods/factor.hpp"
#include "core/methods/method.hpp"

namespace bitgrid {

// SliM-LLM's bit allocation (Huang et al. 2024, sec. 3.2). A slab is a group of columns on all
// rows.
struct SlabWidths {
  std::vector<std::uint8_t> bits;  // [slabs]
  // [slabs] mean of w²/U_jj² over a slab; empty: there was no U, or no search was asked for
  std::vector<double> salience;
  // By p: mean divergence of the outputs where the p least salient slabs have a bit less, and the p
  // most salient ones a bit more. Empty: nothing to choose.
  std::vector<double> curve;
};

struct WidthSearch {
  bool search = true;             // false: all slabs are alike
  bool from_quantized = true;     // KL(quantized ‖ original), else KL(original ‖ quantized)
  std::int64_t token_stride = 1;  // every so-manieth token of a window; 0: 1, or 8 in linears of
                                  // more than 64 slabs
  bool scale_f16 = true;
};

// The stride of a linear of so many slabs.
std::int64_t divergence_stride(std::int64_t asked, std::int64_t slabs);

// The widths of every linear: the first p with the smallest divergence, over all tokens, of
// softmax(x Qᵀ) from softmax(x Wᵀ), Q the slabs rounded to nearest. Throws Error where it is not
// finite.
std::vector<SlabWidths> search_slab_widths(const Place& place, const TapTask& task, TapWork& work,
                                           const Factor& factor, const WidthSearch& search);

// Slabs by ascending salience; equal ones keep their order.
std::vector<std::int32_t> salience_order(const std::vector<double>& salience);

}  // namespace bitgrid

#pragma once

#include <cstdint>
#include <vector>

#include "kernels/matrix.hpp"
#include "kernels/row_panels.hpp"

namespace bitgrid::cpu {

// Columns that are updated together: with kPanelRows lanes each they fill the registers of AVX2.
inline constexpr std::int64_t kPanelStep = 6;

// Columns [first, first + count) of u in steps of kPanelStep: step s holds rows 0 … rows − 1, each
// with kPanelStep values; columns beyond the last are zero.
class PackedSteps {
 public:
  void pack(MatrixView<const float> u, std::int64_t first, std::int64_t count);
  const float* step(std::int64_t s) const { return values_.data() + s * rows_ * kPanelStep; }

 private:
  std::vector<float> values_;
  std::int64_t rows_ = 0;
};

// w[c] −= Σ_{p < count} e[p]·u[p, c] for the kPanelStep columns c of one panel, lane by lane.
//   e [count, kPanelRows]    u [count, kPanelStep]    w [kPanelStep, kPanelRows]
void subtract_step(const float* e, const float* u, std::int64_t count, float* w);

}  // namespace bitgrid::cpu

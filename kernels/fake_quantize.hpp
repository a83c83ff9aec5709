#pragma once

#include <cstdint>

#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// Whose range a scale of an activation is taken from.
enum class RangeOf : std::uint8_t {
  token,   // each row's own
  tensor,  // of all rows together
  fixed,   // nobody's: the scale is given
};

// The uniform grid of an activation x [tokens, channels].
//   symmetric   s = max(max|x|, 1e-5)/qmax, qmax = 2^(bits−1) − 1
//               x ← s·clamp(rne(x/s), −qmax, qmax)
//   asymmetric  s = clamp((max x − min x)/maxq, 1e-5, 1e4), maxq = 2^bits − 1;  z = rne(−min x/s)
//               x ← s·(clamp(rne(x/s) + z, 0, maxq) − z)
struct ActivationGrid {
  int bits = 16;  // 2 … 15; 16: x stays as it is
  bool symmetric = true;
  RangeOf range = RangeOf::token;
  float scale = 0;  // of RangeOf::fixed, which must be symmetric
  bool active() const { return bits < 16; }
  bool operator==(const ActivationGrid&) const = default;
};

inline constexpr float kActivationRangeMin = 1e-5f;
inline constexpr float kActivationScaleMax = 1e4f;
constexpr float activation_qmax(int bits) { return static_cast<float>((1 << (bits - 1)) - 1); }

// Puts x on its grid, in place and in fp32. A value that is not finite becomes NaN and stays to be
// found; ranges pass over NaNs.
void fake_quantize(const Place& place, const ActivationGrid& grid, MatrixView<float> x);

namespace cpu {
void fake_quantize(const Place& place, const ActivationGrid& grid, MatrixView<float> x);
}
namespace cuda {
void fake_quantize(void* stream, const ActivationGrid& grid, MatrixView<float> x);
}

}  // namespace bitgrid

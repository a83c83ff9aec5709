#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/dtype.hpp"

namespace bitgrid {

// Widens count elements of from (bf16, f16 or f32, little-endian, at any address) to fp32. Exact:
// subnormals, infinities and NaN payloads are kept. Returns whether all are finite.
bool widen(DType from, const std::byte* source, std::int64_t count, float* out);

}  // namespace bitgrid

#include "core/checkpoint/widen.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels/error.hpp"
#include "kernels/multiversion.hpp"

namespace bitgrid {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian");

constexpr std::uint32_t kExponent = 0x7f800000u;  // all ones: infinity or NaN

BITGRID_MULTIVERSION
std::uint32_t widen_bf16(const std::uint16_t* in, std::int64_t count, float* out) {
  std::uint32_t non_finite = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::uint32_t u = std::uint32_t{in[i]} << 16;
    non_finite |= (u & kExponent) == kExponent ? 1u : 0u;
    out[i] = std::bit_cast<float>(u);
  }
  return non_finite;
}

// Without a branch, so that it becomes vector code; f16_to_f32 is the same function. A subnormal
// half is its 10 bits times 2^-24, and the product is exact and normal in fp32, so the processor's
// treatment of subnormals plays no part.
BITGRID_MULTIVERSION
std::uint32_t widen_f16(const std::uint16_t* in, std::int64_t count, float* out) {
  std::uint32_t non_finite = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::uint32_t h = in[i];
    const std::uint32_t magnitude = h & 0x7fffu;
    const auto small = std::bit_cast<std::uint32_t>(
        static_cast<float>(static_cast<std::int32_t>(magnitude)) * 0x1p-24f);
    const std::uint32_t normal = (magnitude << 13) + (112u << 23);  // exponent bias 127, not 15
    const std::uint32_t subnormal = magnitude < 0x0400u ? ~0u : 0u;
    std::uint32_t u = (small & subnormal) | (normal & ~subnormal);  // a ?: here stays scalar
    const std::uint32_t special = magnitude >= 0x7c00u ? kExponent : 0u;
    u |= special;
    non_finite |= special;
    out[i] = std::bit_cast<float>(u | (h & 0x8000u) << 16);
  }
  return non_finite;
}

BITGRID_MULTIVERSION
std::uint32_t find_non_finite(const float* values, std::int64_t count) {
  std::uint32_t non_finite = 0;
  for (std::int64_t i = 0; i < count; ++i)
    non_finite |= (std::bit_cast<std::uint32_t>(values[i]) & kExponent) == kExponent ? 1u : 0u;
  return non_finite;
}

// The source may start at an odd address: a block is first copied to where 16-bit loads are
// allowed, inside the first-level cache.
template <class Convert>
bool widen_halves(const std::byte* source, std::int64_t count, float* out, Convert convert) {
  constexpr std::int64_t block = 4096;
  alignas(64) std::uint16_t halves[block];
  std::uint32_t non_finite = 0;
  for (std::int64_t i = 0; i < count; i += block) {
    const std::int64_t n = std::min(block, count - i);
    std::memcpy(halves, source + 2 * i, static_cast<std::size_t>(2 * n));
    non_finite |= convert(halves, n, out + i);
  }
  return non_finite == 0;
}

}  // namespace

bool widen(DType from, const std::byte* source, std::int64_t count, float* out) {
  if (count == 0) return true;
  switch (from) {
    case DType::bf16:
      return widen_halves(source, count, out, [](auto... a) { return widen_bf16(a...); });
    case DType::f16:
      return widen_halves(source, count, out, [](auto... a) { return widen_f16(a...); });
    case DType::f32:
      std::memcpy(out, source, static_cast<std::size_t>(4 * count));
      return find_non_finite(out, count) == 0;
    default:
      BITGRID_ASSERT(!"widen: bf16, f16 or f32");
      return false;
  }
}

}  // namespace bitgrid

#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

namespace bitgrid {

// Element types of tensors, in files and in memory.
enum class DType : std::uint8_t { f32, f16, bf16, f64, u8, i8, i32, i64, u32 };

constexpr std::int64_t dtype_bytes(DType t) {
  switch (t) {
    case DType::f64:
    case DType::i64:
      return 8;
    case DType::f32:
    case DType::i32:
    case DType::u32:
      return 4;
    case DType::f16:
    case DType::bf16:
      return 2;
    case DType::u8:
    case DType::i8:
      return 1;
  }
  return 0;
}

constexpr std::string_view dtype_name(DType t) {
  constexpr std::string_view names[] = {"f32", "f16", "bf16", "f64", "u8",
                                        "i8",  "i32", "i64",  "u32"};
  return names[static_cast<int>(t)];
}

// bf16 is the upper half of an fp32: exact.
constexpr float bf16_to_f32(std::uint16_t h) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(h) << 16);
}
// Round to nearest even; a NaN stays a NaN.
constexpr std::uint16_t f32_to_bf16(float f) {
  const auto u = std::bit_cast<std::uint32_t>(f);
  if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((u >> 16) | 0x40u);
  return static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

// IEEE half to fp32: exact, subnormals, infinities and NaN payloads kept.
constexpr float f16_to_f32(std::uint16_t h) {
  const std::uint32_t sign = static_cast<std::uint32_t>(h & 0x8000u) << 16;
  const std::uint32_t exponent = (h >> 10) & 0x1fu;
  std::uint32_t mantissa = h & 0x3ffu;
  if (exponent == 0x1fu) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0)
    return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
  if (mantissa == 0) return std::bit_cast<float>(sign);
  const auto shift = static_cast<std::uint32_t>(std::countl_zero(mantissa)) - 21u;  // to bit 10
  mantissa = (mantissa << shift) & 0x3ffu;
  return std::bit_cast<float>(sign | ((113u - shift) << 23) | (mantissa << 13));
}
// Round to nearest even; overflow gives infinity, a NaN stays a NaN.
constexpr std::uint16_t f32_to_f16(float f) {
  const auto u = std::bit_cast<std::uint32_t>(f);
  const auto sign = static_cast<std::uint16_t>((u >> 16) & 0x8000u);
  const std::uint32_t a = u & 0x7fffffffu;
  if (a > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u | ((a >> 13) & 0x3ffu));
  if (a >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);  // 65520 and above
  if (a < 0x38800000u) {                                                    // subnormal half
    if (a < 0x33000000u) return sign;
    const std::uint32_t exponent = a >> 23;
    const std::uint32_t mantissa = (a & 0x7fffffu) | 0x800000u;
    const std::uint32_t shift = 126u - exponent;  // value = mantissa * 2^(exponent-150); unit 2^-24
    const std::uint32_t half = 1u << (shift - 1u);
    const std::uint32_t kept = mantissa >> shift;
    const std::uint32_t rest = mantissa & ((1u << shift) - 1u);
    return static_cast<std::uint16_t>(
        sign | (kept + ((rest > half || (rest == half && (kept & 1u))) ? 1u : 0u)));
  }
  const std::uint32_t r = a + 0xfffu + ((a >> 13) & 1u);
  return static_cast<std::uint16_t>(sign | ((r - 0x38000000u) >> 13));
}

// f16_to_f32(f32_to_f16(f)) without branches, for loops that are to be vectorized.
inline float rounded_to_f16(float f) {
  const auto u = std::bit_cast<std::uint32_t>(f);
  const std::uint32_t sign = u & 0x80000000u;
  const std::uint32_t a = u & 0x7fffffffu;
  const std::uint32_t normal = (a + 0xfffu + ((a >> 13) & 1u)) & ~0x1fffu;
  // Below 2^-14 a half's unit is 2^-24, the unit of fp32 numbers in [½, 1).
  const float shifted = std::bit_cast<float>(a) + 0.5f;
  const auto subnormal = std::bit_cast<std::uint32_t>(shifted - 0.5f);
  const std::uint32_t finite = a < 0x38800000u ? subnormal : normal;
  const std::uint32_t any = a >= 0x477ff000u ? 0x7f800000u : finite;
  return a > 0x7f800000u ? f : std::bit_cast<float>(sign | any);
}

}  // namespace bitgrid

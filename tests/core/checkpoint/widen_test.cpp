#include "core/checkpoint/widen.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <string>
#include <vector>

#include "tests/core/checkpoint/model_files.hpp"

namespace bitgrid {
namespace {

// The value that IEEE 754 gives a half, step by step in fp64; for a NaN, the fp32 with the same
// payload.
std::uint32_t half_by_definition(std::uint16_t h) {
  const bool negative = h >= 0x8000;
  const int exponent = h / 1024 % 32;
  const int fraction = h % 1024;
  if (exponent == 31)
    return (negative ? 0xff800000u : 0x7f800000u) + static_cast<std::uint32_t>(fraction) * 8192u;
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return std::bit_cast<std::uint32_t>(static_cast<float>(negative ? -magnitude : magnitude));
}

std::vector<std::uint16_t> all_halves() {
  std::vector<std::uint16_t> all(65536);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::uint16_t>(i);
  return all;
}

// Widens the bytes from an address that is shift bytes off a 64-byte boundary.
std::vector<std::uint32_t> widened(DType from, const std::string& bytes, std::size_t shift,
                                   bool* finite = nullptr) {
  const auto count = static_cast<std::int64_t>(bytes.size()) / dtype_bytes(from);
  struct alignas(64) Line {
    std::byte bytes[64];
  };
  std::vector<Line> storage(bytes.size() / 64 + 2);
  auto* source = storage[0].bytes + shift;
  for (std::size_t i = 0; i < bytes.size(); ++i) source[i] = static_cast<std::byte>(bytes[i]);
  std::vector<float> out(static_cast<std::size_t>(count) + 1, -7.0f);
  const bool all_finite = widen(from, source, count, out.data());
  if (finite != nullptr) *finite = all_finite;
  EXPECT_EQ(out.back(), -7.0f) << "wrote beyond the end";
  std::vector<std::uint32_t> bits;
  for (std::int64_t i = 0; i < count; ++i)
    bits.push_back(std::bit_cast<std::uint32_t>(out[static_cast<std::size_t>(i)]));
  return bits;
}

TEST(Widen, EveryHalf) {
  for (const std::size_t shift : {0, 1, 2, 63}) {
    const auto bits = widened(DType::f16, test::bytes_of(all_halves()), shift);
    for (std::uint32_t h = 0; h < 65536; ++h) {
      ASSERT_EQ(bits[h], half_by_definition(static_cast<std::uint16_t>(h))) << h << " at " << shift;
      ASSERT_EQ(bits[h], std::bit_cast<std::uint32_t>(f16_to_f32(static_cast<std::uint16_t>(h))))
          << h;
    }
  }
}

TEST(Widen, EveryBrainFloat) {
  for (const std::size_t shift : {0, 1, 2, 63}) {
    const auto bits = widened(DType::bf16, test::bytes_of(all_halves()), shift);
    for (std::uint32_t h = 0; h < 65536; ++h)
      ASSERT_EQ(bits[h], h * 65536u) << h << " at " << shift;
  }
}

TEST(Widen, Floats) {
  const std::vector<float> values = {0.0f, -0.0f, 1.5f, -2.25f, 1e-45f, 3.4028235e38f, 1e-38f};
  for (const std::size_t shift : {0, 1, 3}) {
    bool finite = false;
    const auto bits = widened(DType::f32, test::bytes_of(values), shift, &finite);
    for (std::size_t i = 0; i < values.size(); ++i)
      EXPECT_EQ(bits[i], std::bit_cast<std::uint32_t>(values[i]));
    EXPECT_TRUE(finite);
  }
}

// One special value, at each position of lengths around the sizes of vectors and of the copied
// block.
TEST(Widen, FindsWhatIsNotFinite) {
  struct Case {
    DType dtype;
    std::uint32_t special;
  };
  for (const Case c :
       {Case{DType::bf16, 0x7f80}, Case{DType::bf16, 0xff80}, Case{DType::bf16, 0x7f81},
        Case{DType::f16, 0x7c00}, Case{DType::f16, 0xfc00}, Case{DType::f16, 0xfe00},
        Case{DType::f32, 0x7f800000}, Case{DType::f32, 0xffc00001}}) {
    const auto size = static_cast<std::size_t>(dtype_bytes(c.dtype));
    for (const std::size_t count : {1, 3, 16, 17, 129, 4096, 4097}) {
      const std::string largest = c.dtype == DType::f32   ? std::string("\xff\xff\x7f\x7f", 4)
                                  : c.dtype == DType::f16 ? std::string("\xff\x7b", 2)
                                                          : std::string("\x7f\x7f", 2);
      std::string bytes;
      for (std::size_t i = 0; i < count; ++i) bytes += largest;
      bool finite = false;
      widened(c.dtype, bytes, 1, &finite);
      EXPECT_TRUE(finite) << dtype_name(c.dtype) << " " << count;
      for (std::size_t at = 0; at<count; at += count> 200 ? 1365 : 1) {
        std::string hit = bytes;
        for (std::size_t b = 0; b < size; ++b)
          hit[at * size + b] = static_cast<char>(c.special >> (8 * b) & 0xff);
        widened(c.dtype, hit, 1, &finite);
        EXPECT_FALSE(finite) << dtype_name(c.dtype) << " " << c.special << " at " << at << " of "
                             << count;
      }
    }
  }
}

TEST(Widen, NothingAtAll) { EXPECT_TRUE(widen(DType::f16, nullptr, 0, nullptr)); }

}  // namespace
}  // namespace bitgrid

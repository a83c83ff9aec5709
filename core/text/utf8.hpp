#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace bitgrid {

// One step through bytes that claim to be UTF-8. An invalid step covers the longest start of a
// sequence that could have become valid, at least one byte: what the Unicode standard asks to
// replace by a single U+FFFD.
struct Utf8Step {
  std::size_t bytes = 0;
  bool valid = false;
};
Utf8Step utf8_step(std::string_view rest);  // rest is not empty

// The position of the first byte that is not UTF-8, or npos. Surrogates and overlong forms are not
// UTF-8.
std::size_t find_invalid_utf8(std::string_view text);

std::string replace_invalid_utf8(std::string_view bytes);

struct CodePoint {
  char32_t value = 0;
  std::size_t bytes = 0;
};

// The code point at p, of text that is known to be valid UTF-8.
inline CodePoint decode_valid_utf8(const char* p) {
  const auto byte = [p](int i) { return static_cast<char32_t>(static_cast<unsigned char>(p[i])); };
  const auto tail = [&](int i) { return byte(i) & 0x3F; };
  if (byte(0) < 0x80) return {byte(0), 1};
  if (byte(0) < 0xE0) return {(byte(0) & 0x1F) << 6 | tail(1), 2};
  if (byte(0) < 0xF0) return {(byte(0) & 0x0F) << 12 | tail(1) << 6 | tail(2), 3};
  return {(byte(0) & 0x07) << 18 | tail(1) << 12 | tail(2) << 6 | tail(3), 4};
}

void append_utf8(std::string& text, char32_t code_point);

// Python's str.strip: takes White_Space and U+001C–001F off both ends of valid UTF-8, which is more
// than the splitting rule's \s. The data sets' loaders strip rows with it.
std::string_view python_strip(std::string_view text);
std::string_view python_lstrip(std::string_view text);  // the front alone
std::string_view python_rstrip(std::string_view text);  // the end alone

}  // namespace bitgrid

#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace bitgrid {

// The kinds of characters that Llama-3's splitting rule tells apart.
enum class CharClass : std::uint8_t {
  other,    // punctuation, symbols, marks, controls, unassigned
  letter,   // general category L*; combining marks are not letters
  number,   // Nd, Nl, No
  space,    // White_Space except newline
  newline,  // CR and LF, which are White_Space too
};
inline bool is_white_space(CharClass c) { return c == CharClass::space || c == CharClass::newline; }

// Class of every code point, in two levels: most blocks of 256 are alike, so that about 100
// distinct ones (25 kB) and one byte per block remain.
class CharClassTable {
 public:
  static const CharClassTable& get();  // built from utf8proc at first use; thread-safe
  CharClass operator[](char32_t c) const { return blocks_[block_of_[c >> 8]][c & 0xFF]; }

 private:
  using Block = std::array<CharClass, 256>;
  CharClassTable();
  std::array<std::uint16_t, 0x1100> block_of_{};
  std::vector<Block> blocks_;
};

}  // namespace bitgrid

#include "core/text/char_class.hpp"

#include <utf8proc.h>

#include <algorithm>

namespace bitgrid {
namespace {

// Planes 4 to 16 hold no letter, number or white space (tags, variation selectors, private use),
// and building them would take most of the time.
constexpr char32_t kClassified = 0x40000;

bool is_white_space_code(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

CharClass classify(char32_t c) {
  if (c == '\r' || c == '\n') return CharClass::newline;
  if (is_white_space_code(c)) return CharClass::space;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return CharClass::letter;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return CharClass::number;
    default:
      return CharClass::other;
  }
}

}  // namespace

CharClassTable::CharClassTable() {
  blocks_.emplace_back();  // block 0 is all "other", which is where block_of_ points at first
  for (char32_t first = 0; first < kClassified; first += 256) {
    Block block;
    for (char32_t i = 0; i < 256; ++i) block[i] = classify(first + i);
    auto same = std::find(blocks_.begin(), blocks_.end(), block);
    block_of_[first >> 8] = static_cast<std::uint16_t>(same - blocks_.begin());
    if (same == blocks_.end()) blocks_.push_back(block);
  }
}

const CharClassTable& CharClassTable::get() {
  static const CharClassTable table;
  return table;
}

}  // namespace bitgrid

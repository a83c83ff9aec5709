#include "core/text/python_case.hpp"

#include <utf8proc.h>

#include <algorithm>
#include <vector>

#include "core/text/utf8.hpp"

namespace bitgrid {
namespace {

// Characters whose title case is more than one character (Unicode's SpecialCasing.txt).
struct LongTitle {
  char32_t from;
  char32_t to[3];  // ends at a zero
};
constexpr LongTitle kLongTitles[] = {
    {0x00DF, {0x0053, 0x0073, 0x0000}}, {0x0149, {0x02BC, 0x004E, 0x0000}},
    {0x01F0, {0x004A, 0x030C, 0x0000}}, {0x0390, {0x0399, 0x0308, 0x0301}},
    {0x03B0, {0x03A5, 0x0308, 0x0301}}, {0x0587, {0x0535, 0x0582, 0x0000}},
    {0x1E96, {0x0048, 0x0331, 0x0000}}, {0x1E97, {0x0054, 0x0308, 0x0000}},
    {0x1E98, {0x0057, 0x030A, 0x0000}}, {0x1E99, {0x0059, 0x030A, 0x0000}},
    {0x1E9A, {0x0041, 0x02BE, 0x0000}}, {0x1F50, {0x03A5, 0x0313, 0x0000}},
    {0x1F52, {0x03A5, 0x0313, 0x0300}}, {0x1F54, {0x03A5, 0x0313, 0x0301}},
    {0x1F56, {0x03A5, 0x0313, 0x0342}}, {0x1FB2, {0x1FBA, 0x0345, 0x0000}},
    {0x1FB4, {0x0386, 0x0345, 0x0000}}, {0x1FB6, {0x0391, 0x0342, 0x0000}},
    {0x1FB7, {0x0391, 0x0342, 0x0345}}, {0x1FC2, {0x1FCA, 0x0345, 0x0000}},
    {0x1FC4, {0x0389, 0x0345, 0x0000}}, {0x1FC6, {0x0397, 0x0342, 0x0000}},
    {0x1FC7, {0x0397, 0x0342, 0x0345}}, {0x1FD2, {0x0399, 0x0308, 0x0300}},
    {0x1FD3, {0x0399, 0x0308, 0x0301}}, {0x1FD6, {0x0399, 0x0342, 0x0000}},
    {0x1FD7, {0x0399, 0x0308, 0x0342}}, {0x1FE2, {0x03A5, 0x0308, 0x0300}},
    {0x1FE3, {0x03A5, 0x0308, 0x0301}}, {0x1FE4, {0x03A1, 0x0313, 0x0000}},
    {0x1FE6, {0x03A5, 0x0342, 0x0000}}, {0x1FE7, {0x03A5, 0x0308, 0x0342}},
    {0x1FF2, {0x1FFA, 0x0345, 0x0000}}, {0x1FF4, {0x038F, 0x0345, 0x0000}},
    {0x1FF6, {0x03A9, 0x0342, 0x0000}}, {0x1FF7, {0x03A9, 0x0342, 0x0345}},
    {0xFB00, {0x0046, 0x0066, 0x0000}}, {0xFB01, {0x0046, 0x0069, 0x0000}},
    {0xFB02, {0x0046, 0x006C, 0x0000}}, {0xFB03, {0x0046, 0x0066, 0x0069}},
    {0xFB04, {0x0046, 0x0066, 0x006C}}, {0xFB05, {0x0053, 0x0074, 0x0000}},
    {0xFB06, {0x0053, 0x0074, 0x0000}}, {0xFB13, {0x0544, 0x0576, 0x0000}},
    {0xFB14, {0x0544, 0x0565, 0x0000}}, {0xFB15, {0x0544, 0x056B, 0x0000}},
    {0xFB16, {0x054E, 0x0576, 0x0000}}, {0xFB17, {0x0544, 0x056D, 0x0000}}};

utf8proc_int32_t code(char32_t c) { return static_cast<utf8proc_int32_t>(c); }

void append_title(std::string& text, char32_t c) {
  const auto* found =
      std::lower_bound(std::begin(kLongTitles), std::end(kLongTitles), c,
                       [](const LongTitle& entry, char32_t wanted) { return entry.from < wanted; });
  if (found == std::end(kLongTitles) || found->from != c) {
    append_utf8(text, static_cast<char32_t>(utf8proc_totitle(code(c))));
    return;
  }
  for (const char32_t to : found->to) {
    if (to != 0) append_utf8(text, to);
  }
}

// Unicode's property Case_Ignorable: the rule of the final sigma looks through such characters.
bool is_case_ignorable(char32_t c) {
  constexpr char32_t kInsideWords[] = {'\'',   '.',    ':',    0xB7,   0x387,  0x55F,
                                       0x5F4,  0x2018, 0x2019, 0x2024, 0x2027, 0xFE13,
                                       0xFE52, 0xFE55, 0xFF07, 0xFF0E, 0xFF1A};
  switch (utf8proc_category(code(c))) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      return std::find(std::begin(kInsideWords), std::end(kInsideWords), c) !=
             std::end(kInsideWords);
  }
}

// Unicode's property Cased, of characters that are not Case_Ignorable.
bool is_cased(char32_t c) {
  switch (utf8proc_category(code(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
      return true;
    default:
      return c == 0xAA || c == 0xBA || (c >= 0x2160 && c <= 0x217F) ||
             (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
             (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
  }
}

// A capital sigma ends a word: a cased character comes before it and none behind it.
bool is_final_sigma(const std::vector<char32_t>& text, std::size_t i) {
  const auto skip = [](auto from, auto end) {
    return std::find_if_not(from, end, is_case_ignorable);
  };
  const auto here = text.begin() + static_cast<std::ptrdiff_t>(i);
  const auto before = skip(std::make_reverse_iterator(here), text.rend());
  if (before == text.rend() || !is_cased(*before)) return false;
  const auto behind = skip(here + 1, text.end());
  return behind == text.end() || !is_cased(*behind);
}

void append_lower(std::string& text, const std::vector<char32_t>& all, std::size_t i) {
  constexpr char32_t kCapitalSigma = 0x3A3, kSmallSigma = 0x3C3, kFinalSigma = 0x3C2;
  constexpr char32_t kDottedI = 0x130, kDotAbove = 0x307;
  if (all[i] == kCapitalSigma) {
    append_utf8(text, is_final_sigma(all, i) ? kFinalSigma : kSmallSigma);
  } else if (all[i] == kDottedI) {
    append_utf8(text, 'i');
    append_utf8(text, kDotAbove);
  } else {
    append_utf8(text, static_cast<char32_t>(utf8proc_tolower(code(all[i]))));
  }
}

}  // namespace

std::string python_capitalize(std::string_view text) {
  std::vector<char32_t> all;
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = decode_valid_utf8(text.data() + i);
    all.push_back(c.value);
    i += c.bytes;
  }
  std::string out;
  out.reserve(text.size() + 4);
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (i == 0) {
      append_title(out, all[i]);
    } else {
      append_lower(out, all, i);
    }
  }
  return out;
}

std::int64_t count_code_points(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; });
}

}  // namespace bitgrid

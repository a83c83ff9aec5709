#include "core/text/split.hpp"

#include <vector>

#include "core/text/char_class.hpp"
#include "core/text/tokenizer.hpp"
#include "core/text/utf8.hpp"

namespace bitgrid {
namespace {

// Steps through valid UTF-8 by character classes.
class Scanner {
 public:
  Scanner(std::string_view text, const CharClassTable& classes)
      : classes_(classes), end_(text.data() + text.size()) {}

  bool at_end(const char* p) const { return p == end_; }
  CharClass class_at(const char* p) const { return classes_[decode_valid_utf8(p).value]; }
  bool is(const char* p, CharClass wanted) const { return p != end_ && class_at(p) == wanted; }
  const char* next(const char* p) const { return p + decode_valid_utf8(p).bytes; }

  // The end of the longest run of one class from p on.
  const char* run_end(const char* p, CharClass wanted) const {
    while (p != end_) {
      const CodePoint c = decode_valid_utf8(p);
      if (classes_[c.value] != wanted) break;
      p += c.bytes;
    }
    return p;
  }

  // (?i:'s|'t|'re|'ve|'m|'ll|'d) at p, which is an apostrophe: its end, or nullptr. Under (?i), ſ
  // (U+017F, C5 BF) is s.
  const char* contraction_end(const char* p) const {
    const auto lower = [this](const char* q) { return q < end_ ? *q | 0x20 : 0; };
    switch (lower(p + 1)) {
      case 's':
      case 't':
      case 'm':
      case 'd':
        return p + 2;
      case 'r':
      case 'v':
        return lower(p + 2) == 'e' ? p + 3 : nullptr;
      case 'l':
        return lower(p + 2) == 'l' ? p + 3 : nullptr;
      default:
        return std::string_view(p + 1, end_).starts_with("\u017F") ? p + 3 : nullptr;
    }
  }

  // \s*[\r\n]+ | \s+(?!\S) | \s+ at p, which is white space.
  const char* white_space_end(const char* p) const {
    const char* q = p;
    const char* last = p;               // the run's last character
    const char* newline_end = nullptr;  // behind the run's last newline
    while (q != end_) {
      const CodePoint c = decode_valid_utf8(q);
      const CharClass kind = classes_[c.value];
      if (!is_white_space(kind)) break;
      last = q;
      q += c.bytes;
      if (kind == CharClass::newline) newline_end = q;
    }
    if (newline_end != nullptr) return newline_end;
    return q == end_ || last == p ? q
                                  : last;  // a word or number follows: the last space is left to it
  }

  const char* piece_end(const char* p) const {
    if (*p == '\'') {
      if (const char* end = contraction_end(p)) return end;
    }
    const CharClass kind = class_at(p);
    const char* second = next(p);
    if (kind == CharClass::letter) return run_end(second, CharClass::letter);
    if (kind == CharClass::number) {
      const char* end = second;
      for (int count = 1; count < 3 && is(end, CharClass::number); ++count) end = next(end);
      return end;
    }
    if (kind != CharClass::newline && is(second, CharClass::letter))
      return run_end(second, CharClass::letter);
    const char* punctuation = *p == ' ' ? second : p;
    if (is(punctuation, CharClass::other)) {
      return run_end(run_end(punctuation, CharClass::other), CharClass::newline);
    }
    return white_space_end(p);
  }

 private:
  const CharClassTable& classes_;
  const char* end_;
};

}  // namespace

std::size_t piece_end(std::string_view text, std::size_t begin) {
  static const CharClassTable& classes = CharClassTable::get();
  const char* end = Scanner(text, classes).piece_end(text.data() + begin);
  return static_cast<std::size_t>(end - text.data());
}

std::vector<std::string_view> split_pieces(std::string_view text) {
  std::vector<std::string_view> pieces;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = piece_end(text, begin);
    pieces.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return pieces;
}

}  // namespace bitgrid

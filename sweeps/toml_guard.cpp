#include "sweeps/toml_guard.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/error.hpp"

namespace bitgrid {
namespace {

constexpr int kKeyPartsMax = 16;

bool is_blank(char c) { return c == ' ' || c == '\t'; }

// Neither the locale's letters nor a signed char's.
bool is_key_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-';
}

// Walks over the text as a lexer would. Where text is malformed it may lose its place, but only
// behind the point where toml++ stops.
class Walk {
 public:
  Walk(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  void run() {
    if (starts("\xEF\xBB\xBF")) at_ = 3;
    while (at_ < text_.size()) step();
  }

 private:
  bool starts(std::string_view what) const { return text_.substr(at_, what.size()) == what; }

  [[noreturn]] void fail(const std::string& what) const {
    throw InputError(fmt::format("{}:{}: {}", where_, line_, what));
  }

  void step() {
    const char c = text_[at_];
    if (c == '#') {
      at_ = std::min(text_.find('\n', at_), text_.size());
      return;
    }
    if (c == '"' || c == '\'') {
      line_start_ = false;
      skip_string(c);
      return;
    }
    if (c & 0x80) fail("a character beyond ASCII outside of a string");
    if (c == '[' && line_start_ && brackets_ == 0) check_header();
    if (c == '[' || c == '{') ++brackets_;
    if ((c == ']' || c == '}') && brackets_ > 0) --brackets_;
    if (c == '.' && ++parts_ > kKeyPartsMax)
      fail(fmt::format("a key of more than {} parts", kKeyPartsMax));
    if (c != '.' && !is_blank(c) && !is_key_char(c)) parts_ = 0;
    if (c == '\n') {
      ++line_;
      line_start_ = true;
    } else if (!is_blank(c)) {
      line_start_ = false;
    }
    ++at_;
  }

  // At the [ of a header: a key must follow.
  void check_header() const {
    std::size_t at = at_ + 1;
    if (at < text_.size() && text_[at] == '[') ++at;
    while (at < text_.size() && is_blank(text_[at])) ++at;
    if (at < text_.size() && (is_key_char(text_[at]) || text_[at] == '"' || text_[at] == '\''))
      return;
    fail("expected the name of a table behind '['");
  }

  // A quoted part of a key is still a part: their count goes on behind it.
  void skip_string(char quote) {
    const std::string triple(3, quote);
    const bool multi = starts(triple);
    at_ += multi ? 3 : 1;
    while (at_ < text_.size()) {
      if (text_[at_] == '\n') {
        if (!multi) return;
        ++line_;
      }
      if (quote == '"' && text_[at_] == '\\') {
        if (at_ + 1 < text_.size() && text_[at_ + 1] != '\n') ++at_;
        ++at_;
      } else if (multi ? starts(triple) : text_[at_] == quote) {
        at_ += multi ? 3 : 1;
        // A text may end in up to two quotes of its own.
        for (int i = 0; multi && i < 2 && at_ < text_.size() && text_[at_] == quote; ++i) ++at_;
        return;
      } else {
        ++at_;
      }
    }
  }

  std::string_view text_;
  const std::string& where_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool line_start_ = true;  // nothing but blanks on this line so far
  int brackets_ = 0;        // open ones, of arrays, inline tables and headers
  int parts_ = 0;           // dots of the key that is being read
};

}  // namespace

void guard_toml(std::string_view text, const std::string& where) { Walk(text, where).run(); }

}  // namespace bitgrid

#include "core/text/split.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pcre2.h>
#include <utf8proc.h>

#include <chrono>
#include <memory>

#include "core/text/char_class.hpp"
#include "core/text/tokenizer.hpp"
#include "text_fixtures.hpp"

namespace bitgrid::test {
namespace {

using testing::ElementsAre;

TEST(Split, WorkedExamples) {
  EXPECT_THAT(split_pieces(""), ElementsAre());
  EXPECT_THAT(split_pieces("Hello world"), ElementsAre("Hello", " world"));
  EXPECT_THAT(split_pieces("Hello  world"), ElementsAre("Hello", " ", " world"));
  EXPECT_THAT(split_pieces("   Hello"), ElementsAre("  ", " Hello"));
  EXPECT_THAT(split_pieces("\tHello"), ElementsAre("\tHello"));
  EXPECT_THAT(split_pieces("Hello\n\n"), ElementsAre("Hello", "\n\n"));
  EXPECT_THAT(split_pieces("Hello \n world"), ElementsAre("Hello", " \n", " world"));
  EXPECT_THAT(split_pieces("\n\n\n"), ElementsAre("\n\n\n"));
  EXPECT_THAT(split_pieces("\n \n"), ElementsAre("\n \n"));
  EXPECT_THAT(split_pieces("  \n  x"), ElementsAre("  \n", " ", " x"));
  EXPECT_THAT(split_pieces("a\r\nb"), ElementsAre("a", "\r\n", "b"));
  EXPECT_THAT(split_pieces("I'm you'll WE'VE IT'S don't"),
              ElementsAre("I", "'m", " you", "'ll", " WE", "'VE", " IT", "'S", " don", "'t"));
  EXPECT_THAT(split_pieces("'tis"), ElementsAre("'t", "is"));
  EXPECT_THAT(split_pieces("O'Reilly"), ElementsAre("O", "'Re", "illy"));
  EXPECT_THAT(split_pieces("'\u017Fx"), ElementsAre("'\u017F", "x"));
  EXPECT_THAT(split_pieces("1234567"), ElementsAre("123", "456", "7"));
  EXPECT_THAT(split_pieces(" 1234"), ElementsAre(" ", "123", "4"));
  EXPECT_THAT(split_pieces("3.14159"), ElementsAre("3", ".", "141", "59"));
  EXPECT_THAT(split_pieces("$1,000.00"), ElementsAre("$", "1", ",", "000", ".", "00"));
  EXPECT_THAT(split_pieces("Ⅷ½x"), ElementsAre("Ⅷ½", "x"));
  EXPECT_THAT(split_pieces("٣٤٥٦"), ElementsAre("٣٤٥", "٦"));
  EXPECT_THAT(split_pieces("!!!\n\nok"), ElementsAre("!!!\n\n", "ok"));
  EXPECT_THAT(split_pieces(" !\n"), ElementsAre(" !\n"));
  EXPECT_THAT(split_pieces("foo_bar::baz()"), ElementsAre("foo", "_bar", "::", "baz", "()"));
  EXPECT_THAT(split_pieces("the answer: 42%"), ElementsAre("the", " answer", ":", " ", "42", "%"));
  EXPECT_THAT(split_pieces("naïve café"), ElementsAre("naïve", " café"));
  EXPECT_THAT(split_pieces("e\u0301"), ElementsAre("e", "\u0301"));
  EXPECT_THAT(split_pieces("नमस्ते"), ElementsAre("नमस", "्त", "े"));
  EXPECT_THAT(split_pieces("你好，世界"), ElementsAre("你好", "，世界"));
  EXPECT_THAT(split_pieces("こんにちは"), ElementsAre("こんにちは"));
  EXPECT_THAT(split_pieces("👨‍👩‍👧"), ElementsAre("👨‍👩‍👧"));
  EXPECT_THAT(split_pieces("\u00A0x"), ElementsAre("\u00A0x"));
  EXPECT_THAT(split_pieces("\u3000x"), ElementsAre("\u3000x"));
  EXPECT_THAT(split_pieces("x\u00A0\u00A0y"), ElementsAre("x", "\u00A0", "\u00A0y"));
  EXPECT_THAT(split_pieces("word\u2028next"), ElementsAre("word", "\u2028next"));
  EXPECT_THAT(split_pieces("https://example.com/a?b=c&d=1"),
              ElementsAre("https", "://", "example", ".com", "/a", "?b", "=c", "&d", "=", "1"));
  EXPECT_THAT(
      split_pieces("if (x == 0) {\n    return;\n}\n"),
      ElementsAre("if", " (", "x", " ==", " ", "0", ")", " {\n", "   ", " return", ";\n", "}\n"));
  EXPECT_THAT(split_pieces("    \n    y"), ElementsAre("    \n", "   ", " y"));
}

// A pattern, run by another engine.
class Pcre {
 public:
  explicit Pcre(std::string_view pattern) {
    int error = 0;
    std::size_t position = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                              PCRE2_UTF | PCRE2_UCP, &error, &position, nullptr));
    if (!code_) throw std::runtime_error("the pattern does not compile");
    pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);
    match_.reset(pcre2_match_data_create_from_pattern(code_.get(), nullptr));
  }
  bool matches(std::string_view text) const {
    return pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0,
                       PCRE2_NO_UTF_CHECK, match_.get(), nullptr) > 0;
  }
  std::vector<std::string_view> split(std::string_view text) const {
    std::vector<std::string_view> pieces;
    for (std::size_t begin = 0; begin < text.size();) {
      const int found = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()),
                                    text.size(), begin, PCRE2_NO_UTF_CHECK, match_.get(), nullptr);
      const std::size_t* ends = pcre2_get_ovector_pointer(match_.get());
      if (found < 1 || ends[0] != begin || ends[1] == begin)
        throw std::runtime_error("the pattern leaves a gap");
      pieces.push_back(text.substr(begin, ends[1] - begin));
      begin = ends[1];
    }
    return pieces;
  }

 private:
  struct Free {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
    void operator()(pcre2_match_data* match) const { pcre2_match_data_free(match); }
  };
  std::unique_ptr<pcre2_code, Free> code_;
  std::unique_ptr<pcre2_match_data, Free> match_;
};

TEST(Split, AgreesWithARegexEngineOnRandomText) {
  const Pcre pattern(kLlama3Pattern);
  std::mt19937 random(20240418);
  for (int round = 0; round < 150000; ++round) {
    const std::string text = random_text(random, 1 + random() % 24);
    ASSERT_EQ(split_pieces(text), pattern.split(text))
        << round << ": " << testing::PrintToString(text);
  }
}

// PCRE2 takes U+180E for white space, and its tables are Unicode 14, ours 15: code points that it
// does not know are left out.
TEST(Split, AgreesWithARegexEngineOnAllOfUnicode) {
  const Pcre pattern(kLlama3Pattern);
  const Pcre unassigned("\\p{Cn}");
  int compared = 0;
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if ((c >= 0xD800 && c < 0xE000) || c == 0x180E) continue;
    std::string alone;
    append_utf8(alone, c);
    if (unassigned.matches(alone)) continue;
    ++compared;
    std::string text = "a";
    append_utf8(text, c);
    text += "b1";
    append_utf8(text, c);
    text += "2 ";
    append_utf8(text, c);
    text += "\n";
    ASSERT_EQ(split_pieces(text), pattern.split(text)) << std::hex << static_cast<unsigned>(c);
  }
  EXPECT_GT(compared, 140000);
}

TEST(Split, ClassesAreTheLibrarysForEveryCodePoint) {
  const CharClassTable& classes = CharClassTable::get();
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    const std::string category = utf8proc_category_string(static_cast<utf8proc_int32_t>(c));
    // Bidirectional classes and separators decide what is white space, with no list of code points.
    const auto* properties = utf8proc_get_property(static_cast<utf8proc_int32_t>(c));
    const bool control_space = category == "Cc" && (c < 0x1C || c > 0x1F) &&
                               (properties->bidi_class == UTF8PROC_BIDI_CLASS_B ||
                                properties->bidi_class == UTF8PROC_BIDI_CLASS_S ||
                                properties->bidi_class == UTF8PROC_BIDI_CLASS_WS);
    CharClass expected = CharClass::other;
    if (category[0] == 'L') expected = CharClass::letter;
    if (category[0] == 'N') expected = CharClass::number;
    if (category[0] == 'Z' || control_space) expected = CharClass::space;
    if (c == '\r' || c == '\n') expected = CharClass::newline;
    ASSERT_EQ(classes[c], expected) << std::hex << static_cast<unsigned>(c);
  }
}

TEST(Split, CoversTheText) {
  std::mt19937 random(7);
  for (int round = 0; round < 2000; ++round) {
    const std::string text = random_unicode(random, random() % 200);
    std::string all;
    for (const std::string_view piece : split_pieces(text)) {
      EXPECT_FALSE(piece.empty());
      all += piece;
    }
    ASSERT_EQ(all, text);
  }
}

}  // namespace
}  // namespace bitgrid::test

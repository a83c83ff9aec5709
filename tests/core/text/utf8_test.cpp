#include "core/text/utf8.hpp"

#include <gtest/gtest.h>
#include <utf8proc.h>

#include "text_fixtures.hpp"

namespace bitgrid::test {
namespace {

TEST(Utf8, FindsTheFirstInvalidByte) {
  EXPECT_EQ(find_invalid_utf8(""), std::string::npos);
  EXPECT_EQ(find_invalid_utf8("plain ASCII, longer than eight bytes"), std::string::npos);
  EXPECT_EQ(find_invalid_utf8("é€👍"), std::string::npos);
  EXPECT_EQ(find_invalid_utf8("0123456789\xFF"), 10u);
  EXPECT_EQ(find_invalid_utf8("é\x80"), 2u);
  EXPECT_EQ(find_invalid_utf8("ab\xE2\x82"), 2u) << "cut off";
  EXPECT_EQ(find_invalid_utf8("\xC0\xAF"), 0u) << "overlong";
  EXPECT_EQ(find_invalid_utf8("\xED\xA0\x80"), 0u) << "surrogate";
  EXPECT_EQ(find_invalid_utf8("\xF4\x90\x80\x80"), 0u) << "above U+10FFFF";
}

TEST(Utf8, AgreesWithUtf8procOnRandomBytes) {
  std::mt19937 random(1);
  constexpr unsigned char kBytes[] = {'a',  0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC1, 0xC2,
                                      0xDF, 0xE0, 0xE1, 0xED, 0xEF, 0xF0, 0xF1, 0xF4, 0xF5, 0xFF};
  int valid = 0;
  for (int round = 0; round < 200000; ++round) {
    std::string bytes;
    for (std::size_t i = 0, n = 1 + random() % 5; i < n; ++i)
      bytes += static_cast<char>(kBytes[random() % std::size(kBytes)]);
    std::size_t expected = 0;
    while (expected < bytes.size()) {
      utf8proc_int32_t c = 0;
      const auto step =
          utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(bytes.data()) + expected,
                           static_cast<utf8proc_ssize_t>(bytes.size() - expected), &c);
      if (step < 0) break;
      EXPECT_EQ(decode_valid_utf8(bytes.data() + expected).value, static_cast<char32_t>(c));
      expected += static_cast<std::size_t>(step);
    }
    if (expected == bytes.size()) expected = std::string::npos, ++valid;
    ASSERT_EQ(find_invalid_utf8(bytes), expected) << round;
  }
  EXPECT_GT(valid, 1000);
}

TEST(Utf8, ReplacesEachMaximalInvalidPartOnce) {
  // The rows of the Unicode standard, section 3.9, tables 3-8 to 3-11.
  EXPECT_EQ(replace_invalid_utf8("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"),
            "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA");
  EXPECT_EQ(replace_invalid_utf8("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"),
            "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA");
  EXPECT_EQ(replace_invalid_utf8("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"),
            "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA\uFFFD\uFFFDB");
  EXPECT_EQ(replace_invalid_utf8("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"),
            "\uFFFD\uFFFD\uFFFD\uFFFDA");
  EXPECT_EQ(replace_invalid_utf8("é€👍"), "é€👍");
}

TEST(Utf8, AppendsWhatDecodes) {
  for (const char32_t c : {0x0, 0x7F, 0x80, 0x7FF, 0x800, 0xFFFF, 0x10000, 0x10FFFF}) {
    std::string text;
    append_utf8(text, c);
    EXPECT_EQ(decode_valid_utf8(text.data()).value, c);
    EXPECT_EQ(decode_valid_utf8(text.data()).bytes, text.size());
  }
}

TEST(Utf8, StripsWhatPythonStrips) {
  EXPECT_EQ(python_strip(" \t\r\n\v\f\x1C\x1D\x1E\x1F\u0085\u00A0\u1680\u2000\u200A\u2028\u2029"
                         "\u202F\u205F\u3000x y\u3000 \x1F"),
            "x y");
  EXPECT_EQ(python_strip("\u200B"), "\u200B");
  EXPECT_EQ(python_strip("\uFEFFx\u180E"), "\uFEFFx\u180E");
  EXPECT_EQ(python_strip(" \n"), "");
  EXPECT_EQ(python_strip(""), "");
}

}  // namespace
}  // namespace bitgrid::test

#include "core/checkpoint/strict_json.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "kernels/error.hpp"

namespace bitgrid {
namespace {

using testing::HasSubstr;

// Writes every event down.
class Transcript final : public JsonEvents {
 public:
  std::string text;
  void begin_object() override { text += "{"; }
  void key(std::string_view name) override { text += fmt::format("k:{} ", name); }
  void begin_array() override { text += "["; }
  void end() override { text += ")"; }
  void scalar(const JsonScalar& v) override {
    switch (v.kind) {
      case JsonScalar::Kind::null:
        text += "null ";
        return;
      case JsonScalar::Kind::boolean:
        text += "bool ";
        return;
      case JsonScalar::Kind::unsigned_integer:
        text += std::to_string(v.integer) + " ";
        return;
      case JsonScalar::Kind::other_number:
        text += "number ";
        return;
      case JsonScalar::Kind::text:
        text += fmt::format("'{}' ", v.text);
        return;
    }
  }
};

std::string transcript(const std::string& json, int depth = 8) {
  Transcript events;
  try {
    read_json(json, "f.json", {.depth = depth}, events);
  } catch (const InputError& e) {
    return e.what();
  }
  return events.text;
}

TEST(StrictJson, EventsInOrder) {
  EXPECT_EQ(transcript(R"( {"a": [1, "x", null, true], "b": {}} )"),
            "{k:a [1 'x' null bool )k:b {))");
}

TEST(StrictJson, IntegersAreToldFromOtherNumbers) {
  EXPECT_EQ(transcript("[0, 9007199254740993, 18446744073709551615]"),
            "[0 9007199254740993 18446744073709551615 )");
  EXPECT_EQ(transcript("[-1, -0, 4.0, 1e3, 18446744073709551616]"),
            "[number number number number number )");
}

TEST(StrictJson, DepthLimit) {
  EXPECT_EQ(transcript("[[[]]]", 3), "[[[)))");
  EXPECT_EQ(transcript("[[[[]]]]", 3), "f.json: JSON nested deeper than 3 levels");
  EXPECT_EQ(transcript(R"({"a":{"b":{"c":{}}}})", 3), "f.json: JSON nested deeper than 3 levels");
  EXPECT_THAT(transcript(std::string(5'000'000, '['), 8), HasSubstr("deeper than 8"));
}

TEST(StrictJson, DuplicateKeysAtAnyDepth) {
  EXPECT_EQ(transcript(R"({"a":1,"a":1})"), "f.json: the key \"a\" appears twice in one object");
  EXPECT_THAT(transcript(R"({"x":[{"a":1,"b":2,"a":3}]})"), HasSubstr("\"a\" appears twice"));
  EXPECT_EQ(transcript(R"({"a":{"a":[{"a":1},{"a":2}]}})"), "{k:a {k:a [{k:a 1 ){k:a 2 ))))");
}

TEST(StrictJson, OnlyJson) {
  for (const std::string bad :
       {"", " ", "{", "{}x", "{} {}", "{'a':1}", "[1,]", "nul", "01", "1.", "+1", "NaN", "[1e999]",
        "\"\x01\"", "\"\\x\"", "\v{}", "{}\xc2\xa0"})
    EXPECT_THAT(transcript(bad), HasSubstr("f.json: not valid JSON (byte")) << bad;
  EXPECT_THAT(transcript(std::string("[]\0", 3)), HasSubstr("not valid JSON (byte 3)"));
  EXPECT_THAT(transcript("\xef\xbb\xbf[]"), HasSubstr("byte order mark"));
}

// Boundaries of RFC 3629: the last valid and the first invalid form of each kind.
TEST(StrictJson, Utf8) {
  for (const std::string good :
       {"\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
        "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"})
    EXPECT_EQ(transcript("\"" + good + "\""), fmt::format("'{}' ", good));
  for (const std::string bad :
       {"\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80", "\xff", "\xc2", "\xe1\x80", "\xf1\x80\x80", "\xc2\x41", "\xe1\x80\x41",
        "\xf1\x80\x80\xc0"})
    EXPECT_EQ(transcript("\"" + bad + "\""), "f.json: not valid UTF-8 (byte 2)")
        << testing::PrintToString(bad);
}

TEST(StrictJson, QuoteKeepsMessagesOnOneLine) {
  EXPECT_EQ(quote("a b"), "\"a b\"");
  EXPECT_EQ(quote("a\"b\\c"), "\"a\\\"b\\\\c\"");
  EXPECT_EQ(quote(std::string("\n\0\x7f\xc3\xa9", 5)), "\"\\x0a\\x00\\x7f\\xc3\\xa9\"");
  EXPECT_EQ(quote(std::string(200, 'x')), "\"" + std::string(120, 'x') + "…\"");
}

}  // namespace
}  // namespace bitgrid

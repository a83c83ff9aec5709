#include "core/checkpoint/safetensors.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <span>
#include <string>
#include <vector>

#include "kernels/error.hpp"
#include "kernels/sha256.hpp"
#include "tests/core/checkpoint/model_files.hpp"

namespace bitgrid {
namespace {

using test::safetensors_bytes;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

SafetensorsHeader parse(const std::string& bytes) {
  return parse_safetensors(std::as_bytes(std::span(bytes)), "w.safetensors");
}
// The message of the InputError that parsing must throw.
std::string refusal(const std::string& bytes) {
  try {
    parse(bytes);
  } catch (const InputError& e) {
    return e.what();
  }
  return "accepted";
}
// A header that holds one tensor "a" described by fields.
std::string one_tensor(const std::string& fields, std::size_t data_bytes) {
  return safetensors_bytes(R"({"a":{)" + fields + "}}", std::string(data_bytes, '\0'));
}
std::string length_only(std::uint64_t n, std::size_t rest = 0) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(n >> (8 * i) & 0xff);
  return bytes + std::string(rest, ' ');
}
std::string many(std::size_t count, const std::string& unit) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += unit;
  return text;
}

struct BadFile {
  std::string label;
  std::string bytes;
  std::string message;  // a part of it
};
void PrintTo(const BadFile& b, std::ostream* out) { *out << b.label; }

const std::string kA = R"("dtype":"BF16","shape":[2],"data_offsets":[0,4])";

std::vector<BadFile> bad_files() {
  return {
      // R1 … R3: length
      {"R1Empty", "", "fewer than 8"},
      {"R1FiveBytes", "12345", "fewer than 8"},
      {"R2AllOnes", length_only(~0ull), "more than 100000000"},
      {"R2OneMore", length_only(100'000'001), "more than 100000000"},
      {"R3HeaderBeyondFile", length_only(60), "truncated: a header of 60 bytes in a file of 8"},
      {"R3OneByteShort", length_only(3, 2), "truncated"},
      // R4, R5: text
      {"R4ByteFF", safetensors_bytes("{\"\xff\":1}", ""), "UTF-8"},
      {"R4Overlong", safetensors_bytes("{\"\xc0\xaf\":1}", ""), "UTF-8"},
      {"R4Surrogate", safetensors_bytes("{\"\xed\xa0\x80\":1}", ""), "UTF-8"},
      {"R4CutCharacter", safetensors_bytes("{}\xe2\x82", ""), "UTF-8"},
      {"R5NoHeader", safetensors_bytes("", ""), "not valid JSON"},
      {"R5OnlySpaces", safetensors_bytes("   ", ""), "not valid JSON"},
      {"R5OpenBrace", safetensors_bytes("{", ""), "not valid JSON"},
      {"R5Array", safetensors_bytes("[]", ""), "the header must be a JSON object"},
      {"R5Number", safetensors_bytes("3", ""), "the header must be a JSON object"},
      {"R5TwoObjects", safetensors_bytes("{}{}", ""), "not valid JSON"},
      {"R5TrailingLetters", safetensors_bytes("{}  ab", ""), "not valid JSON"},
      {"R5TrailingZeroByte", safetensors_bytes(std::string("{}\0{}", 5), ""), "not valid JSON"},
      {"R5ByteOrderMark", safetensors_bytes("\xef\xbb\xbf{}", ""), "byte order mark"},
      {"R5Comment", safetensors_bytes("{}//x", ""), "not valid JSON"},
      {"R5TrailingComma", safetensors_bytes(R"({"a":{)" + kA + "},}", "1234"), "not valid JSON"},
      {"R5LoneSurrogateEscape", safetensors_bytes(R"({"\ud800":1})", ""), "not valid JSON"},
      // R6: keys and types
      {"R6NumberForTensor", safetensors_bytes(R"({"a":3})", ""), "must be an object with dtype"},
      {"R6ArrayForTensor", safetensors_bytes(R"({"a":[]})", ""), "must be an object with dtype"},
      {"R6Empty", one_tensor("", 0), "dtype is missing"},
      {"R6NoDtype", one_tensor(R"("shape":[2],"data_offsets":[0,4])", 4), "dtype is missing"},
      {"R6NoShape", one_tensor(R"("dtype":"F32","data_offsets":[0,4])", 4), "shape is missing"},
      {"R6NoOffsets", one_tensor(R"("dtype":"F32","shape":[1])", 4), "data_offsets is missing"},
      {"R6ExtraKey", one_tensor(kA + R"(,"strides":[1])", 4), "unknown key \"strides\""},
      {"R6ShapeString", one_tensor(R"("dtype":"F32","shape":"2","data_offsets":[0,8])", 8),
       "shape must be"},
      {"R6ShapeObject", one_tensor(R"("dtype":"F32","shape":{},"data_offsets":[0,8])", 8),
       "shape must be"},
      {"R6ShapeNested", one_tensor(R"("dtype":"F32","shape":[[2]],"data_offsets":[0,8])", 8),
       "shape must be"},
      {"R6ShapeNull", one_tensor(R"("dtype":"F32","shape":[null],"data_offsets":[0,8])", 8),
       "shape must be"},
      {"R6DtypeNumber", one_tensor(R"("dtype":32,"shape":[2],"data_offsets":[0,8])", 8),
       "dtype must be a string"},
      {"R6DtypeArray", one_tensor(R"("dtype":["F32"],"shape":[2],"data_offsets":[0,8])", 8),
       "dtype must be a string"},
      {"R6OffsetsNumber", one_tensor(R"("dtype":"F32","shape":[2],"data_offsets":8)", 8),
       "data_offsets must be two"},
      {"R6OffsetString", one_tensor(R"("dtype":"F32","shape":[2],"data_offsets":["0",8])", 8),
       "data_offsets must"},
      {"R6OffsetBool", one_tensor(R"("dtype":"F32","shape":[2],"data_offsets":[false,8])", 8),
       "data_offsets must"},
      // R7, R8: values
      {"R7Foo", one_tensor(R"("dtype":"FOO","shape":[2],"data_offsets":[0,4])", 4),
       "unknown dtype \"FOO\""},
      {"R7LowerCase", one_tensor(R"("dtype":"bf16","shape":[2],"data_offsets":[0,4])", 4),
       "unknown dtype"},
      {"R8Negative", one_tensor(R"("dtype":"BF16","shape":[-1],"data_offsets":[0,4])", 4),
       "non-negative"},
      {"R8MinusZero", one_tensor(R"("dtype":"BF16","shape":[-0],"data_offsets":[0,0])", 0),
       "non-negative"},
      {"R8Float", one_tensor(R"("dtype":"BF16","shape":[2],"data_offsets":[0,4.0])", 4),
       "non-negative integers"},
      {"R8Exponent", one_tensor(R"("dtype":"U8","shape":[1e3],"data_offsets":[0,1000])", 1000),
       "non-negative"},
      {"R8TwoTo64",
       one_tensor(R"("dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,0])", 0),
       "below 2^64"},
      {"R8Reversed", one_tensor(R"("dtype":"BF16","shape":[2],"data_offsets":[8,4])", 8),
       "end before they begin"},
      {"R8ThreeOffsets", one_tensor(R"("dtype":"BF16","shape":[2],"data_offsets":[0,4,4])", 4),
       "must be two"},
      {"R8OneOffset", one_tensor(R"("dtype":"BF16","shape":[2],"data_offsets":[4])", 4),
       "must be two"},
      // R9: ranges
      {"R9Hole", one_tensor(R"("dtype":"BF16","shape":[2],"data_offsets":[4,8])", 8),
       "hole: byte 0 was expected"},
      {"R9Overlap",
       safetensors_bytes(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                         R"("b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
                         "123456"),
       "overlap: byte 4 was expected"},
      {"R9SameRange",
       safetensors_bytes(R"({"a":{"dtype":"U8","shape":[16],"data_offsets":[0,16]},)"
                         R"("b":{"dtype":"U8","shape":[16],"data_offsets":[0,16]}})",
                         std::string(16, 'x')),
       "overlap: byte 16 was expected"},
      {"R9EmptyTensorInTheMiddle",
       safetensors_bytes(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                         R"("b":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})",
                         "1234"),
       "overlap"},
      // R10: size
      {"R10WrapsToFour",
       one_tensor(R"("dtype":"U8","shape":[2,18446744073709551614],"data_offsets":[0,4])", 4),
       "2^64"},
      {"R10WrapsInBits",
       one_tensor(R"("dtype":"I32","shape":[2,9223372036854775807],"data_offsets":[0,4])", 4),
       "2^64"},
      {"R10OverflowBeforeZero",
       one_tensor(R"("dtype":"U8","shape":[18446744073709551615,2,0],"data_offsets":[0,0])", 0),
       "2^64"},
      {"R10TooFew", one_tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,4])", 4),
       "hold 4 bytes, dtype F32"},
      {"R10ScalarOfNothing", one_tensor(R"("dtype":"F32","shape":[],"data_offsets":[0,0])", 0),
       "hold 0 bytes"},
      {"R10HalfByte", one_tensor(R"("dtype":"F4","shape":[3],"data_offsets":[0,1])", 1),
       "whole number of bytes"},
      {"R10SixBits", one_tensor(R"("dtype":"F6_E2M3","shape":[3],"data_offsets":[0,2])", 2),
       "whole number of bytes"},
      // R11: end of the file
      {"R11TwoBytesMissing", one_tensor(kA, 2), "go beyond the file, which has 2 bytes of data"},
      {"R11BytesAppended", one_tensor(kA, 5), "end at byte 4 of the data, the file has 5"},
      {"R11OnlyData", safetensors_bytes("{}", "x"), "end at byte 0"},
      {"R11HugeEnd",
       one_tensor(
           R"("dtype":"U8","shape":[0],"data_offsets":[18446744073709551615,18446744073709551615])",
           0),
       "beyond the file"},
      // R12: metadata
      {"R12Nested", safetensors_bytes(R"({"__metadata__":{"a":{}}})", ""), "__metadata__ must"},
      {"R12Number", safetensors_bytes(R"({"__metadata__":{"a":1}})", ""), "__metadata__ must"},
      {"R12String", safetensors_bytes(R"({"__metadata__":"pt"})", ""), "__metadata__ must"},
      {"R12Array", safetensors_bytes(R"({"__metadata__":[]})", ""), "__metadata__ must"},
      // R13: duplicates
      {"R13Tensor", safetensors_bytes(R"({"a":{)" + kA + R"(},"a":{)" + kA + "}}", "1234"),
       "\"a\" appears twice"},
      {"R13Escaped", safetensors_bytes(R"({"a":{)" + kA + R"(},"\u0061":{)" + kA + "}}", "1234"),
       "appears twice"},
      {"R13Field", one_tensor(kA + R"(,"dtype":"BF16")", 4), "\"dtype\" appears twice"},
      {"R13Metadata", safetensors_bytes(R"({"__metadata__":{},"__metadata__":{}})", ""),
       "appears twice"},
      {"R13MetadataKey", safetensors_bytes(R"({"__metadata__":{"k":"1","k":"2"}})", ""),
       "\"k\" appears twice"},
      // R14: limits
      {"R14DeepArrays", safetensors_bytes(many(1'000'000, "["), ""), "must be a JSON object"},
      {"R14DeepShape", one_tensor(R"("dtype":"U8","shape":)" + many(1'000'000, "["), 0),
       "shape must be"},
      {"R14LongName",
       safetensors_bytes("{\"" + std::string(1025, 'n') + "\":{" + kA + "}}", "1234"),
       "1024 bytes"},
      {"R14Rank9",
       one_tensor(R"("dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1])", 1),
       "more than 8 dimensions"},
      // R16: names
      {"R16Newline", safetensors_bytes(R"({"a\nb":{)" + kA + "}}", "1234"), "control character"},
      {"R16Zero", safetensors_bytes(R"({"a\u0000b":{)" + kA + "}}", "1234"), "control character"},
      {"R16Delete", safetensors_bytes("{\"a\x7f\":{" + kA + "}}", "1234"), "control character"},
      {"R16NextLine", safetensors_bytes(R"({"a\u0085":{)" + kA + "}}", "1234"),
       "control character"},
  };
}

class BadSafetensors : public testing::TestWithParam<BadFile> {};
TEST_P(BadSafetensors, IsRefused) {
  const std::string message = refusal(GetParam().bytes);
  EXPECT_THAT(message, StartsWith("w.safetensors"));
  EXPECT_THAT(message, HasSubstr(GetParam().message));
  EXPECT_THAT(message, Not(HasSubstr("\n")));
  EXPECT_LT(message.size(), 400u);
}
INSTANTIATE_TEST_SUITE_P(Rules, BadSafetensors, testing::ValuesIn(bad_files()),
                         [](const auto& info) { return info.param.label; });

TEST(Safetensors, MessageNamesTheTensor) {
  EXPECT_EQ(refusal(one_tensor(R"("dtype":"FOO","shape":[2],"data_offsets":[0,4])", 4)),
            "w.safetensors: tensor \"a\": unknown dtype \"FOO\"");
}

TEST(Safetensors, TenTensorsOnTheSameRange) {
  std::string header;
  for (int i = 0; i < 10; ++i)
    header += (i == 0 ? "{\"" : ",\"") + std::to_string(i) +
              R"(":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]})";
  EXPECT_THAT(refusal(safetensors_bytes(header + "}", std::string(16, 'x'))), HasSubstr("overlap"));
}

TEST(Safetensors, MoreThanAMillionTensors) {
  std::string header = "{";
  for (int i = 0; i <= 1'000'000; ++i)
    header += (i == 0 ? "\"" : ",\"") + std::to_string(i) +
              R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  EXPECT_THAT(refusal(safetensors_bytes(header + "}", "")), HasSubstr("more than 1000000 tensors"));
}

TEST(Safetensors, HeaderLengthLimitIsInclusive) {
  const std::string prefix = length_only(100'000'000);
  EXPECT_EQ(safetensors_header_bytes(std::as_bytes(std::span(prefix)), 100'000'008, "w"),
            100'000'000u);
  EXPECT_THROW(safetensors_header_bytes(std::as_bytes(std::span(prefix)), 100'000'007, "w"),
               InputError);
}

// The worked example of the format: a = [1, -2] in bf16, b = 0.5 in fp32.
TEST(Safetensors, WorkedExample) {
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},)"
      R"("b":{"dtype":"F32","shape":[],"data_offsets":[4,8]}})";
  ASSERT_EQ(header.size(), 138u);
  const std::string bytes = safetensors_bytes(
      header + "      ", test::bytes_of(std::vector<std::uint16_t>{0x3f80, 0xc000}) +
                             test::bytes_of(std::vector<float>{0.5f}));
  ASSERT_EQ(bytes.size(), 160u);
  EXPECT_EQ(sha256_hex(bytes), "5feea856895ff01589c62d5bb8986258d6918615d315caecd8ca425316d14711");
  const auto parsed = parse(bytes);
  EXPECT_EQ(parsed.data_offset, 152u);
  EXPECT_THAT(parsed.warnings, testing::IsEmpty());
  ASSERT_EQ(parsed.tensors.size(), 2u);
  const auto& a = parsed.tensors[0];
  const auto& b = parsed.tensors[1];
  EXPECT_EQ(a.name, "a");
  EXPECT_EQ(a.dtype.dtype, DType::bf16);
  EXPECT_THAT(a.shape, testing::ElementsAre(2));
  EXPECT_EQ(a.begin, 0u);
  EXPECT_EQ(a.end, 4u);
  EXPECT_EQ(b.name, "b");
  EXPECT_EQ(b.dtype.dtype, DType::f32);
  EXPECT_THAT(b.shape, testing::IsEmpty());
  EXPECT_EQ(b.begin, 4u);
  EXPECT_EQ(b.end, 8u);
}

TEST(Safetensors, NoTensorsAtAll) {
  EXPECT_THAT(parse(safetensors_bytes("{}", "")).tensors, testing::IsEmpty());
  EXPECT_THAT(parse(safetensors_bytes("{}", "")).warnings, testing::IsEmpty());
  const auto spaced = parse(safetensors_bytes("\t\n{} \r\n", ""));
  EXPECT_THAT(spaced.tensors, testing::IsEmpty());
  EXPECT_THAT(spaced.warnings, testing::ElementsAre(HasSubstr("whitespace before the header")));
  EXPECT_THAT(parse(safetensors_bytes(R"({"__metadata__":{}})", "")).tensors, testing::IsEmpty());
}

TEST(Safetensors, EmptyTensorsAnywhere) {
  const auto parsed = parse(safetensors_bytes(
      R"({"z":{"dtype":"F32","shape":[2,0],"data_offsets":[4,4]},)"
      R"("m":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
      R"("a":{"dtype":"F32","shape":[0,18446744073709551615],"data_offsets":[0,0]}})",
      "1234"));
  ASSERT_EQ(parsed.tensors.size(), 3u);
  EXPECT_EQ(parsed.tensors[0].name, "a");
  EXPECT_EQ(parsed.tensors[1].name, "m");
  EXPECT_EQ(parsed.tensors[2].name, "z");
  EXPECT_EQ(
      parse(one_tensor(R"("dtype":"F32","shape":[2,0],"data_offsets":[0,0])", 0)).tensors.size(),
      1u);
}

TEST(Safetensors, EveryDtypeIsKnown) {
  const std::vector<std::pair<std::string, std::size_t>> bits = {
      {"BOOL", 8},    {"U8", 8},     {"I8", 8},          {"F8_E4M3", 8},     {"F8_E5M2", 8},
      {"F8_E8M0", 8}, {"I16", 16},   {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"U16", 16},
      {"F16", 16},    {"BF16", 16},  {"I32", 32},        {"U32", 32},        {"F32", 32},
      {"I64", 64},    {"U64", 64},   {"F64", 64},        {"C64", 64},        {"F4", 4},
      {"F6_E2M3", 6}, {"F6_E3M2", 6}};
  for (const auto& [name, size] : bits) {  // 8 elements of b bits are b bytes
    const auto bytes = one_tensor(
        R"("dtype":")" + name + R"(","shape":[8],"data_offsets":[0,)" + std::to_string(size) + "]",
        size);
    const auto parsed = parse(bytes);
    ASSERT_EQ(parsed.tensors.size(), 1u) << name;
    EXPECT_EQ(parsed.tensors[0].dtype.bits, size) << name;
    const auto dtype = parsed.tensors[0].dtype.dtype;
    EXPECT_EQ(dtype ? static_cast<std::size_t>(8 * dtype_bytes(*dtype)) : size, size) << name;
  }
}

TEST(Safetensors, ANameIsNotAPath) {
  const auto parsed = parse(safetensors_bytes(R"({"../x":{)" + kA + "}}", "1234"));
  EXPECT_EQ(parsed.tensors.at(0).name, "../x");
  EXPECT_EQ(parse(safetensors_bytes("{\"\":{" + kA + "}}", "1234")).tensors.at(0).name, "");
  EXPECT_EQ(parse(safetensors_bytes("{\"\xc3\xa9\":{" + kA + "}}", "1234")).tensors.at(0).name,
            "\xc3\xa9");
  const std::string longest(1024, 'n');
  EXPECT_EQ(
      parse(safetensors_bytes("{\"" + longest + "\":{" + kA + "}}", "1234")).tensors.at(0).name,
      longest);
}

TEST(Safetensors, EightDimensionsAreAllowed) {
  EXPECT_EQ(parse(one_tensor(R"("dtype":"U8","shape":[1,1,1,1,1,1,1,2],"data_offsets":[0,2])", 2))
                .tensors.size(),
            1u);
}

TEST(Safetensors, EveryPrefixIsRefused) {
  const std::string bytes = safetensors_bytes(R"({"a":{)" + kA + "}}", "1234");
  for (std::size_t n = 0; n < bytes.size(); ++n)
    EXPECT_NE(refusal(bytes.substr(0, n)), "accepted") << n;
}

}  // namespace
}  // namespace bitgrid

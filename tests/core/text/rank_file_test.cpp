#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/text/tokenizer.hpp"
#include "core/text/tokenizer_file.hpp"
#include "small_tokenizer.hpp"

namespace bitgrid::test {
namespace {

using testing::HasSubstr;

std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    unsigned bits = 0;
    for (std::size_t j = i; j < i + 3; ++j)
      bits = bits << 8 | (j < bytes.size() ? static_cast<unsigned char>(bytes[j]) : 0);
    for (std::size_t digit = 0; digit < 4; ++digit) {
      text += i + digit <= bytes.size() ? kDigits[bits >> (18 - 6 * digit) & 63] : '=';
    }
  }
  return text;
}

std::vector<std::string> small_ranks() {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  for (const char* token : {"ab", "bc", "abc", "aa", "aab", " abcabc!"}) tokens.emplace_back(token);
  return tokens;
}

std::string rank_text(const std::vector<std::string>& tokens) {
  std::string text;
  for (std::size_t i = 0; i < tokens.size(); ++i)
    text += base64(tokens[i]) + " " + std::to_string(i) + "\n";
  return text;
}

std::string refusal(const std::string& text) {
  return input_error([&] { read_rank_file(text, "tokenizer.model"); });
}

TEST(RankFile, MergesAreAllCutsInOrder) {
  const TokenizerFile file = read_rank_file(rank_text(small_ranks()), "t");
  EXPECT_EQ(file.vocab, small_ranks());
  const std::vector<Merge> merges = {{'a', 'b', 256}, {'b', 'c', 257}, {'a', 257, 258},
                                     {256, 'c', 258}, {'a', 'a', 259}, {'a', 256, 260},
                                     {259, 'b', 260}};
  EXPECT_EQ(file.merges, merges);
  EXPECT_TRUE(file.whole_pieces);
  EXPECT_TRUE(file.adds_bos);
  EXPECT_EQ(file.bos_id, 262);
}

TEST(RankFile, SpecialTokensAreLlama3s) {
  const std::vector<AddedToken> added = read_rank_file(rank_text(small_ranks()), "t").added;
  ASSERT_EQ(added.size(), 256u);
  const std::vector<std::pair<std::size_t, std::string>> names = {
      {0, "<|begin_of_text|>"},
      {1, "<|end_of_text|>"},
      {2, "<|reserved_special_token_0|>"},
      {5, "<|reserved_special_token_3|>"},
      {6, "<|start_header_id|>"},
      {7, "<|end_header_id|>"},
      {8, "<|reserved_special_token_4|>"},
      {9, "<|eot_id|>"},
      {10, "<|reserved_special_token_5|>"},
      {255, "<|reserved_special_token_250|>"}};
  for (const auto& [i, name] : names) {
    EXPECT_EQ(added[i], (AddedToken{262 + static_cast<std::int32_t>(i), name, true}));
  }
}

// Ids by rank, slowly: the neighbours whose concatenation has the lowest rank, the leftmost of
// equals.
TEST(RankFile, MergesGiveWhatRanksGive) {
  const std::vector<std::string> tokens = small_ranks();
  const auto rank = [&](const std::string& text) {
    return std::find(tokens.begin(), tokens.end(), text) - tokens.begin();
  };
  const auto none = static_cast<std::ptrdiff_t>(tokens.size());
  const Folder folder;
  const Tokenizer tokenizer = Tokenizer::load(folder.write("tokenizer.model", rank_text(tokens)));
  std::mt19937 random(2);
  for (int round = 0; round < 5000; ++round) {
    std::string piece;
    for (std::size_t i = 0, n = 1 + random() % 10; i < n; ++i) piece += "abc"[random() % 3];
    std::vector<std::string> parts;
    for (const char c : piece) parts.emplace_back(1, c);
    if (rank(piece) < none) parts = {piece};
    for (;;) {
      std::ptrdiff_t best = none;
      std::size_t at = 0;
      for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
        if (const auto r = rank(parts[i] + parts[i + 1]); r < best) best = r, at = i;
      }
      if (best == none) break;
      parts[at] += parts[at + 1];
      parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(at) + 1);
    }
    std::vector<std::int32_t> expected;
    for (const std::string& part : parts) expected.push_back(static_cast<std::int32_t>(rank(part)));
    ASSERT_EQ(tokenizer.encode(piece, false), expected) << piece;
  }
}

TEST(RankFile, MalformedFilesAreRefusedWithTheLine) {
  const std::string good = rank_text(small_ranks());
  EXPECT_EQ(refusal(good), "");
  EXPECT_THAT(refusal("YQ==\n"), HasSubstr("tokenizer.model:1: expected a token in base64"));
  EXPECT_THAT(refusal("YQ= 0\n"), HasSubstr("tokenizer.model:1: the token is not base64"));
  EXPECT_THAT(refusal("Y=== 0\n"), HasSubstr("tokenizer.model:1: the token is not base64"));
  EXPECT_THAT(refusal(" 0\n"), HasSubstr("tokenizer.model:1: the token is not base64"));
  EXPECT_THAT(refusal("YQ== x\n"), HasSubstr("tokenizer.model:1: the rank is not a number"));
  EXPECT_THAT(refusal("YQ== 0 \n"), HasSubstr("tokenizer.model:1: the rank is not a number"));
  EXPECT_THAT(refusal("YQ== 0\nYg== 2\n"),
              HasSubstr("tokenizer.model:2: the rank is 2, expected 1"));
  EXPECT_THAT(refusal("YQ== 0\nYg== 0\n"),
              HasSubstr("tokenizer.model:2: the rank is 0, expected 1"));
  EXPECT_THAT(refusal(good + base64("ab") + " 262\n"),
              HasSubstr("tokenizer.model:263: the token is there twice"));
  EXPECT_THAT(refusal(good + base64(std::string(2000, 'a')) + " 262\n"),
              HasSubstr("more than 1024 bytes"));
  EXPECT_THAT(refusal(good.substr(0, good.find(" 255"))),
              HasSubstr("tokenizer.model:256: expected a token"));
  std::vector<std::string> tokens = small_ranks();
  tokens.erase(tokens.begin() + 7);
  EXPECT_THAT(refusal(rank_text(tokens)), HasSubstr("no token for the single byte 0x07"));
  EXPECT_THAT(refusal(""), HasSubstr("no token for the single byte 0x00"));
}

}  // namespace
}  // namespace bitgrid::test

#include "core/text/bpe.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "core/text/special_tokens.hpp"
#include "core/text/text_file.hpp"
#include "core/text/tokenizer.hpp"
#include "small_tokenizer.hpp"

namespace bitgrid::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::int32_t> ids_of(const Bpe& bpe, std::string_view piece) {
  BpeScratch scratch;
  std::vector<std::int32_t> ids;
  bpe.encode(piece, scratch, ids);
  return ids;
}

Bpe small_bpe(bool whole_pieces) {
  const TokenizerFile file = read_tokenizer_json(small_tokenizer().dump(), "t");
  return {file.vocab, file.merges, whole_pieces};
}

TEST(Bpe, FollowsTheMergesByEye) {
  const Bpe bpe = small_bpe(true);
  EXPECT_THAT(ids_of(bpe, "a"), ElementsAre('a'));
  EXPECT_THAT(ids_of(bpe, "ab"), ElementsAre(256));
  EXPECT_THAT(ids_of(bpe, "abc"), ElementsAre(257));
  EXPECT_THAT(ids_of(bpe, "bc"), ElementsAre(258));
  EXPECT_THAT(ids_of(bpe, "bcbc"), ElementsAre(258, 258));
  EXPECT_THAT(ids_of(bpe, "aabc"), ElementsAre('a', 257)) << "a+b comes before a+a";
  EXPECT_THAT(ids_of(bpe, "aaa"), ElementsAre(260, 'a')) << "the leftmost of equals";
  EXPECT_THAT(ids_of(bpe, "aaaa"), ElementsAre(260, 260));
  EXPECT_THAT(ids_of(bpe, " ab"), ElementsAre(' ', 256)) << "a+b comes before ' '+a";
  EXPECT_THAT(ids_of(bpe, " aa"), ElementsAre(259, 'a'));
  EXPECT_THAT(ids_of(bpe, "\xFF\x80"), ElementsAre(0xFF, 0x80));
}

TEST(Bpe, AWholePieceThatIsATokenIsNotMerged) {
  EXPECT_THAT(ids_of(small_bpe(true), " abc!"), ElementsAre(261));
  EXPECT_THAT(ids_of(small_bpe(false), " abc!"), ElementsAre(' ', 257, '!'));
}

// The definition, slowly: the pair of lowest rank, the leftmost of equals, until no pair is in the
// list.
class SlowBpe {
 public:
  explicit SlowBpe(const nlohmann::json& model) : vocab_(model["vocab"]) {
    int rank = 0;
    for (const auto& merge : model["merges"]) ranks_[{merge[0], merge[1]}] = rank++;
  }
  std::vector<std::int32_t> encode(std::string_view piece) const {
    if (const auto whole = vocab_.find(alphabet_text(piece)); whole != vocab_.end())
      return {whole->get<int>()};
    std::vector<std::string> parts;
    for (const char byte : piece) parts.push_back(alphabet_text(std::string(1, byte)));
    for (;;) {
      int best = INT_MAX;
      std::size_t at = 0;
      for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
        const auto found = ranks_.find({parts[i], parts[i + 1]});
        if (found != ranks_.end() && found->second < best) best = found->second, at = i;
      }
      if (best == INT_MAX) break;
      parts[at] += parts[at + 1];
      parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(at) + 1);
    }
    std::vector<std::int32_t> ids;
    for (const std::string& part : parts) ids.push_back(vocab_[part].get<int>());
    return ids;
  }

 private:
  nlohmann::json vocab_;
  std::map<std::pair<std::string, std::string>, int> ranks_;
};

TEST(Bpe, AgreesWithItsDefinition) {
  const std::string json = read_file(kDemoTokenizer, "the test");
  const TokenizerFile file = read_tokenizer_json(json, kDemoTokenizer);
  const Bpe bpe(file.vocab, file.merges, file.whole_pieces);
  const SlowBpe slow(nlohmann::json::parse(json)["model"]);
  std::mt19937 random(5);
  BpeScratch scratch;  // shared by all pieces, so that cached ones are met again
  for (int round = 0; round < 30000; ++round) {
    std::string piece;
    const std::size_t size = round % 100 == 0 ? 300 : 1 + random() % 12;
    if (random() % 2 == 0) {
      while (piece.size() < size) piece += file.vocab[random() % file.vocab.size()];
    } else {
      constexpr std::string_view kLetters = " theinrasod";
      while (piece.size() < size) piece += kLetters[random() % kLetters.size()];
    }
    std::vector<std::int32_t> ids = {-7};  // encode appends
    bpe.encode(piece, scratch, ids);
    std::vector<std::int32_t> expected = slow.encode(piece);
    expected.insert(expected.begin(), -7);
    ASSERT_EQ(ids, expected) << testing::PrintToString(piece);
  }
}

TEST(SpecialTokens, LeftmostThenLongest) {
  const SpecialTokens specials({{1, "<a>", true},
                                {2, "<a>b", true},
                                {3, "a>bc", true},
                                {4, "<", true},
                                {5, "<a>bcd", true}});
  const auto found = [&](std::string_view text, std::size_t from = 0) {
    const SpecialTokens::Match match = specials.find(text, from);
    return std::tuple(match.id, match.begin, match.end);
  };
  EXPECT_EQ(found("x<a>"), std::tuple(1, 1u, 4u));
  EXPECT_EQ(found("x<a>b"), std::tuple(2, 1u, 5u));
  EXPECT_EQ(found("x<a>bc"), std::tuple(2, 1u, 5u)) << "<a>bcd is cut off";
  EXPECT_EQ(found("x<a>bcd"), std::tuple(5, 1u, 7u));
  EXPECT_EQ(found("xa>bc"), std::tuple(3, 1u, 5u));
  EXPECT_EQ(found("x<b"), std::tuple(4, 1u, 2u));
  EXPECT_EQ(found("<a>b", 1), std::tuple(-1, 0u, 0u));
  EXPECT_EQ(found("<a>", 3), std::tuple(-1, 0u, 0u));
  EXPECT_EQ(found(""), std::tuple(-1, 0u, 0u));
  EXPECT_EQ(SpecialTokens({}).find("<a>", 0).id, -1);
}

TEST(SpecialTokens, AgreesWithTryingAllAtEveryPlace) {
  std::mt19937 random(11);
  constexpr std::string_view kLetters = "ab\xC3\xFF";
  const auto word = [&](std::size_t size) {
    std::string text;
    while (text.size() < size) text += kLetters[random() % kLetters.size()];
    return text;
  };
  for (int round = 0; round < 3000; ++round) {
    std::map<std::string, int> all;
    for (int i = 0; i < 6; ++i) all.emplace(word(2 + random() % 4), i);
    std::vector<AddedToken> tokens;
    for (const auto& [content, id] : all) tokens.push_back({id, content, true});
    const SpecialTokens specials(tokens);
    const std::string text = word(random() % 12);
    std::tuple<int, std::size_t, std::size_t> expected = {-1, 0, 0};
    for (std::size_t i = 0; i < text.size() && std::get<0>(expected) < 0; ++i) {
      for (std::size_t size = text.size() - i; size > 0 && std::get<0>(expected) < 0; --size) {
        if (const auto hit = all.find(text.substr(i, size)); hit != all.end())
          expected = {hit->second, i, i + size};
      }
    }
    const SpecialTokens::Match match = specials.find(text, 0);
    ASSERT_EQ(std::tuple(match.id, match.begin, match.end), expected);
  }
}

}  // namespace
}  // namespace bitgrid::test

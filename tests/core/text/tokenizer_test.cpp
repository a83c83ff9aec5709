#include "core/text/tokenizer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <thread>

#include "small_tokenizer.hpp"

namespace bitgrid::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Ids = std::vector<std::int32_t>;

Tokenizer small() { return Tokenizer::parse(small_tokenizer().dump(), "small"); }

// tests/data/model/demo/tokens.jsonl was written by Hugging Face's tokenizers.
TEST(Tokenizer, AgreesWithHuggingFaceOnTheDemoTokenizer) {
  const Tokenizer tokenizer = Tokenizer::load(kDemoTokenizer);
  EXPECT_TRUE(tokenizer.adds_bos());
  EXPECT_EQ(tokenizer.bos_id(), 1008);
  std::ifstream rows(std::string(BITGRID_SOURCE_DIR) + "/tests/data/model/demo/tokens.jsonl");
  int count = 0;
  for (std::string line; std::getline(rows, line); ++count) {
    const auto row = nlohmann::json::parse(line);
    const auto text = row["text"].get<std::string>();
    EXPECT_EQ(tokenizer.encode(text, true), row["ids"].get<Ids>()) << line;
    EXPECT_EQ(tokenizer.encode(text, false), row["plain"].get<Ids>()) << line;
    EXPECT_EQ(tokenizer.decode(row["plain"].get<Ids>()), row["decoded"].get<std::string>()) << line;
  }
  EXPECT_EQ(count, 39);
}

TEST(Tokenizer, PiecesAreEncodedOneByOne) {
  const Tokenizer tokenizer = small();
  EXPECT_THAT(tokenizer.encode("", false), IsEmpty());
  EXPECT_THAT(tokenizer.encode("", true), ElementsAre(300));
  EXPECT_THAT(tokenizer.encode("abc abc!", false), ElementsAre(257, ' ', 257, '!'))
      << "' abc' and '!' are two pieces";
  EXPECT_THAT(tokenizer.encode("aa aa", true), ElementsAre(300, 260, 259, 'a'));
  EXPECT_EQ(tokenizer.vocab_size(), 304);
}

TEST(Tokenizer, SpecialsAreTokensOrText) {
  const Tokenizer tokenizer = small();
  EXPECT_THAT(tokenizer.encode("a<|end|>bc", false), ElementsAre('a', 301, 258));
  EXPECT_THAT(tokenizer.encode("<|end|>x<|end|>", false), ElementsAre(302, 301)) << "the longest";
  EXPECT_THAT(tokenizer.encode("<|begin_of_text|>a", true), ElementsAre(300, 300, 'a'));
  EXPECT_THAT(tokenizer.encode("a <|eot_id|> a", false), ElementsAre('a', ' ', 303, 259))
      << "nothing is stripped";
  EXPECT_THAT(tokenizer.encode("aa  <|eot_id|>", false), ElementsAre(260, ' ', ' ', 303));
  EXPECT_THAT(tokenizer.encode("<|end|>", true, Specials::as_text),
              ElementsAre(300, '<', '|', 'e', 'n', 'd', '|', '>'));
  EXPECT_THAT(tokenizer.encode("<|end|", false), ElementsAre('<', '|', 'e', 'n', 'd', '|'));
}

// The splitting rule's look-ahead must not see across a special token.
TEST(Tokenizer, GapsBetweenSpecialsAreSplitAlone) {
  nlohmann::json file = small_tokenizer();
  file["model"]["vocab"][alphabet_text("  ")] = 262;
  const Tokenizer tokenizer = Tokenizer::parse(file.dump(), "t");
  EXPECT_THAT(tokenizer.encode("  <|end|>", false), ElementsAre(262, 301));
  EXPECT_THAT(tokenizer.encode("  <|end|>", false, Specials::as_text),
              ElementsAre(' ', ' ', '<', '|', 'e', 'n', 'd', '|', '>'));
}

TEST(Tokenizer, BeginOfTextNeedsToExist) {
  nlohmann::json file = small_tokenizer();
  file.erase("added_tokens");
  file.erase("post_processor");
  const Tokenizer tokenizer = Tokenizer::parse(file.dump(), "t");
  EXPECT_FALSE(tokenizer.adds_bos());
  EXPECT_EQ(tokenizer.bos_id(), -1);
  EXPECT_THAT(tokenizer.encode("a", false), ElementsAre('a'));
  EXPECT_THAT(input_error([&] { tokenizer.encode("a", true); }), HasSubstr("no begin-of-text"));
}

TEST(Tokenizer, TextMustBeUtf8) {
  EXPECT_THAT(input_error([] { small().encode("abc\xC3(", false); }),
              HasSubstr("not UTF-8 at byte 3"));
}

TEST(Tokenizer, Decodes) {
  const Tokenizer tokenizer = small();
  EXPECT_EQ(tokenizer.decode(Ids{300, 257, 261, 301}), "<|begin_of_text|>abc abc!<|end|>");
  EXPECT_EQ(tokenizer.decode(Ids{300, 257, 261, 301}, true), "abc abc!");
  EXPECT_EQ(tokenizer.decode(Ids{}), "");
  EXPECT_EQ(tokenizer.decode(Ids{0xE2, 0x82, 0xAC}), "€");
  EXPECT_EQ(tokenizer.decode(Ids{0xE2, 0x82, 'a', 0xFF}), "\uFFFDa\uFFFD");
  for (const std::int32_t id : {-1, 304, 262, 299, INT32_MAX, INT32_MIN}) {
    EXPECT_THROW(tokenizer.decode(Ids{id}), Error) << id;
  }
}

TEST(Tokenizer, DecodingTheEncodingIsTheText) {
  const Tokenizer demo = Tokenizer::load(kDemoTokenizer);
  std::mt19937 random(17);
  for (int round = 0; round < 3000; ++round) {
    const std::string text =
        round % 2 == 0 ? random_text(random, random() % 60) : random_unicode(random, random() % 60);
    ASSERT_EQ(demo.decode(demo.encode(text, false)), text);
    ASSERT_EQ(demo.decode(demo.encode(text, true), true), text);
  }
}

// Quadratic work would take minutes here, and fail by ctest's limit.
TEST(Tokenizer, LongRunsAreOnePieceAndQuick) {
  const Tokenizer demo = Tokenizer::load(kDemoTokenizer);
  for (const char* unit : {"a", " ", "\n", "'", "<", "<|", "\u4F60", "e", "1"}) {
    std::string text;
    while (text.size() < 1000000) text += unit;
    EXPECT_EQ(demo.decode(demo.encode(text, false)), text);
  }
  EXPECT_EQ(small().encode(std::string(1000000, 'a'), false), Ids(500000, 260));
}

TEST(Tokenizer, ThreadsMayShareOne) {
  const Tokenizer demo = Tokenizer::load(kDemoTokenizer);
  std::vector<std::string> texts;
  std::mt19937 random(23);
  for (int i = 0; i < 200; ++i) texts.push_back(random_text(random, 300));
  std::vector<Ids> expected;
  for (const std::string& text : texts)
    expected.push_back(Tokenizer::load(kDemoTokenizer).encode(text, true));
  std::vector<int> wrong(4);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < 2 * texts.size(); ++i) {
        const std::size_t at = (i * (t + 1)) % texts.size();
        wrong[t] += demo.encode(texts[at], true) != expected[at];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(wrong, testing::Each(0));
}

TEST(Tokenizer, CanBeMoved) {
  Tokenizer one = small();
  Tokenizer two = std::move(one);
  one = Tokenizer::load(kDemoTokenizer);
  EXPECT_THAT(two.encode("abc", false), ElementsAre(257));
  EXPECT_EQ(one.bos_id(), 1008);
}

TEST(Tokenizer, AMissingFileIsNamed) {
  EXPECT_THAT(input_error([] { Tokenizer::load("/nowhere/tokenizer.json"); }),
              HasSubstr("/nowhere/tokenizer.json: no such file"));
}

}  // namespace
}  // namespace bitgrid::test

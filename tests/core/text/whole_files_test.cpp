#include <gtest/gtest.h>

#include <cstdlib>

#include "core/text/bpe.hpp"
#include "core/text/datasets.hpp"
#include "core/text/text_file.hpp"
#include "core/text/tokenizer_file.hpp"
#include "text_fixtures.hpp"

// Llama-3's own tokenizer and the public sets are not part of the repository. BITGRID_TOKENIZER
// names a tokenizer.json or tokenizer.model, BITGRID_DATASETS a folder with wikitext2/ and ptb/.

namespace bitgrid::test {
namespace {

using Ids = std::vector<std::int32_t>;

TEST(WholeFiles, WorkedExamplesOfLlama3) {
  const char* path = std::getenv("BITGRID_TOKENIZER");
  if (path == nullptr)
    GTEST_SKIP() << "BITGRID_TOKENIZER does not name Llama-3's tokenizer.json or tokenizer.model";
  const Tokenizer tokenizer = Tokenizer::load(path);
  const std::vector<std::pair<std::string, Ids>> rows = {
      {"This is a test sentence.", {2028, 374, 264, 1296, 11914, 13}},
      {"Hello world", {9906, 1917}},
      {"Hello  world", {9906, 220, 1917}},
      {"   Hello", {256, 22691}},
      {"\tHello", {197, 9906}},
      {"Hello\n\n", {9906, 271}},
      {"Hello \n world", {9906, 720, 1917}},
      {"\n\n\n", {1432}},
      {"\n \n", {27907}},
      {"  \n  x", {2355, 220, 865}},
      {"a\r\nb", {64, 319, 65}},
      {"I'm you'll WE'VE IT'S don't",
       {40, 2846, 499, 3358, 20255, 6, 4592, 8871, 13575, 1541, 956}},
      {"'tis", {956, 285}},
      {"O'Reilly", {46, 50527, 14722}},
      {"1234567", {4513, 10961, 22}},
      {" 1234", {220, 4513, 19}},
      {"3.14159", {18, 13, 9335, 2946}},
      {"$1,000.00", {3, 16, 11, 931, 13, 410}},
      {"Ⅷ½x", {71567, 100, 27154, 87}},
      {"٣٤٥٦", {117413, 124079, 124043, 149, 99}},
      {"!!!\n\nok", {33157, 564}},
      {" !\n", {59162}},
      {"foo_bar::baz()", {8134, 14725, 487, 43673, 368}},
      {"the answer: 42%", {1820, 4320, 25, 220, 2983, 4}},
      {"naïve café", {3458, 38672, 588, 53050}},
      {"नमस्ते", {61196, 88344, 79468, 100365, 35470}},
      {"你好，世界", {57668, 53901, 3922, 102616}},
      {"こんにちは", {90115}},
      {"한국어", {112699, 32179}},
      {"👍", {9468, 239, 235}},
      {" việc", {100769}},
      {"https://example.com/a?b=c&d=1",
       {2485, 1129, 8858, 916, 14520, 30, 65, 20105, 5, 67, 28, 16}},
      {"if (x == 0) {\n    return;\n}\n", {333, 320, 87, 624, 220, 15, 8, 341, 262, 471, 280, 534}},
      {"    \n    y", {1084, 262, 379}},
      {"e\u0301", {68, 54939}},
      {"\u00A0x", {4194, 87}},
      {"\u3000x", {23249, 87}},
      {"x\u00A0\u00A0y", {87, 4194, 4194, 88}},
      {"word\u2028next", {1178, 378, 101, 3684}},
      {"'\u017Fx", {6, 129, 123, 87}},
      {"👨\u200D👩\u200D👧", {9468, 239, 101, 102470, 9468, 239, 102, 102470, 9468, 239, 100}},
      {"user", {882}},
      {"system", {9125}},
      {"assistant", {78191}},
      {"…", {1981}},
  };
  for (const auto& [text, ids] : rows) EXPECT_EQ(tokenizer.encode(text, false), ids) << text;
  EXPECT_EQ(tokenizer.encode("<|begin_of_text|>", false, Specials::as_text),
            (Ids{27, 91, 7413, 3659, 4424, 91, 29}));
  EXPECT_EQ(tokenizer.encode("<|begin_of_text|>", false), Ids{128000});
}

// 280147 merges build all tokens but 588, which only a whole piece can be.
TEST(WholeFiles, MergesOfLlama3) {
  const char* path = std::getenv("BITGRID_TOKENIZER");
  if (path == nullptr) {
    GTEST_SKIP() << "BITGRID_TOKENIZER does not name Llama-3's tokenizer.json or tokenizer.model";
  }
  const std::string bytes = read_file(path, "the test");
  const TokenizerFile file = std::string_view(path).ends_with(".model")
                                 ? read_rank_file(bytes, path)
                                 : read_tokenizer_json(bytes, path);
  EXPECT_EQ(file.vocab.size(), 128000u);
  EXPECT_EQ(file.merges.size(), 280147u);
  EXPECT_TRUE(file.whole_pieces);
  EXPECT_TRUE(file.adds_bos);
  EXPECT_EQ(file.bos_id, 128000);
  const Bpe bpe(file.vocab, file.merges, false);
  BpeScratch scratch;
  int unbuilt = 0;
  Ids ids;
  for (const std::string& token : file.vocab) {
    ids.clear();
    bpe.encode(token, scratch, ids);
    unbuilt += ids.size() > 1;
  }
  EXPECT_EQ(unbuilt, 588);
}

TEST(WholeFiles, DigestsOfTheSets) {
  const char* path = std::getenv("BITGRID_TOKENIZER");
  const char* data = std::getenv("BITGRID_DATASETS");
  if (path == nullptr || data == nullptr)
    GTEST_SKIP() << "BITGRID_TOKENIZER and BITGRID_DATASETS are not both given";
  struct Row {
    const char* set;
    std::int64_t tokens, windows;
    const char *text, *ids;
  };
  const Row rows[] = {
      {"wikitext2", 289077, 141, "696cca6b65a171b0a358a4be6732cdfdf2dd6164a32e20fd70e3c13fc4dfae83",
       "4b56d307a99c683346f204363c860af56761895ee9f05aacb91a602386cb90e5"},
      {"ptb", 87293, 42, "352a9351af725c5d5d6ccdd38357a35ebfef8c79916364fdf458fa72a4fb91c3",
       "5a3942c9905c1bf1eadcd61917b19ef23b4f41150f8760a17d28420aa04d5163"},
      {"ptb-new", 95069, 46, "900cfc61a7a63afcd086c5e1cce90554764eae65cb2ca9f5d4cac47be5f0f394",
       "36aeabe41a0a1a460bf4884dd0ed4e733cfee46e68b1cb5d905577dbc1a0c982"},
  };
  const Tokenizer tokenizer = Tokenizer::load(path);
  for (const Row& row : rows) {
    SCOPED_TRACE(row.set);
    EvaluationText text;
    const std::string missing = input_error([&] {
      text = evaluation_windows(tokenizer, {row.set, data}, 2048, true);
    });
    if (!missing.empty()) {
      std::cout << "not checked: " << missing << '\n';
      continue;
    }
    EXPECT_EQ(text.text_fingerprint, row.text);
    EXPECT_EQ(text.ids_fingerprint, row.ids);
    EXPECT_EQ(text.text_tokens, row.tokens);
    EXPECT_EQ(text.windows.count, row.windows);
  }
}

}  // namespace
}  // namespace bitgrid::test

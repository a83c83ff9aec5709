#include <gtest/gtest.h>

#include <cstdlib>

#include "core/text/datasets.hpp"
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
      {"Hello  world", {9906, 220, 1917}},
      {"  \n  x", {2355, 220, 865}},
      {"I'm you'll WE'VE IT'S don't",
       {40, 2846, 499, 3358, 20255, 6, 4592, 8871, 13575, 1541, 956}},
      {"'\u017Fx", {6, 129, 123, 87}},
      {"٣٤٥٦", {117413, 124079, 124043, 149, 99}},
      {"नमस्ते", {61196, 88344, 79468, 100365, 35470}},
      {"👨‍👩‍👧", {9468, 239, 101, 102470, 9468, 239, 102, 102470, 9468, 239, 100}},
      {" việc", {100769}},
      {"if (x == 0) {\n    return;\n}\n", {333, 320, 87, 624, 220, 15, 8, 341, 262, 471, 280, 534}},
  };
  for (const auto& [text, ids] : rows) EXPECT_EQ(tokenizer.encode(text, false), ids) << text;
  EXPECT_EQ(tokenizer.encode("<|begin_of_text|>", false, Specials::as_text),
            (Ids{27, 91, 7413, 3659, 4424, 91, 29}));
  EXPECT_EQ(tokenizer.encode("<|begin_of_text|>", false), Ids{128000});
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

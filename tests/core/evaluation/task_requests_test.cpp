#include <gmock/gmock.h>

#include <random>

#include "core/text/csv_file.hpp"
#include "core/text/python_case.hpp"
#include "core/text/utf8.hpp"
#include "task_fixtures.hpp"

namespace bitgrid {
namespace {

using namespace test;
using testing::ElementsAre;

TEST(PythonCase, CapitalizeAsPythonDoes) {
  EXPECT_EQ(python_capitalize(""), "");
  EXPECT_EQ(python_capitalize("a man Is"), "A man is");
  EXPECT_EQ(python_capitalize("ßETA"), "Sseta");
  EXPECT_EQ(python_capitalize("ŉ"), "ʼN");
  EXPECT_EQ(python_capitalize("ǆAK"), "ǅak");
  EXPECT_EQ(python_capitalize("ﬃx"), "Ffix");
  EXPECT_EQ(python_capitalize("ΟΔΟΣ ΣΑΣ"), "Οδος σας");
  EXPECT_EQ(python_capitalize("ΟΔΟΣ.Α"), "Οδοσ.α");  // a full stop does not end the word
  EXPECT_EQ(python_capitalize("x\u0130"), "Xi\u0307");
  EXPECT_EQ(python_capitalize(" A"), " a");
}

TEST(PythonCase, StripsAndLengths) {
  EXPECT_EQ(python_rstrip(" a \x1f\u3000\n"), " a");
  EXPECT_EQ(python_lstrip("\x1c\u00a0 a "), "a ");
  EXPECT_EQ(python_rstrip("a\u200b"), "a\u200b");
  EXPECT_EQ(count_code_points("é🦉e\u0301"), 4);
}

std::vector<std::vector<std::string>> cells(std::string_view text) {
  std::vector<std::vector<std::string>> all;
  for (const CsvRow& row : parse_csv(text, "f.csv")) all.push_back(row.cells);
  return all;
}

TEST(CsvFile, QuotesCommasAndLines) {
  using Rows = std::vector<std::vector<std::string>>;
  EXPECT_EQ(cells("a,b\r\nc,\n"), (Rows{{"a", "b"}, {"c", ""}}));
  EXPECT_EQ(cells("\"a,\"\"b\"\"\nc\", d"), (Rows{{"a,\"b\"\nc", " d"}}));
  EXPECT_EQ(cells("a\"b\",\"c\"d\n\n\"\""), (Rows{{"a\"b\"", "cd"}, {""}}));
  EXPECT_EQ(cells(""), Rows{});
  EXPECT_EQ(parse_csv("\"a\nb\"\n\nc", "f.csv")[1].line, 4u);
  EXPECT_EQ(input_error([] { parse_csv("a\n\"b,c\n", "f.csv"); }),
            "f.csv:2: a quote that opens in this row is never closed");
}

TEST(TaskTexts, WinoGrandeAsksWithTwoContexts) {
  const Folder folder;
  const Task task = task_of_rows(
      folder, "winogrande",
      R"({"sentence": "The box did not fit because the _ was too big.", "option1": "box", "option2": "bag", "answer": "2"})");
  const DocumentTexts texts = task.texts(0);
  EXPECT_THAT(texts.contexts, ElementsAre("The box did not fit because the box",
                                          "The box did not fit because the bag"));
  EXPECT_THAT(texts.continuations, ElementsAre(" was too big.", " was too big."));
  EXPECT_EQ(task.documents()[0].gold, 1);
}

TEST(TaskTexts, HellaSwagIsCleaned) {
  const Folder folder;
  const Task task = task_of_rows(
      folder, "hellaswag",
      R"({"activity_label": "Tea", "ctx_a": "[header] How [title] Boil.", "ctx_b": "THEN [step]", "endings": ["[a] x  y", "z", "[u\nv]", "    w"], "label": 1})");
  const DocumentTexts texts = task.texts(0);
  EXPECT_THAT(texts.contexts, ElementsAre("Tea: How. Boil. Then "));
  EXPECT_THAT(texts.continuations, ElementsAre("  x y", " z", " [u\nv]", " w"));
  EXPECT_THAT(texts.option_characters, ElementsAre(4, 1, 5, 1));
}

// The layouts of the original distributions give the same texts as the hub's rows.
TEST(TaskTexts, OriginalLayouts) {
  struct Pair {
    const char *task, *hub, *path, *original;
  };
  const Pair pairs[] = {
      {"arc_easy",
       R"({"id": "1", "question": "Q?", "choices": {"text": ["a", "b"], "label": ["1", "2"]}, "answerKey": "2"})",
       "arc_easy/ARC-Easy-Test.jsonl",
       R"({"id": "1", "question": {"stem": "Q?", "choices": [{"text": "a", "label": "1"}, {"text": "b", "label": "2"}]}, "answerKey": "2"})"},
      {"openbookqa",
       R"({"id": "1", "question_stem": "Q", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": " B"})",
       "openbookqa/test.jsonl",
       R"({"id": "1", "question": {"stem": "Q", "choices": [{"text": "a", "label": "A"}, {"text": "b", "label": "B"}]}, "answerKey": "B"})"},
      {"boolq", R"({"question": "q", "passage": "P.", "idx": 0, "label": 1})", "boolq/dev.jsonl",
       R"({"question": "q", "title": "t", "answer": true, "passage": "P."})"},
      {"boolq", R"({"question": "q", "passage": "P.", "idx": 0, "label": 0})", "boolq/val.jsonl",
       R"({"question": "q", "passage": "P.", "idx": 0, "label": false})"},
  };
  for (const Pair& pair : pairs) {
    const Folder both;  // removed at the end of the round
    both.write(std::string("hub/") + pair.task + ".jsonl", pair.hub);
    both.write(std::string("original/") + pair.path, pair.original);
    const Task a = read_task(pair.task, both / "hub"), b = read_task(pair.task, both / "original");
    EXPECT_EQ(text_digest(a), text_digest(b)) << pair.path;
    EXPECT_EQ(a.documents()[0].gold, b.documents()[0].gold) << pair.path;
  }
}

TEST(TaskTexts, PiqaLabelsInAFileOfTheirOwn) {
  const Folder folder;
  folder.write("piqa/valid.jsonl",
               "{\"goal\": \"g\", \"sol1\": \"a\", \"sol2\": \"b\"}\n"
               "{\"goal\": \"h\", \"sol1\": \"c\", \"sol2\": \"d\"}\n");
  folder.write("piqa/valid-labels.lst", "1\n0\n");
  const Task task = read_task("piqa", folder.path());
  EXPECT_EQ(task.documents()[0].gold, 1);
  EXPECT_EQ(task.documents()[1].gold, 0);
  folder.write("piqa/valid-labels.lst", "1\n");
  EXPECT_THAT(input_error([&] { read_task("piqa", folder.path()); }),
              testing::EndsWith("has 1 labels for the 2 rows of " + (folder / "piqa/valid.jsonl")));
}

TEST(TaskTexts, MmluWithAHeaderAndNumbersAndAsRows) {
  const std::string plain = "\" Q, really? \",w,x,y,z,C\n";
  const std::string headed = "answer,question,A,B,C,D,subject\n2,\" Q, really? \",w,x,y,z,s\n";
  const std::string rows =
      R"({"question": " Q, really? ", "subject": "a_b", "choices": ["w", "x", "y", "z"], "answer": 2})";
  std::vector<std::string> digests;
  for (const auto& [file, text] : {std::pair<std::string, std::string>{"a_b_test.csv", plain},
                                   {"a_b_test.csv", headed},
                                   {"a_b.jsonl", rows}}) {
    const Folder folder;
    folder.write("mmlu/test/" + file, text);
    const Task task = read_task("mmlu", folder.path(), {"lmeh-0.4", 0, 0});
    EXPECT_EQ(task.documents()[0].gold, 2);
    EXPECT_EQ(task.texts(0).contexts[0],
              "The following are multiple choice questions (with answers) about a b.\n\n"
              "Q, really?\nA. w\nB. x\nC. y\nD. z\nAnswer:");
    digests.push_back(text_digest(task));
  }
  EXPECT_EQ(digests[0], digests[1]);
  EXPECT_EQ(digests[0], digests[2]);
}

TEST(TaskTexts, StudyShufflesAndAsksYesFirst) {
  const Folder folder;
  std::string rows;
  for (int i = 0; i < 10; ++i)
    rows += "{\"question\": \"q" + std::to_string(i) + "\", \"passage\": \"p\", \"label\": 1}\n";
  const Task task = task_of_rows(folder, "boolq", rows, {"study", {}, 0});
  std::vector<int> order;
  for (const TaskDocument& d : task.documents()) order.push_back(d.row);
  EXPECT_THAT(order, ElementsAre(7, 3, 2, 8, 5, 6, 9, 4, 0, 1));
  const TokenRequests requests =
      token_requests(cpu_place(1), task, Tokenizer::load(kDemoTokenizer), 1024);
  EXPECT_EQ(requests.requests[0].option, 1);
  EXPECT_EQ(requests.requests[1].option, 0);
  // A tie counts as "no", which is option 0.
  std::vector<RequestScore> ties(20);
  for (const DocumentOutcome& outcome : document_outcomes(task, ties))
    EXPECT_FALSE(outcome.correct);
  std::vector<RequestScore> yes(20);
  for (std::size_t i = 0; i < yes.size(); i += 2) yes[i + 1].log_likelihood = -1;
  for (const DocumentOutcome& outcome : document_outcomes(task, yes)) EXPECT_TRUE(outcome.correct);
}

TEST(TaskTexts, LimitTakesTheFirstOfEverySubset) {
  const Task task = read_task("mmlu", kDemoTasks, {"lmeh-0.4", {}, 3});
  EXPECT_EQ(task.subsets().size(), 7u);
  EXPECT_EQ(task.documents().size(), 21u);
  EXPECT_EQ(task.documents()[20].row, 2);
}

// Three rows are equal, one differs. With one shot two are drawn, and where both are equal to the
// document's, a second draw takes the one that is left.
TEST(TaskTexts, ShotsNeverShowTheQuestionItself) {
  const Folder folder;
  const std::string twin = "{\"question\": \"twin\", \"passage\": \"p\", \"label\": 1}\n";
  const Task task = task_of_rows(
      folder, "boolq",
      twin + twin + twin + "{\"question\": \"other\", \"passage\": \"p\", \"label\": 0}",
      {"lmeh-0.4", 1, 0});
  for (std::int64_t d = 0; d < 3; ++d)
    EXPECT_EQ(task.texts(d).contexts[0],
              "p\nQuestion: other?\nAnswer: no\n\np\nQuestion: twin?\nAnswer:");
}

struct Fixture {
  Tokenizer tokenizer = Tokenizer::load(kDemoTokenizer);
  Folder folder;
  TaskDefinition definition;
  Fixture() {
    definition.name = "own";
    definition.version = "1";
    definition.files = {{"own.jsonl", "", {}}};
    definition.context = "{c}";
    definition.options_field = "o";
    definition.answer = "{a}";
  }
  TokenRequests requests(const std::string& rows, const std::string& profile,
                         std::int64_t max_length = 1024) {
    folder.write("own.jsonl", rows);
    const Task task = Task::read(definition, folder.path(), {profile, {}, 0});
    return token_requests(cpu_place(1), task, tokenizer, max_length);
  }
  std::vector<std::int32_t> ids(std::string_view text) const {
    return tokenizer.encode(text, false);
  }
};

std::vector<std::int32_t> vector_of(std::span<const std::int32_t> ids) {
  return {ids.begin(), ids.end()};
}

TEST(TokenRequests, TrailingBlanksMoveToTheContinuation) {
  Fixture f;
  const TokenRequests r =
      f.requests(R"({"c": "The bee \u001f", "o": ["x", "yy"], "a": 0})", "lmeh-0.4");
  EXPECT_EQ(vector_of(r.context(r.requests[0])), f.ids("The bee"));
  EXPECT_EQ(vector_of(r.continuation(r.requests[0])), f.ids(" \x1f x"));
  EXPECT_EQ(r.requests[0].context_begin, r.requests[1].context_begin) << "stored once";
}

TEST(TokenRequests, EmptyContextIsBosOrEos) {
  Fixture f;
  const std::string row = R"({"c": "", "o": ["x", "yy"], "a": 0})";
  const std::int32_t bos = f.tokenizer.bos_id();
  const std::int32_t eos = f.ids("<|end_of_text|>").front();
  for (const auto& [profile, token] :
       {std::pair<std::string, std::int32_t>{"lmeh-0.4", bos}, {"lmeh-0.5", bos}, {"study", eos}}) {
    const TokenRequests r = f.requests(row, profile);
    EXPECT_THAT(vector_of(r.context(r.requests[1])), ElementsAre(token)) << profile;
    EXPECT_EQ(vector_of(r.continuation(r.requests[1])), f.ids(" yy"));
    EXPECT_FALSE(r.requests[1].bos_added);
  }
  f.definition.separator = "";
  const TokenRequests r =
      f.requests(R"({"c": "", "o": ["<|begin_of_text|>x", "y"], "a": 0})", "lmeh-0.4");
  EXPECT_THAT(vector_of(r.context(r.requests[0])), ElementsAre(bos));
  EXPECT_EQ(vector_of(r.continuation(r.requests[0])), f.ids("x"));
}

TEST(TokenRequests, BosIsAddedOnce) {
  Fixture f;
  const std::int32_t bos = f.tokenizer.bos_id();
  TokenRequests r = f.requests(R"({"c": "bee", "o": ["x", "y"], "a": 0})", "lmeh-0.5");
  EXPECT_EQ(r.context(r.requests[0]).front(), bos);
  EXPECT_TRUE(r.requests[0].bos_added);
  r = f.requests(R"({"c": "<|begin_of_text|>bee", "o": ["x", "y"], "a": 0})", "lmeh-0.5");
  EXPECT_EQ(vector_of(r.context(r.requests[0])), f.ids("<|begin_of_text|>bee"));
  EXPECT_FALSE(r.requests[0].bos_added);
}

TEST(TokenRequests, LongContextsLoseTheirBeginning) {
  Fixture f;
  const std::string row = R"({"c": "a b c d e f g h", "o": ["x y", "x"], "a": 0})";
  const TokenRequests whole = f.requests(row, "lmeh-0.5");
  const TokenRequests cut = f.requests(row, "lmeh-0.5", 5);
  for (std::size_t i = 0; i < 2; ++i) {
    const TokenRequest& r = cut.requests[i];
    EXPECT_EQ(vector_of(cut.context(r)), vector_of(whole.context(whole.requests[i])));
    EXPECT_EQ(cut.fed_context(r).size() + cut.continuation(r).size(), 6u);  // the last is not fed
    EXPECT_EQ(cut.fed_context(r).back(), cut.context(r).back());
    EXPECT_EQ(whole.requests[i].cut_tokens, 0);
  }
}

TEST(TokenRequests, ThreadsChangeNothing) {
  const Tokenizer tokenizer = Tokenizer::load(kDemoTokenizer);
  const Task task = read_task("mmlu", kDemoTasks);
  const TokenRequests one = token_requests(cpu_place(1), task, tokenizer, 1024);
  const TokenRequests four = token_requests(cpu_place(4), task, tokenizer, 1024);
  EXPECT_EQ(one.ids, four.ids);
  EXPECT_EQ(one.requests, four.requests);
}

// Pieces that the splitting rule and the cut behind line feeds care about.
std::string random_line_text(std::mt19937& random, std::size_t pieces) {
  static const std::vector<std::string> alphabet = {
      "a",  "B",  "1", " ",      "  ", "\n", "\n", "\r",     ".",    "'",
      "'s", "\t", "é", "\u0301", "(",  "|>", "\v", "\u2028", "word", "\u00a0"};
  std::string text;
  for (std::size_t i = 0; i < pieces; ++i) text += alphabet[random() % alphabet.size()];
  return text;
}

std::string json_string(std::string_view text) {
  std::string out;
  for (const char c : text) {
    constexpr std::string_view kEscapes[] = {"\\n", "\\r", "\\t", "\\u000b"};
    const std::size_t control = std::string_view("\n\r\t\v").find(c);
    out += control == std::string_view::npos ? std::string_view(&c, 1) : kEscapes[control];
  }
  return '"' + out + '"';
}

// Ids that are put together from parts are those of the whole text, whatever stands around the
// line feeds where they were cut.
TEST(TokenRequests, PartsMakeTheWhole) {
  Fixture f;
  std::mt19937 random(5);
  int compared = 0;
  for (int set = 0; set < 40; ++set) {
    f.definition.description = "About {subset}" + random_line_text(random, 6) + "\n";
    std::string rows;
    for (int i = 0; i < 50; ++i)
      rows += "{\"c\": " + json_string(random_line_text(random, 10)) + ", \"o\": [" +
              json_string(random_line_text(random, 3)) + ", \"z\"], \"a\": 0}\n";
    f.folder.write("own.jsonl", rows);
    const Task task = Task::read(f.definition, f.folder.path(), {});
    const TokenRequests r = token_requests(cpu_place(1), task, f.tokenizer, 1024);
    for (const TokenRequest& request : r.requests) {
      const DocumentTexts texts = task.texts(request.document);
      const std::string text(texts.contexts[0]);
      const std::vector<std::int32_t> context = f.ids(python_rstrip(text));
      std::vector<std::int32_t> whole =
          f.ids(text + texts.continuations[static_cast<std::size_t>(request.option)]);
      ASSERT_GT(whole.size(), context.size());
      whole.erase(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(context.size()));
      ASSERT_EQ(vector_of(r.context(request)), context) << text;
      ASSERT_EQ(vector_of(r.continuation(request)), whole) << text;
      ++compared;
    }
  }
  EXPECT_EQ(compared, 4000);
}

}  // namespace
}  // namespace bitgrid

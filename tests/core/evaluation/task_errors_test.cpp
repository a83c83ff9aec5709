// What is refused, and with which words: people act on them.
#include <gmock/gmock.h>

#include "task_fixtures.hpp"

namespace bitgrid {
namespace {

using namespace test;
using testing::HasSubstr;

struct Case {
  const char *task, *rows, *message;  // behind "FOLDER/TASK.jsonl"
};

TEST(TaskErrors, Rows) {
  const std::string fine = R"({"goal": "g", "sol1": "a", "sol2": "b", "label": 0})";
  const Case cases[] = {
      {"piqa", "", ": has no rows; needed for the task piqa"},
      {"piqa", "[1]", ":1: expected a JSON object on every line"},
      {"piqa", R"({"goal": "g" "sol1": 1})", ":1: not valid JSON"},
      {"piqa", R"({"goal": "g", "sol1": "a", "label": 0})", ":1: the row has no \"sol1+sol2\""},
      {"piqa", R"({"goal": null, "sol1": "a", "sol2": "b", "label": 0})",
       ":1: the row has no \"goal\""},
      {"piqa", R"({"goal": 1.5, "sol1": "a", "sol2": "b", "label": 0})",
       ":1: \"goal\" must be a text, an integer, or true or false; found 1.5"},
      {"piqa", R"({"goal": ["g"], "sol1": "a", "sol2": "b", "label": 0})",
       ":1: \"goal\" is a list; the template wants a text"},
      {"piqa", R"({"goal": "g", "sol1": "a", "sol2": "b", "label": 2})",
       ":1: the answer ({label}) is \"2\", expected 0 to 1"},
      {"piqa", R"({"goal": "g", "sol1": "a", "sol2": "b", "label": -1})",
       ":1: the answer ({label}) is \"-1\", expected 0 to 1"},
      {"piqa", R"({"goal": "g", "sol1": "a", "sol2": "b", "label": ""})",
       ":1: the answer ({label}) is \"\", expected 0 to 1"},
      {"piqa", R"({"goal": "g", "goal": "h", "sol1": "a", "sol2": "b", "label": 0})",
       ":1: the key \"goal\" appears twice in one object"},
      {"piqa", "{\"goal\": \"\xff\", \"sol1\": \"a\", \"sol2\": \"b\", \"label\": 0}",
       ":1: not valid JSON"},
      {"winogrande", R"({"sentence": "no gap", "option1": "a", "option2": "b", "answer": "1"})",
       ":1: \"sentence\": \"no gap\" has no blank \"_\" to fill"},
      {"winogrande", R"({"sentence": "a _ b", "option1": "a", "option2": "b", "answer": "0"})",
       ":1: the answer ({answer}) is \"0\", expected 1 to 2"},
      {"arc_easy",
       R"({"question": "q", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "C"})",
       ":1: the answer ({answerKey}) is \"C\", expected one of the labels A, B"},
      {"arc_easy",
       R"({"question": "q", "choices": {"text": ["a", "b"], "label": ["A"]}, "answerKey": "A"})",
       ":1: the row has 1 labels for 2 options"},
      {"arc_easy", R"({"question": "q", "choices": {"text": [], "label": []}, "answerKey": "A"})",
       ":1: the row has 0 options, expected at least two"},
      {"arc_easy", R"({"question": "q", "choices": ["a", "b"], "answerKey": "A"})",
       ":1: the row has no \"choices.text\" and no \"question.choices[].text\""},
      {"hellaswag",
       R"({"activity_label": "a", "ctx_a": "b", "ctx_b": "c", "endings": "d", "label": "0"})",
       ":1: \"endings\" must be a list, the options"},
  };
  for (const Case& c : cases) {
    const Folder folder;
    const std::string message = input_error([&] { task_of_rows(folder, c.task, c.rows); });
    EXPECT_THAT(message, HasSubstr(folder / (std::string(c.task) + ".jsonl") + c.message))
        << c.rows;
  }
  const Folder folder;
  EXPECT_THAT(input_error([&] { task_of_rows(folder, "piqa", fine + "\n\n" + fine); }),
              HasSubstr("piqa.jsonl:2: expected a JSON object"));
  EXPECT_EQ(input_error([&] { task_of_rows(folder, "piqa", fine + "\n\n"); }), "");
}

TEST(TaskErrors, MmluFiles) {
  const std::string row = "q,a,b,c,d,A\n";
  struct MmluCase {
    std::string test, dev, message;
  };
  const MmluCase cases[] = {
      {row + "q,a,b,c,A\n", row, "test.csv:2: the row has 5 cells, expected 6 (question, A"},
      {"q,a,b,c,d,E\n", row,
       "test.csv:1: the answer ({answer}) is \"E\", expected A to D or 0 to 3"},
      {"q,a,b,c,d,4\n", row,
       "test.csv:1: the answer ({answer}) is \"4\", expected A to D or 0 to 3"},
      {"\"q,a,b,c,d,A\n", row, "test.csv:1: a quote that opens in this row is never closed"},
      {"\xef\xbb\xbfq,a,b,c,d,A\n", row, "test.csv:1: starts with a byte order mark"},
      {"", row, "test.csv: has no rows"},
      {row, row, "dev.csv: has 1 rows for 5 shots"},
      {row, row + row + "\"x", "dev.csv:3: a quote that opens"},
  };
  for (const MmluCase& c : cases) {
    const Folder folder;
    folder.write("mmlu/test/s_test.csv", c.test);
    folder.write("mmlu/dev/s_dev.csv", c.dev);
    EXPECT_THAT(input_error([&] { read_task("mmlu", folder.path()); }), HasSubstr(c.message));
  }
  const Folder folder;
  folder.write("mmlu/test/s_test.csv", row);
  EXPECT_THAT(input_error([&] { read_task("mmlu", folder.path()); }),
              HasSubstr("no file of examples for 's'; looked for mmlu/dev/{subset}_dev.csv"));
}

TEST(TaskErrors, NamesAndFolders) {
  EXPECT_THAT(input_error([] { find_task("hella_swag"); }),
              HasSubstr("unknown task \"hella_swag\"; did you mean 'hellaswag'?; known: piqa"));
  EXPECT_THAT(input_error([] { find_profile("lmeh-0.3"); }),
              HasSubstr("unknown evaluation profile \"lmeh-0.3\"; did you mean 'lmeh-0.4'?"));
  const Folder folder;
  EXPECT_EQ(input_error([&] { read_task("piqa", folder.path()); }),
            folder.path() +
                ": holds no file of the task piqa; looked for piqa.jsonl, "
                "piqa/validation.jsonl, piqa/valid.jsonl");
  EXPECT_THAT(input_error([&] { read_task("mmlu", folder.path()); }),
              HasSubstr("looked for mmlu/test/{subset}_test.csv"));
}

TEST(TaskErrors, TooFewRowsForShots) {
  const Folder folder;
  const std::string row = "{\"question\": \"q\", \"passage\": \"p\", \"label\": 1}\n";
  const auto with_shots = [&](const std::string& rows, std::int64_t shots) {
    return input_error([&] { task_of_rows(folder, "boolq", rows, {"lmeh-0.4", shots, 0}); });
  };
  EXPECT_THAT(with_shots(row + row, 2),
              HasSubstr("boolq.jsonl: 2 rows to draw examples from, but 2 shots need 3"));
  EXPECT_THAT(with_shots(row + row + row, 2),
              HasSubstr("boolq.jsonl: 0 rows to draw examples from, but 2 shots need 2"));
}

class RequestErrors : public testing::Test {
 protected:
  RequestErrors() {
    task_.name = "own";
    task_.version = "1";
    task_.files = {{"own.jsonl", "", {}}};
    task_.context = "{c}";
    task_.options_field = "o";
    task_.answer = "{a}";
  }
  std::string error(const std::string& row, const std::string& profile,
                    std::int64_t max_length = 1024) {
    folder_.write("own.jsonl", R"({"c": "fine", "o": ["x", "y"], "a": 0})"
                               "\n" +
                                   row);
    const Task task = Task::read(task_, folder_.path(), {profile, {}, 0});
    return input_error([&] { token_requests(cpu_place(2), task, tokenizer_, max_length); });
  }
  TaskDefinition task_;
  Folder folder_;
  Tokenizer tokenizer_ = Tokenizer::load(kDemoTokenizer);
};

TEST_F(RequestErrors, NothingToAskWithOrFor) {
  for (const char* profile : {"study", "lmeh-0.4", "lmeh-0.5"}) {
    EXPECT_THAT(error(R"({"c": " \n", "o": ["x", "y"], "a": 0})", profile),
                HasSubstr("own.jsonl:2: the context is nothing but blanks"));
  }
  task_.separator = "";
  EXPECT_THAT(error(R"({"c": "c", "o": ["x", ""], "a": 0})", "lmeh-0.4"),
              HasSubstr("own.jsonl:2: option 1 tokenizes to nothing"));
  EXPECT_EQ(error(R"({"c": "c ", "o": ["x", ""], "a": 0})", "lmeh-0.4"), "") << "a blank is left";
}

TEST_F(RequestErrors, AnOptionLongerThanTheModel) {
  const std::string row = R"({"c": "c", "o": ["x", "a b c d e f g h"], "a": 0})";
  EXPECT_THAT(error(row, "lmeh-0.4", 4), HasSubstr("own.jsonl:2: option 1 has "));
  EXPECT_THAT(error(row, "lmeh-0.4", 4), HasSubstr(" tokens, but the model takes 4"));
  EXPECT_EQ(error(row, "lmeh-0.4", 64), "");
}

}  // namespace
}  // namespace bitgrid

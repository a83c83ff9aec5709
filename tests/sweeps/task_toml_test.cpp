// Task files: what a user writes is the same structure that the built-in sets are made of.
#include "sweeps/task_toml.hpp"

#include <gtest/gtest.h>

#include "core/evaluation/task.hpp"
#include "kernels/error.hpp"
#include "tests/core/text/text_fixtures.hpp"

namespace bitgrid {
namespace {

std::string message_of(const std::string& text) {
  try {
    parse_task_toml(text, "t.toml");
  } catch (const InputError& e) {
    return e.what();
  }
  return "";
}

constexpr const char* kHellaSwag = R"(
name = "hellaswag"
version = "1.0"
files = ["hellaswag.jsonl", "hellaswag/validation.jsonl", "hellaswag/hellaswag_val.jsonl"]
shot_files = ["hellaswag_train.jsonl", "hellaswag/train.jsonl", "hellaswag/hellaswag_train.jsonl"]
context = "{query}"
options = "endings"
option_filters = ["clean_brackets"]
answer = "{label}"
[derived]
query = { text = "{activity_label}: {ctx_a} {ctx_b|capitalize}", filters = ["clean_brackets"] }
)";

constexpr const char* kMmlu = R"(
name = "mmlu"
version = "2"
files = [
  { path = "mmlu/test/{subset}_test.csv", columns = ["question", "A", "B", "C", "D", "answer"] },
  "mmlu/test/{subset}.jsonl", "mmlu/test/{subset}_test.jsonl"]
shot_files = [
  { path = "mmlu/dev/{subset}_dev.csv", columns = ["question", "A", "B", "C", "D", "answer"] },
  "mmlu/dev/{subset}.jsonl", "mmlu/dev/{subset}_dev.jsonl"]
description = """
The following are multiple choice questions (with answers) about {subset|spaces}.

"""
context = "{question|strip}\nA. {choices.0}\nB. {choices.1}\nC. {choices.2}\nD. {choices.3}\nAnswer:"
options = ["A", "B", "C", "D"]
answer = "{answer}"
answer_kind = "letter"
shots = 5
shot_rule = "first"
metrics = ["acc"]
[fields]
choices = ["choices", "A+B+C+D"]
)";

constexpr const char* kWinoGrande = R"(
name = "winogrande"
version = "1.0"
files = ["winogrande.jsonl", "winogrande/validation.jsonl", "winogrande/dev.jsonl"]
shot_files = ["winogrande_train.jsonl", "winogrande/train.jsonl", "winogrande/train_xl.jsonl"]
context = "{sentence|before_blank}{option}"
continuation = "{sentence|after_blank|strip}"
options = "options"
answer = "{answer}"
answer_kind = "one_based"
metrics = ["acc"]
fields = { options = "option1+option2" }
)";

TEST(TaskToml, BuiltinSetsCanBeWrittenDown) {
  EXPECT_EQ(parse_task_toml(kHellaSwag, "t.toml"), find_task("hellaswag"));
  EXPECT_EQ(parse_task_toml(kMmlu, "t.toml"), find_task("mmlu"));
  EXPECT_EQ(parse_task_toml(kWinoGrande, "t.toml"), find_task("winogrande"));
}

TEST(TaskToml, EverythingLeftOutHasADefault) {
  const TaskDefinition task = parse_task_toml(
      "name = \"q\"\nversion = \"1\"\nfiles = \"q.jsonl\"\ncontext = \"{x}\"\n"
      "options = \"o\"\nanswer = \"{a}\"\n",
      "t.toml");
  EXPECT_EQ(task.files, (std::vector<TaskFile>{{"q.jsonl", "", {}}}));
  EXPECT_EQ(task.continuation, "{option}");
  EXPECT_EQ(task.separator, " ");
  EXPECT_EQ(task.shot_separator, "\n\n");
  EXPECT_EQ(task.shots, 0);
  EXPECT_TRUE(task.acc_norm);
}

TEST(TaskToml, MistakesAreNamedWithTheirLine) {
  const std::string start = "name = \"q\"\nversion = \"1\"\nfiles = \"q.jsonl\"\n";
  const std::string rest = "context = \"{x}\"\noptions = \"o\"\nanswer = \"{a}\"\n";
  struct Case {
    std::string text, message;
  };
  const Case cases[] = {
      {start, "t.toml: 'context' is missing"},
      {start + rest + "contxt = \"x\"", "t.toml:7: unknown key 'contxt'; did you mean 'context'?"},
      {start + rest + "separator = 3", "t.toml:7: separator: expected a string, found an integer"},
      {start + "context = \"{x\"",
       "t.toml:4: context: a single { without its partner in \"{x\"; "
       "{{ stands for one"},
      {start + "context = \"{x|stripp}\"",
       "t.toml:4: context: unknown filter \"stripp\"; did you mean 'strip'?"},
      {start + "context = \"{a b}\"",
       "t.toml:4: context: {a b}: expected a name of letters, digits and _; {{ stands for a brace"},
      {start + "context = \"{x.y}\"",
       "t.toml:4: context: {x.y}: expected the number of an element behind the dot"},
      {start + rest + "shots = -1",
       "t.toml:7: shots: expected an integer from 0 to 1000, found -1"},
      {start + rest + "shot_rule = \"last\"",
       "t.toml:7: shot_rule: expected one of first, drawn, drawn_without_own, found 'last'"},
      {start + rest + "shot_rule = \"first\"",
       "t.toml: shot_rule \"first\" needs shot_files: the scored rows have the answers in them"},
      {start + rest + "answer_kind = \"label\"",
       "t.toml: labels belong to answers of the kind \"label\", and only to these"},
      {start + rest + "metrics = [\"f1\"]",
       "t.toml:7: metrics: expected [\"acc\"] or [\"acc\", \"acc_norm\"]"},
      {start + rest + "description = \"About {x}.\"", "t.toml: description can use {subset} alone"},
      {start + rest + "shot_files = [\"{subset}.jsonl\"]",
       "t.toml: either all files have {subset} in their names, or none has"},
      {start + rest + "shot_files = { pth = \"a.jsonl\" }",
       "t.toml:7: unknown key 'pth' in [shot_files]; did you mean 'path'?"},
      {start + rest + "shot_files = \"/etc/x.jsonl\"",
       "t.toml:7: shot_files: expected a path under the directory of the tasks, found "
       "'/etc/x.jsonl'"},
      {start + rest + "shot_files = \"a.parquet\"",
       "t.toml: file \"a.parquet\" must end in .jsonl or .csv (.gz is tried by itself)"},
      {start + rest + "[derived]\nq = \"{r}\"\nr = \"{x}\"",
       "t.toml: derived field 'q' uses 'r', which is derived later"},
  };
  for (const Case& c : cases) EXPECT_EQ(message_of(c.text), c.message) << c.text;
}

// README.md's example is a task file that works, on the row that stands above it.
TEST(TaskToml, TheDocumentedExample) {
  std::ifstream in(std::string(BITGRID_SOURCE_DIR) + "/README.md");
  const std::string readme{std::istreambuf_iterator<char>(in), {}};
  const std::size_t begin = readme.find("name    = \"ferry\"");
  ASSERT_NE(begin, readme.npos);
  const std::string text = readme.substr(begin, readme.find("```", begin) - begin);
  const std::size_t row = readme.find("`{\"passage\"") + 1;
  const test::Folder folder;
  folder.write("ferry.jsonl", readme.substr(row, readme.find('`', row) - row));
  const Task task = Task::read(parse_task_toml(text, "README.md"), folder.path(), {});
  const DocumentTexts texts = task.texts(0);
  EXPECT_EQ(texts.contexts,
            std::vector<std::string>{
                "The ferry leaves at noon.\nQuestion: When does it leave?\nAnswer:"});
  EXPECT_EQ(texts.continuations, (std::vector<std::string>{" at noon", " at six"}));
  EXPECT_EQ(task.documents()[0].gold, 0);
}

}  // namespace
}  // namespace bitgrid

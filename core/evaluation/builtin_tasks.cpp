#include "core/evaluation/task_definition.hpp"

// The sets as lm-evaluation-harness asks them. Each is looked for as the hub's rows in JSON lines
// (TASK.jsonl) and under the names and in the layout of its original distribution.

namespace bitgrid {
namespace {

TaskDefinition piqa() {
  TaskDefinition task;
  task.name = "piqa";
  task.version = "1.0";
  task.files = {{"piqa.jsonl", "", {}},
                {"piqa/validation.jsonl", "", {}},
                {"piqa/valid.jsonl", "piqa/valid-labels.lst", {}}};
  task.shot_files = {{"piqa_train.jsonl", "", {}},
                     {"piqa/train.jsonl", "piqa/train-labels.lst", {}}};
  task.fields = {{"options", {"sol1+sol2"}}};
  task.context = "Question: {goal}\nAnswer:";
  task.options_field = "options";
  task.answer = "{label}";
  return task;
}

TaskDefinition arc(const std::string& name, const std::string& original) {
  TaskDefinition task;
  task.name = name;
  task.version = "1.0";
  task.files = {{name + ".jsonl", "", {}},
                {name + "/test.jsonl", "", {}},
                {name + "/" + original + "-Test.jsonl", "", {}},
                {original + "/" + original + "-Test.jsonl", "", {}}};
  task.shot_files = {{name + "_train.jsonl", "", {}},
                     {name + "/train.jsonl", "", {}},
                     {name + "/" + original + "-Train.jsonl", "", {}},
                     {original + "/" + original + "-Train.jsonl", "", {}},
                     {name + "_validation.jsonl", "", {}},
                     {name + "/validation.jsonl", "", {}}};
  task.fields = {{"question", {"question.stem", "question"}},
                 {"options", {"choices.text", "question.choices[].text"}},
                 {"labels", {"choices.label", "question.choices[].label"}}};
  task.context = "Question: {question}\nAnswer:";
  task.options_field = "options";
  task.answer = "{answerKey}";
  task.answer_kind = AnswerKind::label;
  task.labels_field = "labels";
  task.shot_rule = ShotRule::drawn;
  return task;
}

TaskDefinition openbookqa() {
  TaskDefinition task;
  task.name = "openbookqa";
  task.version = "1.0";
  task.files = {{"openbookqa.jsonl", "", {}}, {"openbookqa/test.jsonl", "", {}}};
  task.shot_files = {{"openbookqa_train.jsonl", "", {}},
                     {"openbookqa/train.jsonl", "", {}},
                     {"openbookqa_validation.jsonl", "", {}},
                     {"openbookqa/validation.jsonl", "", {}},
                     {"openbookqa/dev.jsonl", "", {}}};
  task.fields = {{"question", {"question_stem", "question.stem"}},
                 {"options", {"choices.text", "question.choices[].text"}},
                 {"labels", {"choices.label", "question.choices[].label"}}};
  task.context = "{question}";
  task.options_field = "options";
  task.answer = "{answerKey|lstrip}";
  task.answer_kind = AnswerKind::label;
  task.labels_field = "labels";
  task.shot_rule = ShotRule::drawn;
  return task;
}

TaskDefinition hellaswag() {
  TaskDefinition task;
  task.name = "hellaswag";
  task.version = "1.0";
  task.files = {{"hellaswag.jsonl", "", {}},
                {"hellaswag/validation.jsonl", "", {}},
                {"hellaswag/hellaswag_val.jsonl", "", {}}};
  task.shot_files = {{"hellaswag_train.jsonl", "", {}},
                     {"hellaswag/train.jsonl", "", {}},
                     {"hellaswag/hellaswag_train.jsonl", "", {}}};
  task.derived = {{"query", "{activity_label}: {ctx_a} {ctx_b|capitalize}", {"clean_brackets"}}};
  task.context = "{query}";
  task.options_field = "endings";
  task.option_filters = {"clean_brackets"};
  task.answer = "{label}";
  return task;
}

TaskDefinition winogrande() {
  TaskDefinition task;
  task.name = "winogrande";
  task.version = "1.0";
  task.files = {{"winogrande.jsonl", "", {}},
                {"winogrande/validation.jsonl", "", {}},
                {"winogrande/dev.jsonl", "", {}}};
  task.shot_files = {{"winogrande_train.jsonl", "", {}},
                     {"winogrande/train.jsonl", "", {}},
                     {"winogrande/train_xl.jsonl", "", {}}};
  task.fields = {{"options", {"option1+option2"}}};
  task.context = "{sentence|before_blank}{option}";
  task.continuation = "{sentence|after_blank|strip}";
  task.options_field = "options";
  task.answer = "{answer}";
  task.answer_kind = AnswerKind::one_based;
  task.acc_norm = false;
  return task;
}

TaskDefinition boolq() {
  TaskDefinition task;
  task.name = "boolq";
  task.version = "2.0";
  task.files = {{"boolq.jsonl", "", {}},
                {"boolq/validation.jsonl", "", {}},
                {"boolq/dev.jsonl", "", {}},
                {"boolq/val.jsonl", "", {}}};
  task.shot_files = {{"boolq_train.jsonl", "", {}}, {"boolq/train.jsonl", "", {}}};
  task.fields = {{"label", {"label", "answer"}}};
  task.context = "{passage}\nQuestion: {question}?\nAnswer:";
  task.options = {"no", "yes"};
  task.answer = "{label}";
  task.acc_norm = false;
  task.study_order_reversed = true;
  return task;
}

TaskDefinition mmlu() {
  const std::vector<std::string> columns = {"question", "A", "B", "C", "D", "answer"};
  TaskDefinition task;
  task.name = "mmlu";
  task.version = "2";
  task.files = {{"mmlu/test/{subset}_test.csv", "", columns},
                {"mmlu/test/{subset}.jsonl", "", {}},
                {"mmlu/test/{subset}_test.jsonl", "", {}}};
  task.shot_files = {{"mmlu/dev/{subset}_dev.csv", "", columns},
                     {"mmlu/dev/{subset}.jsonl", "", {}},
                     {"mmlu/dev/{subset}_dev.jsonl", "", {}}};
  task.fields = {{"choices", {"choices", "A+B+C+D"}}};
  task.description =
      "The following are multiple choice questions (with answers) about {subset|spaces}.\n\n";
  task.context =
      "{question|strip}\nA. {choices.0}\nB. {choices.1}\nC. {choices.2}\nD. {choices.3}\nAnswer:";
  task.options = {"A", "B", "C", "D"};
  task.answer = "{answer}";
  task.answer_kind = AnswerKind::letter;
  task.shots = 5;
  task.shot_rule = ShotRule::first;
  task.acc_norm = false;
  return task;
}

}  // namespace

std::span<const TaskDefinition> builtin_tasks() {
  static const std::vector<TaskDefinition> tasks = {piqa(),
                                                    arc("arc_easy", "ARC-Easy"),
                                                    arc("arc_challenge", "ARC-Challenge"),
                                                    hellaswag(),
                                                    winogrande(),
                                                    boolq(),
                                                    openbookqa(),
                                                    mmlu()};
  return tasks;
}

}  // namespace bitgrid

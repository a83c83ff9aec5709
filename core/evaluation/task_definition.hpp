#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace bitgrid {

// A multiple-choice set as data: which files it is in, what a question and its options look like as
// text, and where the right answer stands. The built-in sets are written in these terms, and so is
// a set that a user adds (sweeps/task_toml.hpp); README.md shows one whole.
//
// Templates: {field} inserts a field of the row, {field.2} one element of a list, {field|a|b} sends
// it through filters; {{ and }} stand for braces. Fields are the row's own keys, those of `fields`
// and `derived`, and {subset}; {option} in context and continuation is the option in question.
// Filters: task_filter_names().

// One place where the rows may be, under the directory of the tasks; NAME.gz is tried too. A name
// that holds {subset} stands for several files, one per subset, such as MMLU's subjects.
struct TaskFile {
  std::string path;                  // .jsonl, one object per line, or .csv
  std::string labels;                // a file with one line per row, which becomes the field label
  std::vector<std::string> columns;  // of a .csv; a first row that names them is a header
  bool operator==(const TaskFile&) const = default;
};

// A field that different layouts of a set keep in different places: the first path that a row has.
// A path is keys with dots between them; "[]" behind a key takes what follows from every element of
// an array ("question.choices[].text"); paths with "+" between them make a list ("sol1+sol2").
struct TaskField {
  std::string name;
  std::vector<std::string> paths;
  bool operator==(const TaskField&) const = default;
};

// A field made of others, before any question is asked.
struct DerivedField {
  std::string name;
  std::string text;                  // a template
  std::vector<std::string> filters;  // for the whole text
  bool operator==(const DerivedField&) const = default;
};

enum class AnswerKind {
  index,      // 0 … K − 1, as a number or a string; false and true are 0 and 1
  one_based,  // 1 … K, as a number or a string
  letter,     // A …, or a number from 0 on
  label       // one of the row's own labels
};

enum class ShotRule {
  first,             // the first rows of the shot files
  drawn,             // drawn per question, which may be among them
  drawn_without_own  // one more is drawn, and rows equal to the question's are left out
};

struct TaskDefinition {
  std::string name;
  std::string
      version;  // of the texts; stored with results, which are comparable within one version
  std::vector<TaskFile> files;  // the scored rows: the first that exists
  std::vector<TaskFile>
      shot_files;  // rows for examples: the first that exists, else the scored ones
  std::vector<TaskField> fields;
  std::vector<DerivedField> derived;

  std::string description;                // template, in front of everything; may use {subset}
  std::string context;                    // template
  std::string continuation = "{option}";  // template; its text counts in acc_norm
  std::string separator = " ";            // at the front of every continuation
  std::string shot_separator = "\n\n";    // behind every example

  std::vector<std::string> options;         // the same for every row, or else …
  std::string options_field;                // … the name of a field that is a list
  std::vector<std::string> option_filters;  // for every option

  std::string answer;  // template
  AnswerKind answer_kind = AnswerKind::index;
  std::string labels_field;  // a list, for AnswerKind::label

  std::int64_t shots = 0;  // unless the sweep says otherwise
  ShotRule shot_rule = ShotRule::drawn_without_own;
  bool acc_norm = true;               // next to acc
  bool study_order_reversed = false;  // profile study asks the options from the last to the first

  bool has_subsets() const { return files.front().path.find("{subset}") != std::string::npos; }
  // The context depends on the option: {option} stands in it.
  bool context_per_option() const;
  bool operator==(const TaskDefinition&) const = default;
};

// piqa, arc_easy, arc_challenge, hellaswag, winogrande, boolq, openbookqa, mmlu.
std::span<const TaskDefinition> builtin_tasks();
// From own, else from the built-in ones. Throws InputError with the nearest name.
const TaskDefinition& find_task(std::string_view name, std::span<const TaskDefinition> own = {});
// Throws InputError "WHERE: …": a template that does not parse, an unknown filter, nothing to read.
void check_task(const TaskDefinition& task, const std::string& where);

std::span<const std::string_view> task_filter_names();

}  // namespace bitgrid

#include "core/evaluation/task_definition.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/evaluation/task_template.hpp"
#include "core/text/json_input.hpp"
#include "core/text/nearest_word.hpp"
#include "kernels/error.hpp"

namespace bitgrid {
namespace {

bool is_task_name(std::string_view name) {
  return !name.empty() && name.size() <= 64 &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '_' || c == '-';
         });
}

void check_file(const TaskFile& file, bool subsets) {
  const std::size_t marker = file.path.find("{subset}");
  const bool csv = file.path.ends_with(".csv");
  if (!csv && !file.path.ends_with(".jsonl"))
    throw InputError(fmt::format("file {} must end in .jsonl or .csv (.gz is tried by itself)",
                                 shown_text(file.path)));
  if (csv != !file.columns.empty())
    throw InputError(
        fmt::format("file {}: columns belong to a .csv, and only to one", shown_text(file.path)));
  if (csv && !file.labels.empty())
    throw InputError(fmt::format("file {}: labels belong to a .jsonl", shown_text(file.path)));
  if ((marker != file.path.npos) != subsets)
    throw InputError("either all files have {subset} in their names, or none has");
  if (subsets && file.path.find('/', marker) != file.path.npos)
    throw InputError(
        fmt::format("file {}: {{subset}} must stand in the last part", shown_text(file.path)));
}

void check_files(const TaskDefinition& task) {
  if (task.files.empty()) throw InputError("files: expected at least one");
  for (const TaskFile& file : task.files) check_file(file, task.has_subsets());
  for (const TaskFile& file : task.shot_files) check_file(file, task.has_subsets());
  if (task.shot_rule == ShotRule::first && task.shot_files.empty())
    throw InputError(
        "shot_rule \"first\" needs shot_files: the scored rows have the answers in them");
  if (task.shots < 0) throw InputError("shots must not be negative");
}

void check_fields(const TaskDefinition& task) {
  for (const TaskField& field : task.fields) {
    const bool empty = std::any_of(field.paths.begin(), field.paths.end(),
                                   [](const std::string& path) { return path.empty(); });
    if (field.paths.empty() || empty)
      throw InputError(fmt::format("field {}: expected a path", shown_text(field.name)));
  }
  for (std::size_t i = 0; i < task.derived.size(); ++i) {
    FieldSlots slots;
    const TaskTemplate parsed =
        with_context(fmt::format("derived field '{}'", task.derived[i].name), [&] {
          for (const std::string& filter : task.derived[i].filters) find_filter(filter);
          return TaskTemplate(task.derived[i].text, slots);
        });
    for (std::size_t later = i; later < task.derived.size(); ++later) {
      if (parsed.uses(slots.slot_of(task.derived[later].name)))
        throw InputError(fmt::format("derived field '{}' uses '{}', which is derived later",
                                     task.derived[i].name, task.derived[later].name));
    }
    if (parsed.uses(FieldSlots::kOption))
      throw InputError(
          fmt::format("derived field '{}' must not use {{option}}", task.derived[i].name));
  }
}

void check_templates(const TaskDefinition& task) {
  FieldSlots slots;
  const auto parse = [&](const char* name, const std::string& text) {
    return with_context(name, [&] { return TaskTemplate(text, slots); });
  };
  const TaskTemplate description = parse("description", task.description);
  if (slots.size() > FieldSlots::kOption + 1 || description.uses(FieldSlots::kOption))
    throw InputError("description can use {subset} alone");
  parse("context", task.context);
  parse("continuation", task.continuation);
  if (parse("answer", task.answer).slots().empty())
    throw InputError("answer: expected a template with a field, such as \"{label}\"");
  for (const std::string& filter : task.option_filters) find_filter(filter);
}

}  // namespace

bool TaskDefinition::context_per_option() const {
  FieldSlots slots;
  return TaskTemplate(context, slots).uses(FieldSlots::kOption);
}

const TaskDefinition& find_task(std::string_view name, std::span<const TaskDefinition> own) {
  std::vector<std::string> names;
  for (const auto tasks : {own, builtin_tasks()}) {
    for (const TaskDefinition& task : tasks) {
      if (task.name == name) return task;
      names.push_back(task.name);
    }
  }
  const std::string near = name.size() <= 64 ? nearest_word(name, names) : "";
  throw InputError(fmt::format("unknown task {}{}; known: {}", shown_text(name),
                               near.empty() ? "" : fmt::format("; did you mean '{}'?", near),
                               fmt::join(names, ", ")));
}

void check_task(const TaskDefinition& task, const std::string& where) {
  with_context(where, [&] {
    if (!is_task_name(task.name))
      throw InputError(fmt::format("name {}: expected up to 64 letters, digits, _ and -",
                                   shown_text(task.name)));
    check_files(task);
    check_fields(task);
    check_templates(task);
    if (task.options.empty() == task.options_field.empty())
      throw InputError("options: expected the name of a field or a list of texts");
    if (task.options.size() == 1) throw InputError("options: expected at least two");
    if ((task.answer_kind == AnswerKind::label) != !task.labels_field.empty())
      throw InputError("labels belong to answers of the kind \"label\", and only to these");
  });
}

}  // namespace bitgrid

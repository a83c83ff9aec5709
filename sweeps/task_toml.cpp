#include "sweeps/task_toml.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/evaluation/task_template.hpp"
#include "core/text/text_file.hpp"
#include "kernels/error.hpp"
#include "sweeps/sweep_reader.hpp"
#include "sweeps/sweep_toml.hpp"

namespace bitgrid {
namespace {

constexpr std::int64_t kShotsMax = 1000;

class TaskReader {
 public:
  TaskReader(const SweepSource& source, const TomlValue::Table& table)
      : source_(source),
        table_(
            source, "", table,
            {"name", "version", "files", "shot_files", "fields", "derived", "description",
             "context", "continuation", "separator", "shot_separator", "options", "option_filters",
             "answer", "answer_kind", "labels", "shots", "shot_rule", "metrics"}) {}

  TaskDefinition read() const {
    TaskDefinition task;
    task.name = table_.text("name", required("name"));
    task.version = table_.text("version", required("version"));
    required("files");
    task.files = files("files");
    task.shot_files = files("shot_files");
    read_fields(task);
    task.description = template_text("description", "");
    required("context");
    task.context = template_text("context", "");
    task.continuation = template_text("continuation", task.continuation);
    task.separator = any_text("separator", task.separator);
    task.shot_separator = any_text("shot_separator", task.shot_separator);
    read_options(task);
    read_answer(task);
    read_shots(task);
    read_metrics(task);
    return task;
  }

 private:
  // "" for a key that is there; else there is nothing to go on with.
  std::string required(std::string_view key) const {
    if (table_.find(key) == nullptr) source_.fail(0, fmt::format("'{}' is missing", key));
    return "";
  }

  // A text that may be empty and have line feeds.
  std::string string_at(std::string_view label, const TomlValue& value) const {
    const auto* text = value.get_if<std::string>();
    if (text == nullptr) source_.fail_kind(label, "a string", value);
    return *text;
  }
  std::string any_text(std::string_view key, const std::string& fallback) const {
    const TomlValue* value = table_.find(key);
    return value == nullptr ? fallback : string_at(key, *value);
  }

  // Runs check on what stands there: its complaint gets the line.
  template <class Check>
  void check_at(std::string_view label, const TomlValue& value, Check&& check) const {
    try {
      check();
    } catch (const InputError& error) {
      source_.fail(value.line, fmt::format("{}: {}", label, error.what()));
    }
  }

  std::string template_at(std::string_view label, const TomlValue& value) const {
    std::string text = string_at(label, value);
    FieldSlots slots;
    check_at(label, value, [&] { TaskTemplate(text, slots); });
    return text;
  }
  std::string template_text(std::string_view key, const std::string& fallback) const {
    const TomlValue* value = table_.find(key);
    return value == nullptr ? fallback : template_at(key, *value);
  }

  std::vector<std::string> strings_at(std::string_view label, const TomlValue& value) const {
    const auto* items = value.get_if<TomlValue::Array>();
    if (items == nullptr) source_.fail_kind(label, "an array of strings", value);
    std::vector<std::string> texts;
    for (const TomlValue& item : *items) texts.push_back(string_at(label, item));
    return texts;
  }

  std::vector<std::string> filters_at(std::string_view label, const TomlValue& value) const {
    std::vector<std::string> names = strings_at(label, value);
    check_at(label, value, [&] {
      for (const std::string& name : names) find_filter(name);
    });
    return names;
  }

  void check_path(std::string_view key, const TomlValue& value, const std::string& path) const {
    if (path.empty() || path.front() == '/')
      source_.fail(value.line,
                   fmt::format("{}: expected a path under the directory of the tasks, found {}",
                               key, quote_for_message(path)));
  }

  TaskFile file_at(std::string_view key, const TomlValue& value) const {
    TaskFile file;
    if (const auto* text = value.get_if<std::string>()) {
      file.path = *text;
    } else if (const auto* fields = value.get_if<TomlValue::Table>()) {
      const SectionReader reader(source_, std::string(key), *fields, {"path", "labels", "columns"});
      file.path = reader.text("path", "");
      file.labels = reader.text("labels", "");
      if (const TomlValue* columns = reader.find("columns"))
        file.columns = strings_at(reader.label("columns"), *columns);
    } else {
      source_.fail_kind(key, "a path or a table { path = … }", value);
    }
    check_path(key, value, file.path);
    if (!file.labels.empty()) check_path(key, value, file.labels);
    return file;
  }

  std::vector<TaskFile> files(std::string_view key) const {
    const TomlValue* value = table_.find(key);
    if (value == nullptr) return {};
    const auto* items = value->get_if<TomlValue::Array>();
    if (items == nullptr) return {file_at(key, *value)};
    std::vector<TaskFile> all;
    for (const TomlValue& item : *items) all.push_back(file_at(key, item));
    return all;
  }

  void read_fields(TaskDefinition& task) const {
    for (const TomlEntry& entry : table_.table("fields")) {
      const std::string label = "fields." + entry.key;
      const bool list = entry.value.is_array();
      task.fields.push_back({entry.key, list ? strings_at(label, entry.value)
                                             : std::vector{string_at(label, entry.value)}});
    }
    for (const TomlEntry& entry : table_.table("derived")) {
      const std::string label = "derived." + entry.key;
      DerivedField field{entry.key, "", {}};
      if (const auto* fields = entry.value.get_if<TomlValue::Table>()) {
        const SectionReader reader(source_, label, *fields, {"text", "filters"});
        if (const TomlValue* text = reader.find("text"))
          field.text = template_at(reader.label("text"), *text);
        if (const TomlValue* filters = reader.find("filters"))
          field.filters = filters_at(reader.label("filters"), *filters);
      } else {
        field.text = template_at(label, entry.value);
      }
      task.derived.push_back(std::move(field));
    }
  }

  void read_options(TaskDefinition& task) const {
    required("options");
    const TomlValue& value = *table_.find("options");
    if (value.is_array()) {
      task.options = strings_at("options", value);
    } else {
      task.options_field = string_at("options", value);
    }
    if (const TomlValue* filters = table_.find("option_filters"))
      task.option_filters = filters_at("option_filters", *filters);
  }

  void read_answer(TaskDefinition& task) const {
    required("answer");
    task.answer = template_text("answer", "");
    const std::vector<std::string> kinds = {"index", "one_based", "letter", "label"};
    const std::string kind = table_.word("answer_kind", kinds.front(), kinds);
    task.answer_kind =
        static_cast<AnswerKind>(std::find(kinds.begin(), kinds.end(), kind) - kinds.begin());
    task.labels_field = table_.text("labels", "");
  }

  void read_shots(TaskDefinition& task) const {
    task.shots = table_.integer("shots", 0, {0, kShotsMax});
    const std::vector<std::string> rules = {"first", "drawn", "drawn_without_own"};
    const std::string rule = table_.word("shot_rule", rules.back(), rules);
    task.shot_rule =
        static_cast<ShotRule>(std::find(rules.begin(), rules.end(), rule) - rules.begin());
  }

  void read_metrics(TaskDefinition& task) const {
    const TomlValue* value = table_.find("metrics");
    if (value == nullptr) return;
    const std::vector<std::string> metrics = strings_at("metrics", *value);
    if (metrics != std::vector<std::string>{"acc"} &&
        metrics != std::vector<std::string>{"acc", "acc_norm"})
      source_.fail(value->line, "metrics: expected [\"acc\"] or [\"acc\", \"acc_norm\"]");
    task.acc_norm = metrics.size() == 2;
  }

  const SweepSource& source_;
  SectionReader table_;
};

}  // namespace

TaskDefinition parse_task_toml(std::string_view text, const std::string& file) {
  const SweepSource source{file, {}};
  const TomlValue::Table table = parse_toml(text, file);
  TaskDefinition task = TaskReader(source, table).read();
  check_task(task, file);
  return task;
}

TaskDefinition read_task_toml(const std::string& path) {
  return parse_task_toml(read_text(path, "a task of your own"), path);
}

}  // namespace bitgrid

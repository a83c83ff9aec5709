#include "core/evaluation/task_rows.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/evaluation/json_path.hpp"
#include "core/text/csv_file.hpp"
#include "core/text/json_input.hpp"
#include "core/text/text_file.hpp"
#include "kernels/error.hpp"

namespace bitgrid {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::string_view kSubset = "{subset}";

bool is_file(const std::string& path) {
  std::error_code ignored;
  return fs::exists(path, ignored) && !fs::is_directory(path, ignored);
}

std::string existing(const std::string& path) {
  if (is_file(path)) return path;
  return is_file(path + ".gz") ? path + ".gz" : "";
}

std::string with_subset(std::string path, std::string_view subset) {
  if (const std::size_t at = path.find(kSubset); at != path.npos)
    path.replace(at, kSubset.size(), subset);
  return path;
}

std::string needed_for(const TaskDefinition& task) { return "the task " + task.name; }

// The names that {subset} may stand for in a path whose last part holds it.
std::vector<std::string> subset_names(const std::string& pattern) {
  const fs::path path(pattern);
  const std::string last = path.filename().string();
  const std::size_t at = last.find(kSubset);
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(path.parent_path(), error)) {
    std::string name = entry.path().filename().string();
    if (name.ends_with(".gz")) name.resize(name.size() - 3);
    const std::string_view suffix = std::string_view(last).substr(at + kSubset.size());
    if (name.size() <= last.size() - kSubset.size() || !name.starts_with(last.substr(0, at)) ||
        !name.ends_with(suffix))
      continue;
    names.push_back(name.substr(at, name.size() - suffix.size() - at));
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

TaskPlace place_at(const TaskFile& file, const std::string& tasks_dir, const std::string& subset) {
  TaskPlace place{subset, &file, existing(with_subset(tasks_dir + "/" + file.path, subset)), ""};
  if (!file.labels.empty()) place.labels = with_subset(tasks_dir + "/" + file.labels, subset);
  if (place.path.empty()) place.file = nullptr;
  return place;
}

[[noreturn]] void fail_no_files(const TaskDefinition& task, const std::string& tasks_dir) {
  std::vector<std::string> names;
  for (const TaskFile& file : task.files) names.push_back(file.path);
  throw InputError(fmt::format("{}: holds no file of the task {}; looked for {}", tasks_dir,
                               task.name, fmt::join(names, ", ")));
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return text;
}

// Which cell of a row each column is in: by the names in a first row that has them all, or as the
// task lists them.
struct Columns {
  std::vector<std::size_t> cells;
  std::size_t width = 0;
  bool header = false;
};
Columns find_columns(const TaskFile& file, const CsvRow& first) {
  Columns out;
  out.width = first.cells.size();
  for (const std::string& column : file.columns) {
    const auto found =
        std::find_if(first.cells.begin(), first.cells.end(),
                     [&](const std::string& cell) { return lower(cell) == lower(column); });
    out.cells.push_back(static_cast<std::size_t>(found - first.cells.begin()));
  }
  out.header = std::all_of(out.cells.begin(), out.cells.end(),
                           [&](std::size_t cell) { return cell < out.width; });
  if (out.header) return out;
  out.width = file.columns.size();
  for (std::size_t i = 0; i < out.width; ++i) out.cells[i] = i;
  return out;
}

std::vector<std::string> read_labels(const std::string& path, std::string_view needed,
                                     std::size_t rows, const std::string& rows_path) {
  const std::string text = read_text(path, needed);
  std::vector<std::string> labels;
  for (const TextLine& line : text_lines(text)) labels.emplace_back(line.text);
  while (!labels.empty() && labels.back().empty()) labels.pop_back();
  if (labels.size() != rows)
    throw InputError(fmt::format("{}: has {} labels for the {} rows of {}", path, labels.size(),
                                 rows, rows_path));
  return labels;
}

}  // namespace

std::string TaskRows::place_of(std::size_t row) const {
  return fmt::format("{}:{}", path, rows[row].line);
}

std::vector<TaskPlace> find_subsets(const TaskDefinition& task, const std::string& tasks_dir) {
  std::vector<TaskPlace> places;
  for (const TaskFile& file : task.files) {
    if (task.has_subsets()) {
      for (const std::string& subset : subset_names(tasks_dir + "/" + file.path))
        places.push_back(place_at(file, tasks_dir, subset));
    } else {
      places.push_back(place_at(file, tasks_dir, task.name));
    }
    std::erase_if(places, [](const TaskPlace& place) { return place.file == nullptr; });
    if (!places.empty()) return places;
  }
  fail_no_files(task, tasks_dir);
}

TaskPlace find_shots(const TaskDefinition& task, const std::string& tasks_dir,
                     const std::string& subset) {
  for (const TaskFile& file : task.shot_files) {
    TaskPlace place = place_at(file, tasks_dir, subset);
    if (place.file != nullptr) return place;
  }
  return {};
}

RowReader::RowReader(const TaskDefinition& task, const FieldSlots& slots)
    : needed_for_(needed_for(task)), slot_count_(slots.size()) {
  for (std::size_t slot = FieldSlots::kOption + 1; slot < slots.size(); ++slot) {
    const auto id = static_cast<std::int32_t>(slot);
    const std::string& name = slots.name(id);
    const auto has_name = [&](const auto& field) { return field.name == name; };
    if (std::any_of(task.derived.begin(), task.derived.end(), has_name)) continue;
    const auto field = std::find_if(task.fields.begin(), task.fields.end(), has_name);
    wanted_.push_back({id, field == task.fields.end() ? std::vector{name} : field->paths});
  }
}

namespace {

TaskRow cut_row(const json& row, std::size_t line, std::size_t slot_count, const auto& wanted) {
  TaskRow out;
  out.line = static_cast<std::int32_t>(line);
  out.identity = std::hash<std::string>{}(row.dump());
  out.values.resize(slot_count);
  for (const auto& field : wanted) {
    std::optional<FieldValue> value;
    for (const std::string& path : field.paths) {
      value = value_at(row, path);
      if (value) break;
    }
    if (!value)
      throw InputError(
          fmt::format("the row has no \"{}\"", fmt::join(field.paths, "\" and no \"")));
    out.values[static_cast<std::size_t>(field.slot)] = std::move(*value);
  }
  return out;
}

}  // namespace

void RowReader::read_json(const TaskPlace& place, TaskRows& out) const {
  const JsonLines lines(place.path, needed_for_);
  std::vector<std::string> labels;
  if (!place.labels.empty())
    labels = read_labels(place.labels, needed_for_, lines.size(), place.path);
  out.rows.reserve(lines.size());
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::string where = fmt::format("{}:{}", place.path, lines.line(i));
    json row = parse_json(lines.row(i), where);
    if (!labels.empty()) row["label"] = labels[i];
    out.rows.push_back(
        with_context(where, [&] { return cut_row(row, lines.line(i), slot_count_, wanted_); }));
  }
}

void RowReader::read_csv(const TaskPlace& place, TaskRows& out) const {
  const std::vector<CsvRow> rows = parse_csv(read_text(place.path, needed_for_), place.path);
  if (rows.empty())
    throw InputError(fmt::format("{}: has no rows; needed for {}", place.path, needed_for_));
  const Columns columns = find_columns(*place.file, rows.front());
  for (std::size_t i = columns.header ? 1 : 0; i < rows.size(); ++i) {
    const std::string where = fmt::format("{}:{}", place.path, rows[i].line);
    if (rows[i].cells.size() != columns.width)
      throw InputError(fmt::format("{}: the row has {} cells, expected {} ({})", where,
                                   rows[i].cells.size(), columns.width,
                                   fmt::join(place.file->columns, ", ")));
    json row;
    for (std::size_t c = 0; c < columns.cells.size(); ++c)
      row[place.file->columns[c]] = rows[i].cells[columns.cells[c]];
    out.rows.push_back(
        with_context(where, [&] { return cut_row(row, rows[i].line, slot_count_, wanted_); }));
  }
}

TaskRows RowReader::read(const TaskPlace& place) const {
  TaskRows out;
  out.path = place.path;
  if (place.file->columns.empty()) {
    read_json(place, out);
  } else {
    read_csv(place, out);
  }
  FieldValue subset;
  subset.text = place.subset;
  for (TaskRow& row : out.rows) row.values[FieldSlots::kSubset] = subset;
  return out;
}

}  // namespace bitgrid

#include "sweeps/sweep.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <numeric>
#include <sstream>

#include "core/evaluation/task.hpp"
#include "kernels/error.hpp"
#include "sweeps/cells.hpp"
#include "sweeps/sweep_reader.hpp"

namespace bitgrid {
namespace {

using Range = SectionReader::Range;
constexpr Range kWindowsRange{1, 1'000'000};
constexpr Range kLengthRange{2, 1 << 20};
constexpr Range kSeedRange{0, INT64_MAX};
constexpr Range kShardsRange{1, 1 << 16};
constexpr Range kRanksRange{1, 1 << 16};
constexpr Range kThreadsRange{1, 4096};
constexpr std::int64_t kMemoryMin = std::int64_t{32} << 20;

const std::vector<std::string> kSets = {"wikitext2", "ptb", "ptb-new", "c4", "c4-new"};

// Relative paths are taken from `folder`; the result is absolute, without "." and "..".
std::string resolve_path(const std::filesystem::path& folder, const std::string& path) {
  auto absolute = std::filesystem::absolute(folder / path).lexically_normal();
  if (!absolute.has_filename() && absolute.has_relative_path()) absolute = absolute.parent_path();
  return absolute.string();
}

// A named set as it is, a path resolved.
std::string read_set(const SectionReader& section, std::string_view key, const TomlValue& value,
                     const std::filesystem::path& folder) {
  std::string set = section.text(key, value);
  if (std::find(kSets.begin(), kSets.end(), set) != kSets.end()) return set;
  std::string_view stem = set;
  if (stem.ends_with(".gz")) stem.remove_suffix(3);
  if (stem.ends_with(".txt") || stem.ends_with(".jsonl")) return resolve_path(folder, set);
  section.fail(key, value,
               fmt::format("unknown set {}{} (or a path that ends in .txt or .jsonl)",
                           quote_for_message(set), suggestion(set, kSets)));
}

Sweep::Calibration read_calibration(const SectionReader& section,
                                    const std::filesystem::path& folder) {
  Sweep::Calibration c;
  if (const TomlValue* data = section.find("data"))
    c.data = read_set(section, "data", *data, folder);
  c.windows = section.integer("windows", c.windows, kWindowsRange);
  c.length = section.integer("length", c.length, kLengthRange);
  c.seed = section.integer("seed", c.seed, kSeedRange);
  c.shards = section.integer("shards", c.shards, kShardsRange);
  return c;
}

// The name of a built-in set, or the path of a file that defines one, resolved.
std::string read_task_name(const SectionReader& section, const TomlValue& value,
                           const std::filesystem::path& folder) {
  std::string task = section.text("tasks", value);
  if (task.ends_with(".toml")) return resolve_path(folder, task);
  std::vector<std::string> names;
  for (const TaskDefinition& known : builtin_tasks()) names.push_back(known.name);
  if (std::find(names.begin(), names.end(), task) == names.end())
    section.fail("tasks", value,
                 fmt::format("unknown task {}{} (or the path of a .toml file that defines one)",
                             quote_for_message(task), suggestion(task, names)));
  return task;
}

void read_tasks(const SectionReader& section, const SweepSource& source,
                const std::filesystem::path& folder, Sweep::Evaluation& e) {
  if (const TomlValue* tasks = section.find("tasks")) {
    const auto* array = tasks->get_if<TomlValue::Array>();
    if (array == nullptr) source.fail_kind("evaluation.tasks", "an array of strings", *tasks);
    if (array->size() > 100) section.fail("tasks", *tasks, "more than 100 tasks");
    for (const auto& value : *array) {
      std::string task = read_task_name(section, value, folder);
      if (std::find(e.tasks.begin(), e.tasks.end(), task) != e.tasks.end())
        section.fail("tasks", value, quote_for_message(task) + " is listed twice");
      e.tasks.push_back(std::move(task));
    }
  }
  std::vector<std::string> profiles;
  for (const EvaluationProfile& profile : evaluation_profiles()) profiles.push_back(profile.name);
  e.profile = section.word("profile", e.profile, profiles);
  e.divergence = section.flag("divergence", e.divergence);
  e.mmlu_shots = section.integer("mmlu_shots", e.mmlu_shots, {0, 5});
  e.limit = section.integer("limit", e.limit, {0, 1 << 30});
  e.wave = section.word("wave", e.wave, {"auto", "task"});
}

Sweep::Evaluation read_evaluation(const SectionReader& section, const SweepSource& source,
                                  const std::filesystem::path& folder) {
  Sweep::Evaluation e;
  if (const TomlValue* sets = section.find("perplexity")) {
    const auto* array = sets->get_if<TomlValue::Array>();
    if (array == nullptr) source.fail_kind("evaluation.perplexity", "an array of strings", *sets);
    if (array->size() > 100) section.fail("perplexity", *sets, "more than 100 sets");
    for (const auto& value : *array) {
      std::string set = read_set(section, "perplexity", value, folder);
      if (std::find(e.perplexity.begin(), e.perplexity.end(), set) != e.perplexity.end())
        section.fail("perplexity", value, quote_for_message(set) + " is listed twice");
      e.perplexity.push_back(std::move(set));
    }
  }
  e.length = section.integer("length", e.length, kLengthRange);
  e.bos = section.word("bos", e.bos, {"auto", "always", "never"});
  read_tasks(section, source, folder, e);
  return e;
}

Sweep::Run read_run(const SectionReader& section) {
  Sweep::Run r;
  r.stages = static_cast<int>(section.integer_or_auto("stages", kRanksRange));
  r.replicas = static_cast<int>(section.integer_or_auto("replicas", kRanksRange));
  r.threads = static_cast<int>(section.integer_or_auto("threads", kThreadsRange));
  r.device = section.word("device", r.device, {"auto", "cpu", "cuda"});
  const auto parsed = [&](std::string_view key, auto parse, auto fallback) {
    const TomlValue* value = section.find(key);
    if (value == nullptr) return fallback;
    const std::string text = section.text(key, *value);
    if (key == "memory" && text == "auto") return fallback;
    try {
      return parse(text);
    } catch (const InputError& e) {
      section.fail(key, *value, e.what());
    }
  };
  r.memory_bytes = parsed("memory", parse_bytes, r.memory_bytes);
  if (r.memory_bytes > 0 && r.memory_bytes < kMemoryMin)
    section.fail("memory", *section.find("memory"),
                 fmt::format("expected at least {} MiB for a rank, found {}", kMemoryMin >> 20,
                             quote_for_message(section.text("memory", std::string()))));
  r.deadline_s = parsed("deadline", parse_seconds, r.deadline_s);
  r.reproducible = section.flag("reproducible", r.reproducible);
  r.keep_tensors =
      section.word("keep", r.keep_tensors ? "all" : "metrics", {"all", "metrics"}) == "all";
  return r;
}

// Writes the value of --set into the tree, where the file's value was or would be.
void apply_set(TomlValue::Table& root, const std::string& assignment, int line,
               const SweepSource& source) {
  const auto equals = assignment.find('=');
  if (equals == std::string::npos || equals == 0)
    source.fail(line, "expected KEY=VALUE, such as calibration.windows=16");
  std::vector<std::string> parts;
  std::stringstream key(assignment.substr(0, equals));
  for (std::string part; std::getline(key, part, '.');) parts.push_back(part);
  if (parts.size() > 4) source.fail(line, "a key of more than 4 parts");
  if (parts[0] == "grid")
    source.fail(line,
                "[[grid]] cannot be set from the command line; --cells chooses among its cells");
  TomlValue::Table* table = &root;
  for (std::size_t i = 0;; ++i) {
    auto entry = std::find_if(table->begin(), table->end(),
                              [&](const auto& e) { return e.key == parts[i]; });
    if (entry == table->end()) entry = table->insert(table->end(), TomlEntry{parts[i], line, {}});
    if (i + 1 == parts.size()) {
      entry->value = parse_toml_value(assignment.substr(equals + 1), line, source.where(line));
      return;
    }
    if (!entry->value.is_table()) entry->value = TomlValue{TomlValue::Table{}, line};
    table = std::get_if<TomlValue::Table>(&entry->value.value);
  }
}

std::string required_path(const SectionReader& top, std::string_view key, const SweepSource& source,
                          const std::filesystem::path& folder) {
  const TomlValue* value = top.find(key);
  if (value == nullptr) source.fail(0, fmt::format("no '{}': a sweep needs one", key));
  return resolve_path(folder, top.text(key, *value));
}

}  // namespace

Sweep parse_sweep(const std::string& text, const std::string& file,
                  const SweepOverrides& overrides) {
  const SweepSource source{file, overrides.set};
  TomlValue::Table root = parse_toml(text, file);
  for (std::size_t i = 0; i < overrides.set.size(); ++i)
    apply_set(root, overrides.set[i], -static_cast<int>(i) - 1, source);

  const SectionReader top(
      source, "", root,
      {"name", "model", "output", "data", "calibration", "evaluation", "grid", "run"});
  const auto folder = std::filesystem::path(file).parent_path();
  Sweep sweep;
  sweep.file = file;
  const std::string stem = std::filesystem::path(file).stem().string();
  sweep.name = top.text("name", stem.empty() ? "sweep" : stem);
  sweep.model = required_path(top, "model", source, folder);
  if (overrides.out.empty()) {
    sweep.output = required_path(top, "output", source, folder);
  } else {
    top.text("output", "");  // checked all the same
    if (one_line(overrides.out) != overrides.out)
      throw InputError("--out: control characters in the path");
    const TomlValue out = parse_toml_value(toml_quote(overrides.out), 0, "--out");
    sweep.output = resolve_path("", *out.get_if<std::string>());
  }

  const SectionReader data(source, "data", top.table("data"), {"dir"});
  sweep.data_dir = resolve_path(folder, data.text("dir", "data"));
  sweep.calibration = read_calibration({source,
                                        "calibration",
                                        top.table("calibration"),
                                        {"data", "windows", "length", "seed", "shards"}},
                                       folder);
  sweep.evaluation = read_evaluation({source,
                                      "evaluation",
                                      top.table("evaluation"),
                                      {"perplexity", "length", "bos", "divergence", "tasks",
                                       "profile", "mmlu_shots", "limit", "wave"}},
                                     source, folder);
  sweep.run = read_run(
      {source,
       "run",
       top.table("run"),
       {"stages", "replicas", "threads", "device", "memory", "deadline", "reproducible", "keep"}});
  sweep.cells = expand_grids(source, top.find("grid"), sweep.cell_lines.lines);
  sweep.chosen = choose_cells(sweep.cells, overrides.cells);
  return sweep;
}

std::optional<std::int64_t> compared_cell(const Sweep& sweep) {
  if (!sweep.evaluation.divergence || sweep.evaluation.perplexity.empty() || sweep.cells.size() < 2)
    return std::nullopt;
  for (std::size_t i = 0; i < sweep.cells.size(); ++i)
    if (!sweep.cells[i].quantizes()) return static_cast<std::int64_t>(i);
  return std::nullopt;
}

Sweep only_chosen(Sweep sweep) {
  std::vector<Recipe> cells;
  Sweep::CellLines cell_lines;
  for (const std::int64_t chosen : sweep.chosen) {
    const auto cell = static_cast<std::size_t>(chosen);
    cells.push_back(std::move(sweep.cells[cell]));
    if (cell < sweep.cell_lines.lines.size())
      cell_lines.lines.push_back(sweep.cell_lines.lines[cell]);
  }
  sweep.cells = std::move(cells);
  sweep.cell_lines = std::move(cell_lines);
  std::iota(sweep.chosen.begin(), sweep.chosen.end(), std::int64_t{0});
  return sweep;
}

Sweep read_sweep(const std::string& file, const SweepOverrides& overrides) {
  const auto refuse = [&](const std::string& why) {
    throw InputError(one_line(fmt::format("{}: {}", file, why)));
  };
  std::error_code error;
  if (std::filesystem::is_directory(file, error))
    refuse("is a folder; expected a sweep file, such as sweeps/demo/demo.toml");
  std::ifstream in(file, std::ios::binary);
  if (!in) refuse(std::string("cannot be read: ") + std::strerror(errno));
  constexpr std::streamsize kBytesMax = (4 << 20) + 1;  // one more than parse_toml accepts
  std::string text(static_cast<std::size_t>(kBytesMax), '\0');
  in.read(text.data(), kBytesMax);
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (in.bad()) refuse("cannot be read");
  return parse_sweep(text, file, overrides);
}

}  // namespace bitgrid

#include "core/evaluation/task.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>

#include "core/evaluation/task_rows.hpp"
#include "core/evaluation/task_texts.hpp"
#include "core/text/json_input.hpp"
#include "core/text/nearest_word.hpp"
#include "core/text/python_random.hpp"
#include "kernels/error.hpp"

namespace bitgrid {

std::span<const EvaluationProfile> evaluation_profiles() {
  static const std::array<EvaluationProfile, 3> profiles = {{
      {.name = "study", .eos_when_empty = true, .encode_apart = true, .shuffled = true},
      {.name = "lmeh-0.4"},
      {.name = "lmeh-0.5", .add_bos = true},
  }};
  return profiles;
}

const EvaluationProfile& find_profile(std::string_view name) {
  std::vector<std::string> names;
  for (const EvaluationProfile& profile : evaluation_profiles()) {
    if (profile.name == name) return profile;
    names.push_back(profile.name);
  }
  const std::string near = name.size() <= 64 ? nearest_word(name, names) : "";
  throw InputError(fmt::format("unknown evaluation profile {}{}; known: {}", shown_text(name),
                               near.empty() ? "" : fmt::format("; did you mean '{}'?", near),
                               fmt::join(names, ", ")));
}

struct Task::State {
  explicit State(const TaskDefinition& task) : definition(task), texts(definition) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  // The rows of one subset.
  struct Part {
    TaskRows rows;
    TaskRows own_pool;  // of examples; empty: the scored rows are the pool
    std::string prefix;
    const TaskRows& pool() const { return own_pool.rows.empty() ? rows : own_pool; }
  };

  void add_subset(const RowReader& reader, const TaskPlace& place, const std::string& tasks_dir,
                  std::int64_t limit);
  void add_documents(Part& part, std::int64_t limit);
  void add_shots(Part& part, std::size_t first_document);
  TaskRows read_rows(const RowReader& reader, const TaskPlace& place) const;
  const TaskRow& row_of(const TaskDocument& d) const {
    return parts[static_cast<std::size_t>(d.subset)].rows.rows[static_cast<std::size_t>(d.row)];
  }

  TaskDefinition definition;
  RowTexts texts;
  const EvaluationProfile* profile = nullptr;
  std::int64_t shots = 0;
  std::vector<TaskSubset> subsets;
  std::vector<TaskDocument> documents;
  std::vector<Part> parts;                       // by subset
  std::vector<std::vector<std::int32_t>> drawn;  // by document; empty where examples are fixed
};

TaskRows Task::State::read_rows(const RowReader& reader, const TaskPlace& place) const {
  TaskRows rows = reader.read(place);
  for (std::size_t i = 0; i < rows.rows.size(); ++i) {
    with_context(rows.place_of(i), [&] {
      texts.derive(rows.rows[i]);
      texts.example(rows.rows[i]);  // everything that can be wrong with a row shows here
    });
  }
  return rows;
}

void Task::State::add_documents(Part& part, std::int64_t limit) {
  std::vector<std::int32_t> order(part.rows.rows.size());
  std::iota(order.begin(), order.end(), 0);
  if (profile->shuffled) {
    constexpr std::int64_t kSeed = 42;
    PythonRandom(kSeed).shuffle(order);
  }
  if (limit > 0 && limit < static_cast<std::int64_t>(order.size()))
    order.resize(static_cast<std::size_t>(limit));
  for (const std::int32_t i : order) {
    const TaskRow& row = part.rows.rows[static_cast<std::size_t>(i)];
    TaskDocument document;
    document.subset = static_cast<std::int32_t>(subsets.size());
    document.row = i;
    document.line = row.line;
    const std::size_t options = texts.options(row).size();
    document.option_count = static_cast<std::int32_t>(options);
    document.gold = texts.gold(row, options);
    documents.push_back(document);
  }
}

void Task::State::add_shots(Part& part, std::size_t first_document) {
  if (shots == 0) return;
  if (definition.shot_rule == ShotRule::first) {
    const auto rows = static_cast<std::int64_t>(part.own_pool.rows.size());
    if (rows < shots)
      throw InputError(
          fmt::format("{}: has {} rows for {} shots", part.own_pool.path, rows, shots));
    for (std::int64_t i = 0; i < shots; ++i)
      part.prefix += texts.example(part.own_pool.rows[static_cast<std::size_t>(i)]);
    return;
  }
  std::vector<const TaskRow*> own;
  for (std::size_t d = first_document; d < documents.size(); ++d) {
    own.push_back(&part.rows.rows[static_cast<std::size_t>(documents[d].row)]);
  }
  auto chosen =
      draw_shots(part.pool(), own, shots, definition.shot_rule == ShotRule::drawn_without_own);
  std::move(chosen.begin(), chosen.end(), std::back_inserter(drawn));
}

void Task::State::add_subset(const RowReader& reader, const TaskPlace& place,
                             const std::string& tasks_dir, std::int64_t limit) {
  Part part;
  part.rows = read_rows(reader, place);
  part.prefix = texts.description(place.subset);
  if (shots > 0) {
    const TaskPlace pool = find_shots(definition, tasks_dir, place.subset);
    if (pool.file != nullptr) {
      part.own_pool = read_rows(reader, pool);
    } else if (definition.shot_rule == ShotRule::first) {
      throw InputError(fmt::format("{}: no file of examples for '{}'; looked for {} and the like",
                                   tasks_dir, place.subset, definition.shot_files.front().path));
    }
  }
  const std::size_t first_document = documents.size();
  add_documents(part, limit);
  add_shots(part, first_document);
  subsets.push_back({place.subset, place.path, static_cast<std::int64_t>(first_document),
                     static_cast<std::int64_t>(documents.size() - first_document)});
  parts.push_back(std::move(part));
}

Task::Task(std::unique_ptr<State> state) : state_(std::move(state)) {}
Task::Task(Task&&) noexcept = default;
Task& Task::operator=(Task&&) noexcept = default;
Task::~Task() = default;

Task Task::read(const TaskDefinition& definition, const std::string& tasks_dir,
                const TaskSettings& settings) {
  check_task(definition, "task " + definition.name);
  auto state = std::make_unique<State>(definition);
  state->profile = &find_profile(settings.profile);
  state->shots = settings.shots.value_or(definition.shots);
  if (state->shots < 0 || settings.limit < 0)
    throw InputError(fmt::format("task {}: shots and limit must not be negative", definition.name));
  const RowReader reader(state->definition, state->texts.slots());
  for (const TaskPlace& place : find_subsets(state->definition, tasks_dir))
    state->add_subset(reader, place, tasks_dir, settings.limit);
  if (state->documents.size() > std::numeric_limits<std::int32_t>::max())
    throw InputError(fmt::format("task {}: more rows than can be counted", definition.name));
  return Task(std::move(state));
}

const TaskDefinition& Task::definition() const { return state_->definition; }
const EvaluationProfile& Task::profile() const { return *state_->profile; }
std::int64_t Task::shots() const { return state_->shots; }
std::span<const TaskSubset> Task::subsets() const { return state_->subsets; }
std::span<const TaskDocument> Task::documents() const { return state_->documents; }

std::int64_t Task::request_count() const {
  std::int64_t count = 0;
  for (const TaskDocument& document : state_->documents) count += document.option_count;
  return count;
}

std::int32_t Task::option_at(const TaskDocument& document, std::int32_t k) const {
  const bool reversed = state_->profile->name == "study" && definition().study_order_reversed;
  return reversed ? document.option_count - 1 - k : k;
}

std::string Task::place_of(std::int64_t document) const {
  const TaskDocument& d = state_->documents[static_cast<std::size_t>(document)];
  return fmt::format("{}:{}", subsets()[static_cast<std::size_t>(d.subset)].file, d.line);
}

DocumentTexts Task::texts(std::int64_t document) const {
  const TaskDocument& d = state_->documents[static_cast<std::size_t>(document)];
  const State::Part& part = state_->parts[static_cast<std::size_t>(d.subset)];
  DocumentTexts texts = state_->texts.question(state_->row_of(d));
  std::string prefix = part.prefix;
  if (!state_->drawn.empty()) {
    for (const std::int32_t row : state_->drawn[static_cast<std::size_t>(document)])
      prefix += state_->texts.example(part.pool().rows[static_cast<std::size_t>(row)]);
  }
  for (std::string& context : texts.contexts) context.insert(0, prefix);
  return texts;
}

const std::string& Task::common_prefix(std::int64_t subset) const {
  return state_->parts[static_cast<std::size_t>(subset)].prefix;
}

}  // namespace bitgrid

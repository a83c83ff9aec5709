#include "sweeps/task_inputs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "core/methods/activation_grids.hpp"
#include "core/model/segments.hpp"
#include "kernels/error.hpp"
#include "kernels/sha256.hpp"
#include "sweeps/task_toml.hpp"

namespace bitgrid {
namespace {

TaskDefinition definition_of(const std::string& task) {
  return task.ends_with(".toml") ? read_task_toml(task) : find_task(task);
}

// Only rank 0 tokenizes, and the others wait.
Place tokenizing_place() {
  return cpu_place(std::max(1, static_cast<int>(std::thread::hardware_concurrency())));
}

std::string tasks_dir(const Sweep& sweep) { return sweep.data_dir + "/tasks"; }

TaskSettings settings_of(const Sweep& sweep, const TaskDefinition& definition) {
  TaskSettings settings;
  settings.profile = sweep.evaluation.profile;
  settings.limit = sweep.evaluation.limit;
  if (definition.name == "mmlu") settings.shots = sweep.evaluation.mmlu_shots;
  return settings;
}

// Everything that scores depend on beside the model: the ids as they are fed, which options and
// answers documents have, and how acc_norm counts characters.
std::string fingerprint_of(const Task& task, const TokenRequests& requests,
                           const results::TaskRecord& header) {
  std::string text =
      fmt::format("bitgrid task 1\n{}\n{}\n{}\nshots={}\nmax_length={}\n{}\n{}\n{}\n", header.task,
                  header.version, header.profile, header.shots, header.max_length,
                  header.digests.json, header.digests.tokens, header.digests.tokens_with_bos);
  for (const TokenRequest& r : requests.requests)
    text += r.bos_added || r.cut_tokens > 0
                ? fmt::format("{}:{},", r.bos_added ? 1 : 0, r.cut_tokens)
                : std::string(",");
  for (const TaskDocument& d : task.documents())
    text += fmt::format("\n{} {} {} {}", d.subset, d.row, d.gold, d.option_count);
  return sha256_hex(text);
}

results::TaskRecord header_of(const Task& task, const TokenRequests& requests,
                              const Tokenizer& tokenizer, std::int64_t limit) {
  results::TaskRecord header;
  header.task = task.definition().name;
  header.version = task.definition().version;
  header.profile = task.profile().name;
  header.shots = task.shots();
  header.limit = limit;
  header.max_length = requests.max_length;
  header.digests = request_digests(task, requests, tokenizer);
  for (const TaskSubset& subset : task.subsets()) header.subsets.push_back(subset.name);
  for (const TaskDocument& d : task.documents())
    header.documents.push_back({d.subset, d.row, d.gold, d.option_count});
  header.fingerprint = fingerprint_of(task, requests, header);
  return header;
}

void check_ids(const TokenRequests& requests, const LlamaConfig& config, const std::string& task) {
  for (const std::int32_t id : requests.ids)
    if (id < 0 || id >= config.vocab_size)
      throw InputError(
          fmt::format("{}: the tokenizer gives token {}, but the model has {} embedding rows", task,
                      id, config.vocab_size));
}

TaskInput read_task(const Sweep& sweep, TaskDefinition definition, const Tokenizer& tokenizer,
                    const LlamaConfig& config) {
  const Task task = Task::read(definition, tasks_dir(sweep), settings_of(sweep, definition));
  TaskInput input;
  input.requests =
      token_requests(tokenizing_place(), task, tokenizer, config.max_position_embeddings);
  check_ids(input.requests, config, definition.name);
  input.header = header_of(task, input.requests, tokenizer, sweep.evaluation.limit);
  input.packs = pack_requests(input.requests);
  input.definition = std::move(definition);
  return input;
}

template <class T>
void broadcast_vector(const dist::Comm& world, std::vector<T>& values, const char* what) {
  auto size = static_cast<std::int64_t>(values.size());
  world.broadcast(std::as_writable_bytes(std::span(&size, 1)), 0, what);
  values.resize(static_cast<std::size_t>(size));
  world.broadcast(std::as_writable_bytes(std::span(values)), 0, what);
}

nlohmann::json header_json(const results::TaskRecord& h) {
  const RequestDigests& d = h.digests;
  return {h.task,
          h.version,
          h.profile,
          h.shots,
          h.limit,
          h.max_length,
          d.requests,
          d.context_tokens,
          d.continuation_tokens,
          d.longest,
          d.json,
          d.tokens,
          d.tokens_with_bos,
          h.fingerprint,
          h.subsets};
}

results::TaskRecord header_from(const nlohmann::json& j) {
  results::TaskRecord h;
  RequestDigests& d = h.digests;
  std::size_t i = 0;
  for (std::string* text : {&h.task, &h.version, &h.profile}) j[i++].get_to(*text);
  for (std::int64_t* number : {&h.shots, &h.limit, &h.max_length, &d.requests, &d.context_tokens,
                               &d.continuation_tokens, &d.longest})
    j[i++].get_to(*number);
  for (std::string* text : {&d.json, &d.tokens, &d.tokens_with_bos, &h.fingerprint})
    j[i++].get_to(*text);
  j[i].get_to(h.subsets);
  return h;
}

}  // namespace

std::vector<TaskInput> read_tasks(const Sweep& sweep, const Tokenizer& tokenizer,
                                  const LlamaConfig& config, std::vector<std::string>& faults) {
  std::vector<TaskInput> inputs;
  std::set<std::string> names;
  for (const std::string& task : sweep.evaluation.tasks) {
    TaskDefinition definition = definition_of(task);
    if (!names.insert(definition.name).second)
      throw InputError(fmt::format("{}: two tasks are called {}", sweep.file, definition.name));
    try {
      inputs.push_back(read_task(sweep, definition, tokenizer, config));
    } catch (const InputError& e) {
      faults.push_back(fmt::format("task {}: {}", definition.name, e.what()));
    }
  }
  return inputs;
}

void broadcast_tasks(const dist::Comm& world, const Sweep& sweep, std::vector<TaskInput>& tasks,
                     std::vector<std::string>& faults) {
  if (world.size() == 1) return;
  nlohmann::json head = {{"faults", faults}, {"tasks", nlohmann::json::array()}};
  for (const TaskInput& task : tasks) head["tasks"].push_back(header_json(task.header));
  head = nlohmann::json::parse(world.broadcast_text(head.dump(), 0, "question sets"));
  faults = head["faults"].get<std::vector<std::string>>();
  tasks.resize(head["tasks"].size());
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    TaskInput& task = tasks[i];
    if (world.rank() != 0) task.header = header_from(head["tasks"][i]);
    broadcast_vector(world, task.header.documents, "documents of a task");
    task.requests.max_length = task.header.max_length;
    broadcast_vector(world, task.requests.requests, "requests of a task");
    broadcast_vector(world, task.requests.ids, "token ids of a task");
  }
  const auto failure = dist::attempt([&] {
    if (world.rank() == 0) return;
    for (TaskInput& task : tasks) {
      for (const std::string& listed : sweep.evaluation.tasks)
        if (TaskDefinition definition = definition_of(listed); definition.name == task.header.task)
          task.definition = std::move(definition);
      task.packs = pack_requests(task.requests);
    }
  });
  if (const auto verdict = dist::agree(world, failure)) throw RunError(verdict->what);
}

Task reopen_task(const Sweep& sweep, const TaskInput& input) {
  Task task = Task::read(input.definition, tasks_dir(sweep), settings_of(sweep, input.definition));
  const bool same = [&] {
    if (task.documents().size() != input.header.documents.size()) return false;
    for (std::size_t i = 0; i < task.documents().size(); ++i) {
      const TaskDocument& d = task.documents()[i];
      if (input.header.documents[i] !=
          results::TaskRecord::Document{d.subset, d.row, d.gold, d.option_count})
        return false;
    }
    return true;
  }();
  if (!same)
    throw Error(
        fmt::format("task {}: its files have changed since the run began", input.header.task));
  return task;
}

bool asks_alone(const Recipe& recipe) {
  const ActivationGrids grids = recipe_activation_grids(recipe);
  const auto spans = [](const ActivationGrid& grid) {
    return grid.active() && grid.range == RangeOf::tensor;
  };
  return spans(grids.qkv) || std::any_of(grids.taps.begin(), grids.taps.end(), spans);
}

std::vector<RequestPack> lone_packs(const TokenRequests& requests) {
  return pack_requests(requests, {1, std::numeric_limits<std::int64_t>::max()});
}

}  // namespace bitgrid

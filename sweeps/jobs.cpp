#include "sweeps/jobs.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "core/methods/recipe_needs.hpp"

namespace bitgrid {
namespace {

bool measured(const results::CellRecord& record, const results::MetricRecord& wanted,
              bool compared) {
  return std::any_of(record.metrics.begin(), record.metrics.end(),
                     [&](const results::MetricRecord& have) {
                       return have.same_measurement(wanted) && (have.compared() || !compared);
                     });
}

bool asked(const results::CellRecord& record, const results::TaskRecord& wanted) {
  return std::any_of(record.tasks.begin(), record.tasks.end(),
                     [&](const auto& have) { return have.fingerprint == wanted.fingerprint; });
}

// The job of the cell that the others are compared with to the front, made where there is none.
void put_compared_first(std::int64_t cell, std::vector<CellJob>& jobs) {
  std::set<std::int64_t> sets;
  for (const CellJob& job : jobs)
    if (job.compares) sets.insert(job.measure.begin(), job.measure.end());
  if (sets.empty()) return;
  const auto found =
      std::find_if(jobs.begin(), jobs.end(), [&](const CellJob& job) { return job.cell == cell; });
  CellJob first;
  first.cell = cell;
  first.replays = found == jobs.end();
  if (found != jobs.end()) {
    first = std::move(*found);
    jobs.erase(found);
  }
  sets.insert(first.measure.begin(), first.measure.end());
  first.measure.assign(sets.begin(), sets.end());
  first.keeps = true;
  jobs.insert(jobs.begin(), std::move(first));
}

}  // namespace

std::int64_t CellJob::layers_missing() const { return std::count(stored.begin(), stored.end(), 0); }

std::int64_t CellJob::calibration_layers() const {
  if (!calibrate) return 0;
  const auto last = std::find(stored.rbegin(), stored.rend(), 0);
  return stored.rend() - last;
}

std::vector<CellJob> list_jobs(const Sweep& sweep, const Inputs& inputs,
                               const results::Store& store, const std::string& model_fingerprint,
                               std::int64_t layer_count) {
  std::vector<CellJob> jobs;
  const std::optional<std::int64_t> fixed = compared_cell(sweep);
  for (const std::int64_t cell : sweep.chosen) {
    const Recipe& recipe = sweep.cells[static_cast<std::size_t>(cell)];
    const results::CellHeader header = cell_header(sweep, recipe, inputs, model_fingerprint);
    const auto record = store.read_cell(header);
    const bool finished = record && record->status == results::CellStatus::finished;
    CellJob job;
    job.cell = cell;
    job.compares = fixed && cell != *fixed;
    for (std::size_t set = 0; set < inputs.evaluation.size(); ++set)
      if (!finished ||
          !measured(*record, metric_header(inputs.evaluation[set], inputs.bos), job.compares))
        job.measure.push_back(static_cast<std::int64_t>(set));
    for (std::size_t task = 0; task < inputs.tasks.size(); ++task)
      if (!finished || !asked(*record, inputs.tasks[task].header))
        job.tasks.push_back(static_cast<std::int64_t>(task));
    if (recipe.quantizes()) {
      job.stored.assign(static_cast<std::size_t>(layer_count), 0);
      for (const std::int64_t layer : store.stored_layers(header))
        if (layer < layer_count) job.stored[static_cast<std::size_t>(layer)] = 1;
    }
    const bool tensors_wanted = recipe.quantizes() && (sweep.run.keep_tensors || !finished);
    const bool tensors_missing = tensors_wanted && job.layers_missing() > 0;
    if (finished && !job.evaluates() && !tensors_missing) continue;
    job.calibrate = job.layers_missing() > 0 && recipe_needs(recipe).any();
    jobs.push_back(std::move(job));
  }
  if (fixed) put_compared_first(*fixed, jobs);
  return jobs;
}

std::vector<CellGroup> group_jobs(const Sweep& sweep, const std::vector<CellJob>& jobs,
                                  std::int64_t most) {
  std::vector<CellGroup> groups;
  std::optional<std::size_t> open;  // the group that further cells can join
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const Recipe& recipe = sweep.cells[static_cast<std::size_t>(jobs[i].cell)];
    const bool joins = jobs[i].calibrate && recipe_full_inputs(recipe);
    if (joins && open && std::ssize(groups[*open].jobs) < most) {
      groups[*open].jobs.push_back(static_cast<std::int64_t>(i));
      continue;
    }
    if (joins) open = groups.size();
    groups.push_back({{static_cast<std::int64_t>(i)}, recipe_full_inputs(recipe)});
  }
  return groups;
}

void broadcast_jobs(const dist::Comm& world, std::vector<CellJob>& jobs) {
  if (world.size() == 1) return;
  nlohmann::json text = nlohmann::json::array();
  for (const CellJob& job : jobs)
    text.push_back({job.cell, job.stored, job.measure, job.calibrate, job.tasks, job.compares,
                    job.keeps, job.replays});
  text = nlohmann::json::parse(world.broadcast_text(text.dump(), 0, "cells to do"));
  jobs.clear();
  for (const nlohmann::json& item : text) {
    CellJob job;
    job.cell = item[0];
    job.stored = item[1].get<std::vector<std::uint8_t>>();
    job.measure = item[2].get<std::vector<std::int64_t>>();
    job.calibrate = item[3];
    job.tasks = item[4].get<std::vector<std::int64_t>>();
    job.compares = item[5];
    job.keeps = item[6];
    job.replays = item[7];
    jobs.push_back(std::move(job));
  }
}

}  // namespace bitgrid

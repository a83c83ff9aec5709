#include "sweeps/jobs.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "core/methods/recipe_needs.hpp"
#include "sweeps/plan.hpp"

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

// What is to be done for one cell: in one job, before its question sets are split into waves.
struct CellWork {
  CellJob job;
  std::vector<std::int64_t> tasks;  // question sets that it lacks
};

// The cell that the others are compared with to the front, made where it has nothing to do.
void put_compared_first(std::int64_t cell, std::vector<CellWork>& works) {
  std::set<std::int64_t> sets;
  for (const CellWork& work : works)
    if (work.job.compares) sets.insert(work.job.measure.begin(), work.job.measure.end());
  if (sets.empty()) return;
  const auto found = std::find_if(works.begin(), works.end(),
                                  [&](const CellWork& work) { return work.job.cell == cell; });
  CellWork first;
  first.job.cell = cell;
  first.job.replays = found == works.end();
  if (found != works.end()) {
    first = std::move(*found);
    works.erase(found);
  }
  sets.insert(first.job.measure.begin(), first.job.measure.end());
  first.job.measure.assign(sets.begin(), sets.end());
  first.job.keeps = true;
  works.insert(works.begin(), std::move(first));
}

// The cell's work in one job, and its question sets, as a job for each of their waves.
void add_jobs(CellJob whole, std::vector<Wave> waves, std::vector<CellJob>& jobs) {
  if (waves.empty()) waves.emplace_back();
  whole.wave_count = std::ssize(waves);
  for (Wave& wave : waves) {
    whole.tasks = std::move(wave);
    jobs.push_back(whole);
    ++whole.wave;
    whole.measure.clear();
    whole.keeps = false;
    whole.calibrate = false;
    std::fill(whole.stored.begin(), whole.stored.end(), 1);  // by the job before
  }
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
                               std::int64_t layer_count, const EvaluationSizes& sizes,
                               const PackRooms& rooms) {
  std::vector<CellWork> works;
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
      if (!record ||
          !measured(*record, metric_header(inputs.evaluation[set], inputs.bos), job.compares))
        job.measure.push_back(static_cast<std::int64_t>(set));
    std::vector<std::int64_t> tasks;
    for (std::size_t task = 0; task < inputs.tasks.size(); ++task)
      if (!record || !asked(*record, inputs.tasks[task].header))
        tasks.push_back(static_cast<std::int64_t>(task));
    if (recipe.quantizes()) {
      job.stored.assign(static_cast<std::size_t>(layer_count), 0);
      for (const std::int64_t layer : store.stored_layers(header))
        if (layer < layer_count) job.stored[static_cast<std::size_t>(layer)] = 1;
    }
    const bool tensors_wanted = recipe.quantizes() && (sweep.run.keep_tensors || !finished);
    const bool tensors_missing = tensors_wanted && job.layers_missing() > 0;
    if (finished && job.measure.empty() && tasks.empty() && !tensors_missing) continue;
    job.calibrate = job.layers_missing() > 0 && recipe_needs(recipe).any();
    works.push_back({std::move(job), std::move(tasks)});
  }
  if (fixed) put_compared_first(*fixed, works);
  std::vector<CellJob> jobs;
  for (CellWork& work : works) {
    const Recipe& recipe = sweep.cells[static_cast<std::size_t>(work.job.cell)];
    const bool only_asks = work.job.measure.empty() && work.job.layers_missing() == 0;
    std::vector<Wave> waves =
        split_waves(packs_of(sizes, recipe, work.tasks),
                    wave_rules(sweep, recipe, rooms, {work.job.calibrate, only_asks}));
    add_jobs(std::move(work.job), std::move(waves), jobs);
  }
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
  for (const CellJob& job : jobs) {
    nlohmann::json tasks = nlohmann::json::array();
    for (const TaskPart& part : job.tasks)
      tasks.push_back({part.task, part.first_pack, part.pack_end});
    text.push_back({job.cell, job.stored, job.measure, job.calibrate, tasks, job.wave,
                    job.wave_count, job.compares, job.keeps, job.replays});
  }
  text = nlohmann::json::parse(world.broadcast_text(text.dump(), 0, "cells to do"));
  jobs.clear();
  for (const nlohmann::json& item : text) {
    CellJob job;
    job.cell = item[0];
    job.stored = item[1].get<std::vector<std::uint8_t>>();
    job.measure = item[2].get<std::vector<std::int64_t>>();
    job.calibrate = item[3];
    for (const nlohmann::json& part : item[4]) job.tasks.push_back({part[0], part[1], part[2]});
    job.wave = item[5];
    job.wave_count = item[6];
    job.compares = item[7];
    job.keeps = item[8];
    job.replays = item[9];
    jobs.push_back(std::move(job));
  }
}

}  // namespace bitgrid

#pragma once

#include <string>
#include <vector>

#include "tests/core/evaluation/task_fixtures.hpp"
#include "tests/results/fixture.hpp"

namespace bitgrid::results {

// "10110": which questions of sample_task are answered correctly (and, one further, per character).
inline TaskRecord answered(const std::string& name, const std::string& right) {
  TaskRecord task = sample_task(name, 1);
  for (std::size_t d = 0; d < task.outcomes.size(); ++d) {
    task.outcomes[d].correct = right[d] == '1';
    task.outcomes[d].correct_norm = right[(d + 1) % right.size()] == '1';
  }
  fill_metrics(task);
  return task;
}

// A set of the demo with the scores that lm-evaluation-harness found (tests/data/evaluation).
inline TaskRecord demo_record(const std::string& name, const std::string& profile) {
  const Task task = test::read_task(name, test::kDemoTasks, {profile, {}, 0});
  TaskRecord record;
  record.task = name;
  record.version = task.definition().version;
  record.profile = profile;
  record.shots = task.shots();
  record.max_length = 1024;
  record.fingerprint = name + " of the demo";
  const bool subjects = task.definition().has_subsets();
  const std::size_t at = (subjects ? 5u : 4u) + (profile == "lmeh-0.5" ? 2u : 0u);
  for (const auto& row : test::csv_rows(test::kReference + "demo/" + name + ".csv"))
    record.scores.push_back({std::stod(row[at]), row[at + 1] == "1"});
  for (const TaskSubset& subset : task.subsets()) record.subsets.push_back(subset.name);
  for (const TaskDocument& d : task.documents())
    record.documents.push_back({d.subset, d.row, d.gold, d.option_count});
  record.digests.requests = task.request_count();
  record.digests.json = text_digest(task);
  record.outcomes = document_outcomes(task, record.scores);
  record.metrics = task_metrics(task, record.outcomes);
  return record;
}

inline const std::vector<std::string> kDemoSets = {"piqa",      "arc_easy",   "arc_challenge",
                                                   "hellaswag", "winogrande", "mmlu"};

}  // namespace bitgrid::results

#include "results/task_scores.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/evaluation/task_definition.hpp"

namespace bitgrid::results {
namespace {

// Among equal scores the first; −1 where one is not a number.
std::int32_t best_option(const TaskRecord& task, std::size_t first, std::int32_t options,
                         bool reversed) {
  const auto scores = scores_by_option(task, first, options, reversed);
  for (const RequestScore& score : scores)
    if (std::isnan(score.log_likelihood)) return -1;
  const auto best = std::max_element(
      scores.begin(), scores.end(),
      [](const auto& a, const auto& b) { return a.log_likelihood < b.log_likelihood; });
  return static_cast<std::int32_t>(best - scores.begin());
}

bool outcomes_follow(const TaskRecord& task, bool reversed) {
  const auto first = first_scores(task);
  for (std::size_t d = 0; d < task.documents.size(); ++d)
    if (task.outcomes[d].choice != best_option(task, first[d], task.documents[d].options, reversed))
      return false;
  return true;
}

// A document's choices against its scores and its right answer. The lengths that choice_norm
// depends on are not stored.
std::string outcome_fault(const TaskRecord::Document& document, const DocumentOutcome& outcome,
                          std::int32_t best) {
  if (best < 0) return "a log-likelihood is not a number";
  if (outcome.choice != best)
    return fmt::format("choice is {}, its scores make {}", outcome.choice, best);
  if (outcome.choice_norm < 0 || outcome.choice_norm >= document.options)
    return fmt::format("choice_norm is {} of {} options", outcome.choice_norm, document.options);
  if (outcome.correct != (outcome.choice == document.gold) ||
      outcome.correct_norm != (outcome.choice_norm == document.gold))
    return "correct or correct_norm does not say whether the choice is gold";
  return "";
}

// Right answers and documents by subset.
struct Counts {
  std::vector<double> correct, documents;
};
Counts count_correct(const TaskRecord& task, bool DocumentOutcome::*correct) {
  Counts counts{std::vector<double>(task.subsets.size()), std::vector<double>(task.subsets.size())};
  for (std::size_t d = 0; d < task.documents.size(); ++d) {
    const auto subset = static_cast<std::size_t>(task.documents[d].subset);
    counts.documents[subset] += 1;
    if (task.outcomes[d].*correct) counts.correct[subset] += 1;
  }
  return counts;
}

TaskMetric expected_metric(const TaskMetric& stored, const Counts& counts,
                           const std::vector<std::int32_t>& members) {
  double correct = 0, documents = 0, means = 0, pooled = 0, squares = 0;
  for (const std::int32_t member : members) {
    const double n = counts.documents[static_cast<std::size_t>(member)];
    const double mean = counts.correct[static_cast<std::size_t>(member)] / n;
    correct += counts.correct[static_cast<std::size_t>(member)];
    documents += n;
    means += mean;
    pooled += n * mean * (1 - mean);
    squares += mean * (1 - mean) / (n - 1);
  }
  const auto parts = static_cast<double>(members.size());
  TaskMetric expected = stored;
  expected.documents = std::llround(documents);
  if (stored.metric.ends_with("_macro")) {
    expected.value = means / parts;
    expected.error = std::sqrt(squares) / parts;
  } else {
    expected.value = correct / documents;
    expected.error = std::sqrt(pooled / (documents - parts) / documents);
  }
  return expected;
}

// Both sums run over at most some 10⁵ terms of the same sign.
bool close(double a, double b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  return std::abs(a - b) <= 1e-9 * std::max(1e-3, std::abs(b));
}

std::string metric_fault(const TaskRecord& task, const TaskMetric& metric, const Counts& acc,
                         const Counts& norm) {
  const std::string what = metric.scope + " " + metric.metric;
  const Counts& counts = metric.metric.starts_with("acc_norm") ? norm : acc;
  std::string fault = what + ": is of no subset of it";
  for (const auto& members : scope_members(task, metric.scope)) {
    const TaskMetric expected = expected_metric(metric, counts, members);
    if (metric.documents == expected.documents && close(metric.value, expected.value) &&
        close(metric.error, expected.error))
      return "";
    fault = fmt::format("{}: {} (error {}, {} documents), its outcomes make {} ({}, {})", what,
                        metric.value, metric.error, metric.documents, expected.value,
                        expected.error, expected.documents);
  }
  return fault;
}

}  // namespace

std::string task_length_fault(const TaskRecord& task) {
  std::int64_t options = 0;
  for (std::size_t d = 0; d < task.documents.size(); ++d) {
    const TaskRecord::Document& document = task.documents[d];
    if (document.options < 1 || document.gold < 0 || document.gold >= document.options)
      return fmt::format("document {}: gold is {} of {} options", d, document.gold,
                         document.options);
    if (document.subset < 0 || document.subset >= static_cast<std::int64_t>(task.subsets.size()))
      return fmt::format("document {}: subset {} of {}", d, document.subset, task.subsets.size());
    options += document.options;
  }
  if (options != static_cast<std::int64_t>(task.scores.size()) || options != task.digests.requests)
    return fmt::format("{} options in its documents, but {} scores for {} requests", options,
                       task.scores.size(), task.digests.requests);
  if (task.outcomes.size() != task.documents.size())
    return fmt::format("{} documents, but {} outcomes", task.documents.size(),
                       task.outcomes.size());
  return "";
}

std::vector<std::size_t> first_scores(const TaskRecord& task) {
  std::vector<std::size_t> first;
  std::size_t next = 0;
  for (const TaskRecord::Document& document : task.documents) {
    first.push_back(next);
    next += static_cast<std::size_t>(document.options);
  }
  return first;
}

bool asked_in_reverse(const TaskRecord& task) {
  if (task.profile != "study") return false;
  for (const TaskDefinition& definition : builtin_tasks())
    if (definition.name == task.task && definition.version == task.version)
      return definition.study_order_reversed;
  return !outcomes_follow(task, false) && outcomes_follow(task, true);
}

std::vector<RequestScore> scores_by_option(const TaskRecord& task, std::size_t first_score,
                                           std::int32_t options, bool reversed) {
  const auto begin = task.scores.begin() + static_cast<std::ptrdiff_t>(first_score);
  std::vector<RequestScore> scores(begin, begin + options);
  if (reversed) std::reverse(scores.begin(), scores.end());
  return scores;
}

std::vector<std::vector<std::int32_t>> scope_members(const TaskRecord& task,
                                                     const std::string& scope) {
  std::vector<std::int32_t> all(task.subsets.size()), group;
  std::iota(all.begin(), all.end(), 0);
  if (scope == task.task) return {all};
  std::vector<std::vector<std::int32_t>> found;
  for (const std::int32_t i : all) {
    const std::string& subset = task.subsets[static_cast<std::size_t>(i)];
    if (scope == task.task + "_" + subset) found.push_back({i});
    if (task.task == "mmlu" && scope == fmt::format("mmlu_{}", mmlu_group(subset)))
      group.push_back(i);
  }
  if (!group.empty()) found.push_back(group);
  return found;
}

std::vector<std::string> task_faults(const TaskRecord& task) {
  if (const std::string fault = task_length_fault(task); !fault.empty()) return {fault};
  std::vector<std::string> faults;
  const bool reversed = asked_in_reverse(task);
  const auto first = first_scores(task);
  for (std::size_t d = 0; d < task.documents.size() && faults.empty(); ++d) {
    const TaskRecord::Document& document = task.documents[d];
    const std::string fault = outcome_fault(
        document, task.outcomes[d], best_option(task, first[d], document.options, reversed));
    if (!fault.empty()) faults.push_back(fmt::format("document {}: {}", d, fault));
  }
  const Counts acc = count_correct(task, &DocumentOutcome::correct),
               norm = count_correct(task, &DocumentOutcome::correct_norm);
  bool has_acc = false;
  for (const TaskMetric& metric : task.metrics) {
    has_acc = has_acc || (metric.scope == task.task && metric.metric == "acc");
    const std::string fault = metric_fault(task, metric, acc, norm);
    if (!fault.empty()) faults.push_back(fault);
  }
  if (!has_acc) faults.push_back("has no acc");
  return faults;
}

}  // namespace bitgrid::results

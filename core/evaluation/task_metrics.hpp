#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/evaluation/task.hpp"

namespace bitgrid {

// What the model says about one request.
struct RequestScore {
  double log_likelihood = 0;  // Σ log p of the continuation's tokens, nats
  bool greedy = false;        // every one of them is the arg-max
};

// Which option the model takes; among equal scores the lowest index.
struct DocumentOutcome {
  std::int32_t choice = 0;       // greatest log-likelihood
  std::int32_t choice_norm = 0;  // greatest log-likelihood per character; an empty option has −∞
  bool correct = false;
  bool correct_norm = false;
  bool operator==(const DocumentOutcome&) const = default;
};

// scores in the order of TokenRequests::requests, which is documents, then options (profile study
// may ask them in reverse). Throws Error naming the document where a score is not a number.
std::vector<DocumentOutcome> document_outcomes(const Task& task,
                                               std::span<const RequestScore> scores);

// One number of the report. scope: the task; for a set with subsets also TASK_SUBSET and, for
// mmlu, its groups mmlu_stem, mmlu_humanities, mmlu_social_sciences, mmlu_other and, for subjects
// that are not among the 57, mmlu_unlisted; an empty group is left out.
// metric: acc, acc_norm (means over documents, for a set with subsets weighted by their sizes), and
// acc_macro, acc_norm_macro (plain means over subsets).
struct TaskMetric {
  std::string scope;
  std::string metric;
  double value = 0;
  double error = 0;  // standard error; NaN where one document gives none
  std::int64_t documents = 0;
};
std::vector<TaskMetric> task_metrics(const Task& task, std::span<const DocumentOutcome> outcomes);

// The group of an MMLU subject: stem, humanities, social_sciences, other; unlisted for others.
std::string_view mmlu_group(std::string_view subject);

// Is a cell different from the baseline on the same documents?
struct PairedDifference {
  std::int64_t documents = 0;
  std::int64_t gained = 0;  // right here, wrong in the baseline
  std::int64_t lost = 0;
  double difference = 0;  // (gained − lost) / documents
  double error = 0;       // standard error of that mean over documents; NaN for one document
  double p_value = 1;     // McNemar's exact test, two-sided: would a coin lose or gain as many?
};
PairedDifference paired_difference(std::span<const DocumentOutcome> outcomes,
                                   std::span<const DocumentOutcome> baseline, bool norm);

}  // namespace bitgrid

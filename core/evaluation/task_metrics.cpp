#include "core/evaluation/task_metrics.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "kernels/error.hpp"

namespace bitgrid {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

std::int32_t arg_max(std::span<const double> values) {
  return static_cast<std::int32_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

DocumentOutcome outcome_of(std::span<const double> scores, std::span<const std::int32_t> characters,
                           std::int32_t gold) {
  std::vector<double> normed(scores.size());
  for (std::size_t i = 0; i < scores.size(); ++i) {
    normed[i] = characters[i] == 0 ? -std::numeric_limits<double>::infinity()
                                   : scores[i] / static_cast<double>(characters[i]);
  }
  DocumentOutcome out;
  out.choice = arg_max(scores);
  out.choice_norm = arg_max(normed);
  out.correct = out.choice == gold;
  out.correct_norm = out.choice_norm == gold;
  return out;
}

struct Mean {
  double value = 0, error = kNone;
  std::int64_t documents = 0;
};

// Sums run in document order, as the harness's do.
Mean mean_of(std::span<const DocumentOutcome> outcomes, bool DocumentOutcome::*correct) {
  Mean mean;
  mean.documents = static_cast<std::int64_t>(outcomes.size());
  const auto n = static_cast<double>(mean.documents);
  for (const DocumentOutcome& outcome : outcomes) mean.value += outcome.*correct ? 1 : 0;
  mean.value /= n;
  if (mean.documents < 2) return mean;
  double squares = 0;
  for (const DocumentOutcome& outcome : outcomes) {
    const double deviation = (outcome.*correct ? 1.0 : 0.0) - mean.value;
    squares += deviation * deviation;
  }
  mean.error = std::sqrt(squares / (n - 1)) / std::sqrt(n);
  return mean;
}

// Weighted by documents; the error is the pooled one.
Mean micro_mean(std::span<const Mean> parts) {
  Mean mean;
  double sum = 0, squares = 0;
  for (const Mean& part : parts) {
    const auto n = static_cast<double>(part.documents);
    sum += part.value * n;
    if (part.documents > 1) squares += (n - 1) * n * part.error * part.error;
    mean.documents += part.documents;
  }
  const auto n = static_cast<double>(mean.documents);
  mean.value = sum / n;
  const auto freedom = n - static_cast<double>(parts.size());
  if (freedom > 0) mean.error = std::sqrt(squares / freedom / n);
  return mean;
}

// Every part counts the same.
Mean macro_mean(std::span<const Mean> parts) {
  Mean mean;
  double squares = 0;
  for (const Mean& part : parts) {
    mean.value += part.value;
    squares += part.error * part.error;  // NaN stays: such a part has no error
    mean.documents += part.documents;
  }
  const auto count = static_cast<double>(parts.size());
  mean.value /= count;
  mean.error = std::sqrt(squares) / count;
  return mean;
}

void add(std::vector<TaskMetric>& out, std::string scope, std::string metric, const Mean& mean) {
  out.push_back({std::move(scope), std::move(metric), mean.value, mean.error, mean.documents});
}

void add_group(std::vector<TaskMetric>& out, const std::string& scope, const std::string& metric,
               std::span<const Mean> parts) {
  if (parts.empty()) return;
  add(out, scope, metric, micro_mean(parts));
  add(out, scope, metric + "_macro", macro_mean(parts));
}

void add_metric(std::vector<TaskMetric>& out, const Task& task,
                std::span<const DocumentOutcome> outcomes, const std::string& metric,
                bool DocumentOutcome::*correct) {
  const TaskDefinition& definition = task.definition();
  if (!definition.has_subsets()) {
    add(out, definition.name, metric, mean_of(outcomes, correct));
    return;
  }
  std::vector<Mean> subsets;
  for (const TaskSubset& subset : task.subsets())
    subsets.push_back(mean_of(outcomes.subspan(static_cast<std::size_t>(subset.first_document),
                                               static_cast<std::size_t>(subset.document_count)),
                              correct));
  add_group(out, definition.name, metric, subsets);
  if (definition.name == "mmlu") {
    for (const std::string_view group :
         {"stem", "humanities", "social_sciences", "other", "unlisted"}) {
      std::vector<Mean> members;
      for (std::size_t i = 0; i < subsets.size(); ++i) {
        if (mmlu_group(task.subsets()[i].name) == group) members.push_back(subsets[i]);
      }
      add_group(out, fmt::format("{}_{}", definition.name, group), metric, members);
    }
  }
  for (std::size_t i = 0; i < subsets.size(); ++i)
    add(out, fmt::format("{}_{}", definition.name, task.subsets()[i].name), metric, subsets[i]);
}

// P(at most k of n coins show heads)·2, at most 1.
double two_sided_coin(std::int64_t k, std::int64_t n) {
  double sum = 0;
  for (std::int64_t i = 0; i <= k; ++i) {
    const auto real = [](std::int64_t x) { return static_cast<double>(x); };
    sum += std::exp(std::lgamma(real(n) + 1) - std::lgamma(real(i) + 1) -
                    std::lgamma(real(n - i) + 1) - real(n) * std::log(2.0));
  }
  return std::min(1.0, 2 * sum);
}

}  // namespace

std::vector<DocumentOutcome> document_outcomes(const Task& task,
                                               std::span<const RequestScore> scores) {
  if (static_cast<std::int64_t>(scores.size()) != task.request_count())
    throw Error(fmt::format("task {}: {} scores for {} requests", task.definition().name,
                            scores.size(), task.request_count()));
  std::vector<DocumentOutcome> outcomes;
  outcomes.reserve(task.documents().size());
  std::size_t next = 0;
  for (std::size_t d = 0; d < task.documents().size(); ++d) {
    const TaskDocument& document = task.documents()[d];
    std::vector<double> by_option(static_cast<std::size_t>(document.option_count));
    for (std::int32_t k = 0; k < document.option_count; ++k) {
      const double score = scores[next++].log_likelihood;
      const std::int32_t option = task.option_at(document, k);
      if (std::isnan(score))
        throw Error(fmt::format("task {}: {}: the log-likelihood of option {} is not a number",
                                task.definition().name, task.place_of(static_cast<std::int64_t>(d)),
                                option));
      by_option[static_cast<std::size_t>(option)] = score;
    }
    outcomes.push_back(outcome_of(
        by_option, task.texts(static_cast<std::int64_t>(d)).option_characters, document.gold));
  }
  return outcomes;
}

std::vector<TaskMetric> task_metrics(const Task& task, std::span<const DocumentOutcome> outcomes) {
  if (outcomes.size() != task.documents().size())
    throw Error(fmt::format("task {}: {} outcomes for {} documents", task.definition().name,
                            outcomes.size(), task.documents().size()));
  std::vector<TaskMetric> out;
  add_metric(out, task, outcomes, "acc", &DocumentOutcome::correct);
  if (task.definition().acc_norm)
    add_metric(out, task, outcomes, "acc_norm", &DocumentOutcome::correct_norm);
  return out;
}

PairedDifference paired_difference(std::span<const DocumentOutcome> outcomes,
                                   std::span<const DocumentOutcome> baseline, bool norm) {
  if (outcomes.size() != baseline.size() || outcomes.empty())
    throw Error(
        fmt::format("paired difference: {} documents beside {}", outcomes.size(), baseline.size()));
  const auto correct = norm ? &DocumentOutcome::correct_norm : &DocumentOutcome::correct;
  PairedDifference out;
  out.documents = static_cast<std::int64_t>(outcomes.size());
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    if (outcomes[i].*correct && !(baseline[i].*correct)) ++out.gained;
    if (!(outcomes[i].*correct) && baseline[i].*correct) ++out.lost;
  }
  const auto n = static_cast<double>(out.documents);
  const auto changed = static_cast<double>(out.gained + out.lost);
  out.difference = static_cast<double>(out.gained - out.lost) / n;
  // The values are −1, 0 and 1: Σ(v − mean)² = changed − n·mean².
  out.error =
      out.documents < 2
          ? kNone
          : std::sqrt(std::max(0.0, changed - n * out.difference * out.difference) / (n - 1) / n);
  out.p_value = two_sided_coin(std::min(out.gained, out.lost), out.gained + out.lost);
  return out;
}

}  // namespace bitgrid

#include "results/diff_task.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

namespace bitgrid::results {
namespace {

bool same(double a, double b) {
  return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
}
bool same(const TaskRecord::Document& a, const TaskRecord::Document& b) { return a == b; }
bool same(const DocumentOutcome& a, const DocumentOutcome& b) { return a == b; }
bool same(const std::string& a, const std::string& b) { return a == b; }
bool same(const RequestScore& a, const RequestScore& b) {
  return same(a.log_likelihood, b.log_likelihood) && a.greedy == b.greedy;
}
bool same(const TaskMetric& a, const TaskMetric& b) {
  return a.scope == b.scope && a.metric == b.metric && same(a.value, b.value) &&
         same(a.error, b.error) && a.documents == b.documents;
}

std::string text_of(const std::string& subset) { return subset; }
std::string text_of(const TaskRecord::Document& d) {
  return fmt::format("subset {}, row {}, gold {} of {} options", d.subset, d.row, d.gold,
                     d.options);
}
std::string text_of(const RequestScore& s) {
  return fmt::format("{}{}", s.log_likelihood, s.greedy ? " (greedy)" : "");
}
std::string text_of(const DocumentOutcome& o) {
  return fmt::format("choice {}{}, choice_norm {}{}", o.choice, o.correct ? " (correct)" : "",
                     o.choice_norm, o.correct_norm ? " (correct)" : "");
}
std::string text_of(const TaskMetric& m) {
  return fmt::format("{} {} {} (error {}, {} documents)", m.scope, m.metric, m.value, m.error,
                     m.documents);
}

// place_of: what the index of an entry stands for.
template <class Entry, class Place>
bool diff_lists(const std::vector<Entry>& a, const std::vector<Entry>& b, const char* what,
                Place&& place_of, std::vector<std::string>& lines) {
  if (a.size() != b.size()) {
    lines.push_back(fmt::format("{} {} against {}", a.size(), what, b.size()));
    return false;
  }
  std::size_t count = 0, first = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!same(a[i], b[i]) && count++ == 0) first = i;
  if (count == 0) return true;
  lines.push_back(fmt::format("{} of {} {} differ, the first {}: {} against {}", count, a.size(),
                              what, place_of(first), text_of(a[first]), text_of(b[first])));
  return false;
}

std::string place_of_score(const TaskRecord& task, std::size_t score) {
  std::size_t first = 0;
  for (std::size_t d = 0; d < task.documents.size(); ++d) {
    const auto options = static_cast<std::size_t>(task.documents[d].options);
    if (score < first + options) return fmt::format("of document {}, request {}", d, score - first);
    first += options;
  }
  return fmt::format("number {}", score);
}

}  // namespace

std::vector<std::string> task_differences(const TaskRecord& a, const TaskRecord& b) {
  std::vector<std::string> lines;
  const auto of_document = [](std::size_t d) { return fmt::format("of document {}", d); };
  const auto number = [](std::size_t i) { return fmt::format("number {}", i); };
  bool comparable = diff_lists(a.subsets, b.subsets, "subsets", number, lines);
  comparable &= diff_lists(a.documents, b.documents, "documents", number, lines);
  if (comparable) {
    diff_lists(
        a.scores, b.scores, "scores", [&](std::size_t i) { return place_of_score(a, i); }, lines);
    diff_lists(a.outcomes, b.outcomes, "outcomes", of_document, lines);
  }
  diff_lists(a.metrics, b.metrics, "metrics", number, lines);
  return lines;
}

std::vector<TaskPair> pair_tasks(const std::vector<TaskRecord>& a,
                                 const std::vector<TaskRecord>& b) {
  std::vector<TaskPair> pairs(a.size(), {0, kOnlyOne});
  std::vector<bool> taken(b.size(), false);
  for (const auto key : {&TaskRecord::fingerprint, &TaskRecord::task})
    for (std::size_t i = 0; i < a.size(); ++i) {
      pairs[i].first = i;
      for (std::size_t j = 0; j < b.size() && pairs[i].second == kOnlyOne; ++j) {
        if (taken[j] || a[i].*key != b[j].*key) continue;
        pairs[i].second = j;
        taken[j] = true;
      }
    }
  for (std::size_t j = 0; j < b.size(); ++j)
    if (!taken[j]) pairs.push_back({kOnlyOne, j});
  return pairs;
}

}  // namespace bitgrid::results

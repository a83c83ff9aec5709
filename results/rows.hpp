#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "results/store.hpp"

namespace bitgrid::results {

// One listed cell as a line of a table, whatever the format.
struct Row {
  Reader::Entry entry;
  enum class State { unfinished, finished, failed, unreadable } state = State::unfinished;
  double bits = 16;
  std::int64_t group = -1;  // −1: per channel
  bool quantizes = true;
  bool one_scale = false;            // for a whole linear, whatever the group
  std::string method;                // "GPTQ"
  std::string options;               // "order=none": what differs from the defaults
  std::optional<CellRecord> record;  // finished or failed
  std::string fault;                 // unreadable: why
};

std::string_view row_state_name(Row::State state);  // "unfinished", "finished", …

// The measurement of the run's evaluation set number `set`: the run says which token ids it means,
// so neither a text's name nor older measurements matter. Null: none.
const MetricRecord* find_metric(const CellRecord& record, const RunRecord& run, std::size_t set);

// The run's question set number `task` in this cell, by its fingerprint: null where it was not
// asked, or with other rows, examples or texts.
const TaskRecord* find_task(const CellRecord& record, const RunRecord& run, std::size_t task);
// Null: the set has no such metric.
const TaskMetric* find_task_metric(const TaskRecord& task, const std::string& scope,
                                   const std::string& metric);

struct Rows {
  RunRecord run;          // its sets and tasks are the columns
  std::vector<Row> rows;  // 16 bits first, then fewer; within equal bits in the sweep's order
};
Rows collect_rows(const Reader& reader);

std::string bits_text(double bits);       // "4", "1.7"
std::string group_text(const Row& row);   // "128", "channel"; "–" for the baseline
std::string method_text(const Row& row);  // "GPTQ (order=none)"
// Whether some cell was compared with the unquantized model on the run's sets.
bool has_comparisons(const Rows& table);
// "0.0123": nats per token; "98.76": percent of the predictions.
std::string divergence_text(const Comparison& comparison);
std::string agreement_text(const Comparison& comparison);
// Three to four digits, as papers print them; 1.2e+05 from 10⁴ on.
std::string perplexity_text(double value);

// Lines of cells as a table whose columns are aligned with spaces: `gap` between cells, numbers to
// the right where `right` says so. The width of a text is counted in characters of UTF-8.
std::size_t text_width(const std::string& text);
std::string padded(const std::string& text, std::size_t width, bool right);

}  // namespace bitgrid::results

#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "results/store.hpp"

namespace bitgrid::results {

// A folder of its own, removed at the end.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  std::string path(const std::string& below = "") const {
    return below.empty() ? path_ : path_ + "/" + below;
  }

 private:
  std::string path_;
};

constexpr const char* kModel = "1f2e3d4c5b6a79880f1e2d3c4b5a69788796a5b4c3d2e1f00112233445566778";

// Records whose every field holds a value of its own; arrays are drawn from `seed`.
StoredArray sample_packed(const std::string& name, std::int64_t rows, std::int64_t cols, int bits,
                          unsigned seed);
QuantizedLinear sample_linear(const std::string& name, std::int64_t rows, std::int64_t cols,
                              int bits, std::int64_t group, unsigned seed);
CellHeader sample_header(const std::string& name, const std::string& method, double bits,
                         std::int64_t group);
LayerRecord sample_layer(const CellHeader& cell, std::int64_t layer);
MetricRecord sample_metric(const std::string& set, double cross_entropy);
// piqa: five questions of 2, 3, 2, 4 and 2 options. mmlu: three of astronomy, one of tools.
// Outcomes and metrics follow from the scores.
TaskRecord sample_task(const std::string& name, unsigned seed);
// Outcomes of the scores (those per character are made up), and metrics, by plain loops.
void fill_outcomes(TaskRecord& task, bool reversed = false);
void fill_metrics(TaskRecord& task);
CellRecord sample_cell(const CellHeader& header, const std::vector<LayerRecord>& layers);
CellRecord failed_cell(const CellHeader& header, const std::string& why);
RunRecord sample_run(const std::vector<CellHeader>& cells);
RankCounters sample_counters(int rank);

// A directory with a finished gptq-w4-g32 and rtn-w3-pc of two layers each, the baseline, and
// run.h5 and results.h5.
std::vector<CellHeader> sample_headers();
void write_sample(const std::string& directory);

void expect_same(const LayerRecord& a, const LayerRecord& b);
void expect_same(const CellHeader& a, const CellHeader& b, bool with_sweep_text);
void expect_same(const CellRecord& a, const CellRecord& b);
void expect_same(const RunRecord& a, const RunRecord& b);

std::string read_bytes(const std::string& file);
void write_bytes(const std::string& file, const std::string& bytes);

// Runs fn in a process of its own; what it throws is its message, and "" means that it threw
// nothing.
std::string message_in_child(const std::function<void()>& fn);
bool any_contains(const std::vector<std::string>& lines, const std::string& text);
std::string joined(const std::vector<std::string>& lines);

}  // namespace bitgrid::results

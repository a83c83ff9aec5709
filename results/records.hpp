#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/evaluation/perplexity.hpp"
#include "core/evaluation/task_metrics.hpp"
#include "core/evaluation/token_requests.hpp"
#include "core/methods/quantized_linear.hpp"
#include "core/methods/recipe.hpp"

namespace bitgrid::results {

// What is stored, as plain values. results/schema.md says where each lies in the HDF5 files. Fields
// under "not compared" (times, hosts) are left out of `bitgrid diff`.

// What identifies a cell, and where it came from.
struct CellHeader {
  std::string name;  // "gptq-w4-g32-order=none"
  std::string key;   // SHA-256 of recipe, calibration fingerprint and shards
  Recipe recipe;
  std::string method_title;  // "GPTQ"
  std::string model_fingerprint;
  std::string calibration;              // "c4, 64 x 256, seed 0"; "" where the recipe uses none
  std::string calibration_fingerprint;  // of the windows' ids; "" where the recipe uses none
  std::int64_t shards = 0;
  std::int64_t seed = 0;
  std::string sweep_text;  // the resolved sweep, TOML
  std::string version;     // of bitgrid
  std::string blas;        // kernel set in use
};

// Seconds by term: "forward", "statistics", "factorization", "solve", "evaluation", "io", "wait".
// Not compared.
using Seconds = std::map<std::string, double>;

struct LayerRecord {
  std::int64_t layer = 0;
  std::vector<QuantizedLinear> linears;  // in the order of kLinears
  // By which the layer differs from the checkpoint's beside its linears: norms of transforms, and
  // what a transform chose.
  std::vector<StoredArray> arrays;
  // not compared
  std::string host;
  int rank = 0;
  double started_s = 0, finished_s = 0;  // wall clock, seconds since 1970
  Seconds seconds;                       // of this layer, summed over the stage's ranks
};

struct MetricRecord {
  std::string set;  // "wikitext2"; of a text of the user's own, the file's name without its folder
  std::string protocol;
  std::int64_t length = 0;
  std::string text_fingerprint, ids_fingerprint;
  std::string bos;  // "always", "never": resolved
  Perplexity value;
  std::vector<double> window_sums;  // Σ −log p per window, window order
  // Against the unquantized model on the same windows; empty: not compared.
  Comparison comparison;
  std::vector<double> window_divergences;       // Σ KL(p ‖ q) per window
  std::vector<std::int64_t> window_agreements;  // predictions whose likeliest token is the same
  bool compared() const { return !window_divergences.empty(); }
  // Same protocol, length, bos and fingerprints: the measurement need not be made again. What a
  // text is called, and where it lies, does not matter.
  bool same_measurement(const MetricRecord& other) const;
};

// One question set, asked and scored. Documents and requests in request order.
struct TaskRecord {
  std::string task;        // "hellaswag"
  std::string version;     // of its texts
  std::string profile;     // "lmeh-0.4"
  std::int64_t shots = 0;  // examples before each question
  std::int64_t limit = 0;  // only the first rows of every subset; 0: all
  std::int64_t max_length =
      0;  // tokens that the model takes; longer requests are cut at their left
  RequestDigests digests;
  // SHA-256 of everything that the scores depend on beside the model: equal means that they need
  // not be computed again.
  std::string fingerprint;
  std::vector<std::string> subsets;  // MMLU's subjects; else the task's own name
  struct Document {
    std::int32_t subset = 0, row = 0;  // index into subsets; row of that subset's file, from 0
    std::int32_t gold = 0, options = 0;
    bool operator==(const Document&) const = default;
  };
  std::vector<Document> documents;
  std::vector<RequestScore> scores;       // Σ options of them
  std::vector<DocumentOutcome> outcomes;  // by document
  std::vector<TaskMetric> metrics;
};

// One linear's line in a finished cell; stays when the tensors are dropped.
struct LinearSummary {
  std::int64_t layer = 0;
  std::string linear;
  std::int64_t rows = 0, cols = 0;
  std::string code_hash;
  std::int64_t stored_bits = 0;  // of the required arrays
  LinearDiagnostics diagnostics;
};

enum class CellStatus { finished, failed };

struct CellRecord {
  CellHeader header;
  CellStatus status = CellStatus::finished;
  std::string failure;          // why, with layer and linear, when failed
  double bits_per_weight = 16;  // over all quantized linears, everything that is stored counted
  std::vector<MetricRecord> metrics;
  std::vector<TaskRecord> tasks;
  std::vector<LinearSummary> linears;
  bool tensors_kept = true;
  // not compared
  Seconds seconds;  // summed over ranks
  double wall_s = 0;
  std::int64_t peak_memory_bytes = 0;  // largest of the ranks
  std::vector<std::string> hosts;
  std::vector<std::string> shared_with;  // cells with which it shared walks, statistics, factors
  double finished_s = 0;                 // wall clock, seconds since 1970
};

// What one rank did in one run; `bitgrid show --ranks`. Over the ranks, every count sums to that of
// a one-rank run.
struct RankCounters {
  int rank = 0, stage = 0, replica = 0;
  std::string host;
  std::vector<std::int64_t> layers_read;  // by layer: times read from the checkpoint
  std::int64_t weight_bytes_read = 0;
  std::vector<std::int64_t> calibration_windows;  // by layer: windows walked, over all cells
  std::vector<std::int64_t> evaluation_windows;   // by layer
  std::vector<std::int64_t> rows_solved;          // by layer
  std::vector<std::int64_t> layers_quantized;     // by layer: counted by the rank that stores it
  std::vector<std::int64_t>
      layers_replayed;               // by layer: taken from the store instead of being quantized
  std::int64_t requests_scored = 0;  // of question sets
  std::int64_t peak_memory_bytes = 0;
  Seconds seconds;
};

// One run of a sweep, as a whole.
struct RunRecord {
  std::string name;   // of the sweep
  std::string model;  // directory, absolute
  std::string model_fingerprint;
  std::int64_t layer_count = 0;  // of the model; 0: not known
  std::string sweep_text;
  std::string version, blas, device;
  int ranks = 1, stages = 1, replicas = 1, threads = 1;
  std::vector<std::string> cell_names, cell_keys;  // listed cells, in table order
  std::vector<double>
      cell_predicted_s;           // the planner's seconds by cell; empty: no prediction was made
  std::vector<std::string> sets;  // listed evaluation sets, in the sweep's order
  std::vector<std::string> set_fingerprints;   // of their token ids, by set; empty: not known
  std::int64_t evaluation_length = 0;          // tokens per evaluation window; 0: not known
  std::vector<std::string> tasks;              // listed question sets, in the sweep's order
  std::vector<std::string> task_fingerprints;  // TaskRecord::fingerprint of each
  // The key of the unquantized cell that the others are compared with; empty: none.
  std::vector<std::string> compared_with;
  std::vector<RankCounters> counters;    // empty while the run is going on, or if it was cut short
  double started_s = 0, finished_s = 0;  // finished_s = 0: not (yet) finished
};

}  // namespace bitgrid::results

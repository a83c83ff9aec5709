#pragma once

#include <string>
#include <vector>

#include "results/store.hpp"

namespace bitgrid::results {

enum class TableFormat { markdown, csv, latex, json };

// Of question sets: acc_norm where a set has it, else acc. Formats for programs hold both.
enum class TableMetric { acc, acc_norm };

// `bitgrid table`: rows are cells (grouped by bits as papers do), columns bits per weight, one
// perplexity per evaluation set, one accuracy per question set and the mean of those but mmlu;
// cells that are unfinished or failed are shown as such.
// divergences: in formats for people, after each perplexity KL divergence and top-1 agreement with
// the unquantized model; formats for programs hold them whenever somebody was compared.
struct TableChoice {
  TableFormat format = TableFormat::markdown;
  TableMetric metric = TableMetric::acc;
  bool divergences = false;
};
std::string table(const Reader& reader, const TableChoice& choice);

// `bitgrid show`: progress, cells, failures, timings; --ranks adds the counters of each rank.
std::string show(const Reader& reader, bool ranks);

}  // namespace bitgrid::results

#pragma once

#include <string>
#include <vector>

#include "results/store.hpp"

namespace bitgrid::results {

enum class TableFormat { markdown, csv, latex, json };

// `bitgrid table`: rows are cells (grouped by bits as papers do), columns bits per weight and one
// perplexity per evaluation set; cells that are unfinished or failed are shown as such.
std::string table(const Reader& reader, TableFormat format);

// `bitgrid show`: progress, cells, failures, timings; --ranks adds the counters of each rank.
std::string show(const Reader& reader, bool ranks);

}  // namespace bitgrid::results

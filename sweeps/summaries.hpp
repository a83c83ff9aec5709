#pragma once

#include <vector>

#include "results/store.hpp"

namespace bitgrid {

// A quantized linear's line in its cell's record.
results::LinearSummary summarize(std::int64_t layer, const QuantizedLinear& linear);

// Tensors that were dropped and are made again must be the same: throws Error if the cell's record
// knows another hash.
void check_recomputed(const results::Store& store, const results::CellHeader& cell,
                      const std::vector<results::LinearSummary>& fresh);

}  // namespace bitgrid

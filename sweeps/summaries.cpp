#include "sweeps/summaries.hpp"

#include <fmt/format.h>

#include "kernels/error.hpp"

namespace bitgrid {
namespace {

std::int64_t stored_bits(const QuantizedLinear& linear) {
  std::size_t bytes = 0;
  for (const StoredArray& array : linear.arrays)
    if (array.required) bytes += array.data.size();
  return static_cast<std::int64_t>(bytes) * 8;
}

}  // namespace

results::LinearSummary summarize(std::int64_t layer, const QuantizedLinear& linear) {
  results::LinearSummary summary;
  summary.layer = layer;
  summary.linear = linear.name;
  summary.rows = linear.rows;
  summary.cols = linear.cols;
  summary.code_hash = linear.code_hash();
  summary.stored_bits = stored_bits(linear);
  summary.diagnostics = linear.diagnostics;
  return summary;
}

void check_recomputed(const results::Store& store, const results::CellHeader& cell,
                      const std::vector<results::LinearSummary>& fresh) {
  const auto record = store.read_cell(cell);
  if (!record || record->status != results::CellStatus::finished) return;
  for (const results::LinearSummary& now : fresh)
    for (const results::LinearSummary& then : record->linears)
      if (then.layer == now.layer && then.linear == now.linear && then.code_hash != now.code_hash)
        throw Error(fmt::format(
            "{}: recomputed codes have hash {}, the record of this cell says {}; was it made on "
            "another kind of processor?",
            now.linear, now.code_hash.substr(0, 12), then.code_hash.substr(0, 12)));
}

}  // namespace bitgrid

#include "sweeps/tap_solver.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/methods/registry.hpp"
#include "dist/tree_reduce.hpp"
#include "kernels/error.hpp"
#include "kernels/parallel.hpp"
#include "sweeps/layer_source.hpp"

namespace bitgrid {
namespace {

template <class T>
std::span<std::byte> bytes_of(Matrix<T>& matrix) {
  return std::as_writable_bytes(std::span(matrix.data(), static_cast<std::size_t>(matrix.size())));
}

// Σ over the replicas' partial sums in the fixed tree, on the owner; elsewhere the Gram matrix
// stays empty.
Statistics reduce_statistics(RankContext& rank, std::vector<GramPartial> partials, std::int64_t in,
                             std::int64_t tokens, int owner) {
  Statistics statistics;
  statistics.tokens = tokens;
  std::vector<dist::PartialSum> sums;
  for (GramPartial& partial : partials)
    sums.push_back(
        {partial.node, {partial.packed.data(), static_cast<std::size_t>(partial.packed.size())}});
  const bool here = rank.topology.replica() == owner;
  Matrix<float> total(1, here ? in * (in + 1) / 2 : 0);
  dist::tree_reduce_sum(rank.replicas, rank.sweep.calibration.shards, std::move(sums),
                        {total.data(), static_cast<std::size_t>(total.size())}, owner);
  partials.clear();
  if (here) statistics.gram = unpack_gram(rank.place, total.data(), in);
  return statistics;
}

void broadcast_matrix(const dist::Comm& comm, Matrix<float>& matrix, int owner) {
  std::int64_t shape[2] = {matrix.rows(), matrix.cols()};
  comm.broadcast(std::as_writable_bytes(std::span(shape)), owner, "shape of a factor");
  if (comm.rank() != owner) matrix = Matrix<float>(shape[0], shape[1]);
  comm.broadcast(bytes_of(matrix), owner, "factor");
}

void broadcast_indices(const dist::Comm& comm, std::vector<std::int32_t>& indices, int owner) {
  std::int64_t count = static_cast<std::int64_t>(indices.size());
  comm.broadcast(std::as_writable_bytes(std::span(&count, 1)), owner, "length of an order");
  indices.resize(static_cast<std::size_t>(count));
  comm.broadcast(std::as_writable_bytes(std::span(indices)), owner, "column order");
}

void broadcast_prepared(const dist::Comm& comm, Prepared& prepared, int owner) {
  if (comm.size() == 1) return;
  struct Numbers {
    double damping, factor_s;
    std::int64_t damping_attempts, tokens, fallback;
  } numbers{prepared.damping, prepared.factor_s, prepared.damping_attempts, prepared.tokens,
            prepared.fallback};
  comm.broadcast(std::as_writable_bytes(std::span(&numbers, 1)), owner, "damping");
  prepared.damping = numbers.damping;
  prepared.factor_s = numbers.factor_s;
  prepared.damping_attempts = numbers.damping_attempts;
  prepared.tokens = numbers.tokens;
  prepared.fallback = numbers.fallback != 0;
  broadcast_indices(comm, prepared.order, owner);
  broadcast_indices(comm, prepared.dead, owner);
  broadcast_matrix(comm, prepared.factor, owner);
  broadcast_matrix(comm, prepared.gram, owner);
}

constexpr int kRowNumbers = 5;  // loss, weight error and norm, output error and norm

// The rows of one linear on their way to being finished.
struct LinearRows {
  Linear linear;
  Matrix<std::uint8_t> codes;
  Matrix<std::uint16_t> scales;
  Matrix<std::uint8_t> zeros;
  Matrix<double> numbers;                     // [kRowNumbers, rows]
  std::vector<std::int64_t> rows_by_replica;  // contiguous, in replica order
};

struct RowTile {
  std::size_t linear;
  std::int64_t first, count;
};

std::vector<LinearRows> allocate_rows(const RankContext& rank, const Recipe& recipe, Tap tap) {
  std::vector<LinearRows> all;
  for (const Linear linear : linears_of(tap)) {
    const std::int64_t rows = linear_rows(rank.config, linear);
    const std::int64_t cols = linear_cols(rank.config, linear);
    const std::int64_t groups = group_count(cols, recipe.group);
    all.push_back({linear, {rows, cols}, {rows, groups}, {rows, groups}, {kRowNumbers, rows}, {}});
  }
  return all;
}

// Tiles of the stacked rows; no tile spans two linears. Their size follows from the number of rows
// alone.
std::vector<RowTile> cut_tiles(const std::vector<LinearRows>& all) {
  std::int64_t stacked = 0;
  for (const LinearRows& rows : all) stacked += rows.codes.rows();
  const std::int64_t tile = solve_tile_rows(stacked);
  std::vector<RowTile> tiles;
  for (std::size_t l = 0; l < all.size(); ++l)
    for (std::int64_t first = 0; first < all[l].codes.rows(); first += tile)
      tiles.push_back({l, first, std::min(tile, all[l].codes.rows() - first)});
  return tiles;
}

void solve_tile(const RankContext& rank, const Recipe& recipe, const Prepared& prepared,
                const LayerWeights& weights, const RowTile& tile, LinearRows& rows) {
  RowsOut out;
  out.codes = rows.codes.rows_from(tile.first, tile.count);
  out.scales = rows.scales.rows_from(tile.first, tile.count);
  out.zeros = rows.zeros.rows_from(tile.first, tile.count);
  out.loss = rows.numbers.row(0) + tile.first;
  out.weight_error = rows.numbers.row(1) + tile.first;
  out.weight_norm = rows.numbers.row(2) + tile.first;
  out.output_error = rows.numbers.row(3) + tile.first;
  out.output_norm = rows.numbers.row(4) + tile.first;
  recipe_rounding(recipe).round_rows(rank.place, recipe, prepared,
                                     weights[rows.linear].rows_from(tile.first, tile.count), out);
}

void count_rows_by_replica(const RankContext& rank, const std::vector<RowTile>& tiles,
                           std::vector<LinearRows>& all) {
  for (LinearRows& rows : all)
    rows.rows_by_replica.assign(static_cast<std::size_t>(rank.topology.replicas), 0);
  for (int r = 0; r < rank.topology.replicas; ++r) {
    const ShardRange own =
        shard_windows(static_cast<std::int64_t>(tiles.size()), rank.topology.replicas, r);
    for (std::int64_t t = own.first; t < own.end(); ++t)
      all[tiles[static_cast<std::size_t>(t)].linear].rows_by_replica[static_cast<std::size_t>(r)] +=
          tiles[static_cast<std::size_t>(t)].count;
  }
}

void gather_bytes(const dist::Comm& comm, std::span<std::byte> bytes,
                  const std::vector<std::int64_t>& rows, std::int64_t row_bytes) {
  std::vector<std::int64_t> counts = rows;
  for (std::int64_t& count : counts) count *= row_bytes;
  comm.all_gather_in_place(bytes, counts, "quantized rows");
}

void gather_rows(const dist::Comm& comm, LinearRows& rows) {
  if (comm.size() == 1) return;
  gather_bytes(comm, bytes_of(rows.codes), rows.rows_by_replica, rows.codes.cols());
  gather_bytes(comm, bytes_of(rows.scales), rows.rows_by_replica, rows.scales.cols() * 2);
  gather_bytes(comm, bytes_of(rows.zeros), rows.rows_by_replica, rows.zeros.cols());
  for (int i = 0; i < kRowNumbers; ++i) {
    std::span<double> numbers(rows.numbers.row(i), static_cast<std::size_t>(rows.numbers.cols()));
    gather_bytes(comm, std::as_writable_bytes(numbers), rows.rows_by_replica, sizeof(double));
  }
}

double sum_in_order(const Matrix<double>& numbers, int row) {
  double sum = 0;
  for (std::int64_t r = 0; r < numbers.cols(); ++r) sum += numbers(row, r);
  return sum;
}

double ratio(double part, double whole) {
  return whole > 0 ? part / whole : part == 0 ? 0 : part / whole;
}

QuantizedLinear finish_linear(const Recipe& recipe, const Prepared& prepared,
                              const LinearRows& rows) {
  QuantizedLinear linear =
      assemble_linear(recipe, prepared, std::string(linear_name(rows.linear)), rows.codes.view(),
                      rows.scales.view(), rows.zeros.view());
  LinearDiagnostics& diagnostics = linear.diagnostics;
  diagnostics.loss = sum_in_order(rows.numbers, 0);
  diagnostics.relative_weight_error =
      ratio(sum_in_order(rows.numbers, 1), sum_in_order(rows.numbers, 2));
  diagnostics.relative_output_error =
      ratio(sum_in_order(rows.numbers, 3), sum_in_order(rows.numbers, 4));
  diagnostics.damping = prepared.damping;
  diagnostics.damping_attempts = prepared.damping_attempts;
  diagnostics.fallback = prepared.fallback;
  diagnostics.dead_columns = static_cast<std::int64_t>(prepared.dead.size());
  diagnostics.factor_s = prepared.factor_s;
  return linear;
}

}  // namespace

std::vector<QuantizedLinear> solve_tap(RankContext& rank, const Recipe& recipe, std::int64_t layer,
                                       Tap tap, std::vector<GramPartial> partials,
                                       std::int64_t tokens, LayerWeights& weights,
                                       results::Seconds& seconds) {
  const std::int64_t in = tap_size(rank.config, tap);
  const bool calibrated = recipe_needs(recipe).any();
  const int owner = static_cast<int>((layer * 4 + static_cast<int>(tap)) % rank.topology.replicas);
  Prepared prepared;
  if (calibrated) {
    Statistics statistics;
    {
      const Stopwatch watch(seconds["statistics"]);
      statistics = reduce_statistics(rank, std::move(partials), in, tokens, owner);
    }
    const Stopwatch watch(seconds["factorization"]);
    agree_or_throw(rank.replicas, dist::attempt([&] {
                     if (rank.topology.replica() == owner)
                       prepared =
                           recipe_rounding(recipe).prepare(rank.place, recipe, statistics, in);
                   }));
    broadcast_prepared(rank.replicas, prepared, owner);
  }

  double solve_s = 0;
  std::vector<QuantizedLinear> linears;
  {
    const Stopwatch watch(solve_s);
    std::vector<LinearRows> all = allocate_rows(rank, recipe, tap);
    const std::vector<RowTile> tiles = cut_tiles(all);
    count_rows_by_replica(rank, tiles, all);
    const ShardRange own = shard_windows(static_cast<std::int64_t>(tiles.size()),
                                         rank.topology.replicas, rank.topology.replica());
    agree_or_throw(rank.replicas, dist::attempt([&] {
                     parallel_for(rank.place, own.count, [&](std::int64_t i) {
                       const RowTile& tile = tiles[static_cast<std::size_t>(own.first + i)];
                       solve_tile(rank, recipe, prepared, weights, tile, all[tile.linear]);
                     });
                   }));
    for (std::int64_t t = own.first; t < own.end(); ++t)
      rank.counters.rows_solved[static_cast<std::size_t>(layer)] +=
          tiles[static_cast<std::size_t>(t)].count;
    for (LinearRows& rows : all) {
      gather_rows(rank.replicas, rows);
      linears.push_back(finish_linear(recipe, prepared, rows));
      weights[rows.linear] = rebuild_weight(rank.place, linears.back());
    }
  }
  seconds["solve"] += solve_s;
  for (QuantizedLinear& linear : linears) linear.diagnostics.solve_s = solve_s;
  return linears;
}

}  // namespace bitgrid

#include "sweeps/rank_tap_work.hpp"

#include <algorithm>

#include "dist/tree_reduce.hpp"
#include "kernels/error.hpp"
#include "kernels/parallel.hpp"
#include "sweeps/layer_source.hpp"
#include "sweeps/window_states.hpp"

namespace bitgrid {
namespace {

template <class T>
void broadcast_values(const dist::Comm& comm, T* values, std::int64_t count, int owner) {
  comm.broadcast(std::as_writable_bytes(std::span(values, static_cast<std::size_t>(count))), owner,
                 "what the owner of a statistic made of it");
}

template <class T>
void broadcast_vectors(const dist::Comm& comm, std::vector<std::vector<T>>& vectors, int owner) {
  std::int64_t count = std::ssize(vectors);
  broadcast_values(comm, &count, 1, owner);
  vectors.resize(static_cast<std::size_t>(count));
  for (std::vector<T>& v : vectors) {
    std::int64_t size = std::ssize(v);
    broadcast_values(comm, &size, 1, owner);
    v.resize(static_cast<std::size_t>(size));
    broadcast_values(comm, v.data(), size, owner);
  }
}

void broadcast_shared(const dist::Comm& comm, Shared& shared, int owner) {
  if (comm.size() == 1) return;
  std::int64_t count = std::ssize(shared.matrices);
  broadcast_values(comm, &count, 1, owner);
  shared.matrices.resize(static_cast<std::size_t>(count));
  for (Matrix<float>& matrix : shared.matrices) {
    std::int64_t shape[2] = {matrix.rows(), matrix.cols()};
    broadcast_values(comm, shape, 2, owner);
    if (comm.rank() != owner) matrix = Matrix<float>(shape[0], shape[1]);
    broadcast_values(comm, matrix.data(), matrix.size(), owner);
  }
  broadcast_vectors(comm, shared.indices, owner);
  broadcast_vectors(comm, shared.numbers, owner);
}

// Σ over the replicas' partial sums in the fixed tree, on the owner; elsewhere nothing.
std::vector<double> reduce(const dist::Comm& replicas, std::int64_t shards,
                           std::vector<ShardPartial>& partials, std::int64_t size, int owner) {
  std::vector<dist::PartialSum> sums;
  for (ShardPartial& partial : partials)
    sums.push_back(
        {partial.node, {partial.sums.data(), static_cast<std::size_t>(partial.sums.size())}});
  std::vector<double> total(replicas.rank() == owner ? static_cast<std::size_t>(size) : 0);
  dist::tree_reduce_sum(replicas, shards, std::move(sums), total, owner);
  return total;
}

std::vector<float> reduce_max(const dist::Comm& replicas, std::vector<float> own) {
  if (replicas.size() == 1 || own.empty()) return own;
  const std::size_t n = own.size();
  std::vector<float> all(n * static_cast<std::size_t>(replicas.size()));
  std::copy(
      own.begin(), own.end(),
      all.begin() + static_cast<std::ptrdiff_t>(n * static_cast<std::size_t>(replicas.rank())));
  const std::vector<std::int64_t> counts(static_cast<std::size_t>(replicas.size()),
                                         static_cast<std::int64_t>(n * sizeof(float)));
  replicas.all_gather_in_place(std::as_writable_bytes(std::span(all)), counts, "channel maxima");
  for (std::size_t i = 0; i < all.size(); ++i) own[i % n] = std::max(own[i % n], all[i]);
  return own;
}

struct RowTile {
  std::size_t block;
  std::int64_t first, count;
};

// Tiles of the stacked rows; no tile spans two blocks. Their size follows from the number of rows
// alone.
std::vector<RowTile> cut_tiles(std::span<const RowBlock> blocks) {
  std::int64_t stacked = 0;
  for (const RowBlock& block : blocks) stacked += block.rows;
  std::vector<RowTile> tiles;
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    const std::int64_t tile = blocks[b].whole ? blocks[b].rows : solve_tile_rows(stacked);
    for (std::int64_t first = 0; first < blocks[b].rows; first += tile)
      tiles.push_back({b, first, std::min(tile, blocks[b].rows - first)});
  }
  return tiles;
}

ShardRange share_of(const std::vector<RowTile>& tiles, const dist::Comm& replicas, int replica) {
  return shard_windows(std::ssize(tiles), replicas.size(), replica);
}

// Whole blocks one after the other, with all threads for each; tiles side by side.
void solve_tiles(const Place& place, std::span<RowBlock> blocks, const std::vector<RowTile>& tiles,
                 ShardRange own) {
  std::vector<RowTile> apart;
  for (std::int64_t t = own.first; t < own.end(); ++t) {
    const RowTile& tile = tiles[static_cast<std::size_t>(t)];
    if (blocks[tile.block].whole)
      blocks[tile.block].solve(tile.first, tile.count);
    else
      apart.push_back(tile);
  }
  parallel_for(place, std::ssize(apart), [&](std::int64_t i) {
    const RowTile& tile = apart[static_cast<std::size_t>(i)];
    blocks[tile.block].solve(tile.first, tile.count);
  });
}

void gather_blocks(const dist::Comm& replicas, std::span<RowBlock> blocks,
                   const std::vector<RowTile>& tiles) {
  if (replicas.size() == 1) return;
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    std::vector<std::int64_t> rows(static_cast<std::size_t>(replicas.size()), 0);
    for (int r = 0; r < replicas.size(); ++r) {
      const ShardRange share = share_of(tiles, replicas, r);
      for (std::int64_t t = share.first; t < share.end(); ++t)
        if (tiles[static_cast<std::size_t>(t)].block == b)
          rows[static_cast<std::size_t>(r)] += tiles[static_cast<std::size_t>(t)].count;
    }
    for (const RowPlane& plane : blocks[b].planes) {
      std::vector<std::int64_t> counts = rows;
      for (std::int64_t& count : counts) count *= plane.row_bytes;
      replicas.all_gather_in_place(
          {plane.data, static_cast<std::size_t>(blocks[b].rows * plane.row_bytes)}, counts,
          "quantized rows");
    }
  }
}

}  // namespace

void run_together(const dist::Comm& replicas, const std::function<void()>& fn) {
  agree_or_throw(replicas, dist::attempt([&] { with_context("", fn); }));
}

TapInputs::TapInputs(RankContext& context, std::int64_t of_layer, Tap at)
    : rank(context), layer(of_layer), tap(at), owner(0) {}

TapInputs::TapInputs(RankContext& context, std::int64_t of_layer, Tap at,
                     const CalibrationLayout& calibration, const StatisticsNeeds& needs,
                     TapPartials partials, WindowTap taps)
    : rank(context),
      layer(of_layer),
      tap(at),
      owner(static_cast<int>((of_layer * kTapCount + static_cast<int>(at)) %
                             context.topology.replicas)),
      layout(calibration),
      window_tap(std::move(taps)) {
  const std::int64_t in = tap_size(rank.config, tap);
  statistics.tokens = layout.tokens();
  if (!needs.any()) return;
  std::vector<double> sums =
      reduce(rank.replicas, layout.shards, partials.sums, tap_sum_size(needs, in), owner);
  partials.sums.clear();
  std::vector<float> abs_max = reduce_max(rank.replicas, std::move(partials.abs_max));
  const std::vector<float> ranges = reduce_max(rank.replicas, std::move(partials.ranges));
  const bool here = rank.replicas.rank() == owner;
  if (here)
    statistics = unpack_statistics(rank.place, layout, needs, in, sums, std::move(abs_max), ranges);
  else
    statistics.abs_max = std::move(abs_max);
  if (needs.channels) {
    statistics.abs_sum.resize(static_cast<std::size_t>(in));
    if (rank.replicas.size() > 1)
      broadcast_values(rank.replicas, statistics.abs_sum.data(), in, owner);
  }
}

const Shared& RankTapWork::once(const std::string& key,
                                const std::function<Shared(const Statistics&)>& make) {
  if (const auto found = in_.shared.find(key); found != in_.shared.end()) return *found->second;
  const Stopwatch watch(seconds_["factorization"]);
  auto made = std::make_unique<Shared>();
  const dist::Comm& replicas = in_.rank.replicas;
  agree_or_throw(replicas, dist::attempt([&] {
                   if (replicas.rank() != in_.owner) return;
                   with_context(tap_text(in_.tap), [&] { *made = make(in_.statistics); });
                 }));
  broadcast_shared(replicas, *made, in_.owner);
  return *in_.shared.emplace(key, std::move(made)).first->second;
}

std::vector<double> sum_own_windows(RankContext& rank, const CalibrationLayout& layout,
                                    std::int64_t size, const std::string& where,
                                    const AddWindow& add) {
  const std::int64_t first = rank.own_windows(layout.windows).first;
  const auto shard_sum = [&](ShardRange windows) {
    Matrix<double> sums(1, size);
    sums.fill(0);
    for (std::int64_t w = windows.first; w < windows.end(); ++w)
      add(w, w - first, {sums.data(), static_cast<std::size_t>(sums.size())});
    return sums;
  };
  std::vector<ShardPartial> partials;
  agree_or_throw(rank.replicas, dist::attempt([&] {
                   partials = with_context(where, [&] {
                     return sum_shards(rank.place, layout, rank.own_shards(), true, shard_sum);
                   });
                 }));
  constexpr int kRoot = 0;
  std::vector<double> total = reduce(rank.replicas, layout.shards, partials, size, kRoot);
  total.resize(static_cast<std::size_t>(size));
  if (rank.replicas.size() > 1) broadcast_values(rank.replicas, total.data(), size, kRoot);
  return total;
}

std::vector<double> RankTapWork::sum_windows(
    std::int64_t size, const std::function<void(std::int64_t window, MatrixView<const float> x,
                                                std::span<double> sums)>& add) {
  const Stopwatch watch(seconds_["search"]);
  BITGRID_ASSERT(in_.window_tap != nullptr);
  return sum_own_windows(in_.rank, in_.layout, size, tap_text(in_.tap),
                         [&](std::int64_t window, std::int64_t i, std::span<double> sums) {
                           add(window, in_.window_tap(i), sums);
                         });
}

void RankTapWork::solve_rows(std::span<RowBlock> blocks) {
  const Stopwatch watch(seconds_["solve"]);
  const dist::Comm& replicas = in_.rank.replicas;
  const std::vector<RowTile> tiles = cut_tiles(blocks);
  const ShardRange own = share_of(tiles, replicas, replicas.rank());
  agree_or_throw(replicas, dist::attempt([&] {
                   with_context(tap_text(in_.tap),
                                [&] { solve_tiles(in_.rank.place, blocks, tiles, own); });
                 }));
  if (!counted_)
    for (std::int64_t t = own.first; t < own.end(); ++t)
      rows_solved_ += tiles[static_cast<std::size_t>(t)].count;
  counted_ = true;
  gather_blocks(replicas, blocks, tiles);
}

}  // namespace bitgrid

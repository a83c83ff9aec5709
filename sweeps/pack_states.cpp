#include "sweeps/pack_states.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/model/cost.hpp"
#include "kernels/error.hpp"
#include "kernels/finite.hpp"
#include "kernels/parallel.hpp"
#include "sweeps/layer_source.hpp"

namespace bitgrid {
namespace {

// Floating-point operations of a pack in one layer.
double cost_of(const LlamaConfig& config, const RequestPack& pack) {
  return 2 * static_cast<double>(parameter_counts(config).layer_linears) *
             static_cast<double>(pack.tree.tokens()) +
         4 * static_cast<double>(config.query_size()) * static_cast<double>(pack.tree.attended());
}

struct Dealt {
  std::size_t task;
  std::int64_t pack;
  double cost;
};

// One own pack of some task, for loops over all of them.
struct OwnPack {
  std::size_t task, index;
};

std::vector<OwnPack> own_packs(const LlamaConfig& config, const std::vector<PackStates>& tasks) {
  std::vector<OwnPack> all;
  for (std::size_t t = 0; t < tasks.size(); ++t)
    for (std::size_t i = 0; i < tasks[t].own.size(); ++i) all.push_back({t, i});
  std::stable_sort(all.begin(), all.end(), [&](const OwnPack& a, const OwnPack& b) {
    return cost_of(config, tasks[a.task].pack(a.index)) >
           cost_of(config, tasks[b.task].pack(b.index));
  });
  return all;
}

}  // namespace

std::vector<PackStates> deal_packs(const RankContext& rank, const CellJob& job) {
  const Recipe& recipe = rank.sweep.cells[static_cast<std::size_t>(job.cell)];
  const bool alone = asks_alone(recipe);
  std::vector<PackStates> tasks;
  std::vector<Dealt> deck;
  for (const TaskPart& part : job.tasks) {
    const TaskInput& input = rank.inputs.tasks[static_cast<std::size_t>(part.task)];
    PackStates& states = tasks.emplace_back();
    states.task = part.task;
    states.packs =
        alone ? std::make_shared<const std::vector<RequestPack>>(lone_packs(input.requests))
              : std::shared_ptr<const std::vector<RequestPack>>(std::shared_ptr<void>(),
                                                                &input.packs);
    states.dealt.resize(static_cast<std::size_t>(rank.topology.replicas));
    states.completes_task = part.pack_end == std::ssize(*states.packs);
    for (std::int64_t p = part.first_pack; p < part.pack_end; ++p)
      deck.push_back({tasks.size() - 1, p,
                      cost_of(rank.config, (*states.packs)[static_cast<std::size_t>(p)])});
  }
  std::stable_sort(deck.begin(), deck.end(),
                   [](const Dealt& a, const Dealt& b) { return a.cost > b.cost; });
  std::vector<double> load(static_cast<std::size_t>(rank.topology.replicas));
  for (const Dealt& card : deck) {
    const auto least =
        static_cast<std::size_t>(std::min_element(load.begin(), load.end()) - load.begin());
    load[least] += card.cost;
    tasks[card.task].dealt[least].push_back(card.pack);
  }
  for (PackStates& states : tasks) {
    for (auto& packs : states.dealt) std::sort(packs.begin(), packs.end());
    states.own = states.dealt[static_cast<std::size_t>(rank.topology.replica())];
    std::int64_t rows = 0;
    for (std::size_t i = 0; i < states.own.size(); ++i) {
      states.first_row.push_back(rows);
      rows += states.pack(i).tree.tokens();
    }
    states.x = Matrix<float>(rows, rank.config.hidden_size);
  }
  return tasks;
}

void embed_packs(RankContext& rank, std::vector<PackStates>& tasks) {
  const std::vector<OwnPack> all = own_packs(rank.config, tasks);
  parallel_for(rank.place, std::ssize(all), [&](std::int64_t i) {
    const OwnPack& own = all[static_cast<std::size_t>(i)];
    PackStates& states = tasks[own.task];
    embed_window(rank.checkpoint, rank.config, states.pack(own.index).tree.ids,
                 states.rows(own.index));
  });
}

void forward_packs(RankContext& rank, const LayerWeights& weights, std::vector<PackStates>& tasks) {
  const std::vector<OwnPack> all = own_packs(rank.config, tasks);
  std::vector<TreeScratch> scratches(static_cast<std::size_t>(place_threads(rank.place)));
  parallel_for(rank.place, std::ssize(all), [&](std::int64_t i) {
    const OwnPack& own = all[static_cast<std::size_t>(i)];
    PackStates& states = tasks[own.task];
    const MatrixView<float> x = states.rows(own.index);
    tree_forward(rank.place, rank.config, weights, rank.rope, states.pack(own.index).tree, x,
                 scratches[static_cast<std::size_t>(parallel_thread_index())]);
    if (const auto bad = find_non_finite(rank.place, x))
      throw Error(fmt::format(
          "output of mlp.down_proj: non-finite activation in task {}, channel {}",
          rank.inputs.tasks[static_cast<std::size_t>(states.task)].header.task, bad->col));
  });
}

void score_requests(RankContext& rank, const OutputWeights& output, PackStates& states,
                    std::vector<RequestScore>& scores) {
  const TaskInput& input = rank.inputs.tasks[static_cast<std::size_t>(states.task)];
  scores.resize(input.requests.requests.size());
  agree_or_throw(rank.replicas, dist::attempt([&] {
                   std::vector<PackScoreScratch> scratches(
                       static_cast<std::size_t>(place_threads(rank.place)));
                   parallel_for(rank.place, std::ssize(states.own), [&](std::int64_t i) {
                     const auto own = static_cast<std::size_t>(i);
                     score_pack(rank.place, rank.config, output, states.pack(own), states.rows(own),
                                scores,
                                scratches[static_cast<std::size_t>(parallel_thread_index())]);
                   });
                 }));
  // Requests by replica, then by pack; each as its log-likelihood and whether it is greedy.
  std::vector<std::int32_t> order;
  std::vector<std::int64_t> counts;
  for (const auto& packs : states.dealt) {
    const std::size_t before = order.size();
    for (const std::int64_t p : packs)
      for (const PackTarget& target : (*states.packs)[static_cast<std::size_t>(p)].targets)
        order.push_back(target.request);
    std::sort(order.begin() + static_cast<std::ptrdiff_t>(before), order.end());
    order.erase(std::unique(order.begin() + static_cast<std::ptrdiff_t>(before), order.end()),
                order.end());
    counts.push_back(static_cast<std::int64_t>((order.size() - before) * 2 * sizeof(double)));
    if (&packs == &states.dealt[static_cast<std::size_t>(rank.topology.replica())])
      rank.counters.requests_scored += static_cast<std::int64_t>(order.size() - before);
  }
  std::vector<double> values(order.size() * 2);
  for (std::size_t i = 0; i < order.size(); ++i) {
    const RequestScore& score = scores[static_cast<std::size_t>(order[i])];
    values[2 * i] = score.log_likelihood;
    values[2 * i + 1] = score.greedy ? 1 : 0;
  }
  rank.replicas.all_gather_in_place(std::as_writable_bytes(std::span(values)), counts,
                                    "scores of a task");
  for (std::size_t i = 0; i < order.size(); ++i)
    scores[static_cast<std::size_t>(order[i])] = {values[2 * i], values[2 * i + 1] != 0};
}

}  // namespace bitgrid

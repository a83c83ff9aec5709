// Multiple-choice questions through the demo model: all its question sets, as they are packed by
// default, packed without sharing what they begin with, and each request alone. Beside the speed
// it counts the tokens that go through the model, and those that lm-evaluation-harness puts there.
// Usage: eval_bench [runs] [threads] [packings: shared,packed,alone]

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <map>
#include <numeric>

#include "core/checkpoint/checkpoint.hpp"
#include "core/evaluation/request_packs.hpp"
#include "core/text/tokenizer.hpp"
#include "kernels/parallel.hpp"
#include "tests/bench/bench_report.hpp"

namespace bitgrid {
namespace {

const std::string kDemo = std::string(BITGRID_SOURCE_DIR) + "/sweeps/demo";
constexpr std::int64_t kHarnessBatch = 32;

struct Packing {
  std::string name, words;
  PackRules rules;
};
const std::vector<Packing> kPackings = {
    {"shared", "packed, beginnings shared", {}},
    // Requests that feed the same tokens remain one, as in the harness.
    {"packed", "packed, nothing shared", {kPackTokens, std::int64_t{1} << 40}},
    {"alone", "each request alone", {1, std::int64_t{1} << 40}}};

struct QuestionSet {
  std::string name;
  double most_computed;  // of what the harness computes; 0: no bound
  Task task;
  TokenRequests requests;

  std::int64_t count() const { return std::ssize(requests.requests); }
  std::vector<std::int32_t> fed(const TokenRequest& r) const {
    const auto context = requests.fed_context(r);
    const auto rest = requests.continuation(r).first(requests.continuation(r).size() - 1);
    std::vector<std::int32_t> all(context.begin(), context.end());
    all.insert(all.end(), rest.begin(), rest.end());
    return all;
  }
  std::int64_t tokens() const {
    std::int64_t sum = 0;
    for (const TokenRequest& r : requests.requests) sum += std::ssize(fed(r));
    return sum;
  }
  // Positions that lm-evaluation-harness (0.4.2 and later) computes: requests that feed the same
  // tokens once, longest first, in batches that are padded to their longest.
  std::int64_t harness_positions(std::int64_t batch) const {
    std::map<std::vector<std::int32_t>, std::int64_t> distinct;
    for (const TokenRequest& r : requests.requests) distinct.emplace(fed(r), 0);
    std::vector<std::int64_t> lengths;
    for (const auto& [ids, unused] : distinct) lengths.push_back(std::ssize(ids));
    std::sort(lengths.rbegin(), lengths.rend());
    std::int64_t sum = 0;
    const std::int64_t count = std::ssize(lengths);
    for (std::int64_t i = 0; i < count; i += batch)
      sum += lengths[static_cast<std::size_t>(i)] * std::min(batch, count - i);
    return sum;
  }
};

struct Model {
  Checkpoint checkpoint = Checkpoint::open(kDemo + "/model");
  LlamaConfig config = checkpoint.config();
  OutputWeights output = read_output(checkpoint, config);
  RopeTable table = make_rope_table(config, config.max_position_embeddings);
  std::vector<LayerWeights> layers;

  Model() {
    for (std::int64_t i = 0; i < config.layer_count; ++i)
      layers.push_back(read_layer(checkpoint, config, i));
  }
};

// Some sets scored together: scores and tokens that went through the model, by set.
struct Scored {
  std::vector<std::vector<RequestScore>> scores;
  std::vector<std::int64_t> tokens;
  double seconds = 0;
};

struct PackInFlight {
  std::size_t set = 0;
  const RequestPack* pack = nullptr;
  std::int64_t first_row = 0;
};

// As a sweep scores the question sets of a cell: layer after layer, the threads' work being the
// packs of all sets, dearest first.
void score_packs(const Place& place, const Model& model, const std::vector<PackInFlight>& packs,
                 Matrix<float>& x, std::vector<std::vector<RequestScore>>& scores) {
  std::vector<TreeScratch> trees(static_cast<std::size_t>(place_threads(place)));
  std::vector<PackScoreScratch> heads(trees.size());
  const auto each = [&](const auto& body) {
    parallel_for(place, std::ssize(packs), [&](std::int64_t i) {
      const PackInFlight& p = packs[static_cast<std::size_t>(i)];
      body(p, x.rows_from(p.first_row, p.pack->tree.tokens()),
           static_cast<std::size_t>(parallel_thread_index()));
    });
  };
  each([&](const PackInFlight& p, MatrixView<float> rows, std::size_t) {
    embed_window(model.checkpoint, model.config, p.pack->tree.ids, rows);
  });
  for (const LayerWeights& layer : model.layers)
    each([&](const PackInFlight& p, MatrixView<float> rows, std::size_t thread) {
      tree_forward(place, model.config, layer, model.table, p.pack->tree, rows, trees[thread]);
    });
  each([&](const PackInFlight& p, MatrixView<float> rows, std::size_t thread) {
    score_pack(place, model.config, model.output, *p.pack, rows, scores[p.set], heads[thread]);
  });
}

Scored score(const Place& place, const Model& model, std::span<const QuestionSet> sets,
             const PackRules& rules) {
  Scored result;
  result.seconds = bench::seconds([&] {
    std::vector<std::vector<RequestPack>> packs;
    std::vector<PackInFlight> all;
    std::int64_t rows = 0;
    for (const QuestionSet& set : sets) {
      packs.push_back(pack_requests(set.requests, rules));
      result.scores.emplace_back(static_cast<std::size_t>(set.count()));
      const std::int64_t before = rows;
      for (const RequestPack& pack : packs.back()) {
        all.push_back({packs.size() - 1, &pack, rows});
        rows += pack.tree.tokens();
      }
      result.tokens.push_back(rows - before);
    }
    std::stable_sort(all.begin(), all.end(), [](const PackInFlight& a, const PackInFlight& b) {
      return a.pack->tree.tokens() > b.pack->tree.tokens();
    });
    Matrix<float> x(rows, model.config.hidden_size);
    score_packs(place, model, all, x, result.scores);
  });
  return result;
}

// Log-likelihoods by two packings: equal up to rounding, or no number is printed.
bool agree(const std::vector<QuestionSet>& sets, const Scored& a, const Scored& b) {
  for (std::size_t s = 0; s < sets.size(); ++s)
    for (std::size_t i = 0; i < a.scores[s].size(); ++i) {
      const double expected = b.scores[s][i].log_likelihood;
      const double found = a.scores[s][i].log_likelihood;
      if (std::fabs(found - expected) <= 2e-5 * (1 + std::fabs(expected))) continue;
      fmt::print(stderr, "eval_bench: {}: request {} is {} or {} by how it is packed; no number\n",
                 sets[s].name, i, found, expected);
      return false;
    }
  return true;
}

// One packing: seconds of every run, for all sets together and for each alone.
struct Measured {
  const Packing* packing = nullptr;
  std::vector<double> together;
  std::vector<std::vector<double>> apart;  // [set][run]
  std::vector<std::int64_t> tokens;        // [set]

  double of(std::size_t set) const { return bench::spread_of(apart[set]).median; }
  bench::Spread all() const { return bench::spread_of(together); }
};

struct Report {
  int runs = 0, threads = 0;
  double model_s = 0, read_s = 0, tokenize_s = 0, evaluation_s = 0;
  std::vector<QuestionSet> sets;
  std::vector<Measured> measured;
  std::vector<std::vector<TaskMetric>> metrics;  // [set], by the first packing

  std::int64_t requests() const {
    std::int64_t sum = 0;
    for (const QuestionSet& set : sets) sum += set.count();
    return sum;
  }
};

std::string metrics_json(const std::vector<TaskMetric>& metrics, const std::string& scope) {
  std::string text;
  for (const TaskMetric& metric : metrics)
    if (metric.scope == scope)
      text +=
          fmt::format("{}\"{}\": {:.17g}", text.empty() ? "" : ", ", metric.metric, metric.value);
  return "{" + text + "}";
}

void print_json(const Report& report) {
  std::string sets;
  for (std::size_t s = 0; s < report.sets.size(); ++s) {
    const QuestionSet& set = report.sets[s];
    std::string by_packing;
    for (const Measured& m : report.measured)
      by_packing += fmt::format(", \"{}_s\": {:.4f}, \"{}_tokens\": {}", m.packing->name, m.of(s),
                                m.packing->name, m.tokens[s]);
    sets += fmt::format(
        "{}{{\"set\": \"{}\", \"requests\": {}, \"tokens\": {}, \"harness_positions\": {}{}, "
        "\"metrics\": {}}}",
        s == 0 ? "" : ", ", set.name, set.count(), set.tokens(),
        set.harness_positions(kHarnessBatch), by_packing,
        metrics_json(report.metrics[s], set.name));
  }
  std::string totals;
  for (const Measured& m : report.measured) {
    const bench::Spread s = m.all();
    totals += fmt::format(
        "\"{0}_s\": {1:.4f}, \"{0}_s_min\": {2:.4f}, \"{0}_s_max\": {3:.4f}, "
        "\"{0}_requests_per_s\": {4:.1f}, ",
        m.packing->name, s.median, s.least, s.most,
        static_cast<double>(report.requests()) / s.median);
  }
  fmt::print(
      "{{\"bench\": \"eval\", \"threads\": {}, \"runs\": {}, \"requests\": {}, \"model_s\": "
      "{:.4f}, \"read_s\": {:.4f}, \"tokenize_s\": {:.4f}, \"evaluation_s\": {:.4f}, {}\"sets\": "
      "[{}], \"commit\": \"{}\", \"device\": \"{}\", \"blas\": \"OpenBLAS {}\", \"compiler\": "
      "\"{}\"}}\n",
      report.threads, report.runs, report.requests(), report.model_s, report.read_s,
      report.tokenize_s, report.evaluation_s, totals, sets, bench::commit(), bench::processor(),
      blas_core_name(), __VERSION__);
}

// Whether the bounds on what is computed hold.
bool print_table(const Report& report) {
  fmt::print("{:<15}{:>9}", "requests/s", "requests");
  for (const Measured& m : report.measured) fmt::print("{:>27}", m.packing->words);
  fmt::print("\n");
  for (std::size_t s = 0; s < report.sets.size(); ++s) {
    fmt::print("{:<15}{:>9}", report.sets[s].name, report.sets[s].count());
    for (const Measured& m : report.measured)
      fmt::print("{:>27.0f}", static_cast<double>(report.sets[s].count()) / m.of(s));
    fmt::print("\n");
  }
  fmt::print("{:<15}{:>9}", "all", report.requests());
  for (const Measured& m : report.measured) {
    const bench::Spread all = m.all();
    const auto rate = [&](double s) { return static_cast<double>(report.requests()) / s; };
    fmt::print("{:>27}", fmt::format("{:.0f} ({:.0f} to {:.0f})", rate(all.median), rate(all.most),
                                     rate(all.least)));
  }
  fmt::print("\n\n{:<15}{:>10}{:>10}{:>10}{:>18}{:>16}{:>9}\n", "tokens", "asked", "harness",
             "computed", "computed/harness", "computed/asked", "at most");
  bool within = true;
  for (std::size_t s = 0; s < report.sets.size(); ++s) {
    const QuestionSet& set = report.sets[s];
    const auto asked = static_cast<double>(set.tokens());
    const std::int64_t harness = set.harness_positions(kHarnessBatch);
    const std::int64_t computed = report.measured.front().tokens[s];
    const double ratio = static_cast<double>(computed) / static_cast<double>(harness);
    const bool bound = set.most_computed > 0;
    fmt::print("{:<15}{:>10}{:>10}{:>10}{:>18.3f}{:>16.3f}{:>9}\n", set.name, set.tokens(), harness,
               computed, ratio, static_cast<double>(computed) / asked,
               bound ? fmt::format("{:.2f}", set.most_computed) : "");
    within &= !bound || ratio < set.most_computed;
  }
  fmt::print(
      "\nmodel {:.3f} s, sets read {:.3f} s, tokenized {:.3f} s, first evaluation with packing, "
      "scores and metrics {:.3f} s; {} threads\n",
      report.model_s, report.read_s, report.tokenize_s, report.evaluation_s, report.threads);
  return within;
}

// The first pass: metrics, what is computed, and whether all packings say the same.
bool first_pass(const Place& place, const Model& model, Report& report) {
  Scored first;
  report.evaluation_s = bench::seconds([&] {
    first = score(place, model, report.sets, report.measured.front().packing->rules);
    for (std::size_t s = 0; s < report.sets.size(); ++s) {
      const Task& task = report.sets[s].task;
      report.metrics.push_back(task_metrics(task, document_outcomes(task, first.scores[s])));
    }
  });
  for (Measured& m : report.measured) {
    const bool again = &m != &report.measured.front();
    const Scored other = again ? score(place, model, report.sets, m.packing->rules) : first;
    if (again && !agree(report.sets, other, first)) return false;
    m.tokens = other.tokens;
    m.apart.resize(report.sets.size());
  }
  return true;
}

// Side by side: what else the machine does hits all packings.
void measure(const Place& place, const Model& model, Report& report) {
  const std::span<const QuestionSet> sets(report.sets);
  for (int run = 0; run < report.runs; ++run) {
    for (Measured& m : report.measured)
      m.together.push_back(score(place, model, sets, m.packing->rules).seconds);
    for (std::size_t s = 0; s < sets.size(); ++s)
      for (Measured& m : report.measured)
        m.apart[s].push_back(score(place, model, sets.subspan(s, 1), m.packing->rules).seconds);
  }
}

int run(int runs, int threads, const std::string& packings) {
  const Place place = cpu_place(threads);
  Report report{runs, threads, 0, 0, 0, 0, {}, {}, {}};
  for (const Packing& packing : kPackings)
    if (("," + packings + ",").find("," + packing.name + ",") != std::string::npos)
      report.measured.push_back({&packing, {}, {}, {}});
  if (report.measured.empty()) {
    fmt::print(stderr, "eval_bench: no packing is called {}\n", packings);
    return 1;
  }
  std::unique_ptr<Model> model;
  report.model_s = bench::seconds([&] { model = std::make_unique<Model>(); });
  const Tokenizer tokenizer = Tokenizer::load(kDemo + "/model/tokenizer.json");
  const std::vector<std::pair<std::string, double>> names = {
      {"piqa", 0},        {"arc_easy", 0},   {"arc_challenge", 0},
      {"hellaswag", 0.6}, {"winogrande", 0}, {"mmlu", 0.35}};
  report.read_s = bench::seconds([&] {
    for (const auto& [name, most] : names)
      report.sets.push_back(
          {name, most, Task::read(find_task(name), kDemo + "/data/tasks", {}), {}});
  });
  report.tokenize_s = bench::seconds([&] {
    for (QuestionSet& set : report.sets)
      set.requests =
          token_requests(place, set.task, tokenizer, model->config.max_position_embeddings);
  });
  if (!first_pass(place, *model, report)) return 1;
  measure(place, *model, report);
  print_json(report);
  return print_table(report) ? 0 : 1;
}

}  // namespace
}  // namespace bitgrid

int main(int argc, char** argv) {
  const auto argument = [&](int i, int otherwise) {
    return argc > i ? std::atoi(argv[i]) : otherwise;
  };
  return bitgrid::run(std::max(1, argument(1, 3)), argument(2, 2),
                      argc > 3 ? argv[3] : "shared,packed,alone");
}

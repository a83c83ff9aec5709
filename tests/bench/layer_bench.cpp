// One decoder layer of LLaMA3-8B's shape by every method of the registry: random weights, and at
// each tap correlated inputs of its own, so that no attention has to run for them. Prints seconds
// by term for each method, and what seven bit widths cost that share statistics and factors.
//   layer_bench [--tokens=16384] [--threads=2] [--methods=gptq,awq,…] [--tuned=512]
//               [--hidden=4096] [--kv=1024] [--ffn=14336]
// A statistic that several methods need is summed once, and its seconds stand in each one's row.
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <set>
#include <sstream>
#include <string>

#include "core/methods/recipe_needs.hpp"
#include "core/methods/registry.hpp"
#include "core/methods/resolve_recipe.hpp"
#include "kernels/error.hpp"
#include "tests/bench/bench_cases.hpp"
#include "tests/bench/layer_work.hpp"
#include "tests/core/methods/solo_layer_work.hpp"

namespace bitgrid::bench {
namespace {

struct Settings {
  std::map<std::string, std::int64_t> numbers = {{"tokens", 16384}, {"threads", 2}, {"tuned", 512},
                                                 {"hidden", 4096},  {"kv", 1024},   {"ffn", 14336}};
  std::set<std::string> methods;  // empty: all
  std::int64_t operator[](const std::string& name) const { return numbers.at(name); }
};

Settings read_settings(int argc, char** argv) {
  Settings settings;
  for (int i = 1; i < argc; ++i) {
    const std::string text = argv[i];
    const auto equals = text.find('=');
    const std::string key = text.substr(2, equals - 2), value = text.substr(equals + 1);
    if (key == "methods") {
      std::istringstream words(value);
      for (std::string word; std::getline(words, word, ',');) settings.methods.insert(word);
    } else if (equals != std::string::npos && settings.numbers.contains(key)) {
      settings.numbers[key] = std::atoll(value.c_str());
    } else {
      throw InputError(fmt::format("layer_bench: '{}' is not one of its options", text));
    }
  }
  return settings;
}

LlamaConfig config_of(const Settings& settings) {
  LlamaConfig config;
  config.hidden_size = settings["hidden"];
  config.intermediate_size = settings["ffn"];
  config.head_size = 128;
  config.head_count = config.hidden_size / config.head_size;
  config.kv_head_count = settings["kv"] / config.head_size;
  config.rms_norm_eps = 1e-5;
  config.rope_theta = 5e5;
  return config;
}

LayerWeights random_layer(const LlamaConfig& config) {
  LayerWeights layer;
  layer.input_norm = Matrix<float>(1, config.hidden_size);
  layer.input_norm.fill(1);
  layer.post_attention_norm = layer.input_norm.clone();
  for (const Linear linear : kLinears)
    layer[linear] = bell_weights(linear_rows(config, linear), linear_cols(config, linear),
                                 static_cast<std::uint64_t>(linear) + 1);
  return layer;
}

// One recipe on its way through the layer.
struct Cell {
  Recipe recipe;
  std::unique_ptr<Transform> transform;
  std::vector<QuantizedLinear> linears;
  Terms terms;       // within `total`
  double total = 0;  // with statistics
  double error = 0;  // mean relative output error of the linears; of the weights, if that is all
};

struct Bench {
  Place place;
  LlamaConfig config;
  RopeTable rope;
  LayerWeights layer;

  TapTask task_at(const Recipe& recipe, Tap tap, const LayerWeights& weights) const {
    TapTask task;
    task.tap = tap;
    for (const Linear linear : linears_of(tap))
      task.linears.push_back(
          {linear, weights[linear].view(), recipe_for_linear(recipe, 0, linear)});
    return task;
  }

  void charge_statistics(TapData& data, const StatisticsNeeds& needs, Cell& cell) const {
    if (!needs.any()) return;
    const double seconds = data.summed(needs).seconds;
    cell.terms["statistics"] += seconds;
    cell.total += seconds;
  }

  void round_at(TapData& data, Tap tap, const LayerWeights& weights, TapShares& shared,
                Cell& cell) const {
    const StatisticsNeeds needs = recipe_needs(cell.recipe).rounding;
    TimedTapWork work(data, needs, shared, cell.terms, "solve");
    const TapTask task = task_at(cell.recipe, tap, weights);
    std::vector<RoundedLinear> rounded;
    {
      const Timed timed(cell.total);
      rounded = round_tap(place, task, work);
    }
    for (RoundedLinear& linear : rounded) {
      const LinearDiagnostics& d = linear.stored.diagnostics;
      const bool by_output = std::isfinite(d.relative_output_error);
      cell.error += (by_output ? d.relative_output_error : d.relative_weight_error) / kLinearCount;
      cell.linears.push_back(std::move(linear.stored));
    }
  }

  void at_tap(TapData& data, Tap tap, Cell& cell) const {
    TapShares shared;
    const RecipeNeeds needs = recipe_needs(cell.recipe);
    if (cell.transform == nullptr) {
      charge_statistics(data, needs.rounding, cell);
      return round_at(data, tap, layer, shared, cell);
    }
    charge_statistics(data, needs.transforms.front(), cell);
    TimedTapWork work(data, needs.transforms.front(), shared, cell.terms, "search");
    const Timed timed(cell.total);
    cell.transform->at_tap(place, tap, work);
  }

  // Rounding to nearest behind a transform looks at no inputs.
  void finish(Cell& cell) const {
    if (cell.transform == nullptr) return;
    LayerWeights weights;
    {
      const Timed timed(cell.total);
      weights = cell.transform->finish(place).weights;
      cell.transform.reset();
    }
    for (const Tap tap : kTaps) {
      TapData nothing(place, {1, 1, 1}, {});
      TapShares shared;
      round_at(nothing, tap, weights, shared, cell);
    }
  }
};

Cell make_cell(const std::string& chain, double bits, std::int64_t group,
               const std::map<std::string, OptionValue>& options = {}) {
  Cell cell;
  cell.recipe = resolve_recipe(chain, bits, group, options);
  return cell;
}

void start_transforms(const Bench& bench, std::vector<Cell>& cells) {
  for (Cell& cell : cells)
    if (const auto transforms = recipe_transforms(cell.recipe); !transforms.empty())
      cell.transform =
          transforms.front()({0, 0, cell.recipe, bench.config, bench.rope, bench.layer});
}

// Every method that quantizes, with usual bits for it.
std::vector<Cell> all_cells(const Settings& settings) {
  const std::map<std::string_view, double> usual = {{"smoothquant", 8}, {"quip", 2},
                                                    {"quip-rg", 2},     {"incoherence", 2},
                                                    {"pb-llm", 1.7},    {"slim-llm", 2}};
  std::vector<Cell> cells;
  for (const Method& method : all_methods()) {
    if (method.kind == MethodKind::baseline || !method.later.empty()) continue;
    if (!settings.methods.empty() && !settings.methods.contains(std::string(method.name))) continue;
    double bits = method.bits_max > 0 ? std::min(4, method.bits_max) : 4;
    if (!method.bits_legal.empty()) bits = method.bits_legal.front();
    if (const auto found = usual.find(method.name); found != usual.end()) bits = found->second;
    const std::string chain =
        std::string(method.name) + (method.kind == MethodKind::rotation ? "+rtn" : "");
    const std::int64_t group = method.name == "smoothquant" ? -1 : 128;
    cells.push_back(make_cell(chain, bits, group));
    if (method.name == "awq")
      cells.push_back(make_cell(chain, bits, group, {{"search", std::string("linear")}}));
  }
  return cells;
}

std::vector<Cell> seven_widths() {
  std::vector<Cell> cells;
  for (int bits = 2; bits <= 8; ++bits)
    cells.push_back(make_cell("gptq", bits, 128, {{"inputs", std::string("full")}}));
  return cells;
}

void print_head() {
  fmt::print("{:<34} {:>10} {:>13} {:>9} {:>9} {:>9} {:>9}  {}\n", "recipe", "statistics",
             "factorization", "search", "solve", "rest", "total", "mean relative error");
}

void print_cell(const Cell& cell) {
  const auto term = [&](const std::string& name) {
    const auto found = cell.terms.find(name);
    return found == cell.terms.end() ? 0.0 : found->second;
  };
  double named = 0;
  for (const auto& [name, seconds] : cell.terms) named += seconds;
  fmt::print("{:<34} {:>10.2f} {:>13.2f} {:>9.2f} {:>9.2f} {:>9.2f} {:>9.2f}  {:.6f}\n",
             recipe_name(cell.recipe), term("statistics"), term("factorization"), term("search"),
             term("solve"), cell.total - named, cell.total, cell.error);
  std::fflush(stdout);
}

// The unquantized layer over all calibration windows, from one of them.
double walk_seconds(const Bench& bench, const CalibrationLayout& layout) {
  Matrix<float> x = correlated_inputs(layout.length, bench.config.hidden_size);
  LayerScratch scratch;
  const double one = seconds([&] {
    layer_forward(bench.place, bench.config, bench.layer, bench.rope, x.view(), scratch);
  });
  return one * static_cast<double>(layout.windows);
}

// Seven cells of one method that see the unquantized model's inputs, against one of them alone:
// walk, statistics and whatever is made of these are there once.
void print_group(const std::vector<Cell>& cells, const Cell& alone, double walk) {
  double work = 0, solve = 0;
  for (const Cell& cell : cells) {
    work += cell.total;
    solve += cell.terms.at("solve");
  }
  const double one = alone.total;
  work += alone.terms.at("statistics");
  fmt::print(
      "\n{} to {} bits in one group, inputs=full: {:.2f} s, {:.2f} of them in solve; one "
      "width alone: {:.2f} s; ratio {:.2f}\n",
      cells.front().recipe.bits, cells.back().recipe.bits, work, solve, one, work / one);
  fmt::print(
      "with the walk through the layer that they share, {:.2f} s: {:.2f} s and {:.2f} s; "
      "ratio {:.2f}\n",
      walk, work + walk, one + walk, (work + walk) / (one + walk));
}

// What fdb-block adds to its rounding, which is fdb-gptq's: one epoch over few tokens.
void print_tuning(const Bench& bench, const Cell& cell, std::int64_t tokens) {
  const std::int64_t windows = 2, length = tokens / windows;
  Recipe recipe = cell.recipe;
  recipe.options["epochs"] = std::int64_t{1};
  recipe.options["batches"] = std::int64_t{1};
  LayerWeights rounded = clone_layer(bench.layer);
  for (std::size_t i = 0; i < cell.linears.size(); ++i)
    rounded.linears[i] = rebuild_weight(bench.place, cell.linears[i]);
  const Matrix<float> x = correlated_inputs(windows * length, bench.config.hidden_size);
  Matrix<float> target = x.clone();
  LayerScratch scratch;
  for (std::int64_t w = 0; w < windows; ++w)
    layer_forward(bench.place, bench.config, bench.layer, bench.rope,
                  target.view().rows_from(w * length, length), scratch);
  test::SoloLayerWork work(bench.place, x.view(), target.view(), windows);
  const double tuning = seconds([&] {
    recipe_tuning(recipe)(bench.place, {0, 0, recipe, bench.config, bench.rope, rounded},
                          cell.linears, work);
  });
  fmt::print("{}: its row above is the rounding; tuning is {:.2f} s for one epoch over {} tokens\n",
             recipe_name(cell.recipe), tuning, windows * length);
}

int run(int argc, char** argv) {
  const Settings settings = read_settings(argc, argv);
  const std::int64_t length = std::min<std::int64_t>(2048, settings["tokens"]);
  const CalibrationLayout layout{settings["tokens"] / length, length, 16};
  Bench bench{cpu_place(static_cast<int>(settings["threads"])), config_of(settings), {}, {}};
  bench.rope = make_rope_table(bench.config, length);
  bench.layer = random_layer(bench.config);
  std::vector<Cell> cells = all_cells(settings);
  start_transforms(bench, cells);
  std::vector<Cell> group;
  if (settings.methods.empty() || settings.methods.contains("gptq")) group = seven_widths();
  fmt::print("one layer, hidden {}, kv {}, ffn {}; {} tokens, {} threads; commit {}, {}, {}\n",
             settings["hidden"], settings["kv"], settings["ffn"], layout.tokens(),
             settings["threads"], commit(), processor(), blas_core_name());
  for (const Tap tap : kTaps) {
    TapData data(bench.place, layout,
                 correlated_inputs(layout.tokens(), tap_size(bench.config, tap),
                                   static_cast<std::uint64_t>(tap) + 1));
    for (Cell& cell : cells) bench.at_tap(data, tap, cell);
    TapShares shared;
    for (Cell& cell : group) bench.round_at(data, tap, bench.layer, shared, cell);
  }
  print_head();
  for (Cell& cell : cells) {
    bench.finish(cell);
    print_cell(cell);
  }
  for (const Cell& cell : cells) {
    if (cell.recipe.chain.back() == "gptq" && !group.empty())
      print_group(group, cell, walk_seconds(bench, layout));
    if (recipe_tuning(cell.recipe) != nullptr) print_tuning(bench, cell, settings["tuned"]);
  }
  return 0;
}

}  // namespace
}  // namespace bitgrid::bench

int main(int argc, char** argv) {
  try {
    return bitgrid::bench::run(argc, argv);
  } catch (const bitgrid::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  }
}

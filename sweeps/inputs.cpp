#include "sweeps/inputs.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "core/methods/budget.hpp"
#include "core/methods/mixed_precision.hpp"
#include "core/methods/recipe_needs.hpp"
#include "core/methods/registry.hpp"
#include "core/methods/resolve_recipe.hpp"
#include "core/model/linear.hpp"
#include "kernels/error.hpp"
#include "kernels/place.hpp"
#include "sweeps/version.hpp"

namespace bitgrid {
namespace {

bool any_needs_calibration(const Sweep& sweep) {
  for (const Recipe& recipe : sweep.cells)
    if (uses_calibration(recipe)) return true;
  return false;
}

// What a set is called in results: a text of the user's own by its file's name, for where it lies
// changes nothing.
std::string set_title(const std::string& set) {
  return std::filesystem::path(set).filename().string();
}

// Texts that share a name are told apart by the first digits of their fingerprints.
void set_titles(std::vector<EvaluationText>& texts) {
  for (EvaluationText& text : texts) text.set = set_title(text.set);
  std::map<std::string, int> count;
  for (const EvaluationText& text : texts) ++count[text.set];
  for (EvaluationText& text : texts)
    if (count[text.set] > 1) text.set += fmt::format(" ({:.8})", text.text_fingerprint);
}

Windows draw_calibration(const Sweep& sweep, const Tokenizer& tokenizer, bool add_bos) {
  const CalibrationOptions options{.windows = sweep.calibration.windows,
                                   .length = sweep.calibration.length,
                                   .seed = sweep.calibration.seed};
  return calibration_windows(tokenizer, {sweep.calibration.data, sweep.data_dir}, options, add_bos);
}

void broadcast_windows(const dist::Comm& world, Windows& windows) {
  std::int64_t shape[2] = {windows.count, windows.length};
  world.broadcast(std::as_writable_bytes(std::span(shape)), 0, "window counts");
  windows.count = shape[0];
  windows.length = shape[1];
  windows.ids.resize(static_cast<std::size_t>(shape[0] * shape[1]));
  world.broadcast(std::as_writable_bytes(std::span(windows.ids)), 0, "token windows");
}

void check_ids(const Windows& windows, const LlamaConfig& config, const std::string& what) {
  for (const std::int32_t id : windows.ids)
    if (id < 0 || id >= config.vocab_size)
      throw InputError(
          fmt::format("{}: the tokenizer gives token {}, but the model has {} embedding rows", what,
                      id, config.vocab_size));
}

}  // namespace

Inputs read_inputs(const Sweep& sweep, const Checkpoint& checkpoint) {
  const std::string path = (std::filesystem::path(sweep.model) / "tokenizer.json").string();
  const bool needs_text = any_needs_calibration(sweep) || !sweep.evaluation.perplexity.empty() ||
                          !sweep.evaluation.tasks.empty();
  Inputs inputs;
  if (!needs_text) return inputs;
  const Tokenizer tokenizer = Tokenizer::load(path);
  const bool add_bos =
      sweep.evaluation.bos == "always" || (sweep.evaluation.bos == "auto" && tokenizer.adds_bos());
  if (add_bos && tokenizer.bos_id() < 0)
    throw InputError(
        fmt::format("{}: bos = \"always\", but this tokenizer has no begin-of-text token", path));
  inputs.bos = add_bos ? "always" : "never";
  if (any_needs_calibration(sweep)) {
    inputs.calibration = draw_calibration(sweep, tokenizer, add_bos);
    inputs.calibration_fingerprint = ids_fingerprint(inputs.calibration.ids);
    check_ids(inputs.calibration, checkpoint.config(),
              "calibration text " + sweep.calibration.data);
  }
  for (const std::string& set : sweep.evaluation.perplexity) {
    inputs.evaluation.push_back(
        evaluation_windows(tokenizer, {set, sweep.data_dir}, sweep.evaluation.length, add_bos));
    check_ids(inputs.evaluation.back().windows, checkpoint.config(), "evaluation text " + set);
  }
  set_titles(inputs.evaluation);
  inputs.tasks = read_tasks(sweep, tokenizer, checkpoint.config(), inputs.task_faults);
  return inputs;
}

namespace {

// A rule that matches nothing was meant for something.
void check_mix(const Recipe& recipe, const LlamaConfig& config) {
  const auto mix = recipe.options.find("mix");
  if (mix == recipe.options.end()) return;
  for (const BitsRule& rule : parse_mix(std::get<std::string>(mix->second))) {
    bool any = false;
    for (std::int64_t layer = 0; layer < config.layer_count; ++layer)
      for (const Linear linear : kLinears) any |= rule_matches(rule, layer, linear);
    if (!any)
      throw InputError(fmt::format(
          "mix: '{}' matches no linear of the model's {} layers; names are such as {}{}",
          rule.pattern, config.layer_count, layer_prefix(0), linear_name(Linear::down)));
  }
}

// "demo.toml:7: cell gptq-b3-g32"
std::string cell_place(const Sweep& sweep, std::size_t cell) {
  const std::vector<int>& lines = sweep.cell_lines.lines;
  return fmt::format("{}{}: cell {}", sweep.file,
                     cell < lines.size() ? fmt::format(":{}", lines[cell]) : std::string(),
                     recipe_name(sweep.cells[cell]));
}

}  // namespace

void check_sweep_against_model(const Sweep& sweep, const LlamaConfig& config) {
  for (std::size_t i = 0; i < sweep.cells.size(); ++i) {
    const Recipe& recipe = sweep.cells[i];
    with_context(cell_place(sweep, i), [&] {
      check_mix(recipe, config);
      for (const Linear linear : kLinears)
        check_group(recipe, linear_name(linear), linear_cols(config, linear));
      check_budget_fits(recipe, config);
    });
  }
  const auto check_length = [&](const char* key, std::int64_t length) {
    if (length > config.max_position_embeddings)
      throw InputError(fmt::format("{}: {} = {} is longer than the model's context of {} tokens",
                                   sweep.file, key, length, config.max_position_embeddings));
  };
  if (any_needs_calibration(sweep)) check_length("calibration.length", sweep.calibration.length);
  if (!sweep.evaluation.perplexity.empty())
    check_length("evaluation.length", sweep.evaluation.length);
}

std::vector<std::string> budget_warnings(const Sweep& sweep, const LlamaConfig& config) {
  std::vector<std::string> warnings;
  for (const std::int64_t i : sweep.chosen) {
    const auto cell = static_cast<std::size_t>(i);
    const std::string warning = budget_warning(sweep.cells[cell], config);
    if (!warning.empty()) warnings.push_back(cell_place(sweep, cell) + ": " + warning);
  }
  return warnings;
}

void broadcast_inputs(const dist::Comm& world, const Sweep& sweep, Inputs& inputs) {
  if (world.size() == 1) return;
  broadcast_windows(world, inputs.calibration);
  nlohmann::json head = {{"calibration", inputs.calibration_fingerprint}, {"bos", inputs.bos}};
  for (const EvaluationText& text : inputs.evaluation)
    head["sets"].push_back(
        {text.set, text.protocol, text.text_tokens, text.text_fingerprint, text.ids_fingerprint});
  head = nlohmann::json::parse(world.broadcast_text(head.dump(), 0, "evaluation sets"));
  inputs.calibration_fingerprint = head["calibration"];
  inputs.bos = head["bos"];
  inputs.evaluation.resize(head.contains("sets") ? head["sets"].size() : 0);
  for (std::size_t i = 0; i < inputs.evaluation.size(); ++i) {
    EvaluationText& text = inputs.evaluation[i];
    const nlohmann::json& set = head["sets"][i];
    text.set = set[0];
    text.protocol = set[1];
    text.text_tokens = set[2];
    text.text_fingerprint = set[3];
    text.ids_fingerprint = set[4];
    broadcast_windows(world, text.windows);
  }
  broadcast_tasks(world, sweep, inputs.tasks, inputs.task_faults);
}

results::CellHeader cell_header(const Sweep& sweep, const Recipe& recipe, const Inputs& inputs,
                                const std::string& model_fingerprint) {
  results::CellHeader header;
  header.name = recipe_name(recipe);
  header.recipe = recipe;
  header.model_fingerprint = model_fingerprint;
  header.key = cell_key(recipe, inputs.calibration_fingerprint, sweep.calibration.shards,
                        sweep.calibration.seed);
  if (uses_calibration(recipe)) {
    header.calibration =
        fmt::format("{}, {} x {}, seed {}", set_title(sweep.calibration.data),
                    sweep.calibration.windows, sweep.calibration.length, sweep.calibration.seed);
    header.calibration_fingerprint = inputs.calibration_fingerprint;
  }
  for (const std::string& method : named_chain(recipe))
    header.method_title +=
        (header.method_title.empty() ? "" : "+") + std::string(find_method(method)->title);
  header.shards = sweep.calibration.shards;
  header.seed = sweep.calibration.seed;
  header.sweep_text = sweep_text(sweep);
  header.version = kVersion;
  header.blas = blas_core_name();
  return header;
}

results::MetricRecord metric_header(const EvaluationText& text, const std::string& bos) {
  results::MetricRecord metric;
  metric.set = text.set;
  metric.protocol = text.protocol;
  metric.length = text.windows.length;
  metric.text_fingerprint = text.text_fingerprint;
  metric.ids_fingerprint = text.ids_fingerprint;
  metric.bos = bos;
  return metric;
}

}  // namespace bitgrid

#include "sweeps/cli.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <functional>
#include <map>

#include "dist/comm.hpp"
#include "kernels/error.hpp"
#include "results/scores.hpp"
#include "results/store.hpp"
#include "results/tables.hpp"
#include "sweeps/eval_command.hpp"
#include "sweeps/methods_text.hpp"
#include "sweeps/plan_command.hpp"
#include "sweeps/runner.hpp"
#include "sweeps/sweep.hpp"
#include "sweeps/sweep_reader.hpp"
#include "sweeps/sweep_toml.hpp"
#include "sweeps/task_toml.hpp"
#include "sweeps/version.hpp"

namespace bitgrid {
namespace {

constexpr const char* kIntroduction =
    "bitgrid quantizes a language model over a grid of methods and bit widths, evaluates every "
    "cell and\n"
    "keeps tensors and metrics in HDF5.\n";
constexpr const char* kExamples =
    "Examples:\n"
    "  bitgrid plan sweeps/demo/demo.toml --ranks 4        what a sweep would take\n"
    "  mpirun -n 4 bitgrid sweep sweeps/demo/demo.toml     run it; run it again to resume\n"
    "  bitgrid eval Meta-Llama-3-8B --tasks piqa,mmlu      a checkpoint by itself\n"
    "  bitgrid show runs/demo --ranks                      progress, failures, who did what\n"
    "  bitgrid table runs/demo --format latex              the table for the paper\n"
    "  bitgrid diff runs/a runs/b                          same codes, same metrics?\n"
    "\n"
    "Exit codes: 0 done; 1 some cell failed, or diff and check found something; 2 bad usage or "
    "input,\n"
    "nothing touched; 3 the run could not go on; 75 stopped by a signal, run again to resume.\n";

struct Options {
  SweepCommand sweep;
  EvalCommand eval;
  std::string device;
  int plan_ranks = 1;
  std::string path, other_path, format = "md", metric = "acc";
  bool ranks = false, complete = false, divergence = false;
  results::ScoresRequest scores;
};

void add_sweep_options(CLI::App& command, Options& options) {
  command.add_option("FILE", options.sweep.file, "the sweep file (TOML)")->required();
  command.add_option("--out", options.sweep.overrides.out,
                     "output directory instead of the file's, relative to here");
  command
      .add_option("--set", options.sweep.overrides.set,
                  "KEY=VALUE: any key of the file, e.g. calibration.windows=16; may be given "
                  "several times")
      ->take_all()
      ->allow_extra_args(false);
  command.add_option("--cells", options.sweep.overrides.cells,
                     "run only cells whose name matches, e.g. 'gptq-w4-*,fp16'");
}

using Command = std::function<int(dist::Comm& world)>;

int print_lines(const std::vector<std::string>& lines) {
  for (const std::string& line : lines) fmt::print("{}\n", line);
  return lines.empty() ? 0 : 1;
}

// Commands that read results are one rank's work.
Command on_first_rank(std::function<int()> work) {
  return [work = std::move(work)](dist::Comm& world) {
    std::int64_t code = 0;
    if (world.rank() == 0) {
      const auto failure = dist::attempt([&] { code = work(); });
      if (failure) {
        fmt::print(stderr, "bitgrid: {}\n", failure->what);
        code = failure->ends_run ? 3 : 2;
      }
    }
    return static_cast<int>(world.all_max(code, "exit code"));
  };
}

results::TableFormat table_format(const std::string& word) {
  static const std::map<std::string, results::TableFormat> formats = {
      {"md", results::TableFormat::markdown},
      {"csv", results::TableFormat::csv},
      {"latex", results::TableFormat::latex},
      {"json", results::TableFormat::json}};
  return formats.at(word);
}

void add_sweep(CLI::App& app, Options& options, Command& chosen) {
  CLI::App* sweep =
      app.add_subcommand("sweep", "quantize, evaluate and store every cell; run again to resume");
  add_sweep_options(*sweep, options);
  sweep->add_option("--device", options.device,
                    "auto, cpu or cuda: the same as --set run.device=…");
  sweep->add_flag("--prune", options.sweep.prune,
                  "remove stored cells that the file does not list any more");
  sweep->add_flag("--quiet", options.sweep.quiet, "no progress, only errors");
  sweep->footer(
      "Examples:\n  bitgrid sweep demo.toml --out runs/try --set calibration.windows=16 --cells "
      "'gptq-*'\n"
      "  mpirun -n 4 bitgrid sweep demo.toml --set run.stages=2 --set run.replicas=2\n");
  sweep->callback([&] {
    chosen = [&](dist::Comm& world) {
      if (!options.device.empty())
        options.sweep.overrides.set.push_back("run.device=" + options.device);
      return run_sweep(world, options.sweep);
    };
  });
}

void add_eval(CLI::App& app, Options& options, Command& chosen) {
  EvalCommand& eval = options.eval;
  CLI::App* command = app.add_subcommand(
      "eval", "perplexity and question sets of a checkpoint as it is; run again to resume");
  command->add_option("MODEL", eval.model, "a checkpoint directory")->required();
  command
      ->add_option("--tasks", eval.tasks,
                   "question sets, with commas between them: piqa, arc_easy, …, or .toml files")
      ->delimiter(',');
  command
      ->add_option("--perplexity", eval.perplexity,
                   "texts, with commas between them: wikitext2, c4, …, .txt or .jsonl files")
      ->delimiter(',');
  command->add_option("--data", eval.data, "where the named sets lie; question sets in its tasks/")
      ->capture_default_str();
  command->add_option("--out", eval.out,
                      "output directory instead of MODEL.eval, relative to here");
  command->add_option("--length", eval.length, "tokens per perplexity window")
      ->capture_default_str();
  command->add_option("--profile", eval.profile, "whose requests: lmeh-0.4, lmeh-0.5 or study")
      ->check(CLI::IsMember({"lmeh-0.4", "lmeh-0.5", "study"}))
      ->capture_default_str();
  command->add_option("--bos", eval.bos, "of perplexity: auto, always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->capture_default_str();
  command->add_option("--mmlu-shots", eval.mmlu_shots, "examples before each question of MMLU")
      ->check(CLI::Range(0, 5))
      ->capture_default_str();
  command->add_option("--limit", eval.limit, "only so many questions of each set or subject")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 30));
  command
      ->add_option("--wave", eval.wave,
                   "auto: sets together as far as memory allows; task: each is stored by itself")
      ->check(CLI::IsMember({"auto", "task"}))
      ->capture_default_str();
  command->add_option("--device", eval.device, "auto, cpu or cuda")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->capture_default_str();
  command->add_option("--threads", eval.threads, "per rank")->check(CLI::Range(1, 4096));
  command->add_flag("--quiet", eval.quiet, "no progress, only the table and errors");
  command->footer(
      "Example:\n  mpirun -n 4 bitgrid eval Meta-Llama-3-8B --tasks piqa,hellaswag,mmlu "
      "--perplexity wikitext2\n");
  command->callback(
      [&] { chosen = [&](dist::Comm& world) { return run_eval(world, options.eval); }; });
}

void add_plan(CLI::App& app, Options& options, Command& chosen) {
  CLI::App* plan = app.add_subcommand(
      "plan", "cells, memory, arithmetic, output and time of a sweep; reads no weights");
  add_sweep_options(*plan, options);
  plan->add_option("--ranks", options.plan_ranks, "for this many ranks")
      ->check(CLI::Range(1, 1 << 20));
  plan->footer(
      "Examples:\n  bitgrid plan sweeps/demo/demo.toml --ranks 4\n"
      "  bitgrid plan sweeps/llama3-70b.toml --ranks 16     once the checkpoint's directory that "
      "the "
      "file names is there,\n"
      "                                                     and its texts\n");
  plan->callback(
      [&] { chosen = on_first_rank([&] { return run_plan(options.sweep, options.plan_ranks); }); });
}

void add_methods(CLI::App& app, Options& options, Command& chosen) {
  CLI::App* methods =
      app.add_subcommand("methods", "the methods, with their bits and their options");
  methods->add_option("NAME", options.path, "only this method, or this chain of methods");
  methods->footer("Examples:\n  bitgrid methods gptq\n  bitgrid methods awq+gptq\n");
  methods->callback([&] {
    chosen = on_first_rank([&] {
      fmt::print("{}", methods_text(options.path));
      return 0;
    });
  });
}

// Where the run's rows were: its data directory, and its own sets' files. A text of another version
// tells nothing.
void find_rows(const std::string& sweep_text, results::ScoresRequest& request) {
  const TomlValue::Table sweep = parse_toml(sweep_text, "the stored sweep");
  const auto value_of = [&](const char* section, const char* key) -> const TomlValue* {
    const TomlValue* table = toml_find(sweep, section);
    const auto* entries = table != nullptr ? table->get_if<TomlValue::Table>() : nullptr;
    return entries != nullptr ? toml_find(*entries, key) : nullptr;
  };
  if (const TomlValue* dir = value_of("data", "dir"); dir != nullptr && request.tasks_dir.empty())
    if (const auto* text = dir->get_if<std::string>()) request.tasks_dir = *text + "/tasks";
  const TomlValue* tasks = value_of("evaluation", "tasks");
  const auto* list = tasks != nullptr ? tasks->get_if<TomlValue::Array>() : nullptr;
  for (const TomlValue& task : list != nullptr ? *list : TomlValue::Array{}) {
    const auto* text = task.get_if<std::string>();
    if (text != nullptr && text->ends_with(".toml"))
      request.own_tasks.push_back(read_task_toml(*text));
  }
}

int run_scores(const std::string& path, results::ScoresRequest request) {
  const results::Reader reader = results::Reader::open(path);
  if (request.log_documents) {
    try {
      find_rows(reader.run().sweep_text, request);
    } catch (const InputError& e) {  // the samples go without texts, and say so
      fmt::print(stderr, "bitgrid: {}\n", e.what());
    }
  }
  const results::ScoresWritten written = results::write_scores(reader, request);
  for (const std::string& line : written.remarks) fmt::print(stderr, "bitgrid: {}\n", line);
  for (const std::string& file : written.files) fmt::print("{}\n", file);
  return 0;
}

void add_scores(CLI::App& app, Options& options, Command& chosen) {
  CLI::App* scores = app.add_subcommand(
      "scores", "accuracies of each cell in files as lm-evaluation-harness writes them");
  scores->add_option("RESULTS", options.path, "an output directory or a packed file")->required();
  scores->add_option("--out", options.scores.out, "the directory to write to")->required();
  scores->add_option("--cells", options.scores.cells,
                     "only cells whose name matches, e.g. 'gptq-w4-*,fp16'");
  scores->add_flag("--log-documents", options.scores.log_documents,
                   "also a line per question: log-likelihoods, right or wrong, and its texts");
  scores->add_option("--tasks-dir", options.scores.tasks_dir,
                     "where the questions' rows are; else where the sweep had them");
  scores->footer("Example:\n  bitgrid scores runs/demo --out scores --cells fp16\n");
  scores->callback(
      [&] { chosen = on_first_rank([&] { return run_scores(options.path, options.scores); }); });
}

void add_readers(CLI::App& app, Options& options, Command& chosen) {
  CLI::App* show =
      app.add_subcommand("show", "progress, cells, failures and timings, also while a sweep runs");
  show->add_option("RESULTS", options.path, "an output directory or a packed file")->required();
  show->add_flag("--ranks", options.ranks, "what each rank read, walked and solved");
  show->footer("Example:\n  bitgrid show runs/demo --ranks\n");
  show->callback([&] {
    chosen = on_first_rank([&] {
      fmt::print("{}", results::show(results::Reader::open(options.path), options.ranks));
      return 0;
    });
  });

  CLI::App* table = app.add_subcommand("table", "the results as a table");
  table->add_option("RESULTS", options.path, "an output directory or a packed file")->required();
  table->add_option("--format", options.format, "md, csv, latex (booktabs) or json")
      ->check(CLI::IsMember({"md", "csv", "latex", "json"}))
      ->capture_default_str();
  table
      ->add_option("--metric", options.metric,
                   "of question sets: acc, or acc_norm where a set has it")
      ->check(CLI::IsMember({"acc", "acc_norm"}))
      ->capture_default_str();
  table->add_flag("--divergence", options.divergence,
                  "with KL divergence and top-1 agreement with the unquantized model (csv and json "
                  "always have them)");
  table->footer("Example:\n  bitgrid table runs/demo --format latex > table.tex\n");
  table->callback([&] {
    chosen = on_first_rank([&] {
      const auto metric =
          options.metric == "acc" ? results::TableMetric::acc : results::TableMetric::acc_norm;
      fmt::print("{}", results::table(results::Reader::open(options.path),
                                      {table_format(options.format), metric, options.divergence}));
      return 0;
    });
  });

  CLI::App* check = app.add_subcommand(
      "check", "every finished file sound? exit code 1 and a line per fault if not");
  check->add_option("RESULTS", options.path, "an output directory or a packed file")->required();
  check->add_flag("--complete", options.complete, "every listed cell must be finished, too");
  check->footer("Example:\n  bitgrid check runs/demo --complete\n");
  check->callback([&] {
    chosen = on_first_rank([&] {
      const std::vector<std::string> faults = results::check(options.path, options.complete);
      if (faults.empty())
        fmt::print("{}: sound{}\n", options.path, options.complete ? " and complete" : "");
      return print_lines(faults);
    });
  });
}

void add_comparers(CLI::App& app, Options& options, Command& chosen) {
  CLI::App* diff = app.add_subcommand(
      "diff", "what differs between two results: codes, scales, choices, metrics");
  diff->add_option("A", options.path, "an output directory or a packed file")->required();
  diff->add_option("B", options.other_path, "another one")->required();
  diff->footer(
      "Example:\n  bitgrid diff runs/one-rank runs/four-ranks      exit code 0: identical, 1: "
      "not\n");
  diff->callback([&] {
    chosen = on_first_rank([&] {
      const std::vector<std::string> differences = results::diff(options.path, options.other_path);
      if (differences.empty()) fmt::print("identical\n");
      return print_lines(differences);
    });
  });

  CLI::App* pack =
      app.add_subcommand("pack", "one self-contained HDF5 file from an output directory");
  pack->add_option("DIRECTORY", options.path, "an output directory")->required();
  pack->add_option("FILE", options.other_path, "the file to write")->required();
  pack->footer("Example:\n  bitgrid pack runs/demo demo.h5\n");
  pack->callback([&] {
    chosen = on_first_rank([&] {
      print_lines(results::pack(options.path, options.other_path));
      return 0;
    });
  });
}

// An empty value comes from a script's unset variable: it is not meant as "not given".
void refuse_empty_values(CLI::App& app) {
  const CLI::Validator not_empty(
      [](const std::string& value) { return std::string(value.empty() ? "is empty" : ""); }, "");
  for (CLI::App* command : app.get_subcommands({}))
    for (CLI::Option* option : command->get_options())
      if (option->get_items_expected_max() > 0) option->check(not_empty);
}

// CLI11 says no more than that it wants a command.
std::string unknown_first_word(const CLI::App& app, int argc, char** argv) {
  if (argc < 2) return "";
  const std::string word = argv[1];
  std::vector<std::string> commands, options = {"--help", "--version"};
  for (const CLI::App* command : app.get_subcommands({})) commands.push_back(command->get_name());
  const bool is_option = word.starts_with("-");
  const std::vector<std::string>& known = is_option ? options : commands;
  if (std::find(known.begin(), known.end(), word) != known.end() || word == "-h") return "";
  return fmt::format("unknown {} {}{}", is_option ? "option" : "command", quote_for_message(word),
                     suggestion(word, known));
}

int usage_exit(const CLI::App& app, const CLI::ParseError& error, std::string message,
               bool prints) {
  if (error.get_exit_code() == 0) return prints ? app.exit(error) : 0;  // --help, --version
  if (message.empty()) message = error.what();
  if (prints) fmt::print(stderr, "bitgrid: {} (see bitgrid --help)\n", one_line(message));
  return 2;
}

int run_chosen(const Command& chosen) {
  // The sweep's own deadline replaces this one as soon as the file has been read.
  dist::Comm world = dist::Comm::world(std::chrono::minutes(10));
  const int code = chosen(world);
  if (std::fflush(stdout) != 0 && world.rank() == 0) {
    fmt::print(stderr, "bitgrid: cannot write to standard output\n");
    return 3;
  }
  world.close();
  return code;
}

}  // namespace

int run_command_line(int argc, char** argv) {
  try {
    dist::launched_by_mpi();
  } catch (const InputError& e) {
    fmt::print(stderr, "bitgrid: {}\n", e.what());
    return 2;
  }
  dist::init(&argc, &argv);
  Options options;
  Command chosen;
  CLI::App app(kIntroduction, "bitgrid");
  app.footer(kExamples);
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("bitgrid ") + kVersion);
  add_sweep(app, options, chosen);
  add_eval(app, options, chosen);
  add_plan(app, options, chosen);
  add_methods(app, options, chosen);
  add_readers(app, options, chosen);
  add_scores(app, options, chosen);
  add_comparers(app, options, chosen);
  refuse_empty_values(app);
  int code = 0;
  try {
    app.parse(argc, argv);
    code = run_chosen(chosen);
  } catch (const CLI::ParseError& error) {
    code = usage_exit(app, error, unknown_first_word(app, argc, argv),
                      dist::Comm::world(std::chrono::minutes(1)).rank() == 0);
  }
  dist::finalize();
  return code;
}

}  // namespace bitgrid

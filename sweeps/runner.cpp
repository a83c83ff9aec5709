#include "sweeps/runner.hpp"

#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "dist/stop.hpp"
#include "kernels/cuda_backend.hpp"
#include "kernels/error.hpp"
#include "sweeps/bit_budget.hpp"
#include "sweeps/damage.hpp"
#include "sweeps/jobs.hpp"
#include "sweeps/layer_source.hpp"
#include "sweeps/machine_memory.hpp"
#include "sweeps/plan.hpp"
#include "sweeps/progress.hpp"
#include "sweeps/progress_channel.hpp"
#include "sweeps/rank_context.hpp"
#include "sweeps/stage_runner.hpp"
#include "sweeps/version.hpp"

namespace bitgrid {
namespace {

constexpr int kDone = 0, kCellFailed = 1, kBadInput = 2, kCannotGoOn = 3, kStopped = 75;

void print_error(const dist::Comm& world, const std::string& text) {
  if (world.rank() == 0) fmt::print(stderr, "bitgrid: {}\n", text);
}

std::string host_name() {
  char name[256] = {};
  gethostname(name, sizeof name - 1);
  return name;
}

// Collective: how many ranks this host has.
int ranks_on_host(const dist::Comm& world, const std::string& host) {
  std::string all;
  for (const std::string& other : world.gather_text(host, 0, "host names")) all += other + "\n";
  all = world.broadcast_text(all, 0, "host names");
  int neighbours = 0;
  for (std::size_t at = 0; at < all.size();) {
    const std::size_t end = all.find('\n', at);
    neighbours += all.compare(at, end - at, host) == 0;
    at = end + 1;
  }
  return std::max(1, neighbours);
}

// How many processors this process may use, shared with the other ranks of its host unless the
// launcher has bound it.
int auto_threads(int neighbours) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  sched_getaffinity(0, sizeof allowed, &allowed);
  const int usable = CPU_COUNT(&allowed);
  const bool bound = usable < sysconf(_SC_NPROCESSORS_ONLN);
  return std::max(1, bound ? usable : usable / neighbours);
}

// A sweep as rank 0 finds it, checked against model, data and what is stored, before anything is
// touched.
struct Preparation {
  Sweep sweep;
  std::optional<Checkpoint> checkpoint;
  Inputs inputs;
  dist::Topology topology;
  std::optional<results::Store> store;
  std::vector<CellJob> jobs;
  std::vector<std::string> parts;    // rank 0: stored files of the chosen cells
  std::vector<std::string> repairs;  // rank 0: one line per damaged file that is made again
};

results::CellHeader header_of(const Preparation& p, std::int64_t cell) {
  return cell_header(p.sweep, p.sweep.cells[static_cast<std::size_t>(cell)], p.inputs,
                     p.checkpoint->fingerprint());
}

void prepare_on_first_rank(const dist::Comm& world, const SweepCommand& command, Preparation& p) {
  if (command.prune && !command.overrides.cells.empty())
    throw InputError("--prune is for a sweep as a whole; leave it or --cells out");
  p.sweep = command.text.empty() ? read_sweep(command.file, command.overrides)
                                 : parse_sweep(command.text, command.file, command.overrides);
  p.checkpoint = Checkpoint::open(p.sweep.model);
  const LlamaConfig& config = p.checkpoint->config();
  // Refuses a device that is not there, and too little memory for its buffers.
  make_place(device_from_name(p.sweep.run.device), p.sweep.run.threads);
  check_sweep_against_model(p.sweep, config);
  p.topology = dist::make_topology(world.size(), 0, p.sweep.run.stages, p.sweep.run.replicas,
                                   config.layer_count, p.sweep.calibration.shards,
                                   static_cast<std::int64_t>(p.sweep.chosen.size()));
  p.inputs = read_inputs(p.sweep, *p.checkpoint);
  p.store = results::Store::create(p.sweep.output, p.checkpoint->fingerprint());
  for (const std::int64_t cell : p.sweep.chosen)
    for (std::string& part : p.store->stored_parts(header_of(p, cell)))
      p.parts.push_back(std::move(part));
}

// Collective: what is left to do. Damaged files of the chosen cells are removed: they count as
// missing. Returns why it cannot be told, in rank 0's words on rank 0.
std::optional<dist::Failure> find_jobs(const dist::Comm& world, const Place& place,
                                       const EvaluationSizes& sizes, const PackRooms& rooms,
                                       Preparation& p) {
  std::vector<Damage> damaged;
  try {
    damaged = find_damage(world, place, *p.store, std::move(p.parts));
  } catch (const AgreedFailure& agreed) {
    return agreed.failure;
  }
  const auto failure = dist::attempt([&] {
    if (world.rank() != 0) return;
    p.repairs = p.store->faults_found();
    for (const Damage& damage : damaged) {
      p.store->remove_part(damage.part);
      p.repairs.push_back(damage.fault);
    }
    p.jobs = list_jobs(p.sweep, p.inputs, *p.store, p.checkpoint->fingerprint(),
                       p.checkpoint->config().layer_count, sizes, rooms);
  });
  const auto verdict = dist::agree(world, failure);
  if (verdict) return failure ? failure : verdict;
  broadcast_jobs(world, p.jobs);
  return std::nullopt;
}

void share_preparation(const dist::Comm& world, Preparation& p) {
  if (world.size() == 1) return;
  nlohmann::json head;
  if (world.rank() == 0)
    head = {{"file", p.sweep.file},
            {"text", sweep_text(p.sweep)},
            {"stages", p.topology.stages},
            {"replicas", p.topology.replicas},
            {"fingerprint", p.checkpoint->fingerprint()}};
  head = nlohmann::json::parse(world.broadcast_text(head.dump(), 0, "the sweep"));
  const auto failure = dist::attempt([&] {
    if (world.rank() == 0) return;
    p.sweep = parse_sweep(head["text"], head["file"], {});
    p.checkpoint = Checkpoint::open(p.sweep.model);
    if (p.checkpoint->fingerprint() != head["fingerprint"])
      throw RunError(
          fmt::format("{}: this host sees another model than rank 0 does", p.sweep.model));
    p.store = results::Store::join(p.sweep.output);
  });
  if (const auto verdict = dist::agree(world, failure)) throw RunError(verdict->what);
  p.topology = {head["stages"], head["replicas"], world.rank()};
  broadcast_inputs(world, p.sweep, p.inputs);
}

results::RankCounters empty_counters(const dist::Topology& topology, const std::string& host,
                                     std::int64_t layers) {
  results::RankCounters counters;
  counters.rank = topology.rank;
  counters.stage = topology.stage();
  counters.replica = topology.replica();
  counters.host = host;
  for (auto* by_layer :
       {&counters.layers_read, &counters.calibration_windows, &counters.evaluation_windows,
        &counters.rows_solved, &counters.layers_quantized, &counters.layers_replayed})
    by_layer->assign(static_cast<std::size_t>(layers), 0);
  return counters;
}

nlohmann::json counters_json(const results::RankCounters& c) {
  return {c.rank,
          c.stage,
          c.replica,
          c.host,
          c.layers_read,
          c.weight_bytes_read,
          c.calibration_windows,
          c.evaluation_windows,
          c.rows_solved,
          c.layers_quantized,
          c.layers_replayed,
          c.requests_scored,
          c.peak_memory_bytes,
          c.seconds};
}

results::RankCounters counters_from(const nlohmann::json& j) {
  results::RankCounters c;
  j[0].get_to(c.rank);
  j[1].get_to(c.stage);
  j[2].get_to(c.replica);
  j[3].get_to(c.host);
  j[4].get_to(c.layers_read);
  j[5].get_to(c.weight_bytes_read);
  j[6].get_to(c.calibration_windows);
  j[7].get_to(c.evaluation_windows);
  j[8].get_to(c.rows_solved);
  j[9].get_to(c.layers_quantized);
  j[10].get_to(c.layers_replayed);
  j[11].get_to(c.requests_scored);
  j[12].get_to(c.peak_memory_bytes);
  j[13].get_to(c.seconds);
  return c;
}

results::RunRecord run_record(const Preparation& p, int threads, const std::string& device) {
  results::RunRecord run;
  run.name = p.sweep.name;
  run.model = p.sweep.model;
  run.model_fingerprint = p.checkpoint->fingerprint();
  run.sweep_text = sweep_text(p.sweep);
  run.version = kVersion;
  run.blas = blas_core_name();
  run.device = device;
  run.stages = p.topology.stages;
  run.replicas = p.topology.replicas;
  run.ranks = run.stages * run.replicas;
  run.threads = threads;
  run.layer_count = p.checkpoint->config().layer_count;
  for (const EvaluationText& text : p.inputs.evaluation) {
    run.sets.push_back(text.set);
    run.set_fingerprints.push_back(text.ids_fingerprint);
  }
  run.evaluation_length = p.sweep.evaluation.length;
  for (const TaskInput& task : p.inputs.tasks) {
    run.tasks.push_back(task.header.task);
    run.task_fingerprints.push_back(task.header.fingerprint);
  }
  for (const Recipe& recipe : p.sweep.cells) {
    const auto header = cell_header(p.sweep, recipe, p.inputs, run.model_fingerprint);
    run.cell_names.push_back(header.name);
    run.cell_keys.push_back(header.key);
  }
  if (const auto fixed = compared_cell(p.sweep))
    run.compared_with = {run.cell_keys[static_cast<std::size_t>(*fixed)]};
  run.started_s = wall_clock_s();
  return run;
}

std::vector<JobTitle> job_titles(const Preparation& p) {
  std::vector<JobTitle> titles;
  for (const CellJob& job : p.jobs) {
    const std::int64_t cell_index =
        titles.empty() ? 0 : titles.back().cell_index + (job.first_wave() ? 1 : 0);
    titles.push_back({recipe_name(p.sweep.cells[static_cast<std::size_t>(job.cell)]), cell_index,
                      job.wave, job.wave_count});
  }
  return titles;
}

int failed_cells(const Preparation& p) {
  int failed = 0;
  for (const std::int64_t cell : p.sweep.chosen) {
    const auto record = p.store->read_cell(header_of(p, cell));
    failed += !record || record->status != results::CellStatus::finished;
  }
  return failed;
}

// Collective: the verdict of all stages. The text is the first rank's that has one.
StageVerdict agree_on_verdict(const dist::Comm& world, const StageVerdict& own) {
  StageVerdict all;
  all.stopped = world.all_max(own.stopped ? 1 : 0, "verdict of the stages") != 0;
  std::optional<dist::Failure> failure;
  if (own.run_error) failure = dist::Failure{*own.run_error, true};
  if (const auto verdict = dist::agree(world, failure)) all.run_error = verdict->what;
  return all;
}

void note_warnings(const dist::Comm& world, const Preparation& p, Progress* progress,
                   const std::string& device_note, const RankMemory& memory) {
  if (world.rank() != 0) return;
  // Said even when asked to be quiet: somebody's disk is at fault.
  for (const std::string& repair : p.repairs) {
    const std::string text = "warning: " + repair + "; it is made again";
    progress == nullptr ? print_error(world, text) : progress->note(text);
  }
  for (const std::string& fault : p.inputs.task_faults) {
    const std::string text = fault + "; the other tasks go on";
    progress == nullptr ? print_error(world, text) : progress->note(text);
  }
  if (progress == nullptr) return;
  if (p.jobs.empty())
    progress->note(fmt::format("nothing to do: every {}cell is finished already",
                               p.sweep.chosen.size() < p.sweep.cells.size() ? "chosen " : ""));
  for (const std::string& warning : p.checkpoint->warnings()) progress->note("warning: " + warning);
  if (!device_note.empty()) progress->note(device_note);
  for (const std::string& warning : budget_warnings(p.sweep, p.checkpoint->config()))
    progress->note("warning: " + warning);
  if (const std::string warning = memory_warning(memory); !warning.empty()) progress->note(warning);
  if (std::none_of(p.jobs.begin(), p.jobs.end(), [](const CellJob& job) { return job.calibrate; }))
    return;
  const std::int64_t tokens = p.inputs.calibration.count * p.inputs.calibration.length;
  const std::int64_t widest = p.checkpoint->config().intermediate_size;
  if (tokens > 0 && tokens < 2 * widest)
    progress->note(fmt::format(
        "warning: {} calibration tokens are few for inputs of {} channels; at least {} are wanted",
        tokens, widest, 2 * widest));
}

struct Finish {
  int exit_code = kDone;
  std::string error;
  std::string note;  // of stored cells that are not listed
};

// "a, b and 3 more"
std::string some_of(const std::vector<std::string>& names) {
  constexpr std::size_t kShown = 5;
  const std::vector<std::string> shown(
      names.begin(), names.begin() + static_cast<std::ptrdiff_t>(std::min(kShown, names.size())));
  std::string text = fmt::format("{}", fmt::join(shown, ", "));
  if (names.size() > kShown) text += fmt::format(" and {} more", names.size() - kShown);
  return text;
}

// Removes stored cells that the sweep does not list, where that is asked for, and says so; else
// says that they are there.
std::string treat_unlisted(results::Store& store, const std::vector<std::string>& listed_keys,
                           bool prune) {
  const std::vector<std::string> names =
      prune ? store.prune(listed_keys) : store.unlisted(listed_keys);
  if (names.empty()) return prune ? "--prune: every stored cell is listed, nothing to remove" : "";
  const std::string count = fmt::format("{} stored cell{} that this sweep does not list",
                                        names.size(), names.size() == 1 ? "" : "s");
  return prune ? fmt::format("removed {}: {}", count, some_of(names))
               : fmt::format("kept {}: {}; --prune removes {}", count, some_of(names),
                             names.size() == 1 ? "it" : "them");
}

Finish finish_run(const dist::Comm& world, Preparation& p, const SweepCommand& command,
                  results::RunRecord run, results::RankCounters counters,
                  const StageVerdict& verdict) {
  counters.weight_bytes_read = static_cast<std::int64_t>(p.checkpoint->bytes_read());
  counters.peak_memory_bytes = peak_memory_bytes();
  const std::vector<std::string> all =
      world.gather_text(counters_json(counters).dump(), 0, "counters of the ranks");
  Finish finish;
  const auto failure = dist::attempt([&] {
    if (world.rank() != 0) return;
    for (const std::string& text : all)
      run.counters.push_back(counters_from(nlohmann::json::parse(text)));
    run.finished_s = wall_clock_s();
    p.store->write_run(run);
    if (!verdict.stopped) finish.note = treat_unlisted(*p.store, run.cell_keys, command.prune);
    p.store->rebuild_master();
    if (failed_cells(p) > 0 || !p.inputs.task_faults.empty()) finish.exit_code = kCellFailed;
  });
  if (verdict.stopped) finish.exit_code = kStopped;
  if (failure) finish = {kCannotGoOn, failure->what, finish.note};
  if (verdict.run_error) finish = {kCannotGoOn, *verdict.run_error, finish.note};
  finish.exit_code = static_cast<int>(world.all_max(finish.exit_code, "exit code"));
  return finish;
}

// Collective: machines may differ in memory, but all ranks go through the same jobs.
void take_least(const dist::Comm& world, RankMemory& memory) {
  PackRooms& rooms = memory.rooms;
  for (std::int64_t* value :
       {&memory.shared_cells, &rooms.calibrating, &rooms.shared, &rooms.measuring, &rooms.alone})
    *value = -world.all_max(-*value, "room for cells and packs");
}

int run_prepared(const dist::Comm& world, const SweepCommand& command, Preparation& p) {
  const std::string host = host_name();
  const int neighbours = ranks_on_host(world, host);
  const int threads = p.sweep.run.threads > 0 ? p.sweep.run.threads : auto_threads(neighbours);
  const PlaceChoice chosen = make_place(device_from_name(p.sweep.run.device), threads);
  const LlamaConfig& config = p.checkpoint->config();
  const EvaluationSizes sizes = evaluation_sizes(p.sweep, p.inputs);
  RankMemory memory = rank_memory(
      p.sweep, config,
      {p.topology.stages, p.topology.replicas, threads, machine_memory() / neighbours}, sizes);
  take_least(world, memory);
  if (const auto failure = find_jobs(world, chosen.place, sizes, memory.rooms, p)) {
    print_error(world, failure->what);
    return failure->ends_run ? kCannotGoOn : kBadInput;
  }
  dist::Comm replicas = world.split(p.topology.stage(), p.topology.replica());
  dist::StopRequest stop(world);

  std::optional<Progress> display;
  if (world.rank() == 0 && !command.quiet) display.emplace(isatty(STDERR_FILENO) != 0, std::cerr);
  Progress* shown = display ? &*display : nullptr;
  note_warnings(world, p, shown, chosen.note, memory);
  ProgressChannel progress(world, p.topology, shown, job_titles(p), config.layer_count);

  results::RunRecord run = run_record(p, threads, std::string(device_name(chosen.place.device)));
  results::RankCounters counters = empty_counters(p.topology, host, config.layer_count);
  StageVerdict verdict;
  const auto started = dist::agree(world, dist::attempt([&] {
                                     if (world.rank() == 0) p.store->write_run(run);
                                   }));
  if (started) {
    verdict.run_error = started->what;
  } else {
    std::int64_t positions = std::max(p.sweep.calibration.length, p.sweep.evaluation.length);
    for (const TaskInput& task : p.inputs.tasks)
      for (const RequestPack& pack : task.packs)
        positions = std::max(positions, pack.tree.longest());
    const RopeTable rope =
        make_rope_table(config, std::min(positions, config.max_position_embeddings));
    RankContext rank{p.sweep,
                     p.inputs,
                     *p.checkpoint,
                     config,
                     chosen.place,
                     p.topology,
                     world,
                     replicas,
                     *p.store,
                     rope,
                     counters,
                     host,
                     memory.keeps_widest_tap};
    const std::vector<CellGroup> groups = group_jobs(p.sweep, p.jobs, memory.shared_cells);
    verdict = choose_bits(rank, p.sweep, p.jobs, stop);
    StageRunner runner(rank, p.jobs, groups, stop, progress);
    const StageVerdict passed = runner.run();
    if (!verdict.run_error) verdict.run_error = passed.run_error;
    verdict.stopped |= passed.stopped;
    verdict = agree_on_verdict(world, verdict);
  }
  const Finish finish = finish_run(world, p, command, std::move(run), std::move(counters), verdict);
  if (shown != nullptr && !finish.note.empty()) shown->note(finish.note);
  if (shown != nullptr) shown->finish();
  if (!finish.error.empty()) print_error(world, finish.error);
  if (finish.exit_code == kStopped)
    print_error(world, "stopped by a signal; run the same command again to resume");
  stop.close();
  replicas.close();
  return finish.exit_code;
}

}  // namespace

int run_sweep(dist::Comm& world, const SweepCommand& command) {
  Preparation preparation;
  std::optional<dist::Failure> failure = dist::attempt([&] {
    if (world.rank() == 0) prepare_on_first_rank(world, command, preparation);
  });
  // Everybody leaves together; the one line is rank 0's own, without its rank in front.
  if (const auto verdict = dist::agree(world, failure)) {
    print_error(world, failure ? failure->what : verdict->what);
    return verdict->ends_run ? kCannotGoOn : kBadInput;
  }
  try {
    share_preparation(world, preparation);
  } catch (const RunError& e) {
    print_error(world, e.what());
    return kCannotGoOn;
  }
  world.set_deadline(std::chrono::duration<double>(preparation.sweep.run.deadline_s));
  return run_prepared(world, command, preparation);
}

}  // namespace bitgrid

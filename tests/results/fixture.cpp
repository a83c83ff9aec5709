#include "tests/results/fixture.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>
#include <sstream>
#include <type_traits>

#include "kernels/error.hpp"
#include "kernels/sha256.hpp"

namespace bitgrid::results {
namespace {

namespace fs = std::filesystem;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

template <class T>
StoredArray array_from(const std::string& name, DType dtype, std::vector<std::int64_t> shape,
                       const std::vector<T>& values, bool required) {
  StoredArray array{name, dtype, std::move(shape), 0, required, {}};
  array.data.resize(values.size() * sizeof(T));
  if (!values.empty()) std::memcpy(array.data.data(), values.data(), array.data.size());
  return array;
}

// Doubles by their bits: a NaN is equal to itself.
template <class T>
bool equal(const T& a, const T& b) {
  if constexpr (std::is_same_v<T, double>)
    return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
  else
    return a == b;
}

// Every field on its own, in the order in which they are listed.
template <class Record, class... Field>
void expect_fields(const Record& a, const Record& b, Field Record::*... fields) {
  int number = 0;
  const auto expect = [&](const auto& x, const auto& y) {
    EXPECT_TRUE(equal(x, y)) << "field " << number << " of the list: " << testing::PrintToString(x)
                             << " against " << testing::PrintToString(y);
    ++number;
  };
  (expect(a.*fields, b.*fields), ...);
}

void expect_same(const LinearDiagnostics& a, const LinearDiagnostics& b) {
  using D = LinearDiagnostics;
  expect_fields(a, b, &D::loss, &D::relative_output_error, &D::relative_weight_error, &D::damping,
                &D::damping_attempts, &D::fallback, &D::dead_columns, &D::factor_s, &D::solve_s);
}

void expect_same(const MetricRecord& a, const MetricRecord& b) {
  using M = MetricRecord;
  using P = Perplexity;
  expect_fields(a, b, &M::set, &M::protocol, &M::length, &M::text_fingerprint, &M::ids_fingerprint,
                &M::bos, &M::window_sums, &M::window_divergences, &M::window_agreements);
  using C = Comparison;
  expect_fields(a.comparison, b.comparison, &C::divergence, &C::divergence_error, &C::agreement,
                &C::agreement_error);
  expect_fields(a.value, b.value, &P::perplexity, &P::cross_entropy, &P::cross_entropy_error,
                &P::perplexity_error, &P::windows, &P::tokens);
}

void expect_same(const TaskMetric& a, const TaskMetric& b) {
  using M = TaskMetric;
  expect_fields(a, b, &M::scope, &M::metric, &M::value, &M::error, &M::documents);
}

void expect_same(const RequestScore& a, const RequestScore& b) {
  expect_fields(a, b, &RequestScore::log_likelihood, &RequestScore::greedy);
}

void expect_same(const RankCounters& a, const RankCounters& b) {
  using C = RankCounters;
  expect_fields(a, b, &C::rank, &C::stage, &C::replica, &C::host, &C::layers_read,
                &C::weight_bytes_read, &C::calibration_windows, &C::evaluation_windows,
                &C::rows_solved, &C::layers_quantized, &C::layers_replayed, &C::requests_scored,
                &C::peak_memory_bytes, &C::seconds);
}

void expect_same(const LinearSummary& a, const LinearSummary& b) {
  using S = LinearSummary;
  expect_fields(a, b, &S::layer, &S::linear, &S::rows, &S::cols, &S::code_hash, &S::stored_bits);
  expect_same(a.diagnostics, b.diagnostics);
}

void expect_same(const QuantizedLinear& a, const QuantizedLinear& b) {
  using Q = QuantizedLinear;
  expect_fields(a, b, &Q::name, &Q::format, &Q::rows, &Q::cols, &Q::bits, &Q::group);
  EXPECT_TRUE(a.arrays == b.arrays) << a.name;
  EXPECT_EQ(a.code_hash(), b.code_hash());
  expect_same(a.diagnostics, b.diagnostics);
}

void expect_same(const TaskRecord& a, const TaskRecord& b);

template <class Record>
void expect_same_lists(const std::vector<Record>& a, const std::vector<Record>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    SCOPED_TRACE(i);
    expect_same(a[i], b[i]);
  }
}

void expect_same(const TaskRecord& a, const TaskRecord& b) {
  using T = TaskRecord;
  expect_fields(a, b, &T::task, &T::version, &T::profile, &T::shots, &T::limit, &T::max_length,
                &T::fingerprint, &T::subsets);
  EXPECT_TRUE(a.digests == b.digests);
  EXPECT_TRUE(a.documents == b.documents);
  EXPECT_TRUE(a.outcomes == b.outcomes);
  expect_same_lists(a.scores, b.scores);
  expect_same_lists(a.metrics, b.metrics);
}

// What transforms and tuning leave with a layer: a norm, codes of four bits, a list and a pair.
std::vector<StoredArray> sample_layer_arrays(unsigned seed) {
  std::vector<std::uint16_t> norm;
  for (unsigned j = 0; j < 96; ++j)
    norm.push_back(static_cast<std::uint16_t>(0x3f00 + (seed + 11 * j) % 0x200));  // bf16, 0.5 … 4
  StoredArray clip = sample_packed("awq.mlp.down_proj.clip", 3, 5, 4, seed);
  clip.required = false;
  return {array_from("input_layernorm.weight", DType::bf16, {96}, norm, true), std::move(clip),
          array_from("awq.points", DType::i32, {4}, std::vector<std::int32_t>{-1, 0, 7, 19}, false),
          array_from("tuning_loss", DType::f32, {2}, std::vector<float>{0.5f, 0.25f}, false)};
}

}  // namespace

TemporaryDirectory::TemporaryDirectory() {
  std::string pattern = (fs::temp_directory_path() / "bitgrid-results-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) throw Error("cannot make a temporary directory");
  path_ = pattern;
}
TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

StoredArray sample_packed(const std::string& name, std::int64_t rows, std::int64_t cols, int bits,
                          unsigned seed) {
  StoredArray array{name, DType::u8, {rows, cols}, bits, true, {}};
  const std::int64_t row_bytes = (cols * bits + 7) / 8;
  array.data.assign(static_cast<std::size_t>(rows * row_bytes), std::byte{0});
  std::mt19937 random(seed);
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t bit = 0; bit < cols * bits; ++bit)
      if (random() & 1u)
        array.data[static_cast<std::size_t>(r * row_bytes + bit / 8)] |= std::byte{1} << (bit % 8);
  return array;
}

QuantizedLinear sample_linear(const std::string& name, std::int64_t rows, std::int64_t cols,
                              int bits, std::int64_t group, unsigned seed) {
  const std::int64_t groups = group < 0 ? 1 : cols / group;
  QuantizedLinear linear{name, "uniform", rows, cols, bits, group, {}, {}};
  std::mt19937 random(seed);
  std::vector<std::uint16_t> scales(static_cast<std::size_t>(rows * groups));
  for (auto& s : scales)
    s = static_cast<std::uint16_t>(0x1000 + random() % 0x2000);  // subnormal free, 2^-11 … 2^-3
  scales[0] = 0x0001;                                            // the smallest half
  std::vector<std::int32_t> index(static_cast<std::size_t>(cols)), order(index.size());
  for (std::size_t j = 0; j < index.size(); ++j) {
    index[j] = static_cast<std::int32_t>((j * 7 + 3) % static_cast<std::size_t>(groups));
    order[j] = static_cast<std::int32_t>(index.size() - 1 - j);
  }
  linear.arrays.push_back(sample_packed("codes", rows, cols, bits, seed));
  linear.arrays.push_back(array_from("scales", DType::f16, {rows, groups}, scales, true));
  linear.arrays.push_back(sample_packed("zeros", rows, groups, bits, seed + 1));
  if (groups > 1)
    linear.arrays.push_back(array_from("group_index", DType::i32, {cols}, index, true));
  linear.arrays.push_back(array_from("order", DType::i32, {cols}, order, false));
  linear.diagnostics = {0.1 + seed, 1.0 / 3, 0.02, 0.01, 2, seed % 2 == 1, 5, 0.5, kNan};
  return linear;
}

CellHeader sample_header(const std::string& name, const std::string& method, double bits,
                         std::int64_t group) {
  CellHeader header;
  header.name = name;
  header.key = sha256_hex(name);
  header.recipe = {
      {method},
      bits,
      group,
      {{"order", std::string("act")}, {"damp", 0.01}, {"mse", false}, {"steps", std::int64_t{3}}}};
  if (method == "fp16") header.recipe.options.clear();
  header.method_title = method == "gptq" ? "GPTQ" : method == "rtn" ? "RTN" : "FP16";
  header.model_fingerprint = kModel;
  header.calibration = method == "gptq" ? "c4, 64 x 256, seed 0" : "";
  header.calibration_fingerprint = method == "gptq" ? sha256_hex("windows") : "";
  header.shards = 16;
  header.seed = 7;
  header.sweep_text = "name = \"demo\"  # ünïcode\n";
  header.version = "0.1.0";
  header.blas = "Haswell";
  return header;
}

LayerRecord sample_layer(const CellHeader& cell, std::int64_t layer) {
  LayerRecord record;
  record.layer = layer;
  const auto seed = static_cast<unsigned>(100 * layer) + static_cast<unsigned>(cell.recipe.bits);
  const int bits = static_cast<int>(cell.recipe.bits);
  const std::int64_t group = cell.recipe.group;
  record.linears.push_back(
      sample_linear("self_attn.q_proj", 129, 96, bits, group, seed));  // codes beyond 4 KiB
  record.linears.push_back(sample_linear("mlp.down_proj", 3, 64, bits, group, seed + 1));
  record.linears.push_back(sample_linear("mlp.up_proj", 1, 32, bits, group, seed + 2));
  record.arrays = sample_layer_arrays(seed);
  record.host = "n1";
  record.rank = 3;
  record.started_s = 1.7e9 + 0.25;
  record.finished_s = 1.7e9 + 4.5;
  record.seconds = {{"solve", 2.5}, {"forward", 0.125}};
  return record;
}

MetricRecord sample_metric(const std::string& set, double cross_entropy) {
  MetricRecord metric;
  metric.set = set;
  metric.protocol = "gptq";
  metric.length = 256;
  metric.text_fingerprint = sha256_hex(set);
  metric.ids_fingerprint = sha256_hex(set + " ids");
  metric.bos = "never";
  metric.window_sums = {cross_entropy * 255, cross_entropy * 254, cross_entropy * 256};
  metric.value = {
      std::exp(cross_entropy), cross_entropy, 0.01, 0.01 * std::exp(cross_entropy), 3, 765};
  return metric;
}

void fill_outcomes(TaskRecord& task, bool reversed) {
  task.outcomes.clear();
  std::size_t next = 0;
  for (const TaskRecord::Document& d : task.documents) {
    DocumentOutcome outcome;
    double best = -std::numeric_limits<double>::infinity();
    for (std::int32_t option = 0; option < d.options; ++option) {
      const std::int32_t k = reversed ? d.options - 1 - option : option;
      const double score = task.scores[next + static_cast<std::size_t>(k)].log_likelihood;
      if (score > best) {
        best = score;
        outcome.choice = option;
      }
    }
    outcome.choice_norm = (outcome.choice + 1) % d.options;
    outcome.correct = outcome.choice == d.gold;
    outcome.correct_norm = outcome.choice_norm == d.gold;
    task.outcomes.push_back(outcome);
    next += static_cast<std::size_t>(d.options);
  }
}

namespace {

// Of the documents in these subsets: the mean, its error, and their number.
TaskMetric mean_over(const TaskRecord& task, const std::vector<std::int32_t>& subsets,
                     const std::string& scope, const std::string& metric) {
  const bool norm = metric.starts_with("acc_norm");
  double sum = 0, pooled = 0, means = 0, errors = 0, n = 0;
  for (const std::int32_t subset : subsets) {
    double hits = 0, count = 0;
    for (std::size_t d = 0; d < task.documents.size(); ++d) {
      if (task.documents[d].subset != subset) continue;
      hits += (norm ? task.outcomes[d].correct_norm : task.outcomes[d].correct) ? 1 : 0;
      ++count;
    }
    const double p = hits / count;
    sum += hits;
    n += count;
    means += p;
    pooled += count * p * (1 - p);
    errors += p * (1 - p) / (count - 1);
  }
  const auto parts = static_cast<double>(subsets.size());
  if (metric.ends_with("_macro"))
    return {scope, metric, means / parts, std::sqrt(errors) / parts, static_cast<std::int64_t>(n)};
  return {scope, metric, sum / n, n > parts ? std::sqrt(pooled / (n - parts) / n) : kNan,
          static_cast<std::int64_t>(n)};
}

}  // namespace

void fill_metrics(TaskRecord& task) {
  task.metrics.clear();
  for (const std::string& metric : {std::string("acc"), std::string("acc_norm")}) {
    if (task.task != "mmlu") {
      task.metrics.push_back(mean_over(task, {0}, task.task, metric));
      continue;
    }
    for (const std::string& kind : {metric, metric + "_macro"}) {
      task.metrics.push_back(mean_over(task, {0, 1}, "mmlu", kind));
      task.metrics.push_back(mean_over(task, {0}, "mmlu_stem", kind));
      task.metrics.push_back(mean_over(task, {1}, "mmlu_unlisted", kind));
    }
    for (std::int32_t s = 0; s < 2; ++s)
      task.metrics.push_back(
          mean_over(task, {s}, "mmlu_" + task.subsets[static_cast<std::size_t>(s)], metric));
  }
}

TaskRecord sample_task(const std::string& name, unsigned seed) {
  TaskRecord task;
  task.task = name;
  task.version = "1.0";
  task.profile = "lmeh-0.4";
  task.shots = name == "mmlu" ? 5 : 0;
  task.max_length = 8192;
  task.fingerprint = sha256_hex(name + " fingerprint");
  if (name == "mmlu") {
    task.subsets = {"astronomy", "tools"};
    task.documents = {{0, 0, 1, 4}, {0, 1, 3, 4}, {0, 2, 0, 4}, {1, 0, 2, 4}};
  } else {
    task.subsets = {name};
    task.documents = {{0, 0, 1, 2}, {0, 1, 2, 3}, {0, 2, 0, 2}, {0, 3, 1, 4}, {0, 4, 0, 2}};
  }
  std::mt19937 random(seed);
  for (const TaskRecord::Document& d : task.documents)
    for (std::int32_t k = 0; k < d.options; ++k)
      task.scores.push_back({-static_cast<double>(random() % 100000) / 997, random() % 3 == 0});
  task.digests = {static_cast<std::int64_t>(task.scores.size()),
                  700,
                  50,
                  99,
                  sha256_hex(name + " texts"),
                  sha256_hex(name + " tokens"),
                  sha256_hex(name + " tokens and bos")};
  fill_outcomes(task);
  fill_metrics(task);
  return task;
}

CellRecord sample_cell(const CellHeader& header, const std::vector<LayerRecord>& layers) {
  CellRecord cell;
  cell.header = header;
  double bits = 0, weights = 0;
  for (const LayerRecord& layer : layers)
    for (const QuantizedLinear& linear : layer.linears) {
      const double count = static_cast<double>(linear.rows * linear.cols);
      const auto stored = static_cast<std::int64_t>(std::llround(linear.bits_per_weight() * count));
      cell.linears.push_back({layer.layer, linear.name, linear.rows, linear.cols,
                              linear.code_hash(), stored, linear.diagnostics});
      bits += static_cast<double>(stored);
      weights += count;
    }
  if (weights > 0) cell.bits_per_weight = bits / weights;
  cell.metrics = {sample_metric("wikitext2", 1.75), sample_metric("c4", 2.25),
                  sample_metric("ptb", 2.0)};
  cell.metrics[1].window_divergences = {12.75, 0, 3.5};
  cell.metrics[1].window_agreements = {201, 255, 0};
  cell.metrics[1].comparison =
      comparison_of(cell.metrics[1].window_divergences, cell.metrics[1].window_agreements, 256);
  const auto seed = static_cast<unsigned>(100 * header.recipe.bits);
  cell.tasks = {sample_task("piqa", seed), sample_task("mmlu", seed + 1)};
  cell.seconds = {{"forward", 12.5}, {"solve", 3.25}, {"evaluation", 0.0001}};
  cell.wall_s = 75;
  cell.peak_memory_bytes = 3 << 20;
  cell.hosts = {"n1", "n2"};
  cell.shared_with = {"gptq-w3-g32"};
  cell.finished_s = 1.7e9 + 60;
  return cell;
}

CellRecord failed_cell(const CellHeader& header, const std::string& why) {
  CellRecord cell;
  cell.header = header;
  cell.status = CellStatus::failed;
  cell.failure = why;
  return cell;
}

RankCounters sample_counters(int rank) {
  RankCounters c;
  c.rank = rank;
  c.stage = rank / 2;
  c.replica = rank % 2;
  c.host = "n" + std::to_string(rank);
  c.layers_read = {1 + rank, 0};
  c.weight_bytes_read = 1000000 * (rank + 1);
  c.calibration_windows = {32, 31};
  c.evaluation_windows = {8, 9};
  c.rows_solved = {100, 200};
  c.layers_quantized = {1, 1};
  c.layers_replayed = {0, 1};
  c.requests_scored = 40;
  c.peak_memory_bytes = 5 << 20;
  c.seconds = {{"forward", 1.5}, {"wait", 0.25}};
  return c;
}

RunRecord sample_run(const std::vector<CellHeader>& cells) {
  RunRecord run;
  run.name = "demo";
  run.model = "sweeps/demo/model";
  run.model_fingerprint = kModel;
  run.layer_count = 2;
  run.sweep_text = "name = \"demo\"\n";
  run.version = "0.1.0";
  run.blas = "Haswell";
  run.device = "cpu";
  run.ranks = 2;
  run.stages = 1;
  run.replicas = 2;
  run.threads = 3;
  for (const CellHeader& cell : cells) {
    run.cell_names.push_back(cell.name);
    run.cell_keys.push_back(cell.key);
    run.cell_predicted_s.push_back(60);
  }
  run.sets = {"wikitext2", "c4", "ptb"};
  for (const std::string& set : run.sets) run.set_fingerprints.push_back(sha256_hex(set + " ids"));
  run.evaluation_length = 256;
  run.tasks = {"piqa", "mmlu"};
  for (const std::string& task : run.tasks)
    run.task_fingerprints.push_back(sha256_hex(task + " fingerprint"));
  run.counters = {sample_counters(0), sample_counters(1)};
  run.started_s = 1700000000;
  run.finished_s = 1700000095;
  return run;
}

std::vector<CellHeader> sample_headers() {
  return {sample_header("fp16", "fp16", 16, -1), sample_header("rtn-w3-pc", "rtn", 3, -1),
          sample_header("gptq-w4-g32", "gptq", 4, 32)};
}

void write_sample(const std::string& directory) {
  Store store = Store::create(directory, kModel);
  const std::vector<CellHeader> headers = sample_headers();
  store.write_run(sample_run(headers));
  for (const CellHeader& header : headers) {
    std::vector<LayerRecord> layers;
    if (header.recipe.quantizes()) layers = {sample_layer(header, 0), sample_layer(header, 1)};
    for (const LayerRecord& layer : layers) store.write_layer(header, layer);
    store.write_cell(sample_cell(header, layers));
  }
  store.rebuild_master();
}

void expect_same(const CellHeader& a, const CellHeader& b, bool with_sweep_text) {
  using H = CellHeader;
  expect_fields(a, b, &H::name, &H::key, &H::recipe, &H::method_title, &H::model_fingerprint,
                &H::calibration, &H::calibration_fingerprint, &H::shards, &H::seed, &H::version,
                &H::blas);
  if (with_sweep_text) {
    EXPECT_EQ(a.sweep_text, b.sweep_text);
  }
}

void expect_same(const LayerRecord& a, const LayerRecord& b) {
  using L = LayerRecord;
  expect_fields(a, b, &L::layer, &L::host, &L::rank, &L::started_s, &L::finished_s, &L::seconds);
  EXPECT_TRUE(a.arrays == b.arrays);
  expect_same_lists(a.linears, b.linears);
}

void expect_same(const CellRecord& a, const CellRecord& b) {
  using C = CellRecord;
  expect_same(a.header, b.header, true);
  expect_fields(a, b, &C::status, &C::failure, &C::bits_per_weight, &C::tensors_kept, &C::seconds,
                &C::wall_s, &C::peak_memory_bytes, &C::hosts, &C::shared_with, &C::finished_s);
  expect_same_lists(a.metrics, b.metrics);
  expect_same_lists(a.tasks, b.tasks);
  expect_same_lists(a.linears, b.linears);
}

void expect_same(const RunRecord& a, const RunRecord& b) {
  using R = RunRecord;
  expect_fields(a, b, &R::name, &R::model, &R::model_fingerprint, &R::layer_count, &R::sweep_text,
                &R::version, &R::blas, &R::device, &R::ranks, &R::stages, &R::replicas, &R::threads,
                &R::cell_names, &R::cell_keys, &R::cell_predicted_s, &R::sets, &R::set_fingerprints,
                &R::evaluation_length, &R::tasks, &R::task_fingerprints, &R::started_s,
                &R::finished_s);
  expect_same_lists(a.counters, b.counters);
}

std::string read_bytes(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}
void write_bytes(const std::string& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary) << bytes;
}

std::string message_in_child(const std::function<void()>& fn) {
  int ends[2];
  if (pipe(ends) != 0) return "no pipe";
  const pid_t child = fork();
  if (child == 0) {
    std::string message;
    try {
      fn();
    } catch (const std::exception& e) {
      message = e.what();
    }
    const ssize_t written = write(ends[1], message.data(), message.size());
    _exit(written == static_cast<ssize_t>(message.size()) ? 0 : 1);
  }
  close(ends[1]);
  std::string message;
  char buffer[1024];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;)
    message.append(buffer, static_cast<std::size_t>(n));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return "the child died of signal " + std::to_string(WTERMSIG(status));
  return message;
}

bool any_contains(const std::vector<std::string>& lines, const std::string& text) {
  for (const std::string& line : lines)
    if (line.find(text) != std::string::npos) return true;
  return false;
}
std::string joined(const std::vector<std::string>& lines) {
  std::string out;
  for (const std::string& line : lines) out += line + "\n";
  return out;
}

}  // namespace bitgrid::results

#include "results/store.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bit>
#include <csignal>
#include <filesystem>
#include <limits>
#include <thread>

#include "kernels/error.hpp"
#include "results/file.hpp"
#include "results/layout.hpp"
#include "results/parts.hpp"
#include "tests/results/fixture.hpp"

namespace bitgrid::results {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

template <class E>
std::string message_of(const std::function<void()>& fn) {
  try {
    fn();
  } catch (const E& e) {
    return e.what();
  }
  return "nothing of that kind was thrown";
}

std::string layer_file(const TemporaryDirectory& directory, const CellHeader& header,
                       std::int64_t layer) {
  return directory.path("run/" + layer_part(cell_directory(header.name, header.key), layer) +
                        ".h5");
}

TEST(Store, LayersComeBackAsTheyWere) {
  TemporaryDirectory directory;
  Store store = Store::create(directory.path("run"), kModel);
  for (const CellHeader& header : sample_headers()) {
    if (!header.recipe.quantizes()) continue;
    for (const std::int64_t layer : {17, 0}) store.write_layer(header, sample_layer(header, layer));
    EXPECT_THAT(store.stored_layers(header), ElementsAre(0, 17));
    expect_same(store.read_layer(header, 17), sample_layer(header, 17));
  }
  EXPECT_THAT(store.stored_layers(sample_header("gptq-w2-g32", "gptq", 2, 32)), IsEmpty());
}

TEST(Store, EveryElementTypeAndAwkwardShapeComesBack) {
  TemporaryDirectory directory;
  Store store = Store::create(directory.path("run"), kModel);
  const CellHeader header = sample_header("rtn-w3-pc", "rtn", 3, -1);
  LayerRecord layer = sample_layer(header, 0);
  QuantizedLinear& linear = layer.linears[0];
  const DType all[] = {DType::f32, DType::f16, DType::bf16, DType::f64, DType::u8,
                       DType::i8,  DType::i32, DType::i64,  DType::u32};
  for (const DType dtype : all)
    for (const std::vector<std::int64_t>& shape : std::vector<std::vector<std::int64_t>>{
             {}, {0}, {1}, {3, 0}, {129, 257}, {2, 3, 5}, {1, 300001}, {70000, 5}}) {
      StoredArray array{fmt::format("a{}", linear.arrays.size()), dtype, shape, 0, false, {}};
      std::int64_t bytes = dtype_bytes(dtype);
      for (const std::int64_t n : shape) bytes *= n;
      for (std::int64_t i = 0; i < bytes; ++i)
        array.data.push_back(static_cast<std::byte>(i * 37 + i / 251));
      linear.arrays.push_back(std::move(array));
    }
  for (int bits = 1; bits <= 8; ++bits)
    linear.arrays.push_back(
        sample_packed(fmt::format("p{}", bits), 7, 129, bits, static_cast<unsigned>(bits)));
  store.write_layer(header, layer);
  expect_same(store.read_layer(header, 0), layer);
}

TEST(Store, CellsComeBackAsTheyWere) {
  TemporaryDirectory directory;
  Store store = Store::create(directory.path("run"), kModel);
  const CellHeader header = sample_header("gptq-w4-g32", "gptq", 4, 32);
  EXPECT_FALSE(store.read_cell(header).has_value());
  CellRecord cell = sample_cell(header, {sample_layer(header, 0)});
  cell.header.sweep_text = std::string(300000, 'x') + "ü";
  cell.metrics[1].window_sums.assign(20000, 0.1);
  for (int i = 0; i < 9000; ++i) cell.linears.push_back(cell.linears[0]);
  store.write_cell(cell);
  expect_same(store.read_cell(header).value(), cell);
  const CellRecord failed = failed_cell(header, "layer 3: mlp.down_proj: not finite");
  store.write_cell(failed);  // replaces the record
  expect_same(store.read_cell(header).value(), failed);
  CellRecord bare = sample_cell(sample_header("fp16", "fp16", 16, -1), {});
  bare.metrics.clear();
  bare.tasks.clear();
  bare.hosts.clear();
  bare.seconds.clear();
  store.write_cell(bare);
  expect_same(store.read_cell(bare.header).value(), bare);
}

// Scores that are not numbers, errors that are none, lists without entries, two results of one set.
TEST(Store, TasksComeBackBitForBit) {
  TemporaryDirectory directory;
  Store store = Store::create(directory.path("run"), kModel);
  CellRecord cell = sample_cell(sample_header("fp16", "fp16", 16, -1), {});
  TaskRecord odd = sample_task("piqa", 9);
  odd.limit = 5;
  odd.fingerprint = "another";
  odd.scores[0].log_likelihood = -std::numeric_limits<double>::infinity();
  odd.scores[1].log_likelihood = std::bit_cast<double>(0x7ff8000000000123u);
  odd.scores[2].log_likelihood = -0.0;
  odd.metrics[0].error = std::bit_cast<double>(0xfff8000000000001u);
  odd.outcomes[2].choice_norm = -7;
  TaskRecord empty;
  empty.task = "ünï/code";
  TaskRecord large = sample_task("mmlu", 3);
  for (int i = 0; i < 5000; ++i) {
    large.documents.push_back({1, i, 2, 1});
    large.scores.push_back({-i / 7.0, i % 2 == 0});
    large.outcomes.push_back({0, 0, i % 3 == 0, i % 5 == 0});
  }
  cell.tasks = {odd, large, sample_task("piqa", 2), empty};
  store.write_cell(cell);
  expect_same(store.read_cell(cell.header).value(), cell);
}

// A cell without question sets, and a run, as they were written before there were any.
TEST(Store, FilesWithoutTasksAreRead) {
  RunRecord run = sample_run(sample_headers());
  Node node = run_node(run);
  node.datasets.erase("tasks");
  node.datasets.erase("task_fingerprints");
  run.tasks.clear();
  run.task_fingerprints.clear();
  expect_same(run_of(node, "run"), run);
  CellRecord cell = sample_cell(sample_headers()[0], {});
  node = cell_node(cell);
  node.groups.erase("tasks");
  cell.tasks.clear();
  expect_same(cell_of(node, "cell"), cell);
  EXPECT_FALSE(cell_node(cell).groups.contains("tasks"));
}

TEST(Store, TaskColumnsThatDoNotFitAreErrors) {
  const Node whole = task_node(sample_task("piqa", 1));
  for (const char* name :
       {"gold", "greedy", "correct", "choice_norm", "log_likelihood", "document_row"}) {
    Node node = whole;
    Numbers& numbers = std::get<Numbers>(node.datasets.at(name).content);
    const std::size_t element = numbers.bytes.size() / static_cast<std::size_t>(numbers.shape[0]);
    --numbers.shape[0];
    EXPECT_THAT(message_of<Error>([&] { task_of(node, "here"); }), HasSubstr(" bytes for "));
    numbers.bytes = numbers.bytes.first(numbers.bytes.size() - element);
    EXPECT_EQ(message_of<Error>([&] { task_of(node, "here"); }),
              "here: columns of one list differ in length")
        << name;
    node = whole;
    std::get<Numbers>(node.datasets.at(name).content).dtype = DType::f32;
    EXPECT_THAT(message_of<Error>([&] { task_of(node, "here"); }), HasSubstr("wrong type"));
    node = whole;
    node.datasets.erase(name);
    EXPECT_THAT(message_of<Error>([&] { task_of(node, "here"); }),
                HasSubstr(fmt::format("dataset {} is missing", name)));
  }
  RunRecord run = sample_run(sample_headers());
  run.task_fingerprints.pop_back();
  EXPECT_THAT(message_of<Error>([&] { run_of(run_node(run), "run"); }),
              HasSubstr("tasks and task_fingerprints differ in length"));
}

TEST(Store, RunsComeBackAsTheyWere) {
  TemporaryDirectory directory;
  Store store = Store::create(directory.path("run"), kModel);
  RunRecord run = sample_run(sample_headers());
  store.write_run(run);
  expect_same(Reader::open(directory.path("run")).run(), run);
  run.counters.clear();
  run.sets.clear();
  run.set_fingerprints.clear();
  run.tasks.clear();
  run.task_fingerprints.clear();
  run.cell_predicted_s.clear();
  store.write_run(run);
  expect_same(Reader::open(directory.path("run")).run(), run);
}

TEST(Store, EqualRecordsGiveEqualBytes) {
  TemporaryDirectory directory;
  Store store = Store::create(directory.path("run"), kModel);
  const CellHeader header = sample_header("gptq-w4-g32", "gptq", 4, 32);
  store.write_layer(header, sample_layer(header, 0));
  const std::string once = read_bytes(layer_file(directory, header, 0));
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // HDF5 counts whole seconds
  store.write_layer(header, sample_layer(header, 0));
  EXPECT_GT(once.size(), 10000u);
  EXPECT_TRUE(once == read_bytes(layer_file(directory, header, 0)));
}

TEST(Store, MeasurementsAreToldApart) {
  const MetricRecord a = sample_metric("c4", 2);
  for (const auto& change : std::vector<std::function<void(MetricRecord&)>>{
           [](MetricRecord& m) { m.protocol = "x"; }, [](MetricRecord& m) { m.length = 1; },
           [](MetricRecord& m) { m.bos = "always"; },
           [](MetricRecord& m) { m.text_fingerprint = "x"; },
           [](MetricRecord& m) { m.ids_fingerprint = "x"; }}) {
    MetricRecord b = a;
    EXPECT_TRUE(a.same_measurement(b));
    change(b);
    EXPECT_FALSE(a.same_measurement(b));
  }
  MetricRecord renamed = a;
  renamed.set = "notes.txt";  // a name is not what was measured
  EXPECT_TRUE(a.same_measurement(renamed));
}

TEST(Store, AnotherModelIsRefused) {
  TemporaryDirectory directory;
  write_sample(directory.path("run"));
  const std::string other = std::string(64, '0');
  EXPECT_THAT(message_of<InputError>([&] { Store::create(directory.path("run"), other); }),
              HasSubstr("holds results of another model"));
  // A run that was killed before run.h5, but has a cell.
  fs::remove(directory.path("run/run.h5"));
  EXPECT_THAT(message_of<InputError>([&] { Store::create(directory.path("run"), other); }),
              HasSubstr("holds results of another model"));
  EXPECT_NO_THROW(Store::create(directory.path("run"), kModel));
}

TEST(Store, OneSweepAtATime) {
  TemporaryDirectory directory;
  {
    Store store = Store::create(directory.path("run"), kModel);
    const std::string message =
        message_of<InputError>([&] { Store::create(directory.path("run"), kModel); });
    EXPECT_THAT(message, HasSubstr("another sweep"));
    EXPECT_THAT(message, HasSubstr(fmt::format("pid {} on {}", getpid(), host_name())));
    EXPECT_NO_THROW(Store::join(directory.path("run")));
    Store moved = std::move(store);
    EXPECT_THROW(Store::create(directory.path("run"), kModel), InputError);
  }
  EXPECT_NO_THROW(Store::create(directory.path("run"), kModel));
}

TEST(Store, WhatCannotBeWrittenIsAnInputError) {
  TemporaryDirectory directory;
  write_bytes(directory.path("file"), "x");
  EXPECT_THAT(message_of<InputError>([&] { Store::create(directory.path("file"), kModel); }),
              HasSubstr("is not a directory"));
  EXPECT_THROW(Store::create(directory.path("file/below"), kModel), InputError);
  EXPECT_THROW(Store::create("/proc/bitgrid", kModel), InputError);
  fs::create_directory(directory.path("run"));
  fs::create_directory(directory.path("run/lock"));
  EXPECT_THAT(message_of<InputError>([&] { Store::create(directory.path("run"), kModel); }),
              HasSubstr(fmt::format("cannot write in {}", directory.path("run"))));
}

TEST(Store, StaleTemporariesAreIgnoredAndRemoved) {
  TemporaryDirectory directory;
  write_sample(directory.path("run"));
  const CellHeader header = sample_header("gptq-w4-g32", "gptq", 4, 32);
  const std::string ours[] = {layer_file(directory, header, 5) + ".tmp.n7.123",
                              directory.path("run/run.h5.tmp.n7.1"),
                              directory.path("run/results.h5.tmp.n7.1")};
  const std::string others[] = {directory.path("run/notes.h5.tmp.n7.1"),
                                directory.path("run/tmp.txt")};
  for (const std::string& file : ours) write_bytes(file, "half");
  for (const std::string& file : others) write_bytes(file, "mine");
  EXPECT_THAT(Store::join(directory.path("run")).stored_layers(header), ElementsAre(0, 1));
  EXPECT_THAT(check(directory.path("run"), true), IsEmpty());
  Store::create(directory.path("run"), kModel);
  for (const std::string& file : ours) EXPECT_FALSE(fs::exists(file)) << file;
  for (const std::string& file : others) EXPECT_TRUE(fs::exists(file)) << file;
}

// kill -9 at any moment: what has a name is whole.
TEST(Store, KilledWritersLeaveWholeFilesOnly) {
  TemporaryDirectory directory;
  write_sample(directory.path("run"));
  const CellHeader header = sample_header("rtn-w8-g32", "rtn", 8, 32);
  for (int trial = 0; trial < 8; ++trial) {
    const pid_t child = fork();
    if (child == 0) {
      Store store = Store::join(directory.path("run"));
      for (std::int64_t layer = 0;; layer = (layer + 1) % 6)
        store.write_layer(header, sample_layer(header, layer));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20 + 17 * trial));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    EXPECT_THAT(check(directory.path("run"), false), IsEmpty());
    const Store store = Store::create(directory.path("run"), kModel);
    for (const std::int64_t layer : store.stored_layers(header))
      expect_same(store.read_layer(header, layer), sample_layer(header, layer));
    for (const auto& entry : fs::recursive_directory_iterator(directory.path("run")))
      EXPECT_FALSE(is_temporary(entry.path().filename().string())) << entry.path();
  }
}

void expect_nothing_left_behind(const std::string& folder) {
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.path().string().find(".tmp.") != std::string::npos)
      throw Error("left " + entry.path().string());
}

TEST(Store, AFullDiskIsARunErrorAndHurtsNothing) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can mount a small disk";
  TemporaryDirectory directory;
  write_sample(directory.path("sample"));
  const std::string message = message_in_child([&] {
    if (unshare(CLONE_NEWNS) != 0 ||
        mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("none", directory.path().c_str(), "tmpfs", 0, "size=400k") != 0)
      throw Error("SKIP: no mount namespace here");
    const CellHeader header = sample_header("gptq-w4-g32", "gptq", 4, 32);
    const std::string run = directory.path("run");
    Store store = Store::create(run, kModel);
    store.write_run(sample_run({header}));
    std::int64_t layer = 0;
    const std::string full = message_of<RunError>([&] {
      for (; layer < 100; ++layer) store.write_layer(header, sample_layer(header, layer));
    });
    const std::string file =
        run + "/" + layer_part(cell_directory(header.name, header.key), layer) + ".h5";
    if (full != "cannot write " + file + ": No space left on device") throw Error("said: " + full);
    expect_nothing_left_behind(run);
    if (layer < 2 || static_cast<std::int64_t>(store.stored_layers(header).size()) != layer)
      throw Error("layers were lost");
    const auto faults = check(run, false);
    if (!faults.empty()) throw Error(faults[0]);
    const std::string packed =
        message_of<RunError>([&] { pack(run, directory.path("packed.h5")); });
    if (packed.find("cannot write " + directory.path("packed.h5")) != 0)
      throw Error("pack said: " + packed);
    expect_nothing_left_behind(directory.path());
    if (fs::exists(directory.path("packed.h5"))) throw Error("a packed file is there");
  });
  if (message.starts_with("SKIP")) GTEST_SKIP() << message;
  EXPECT_EQ(message, "");
}

TEST(Store, AFileSizeLimitIsARunErrorToo) {
  TemporaryDirectory directory;
  write_sample(directory.path("run"));
  const CellHeader header = sample_header("gptq-w4-g32", "gptq", 4, 32);
  const std::string message = message_in_child([&] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{5000, 5000};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) throw Error("no limit");
    Store store = Store::join(directory.path("run"));
    const std::string said =
        message_of<RunError>([&] { store.write_layer(header, sample_layer(header, 0)); });
    if (said.find("layer-0000.h5: File too large") == said.npos) throw Error("said: " + said);
    expect_nothing_left_behind(directory.path("run"));
  });
  EXPECT_EQ(message, "");
  EXPECT_THAT(check(directory.path("run"), true), IsEmpty());  // the old file is still there
}

TEST(Store, AFolderThatVanishedIsARunError) {
  TemporaryDirectory directory;
  Store store = Store::create(directory.path("run"), kModel);
  const CellHeader header = sample_header("gptq-w4-g32", "gptq", 4, 32);
  write_bytes(directory.path("run/cells"), "in the way");
  EXPECT_THAT(message_of<RunError>([&] { store.write_layer(header, sample_layer(header, 0)); }),
              HasSubstr(directory.path("run/cells")));
}

TEST(Store, UnreadableFilesAreNamed) {
  TemporaryDirectory directory;
  write_sample(directory.path("run"));
  const CellHeader header = sample_header("gptq-w4-g32", "gptq", 4, 32);
  const Store store = Store::join(directory.path("run"));
  const std::string file = layer_file(directory, header, 1), bytes = read_bytes(file);
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{100}, std::size_t{512}, bytes.size() / 2, bytes.size() - 1}) {
    write_bytes(file, bytes.substr(0, size));
    const std::string message = message_of<Error>([&] { store.stored_layers(header); });
    EXPECT_THAT(message, HasSubstr(file));
    EXPECT_THAT(message, HasSubstr("run the sweep again"));
    EXPECT_THAT(message_of<Error>([&] { store.read_layer(header, 1); }), HasSubstr(file));
  }
  write_bytes(file, bytes + "x");
  EXPECT_THAT(message_of<Error>([&] { store.stored_layers(header); }), HasSubstr("too long"));
  fs::copy_file(layer_file(directory, header, 0), file, fs::copy_options::overwrite_existing);
  EXPECT_THAT(message_of<Error>([&] { store.read_layer(header, 1); }),
              HasSubstr("another cell or layer"));
  const std::string cell =
      directory.path("run/" + cell_part(cell_directory(header.name, header.key)) + ".h5");
  write_bytes(cell, "\x89HDF");
  EXPECT_THAT(message_of<Error>([&] { store.read_cell(header); }), HasSubstr(cell));
}

TEST(Store, FilesThatAreNotWhatWasWrittenHaveAFault) {
  TemporaryDirectory directory;
  write_sample(directory.path("run"));
  const CellHeader header = sample_header("gptq-w4-g32", "gptq", 4, 32);
  const std::string cell = cell_directory(header.name, header.key);
  Store store = Store::join(directory.path("run"));
  const std::vector<std::string> parts = store.stored_parts(header);
  EXPECT_THAT(parts, ElementsAre(cell_part(cell), layer_part(cell, 0), layer_part(cell, 1)));
  for (const std::string& part : parts) {
    EXPECT_EQ(store.fault_of(part), std::nullopt);
    const std::string file = directory.path("run/" + part + ".h5"), good = read_bytes(file);
    std::string flipped = good;
    flipped[good.size() / 2] ^= 1;
    // A whole file of ours that belongs elsewhere counts, too.
    const std::string other = read_bytes(part == parts[1] ? layer_file(directory, header, 1)
                                                          : directory.path("run/run.h5"));
    for (const std::string& bad : {std::string(), good.substr(0, 600), flipped, other}) {
      write_bytes(file, bad);
      EXPECT_THAT(store.fault_of(part).value_or("none"), HasSubstr(file));
    }
    write_bytes(file, good);
  }
  store.remove_part(parts[1]);
  EXPECT_THAT(store.stored_layers(header), ElementsAre(1));
  EXPECT_THROW((void)store.fault_of(parts[1]), Error);  // not damaged: it is not there
}

// What every sweep writes anew must not keep it from starting; what was never ours is left alone.
TEST(Store, ADamagedRunFileIsNoHindrance) {
  TemporaryDirectory directory;
  const std::string run = directory.path("run/run.h5");
  write_sample(directory.path("run"));
  EXPECT_THAT(Store::create(directory.path("run"), kModel).faults_found(), IsEmpty());
  const std::string good = read_bytes(run);
  write_bytes(run, good.substr(0, 800));
  write_bytes(directory.path("run/results.h5"), "");
  EXPECT_THAT(Store::create(directory.path("run"), kModel).faults_found(),
              ElementsAre(HasSubstr("run.h5: cut short"), HasSubstr("results.h5: damaged")));
  EXPECT_THAT(message_of<InputError>([&] { Store::create(directory.path("run"), "other"); }),
              HasSubstr("results of another model"));
  fs::create_directory(directory.path("notes"));
  write_bytes(directory.path("notes/run.h5"), "jogging diary");
  EXPECT_THAT(message_of<InputError>([&] { Store::create(directory.path("notes"), kModel); }),
              HasSubstr("would be overwritten"));
  EXPECT_EQ(read_bytes(directory.path("notes/run.h5")), "jogging diary");
}

TEST(Store, WhoWritesIsKnown) {
  TemporaryDirectory directory;
  write_sample(directory.path("run"));
  const Reader reader = Reader::open(directory.path("run"));
  EXPECT_EQ(reader.writer(), "");
  {
    const Store store = Store::create(directory.path("run"), kModel);
    EXPECT_EQ(reader.writer(), fmt::format("pid {} on {}", getpid(), host_name()));
  }
  EXPECT_EQ(reader.writer(), "");
  fs::remove(directory.path("run/lock"));
  EXPECT_EQ(reader.writer(), "");
}

TEST(Store, DroppedLayersLeaveTheNumbers) {
  TemporaryDirectory directory;
  write_sample(directory.path("run"));
  const CellHeader header = sample_header("gptq-w4-g32", "gptq", 4, 32);
  Store store = Store::join(directory.path("run"));
  CellRecord cell = store.read_cell(header).value();
  cell.tensors_kept = false;
  store.write_cell(cell);
  store.drop_layers(header);
  store.rebuild_master();
  EXPECT_THAT(store.stored_layers(header), IsEmpty());
  EXPECT_EQ(store.read_cell(header)->linears.size(), 6u);
  EXPECT_THAT(check(directory.path("run"), true), IsEmpty());
}

TEST(Store, PruneRemovesUnlistedCellsOnly) {
  TemporaryDirectory directory;
  write_sample(directory.path("run"));
  const std::vector<CellHeader> headers = sample_headers();
  fs::create_directories(directory.path("run/cells/notes"));
  fs::create_directories(directory.path("run/cells/precious.12345678x"));
  Store store = Store::create(directory.path("run"), kModel);
  const std::string gone = cell_directory(headers[1].name, headers[1].key);
  EXPECT_THAT(store.unlisted({headers[0].key, headers[2].key}), ElementsAre(gone));
  EXPECT_THAT(store.prune({headers[0].key, headers[2].key}), ElementsAre(gone));
  EXPECT_THAT(store.unlisted({headers[0].key, headers[2].key}), IsEmpty());
  EXPECT_TRUE(store.read_cell(headers[0]).has_value());
  EXPECT_FALSE(
      fs::exists(directory.path("run/cells/" + cell_directory(headers[1].name, headers[1].key))));
  EXPECT_THAT(store.stored_layers(headers[2]), ElementsAre(0, 1));
  EXPECT_TRUE(fs::exists(directory.path("run/cells/notes")));
  EXPECT_TRUE(fs::exists(directory.path("run/cells/precious.12345678x")));
  // A stranger's file in a cell's folder stays, and so does the folder.
  const std::string cell =
      directory.path("run/cells/" + cell_directory(headers[2].name, headers[2].key));
  write_bytes(cell + "/notes.txt", "mine");
  store.prune({headers[0].key});
  EXPECT_TRUE(fs::exists(cell + "/notes.txt"));
  EXPECT_THAT(store.stored_layers(headers[2]), IsEmpty());
}

TEST(Parts, NamesAreParsedStrictly) {
  EXPECT_EQ(cell_directory("awq+gptq-w4-g32-order=none", std::string(64, 'a')),
            "awq+gptq-w4-g32-order=none.aaaaaaaa");
  EXPECT_EQ(parse_cell_directory("pb-llm-w1.7-g128.0123abcd")->name, "pb-llm-w1.7-g128");
  for (const char* bad : {"", "x", ".12345678", "x.1234567", "x.1234567g", "x.123456789",
                          "a b.12345678", "..12345678", "x/y.12345678"})
    EXPECT_FALSE(parse_cell_directory(bad).has_value()) << bad;
  EXPECT_EQ(parse_layer("layer-0017"), 17);
  EXPECT_EQ(parse_layer("layer-12345"), 12345);
  for (const char* bad : {"layer-17", "layer-00017", "layer--001", "layer-001x", "layer-", "cell",
                          "layer-99999999999999999999"})
    EXPECT_FALSE(parse_layer(bad).has_value()) << bad;
}

}  // namespace
}  // namespace bitgrid::results

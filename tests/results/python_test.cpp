#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <sstream>

#include "results/parts.hpp"
#include "tests/results/fixture.hpp"

// What we write can be read without bitgrid: h5py follows the master's links, sees every number,
// and read_weight.py rebuilds weights bit for bit, rotated ones nearly so. Other formats than these
// two are tested on what the program stores.

namespace bitgrid::results {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPython = "/usr/bin/python3";

struct Output {
  int status;
  std::string text;
};

Output run_command(const std::string& command) {
  Output output{-1, ""};
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return output;
  char buffer[4096];
  while (const std::size_t n = std::fread(buffer, 1, sizeof buffer, pipe))
    output.text.append(buffer, n);
  output.status = pclose(pipe);
  return output;
}

class Python : public testing::Test {
 protected:
  void SetUp() override {
    const Output output = run_command(fmt::format("{} -c 'import h5py, numpy'", kPython));
    if (output.status != 0)
      GTEST_SKIP() << kPython << " with h5py and numpy is needed: " << output.text;
    write_sample(run());
    pack(run(), packed());
  }
  std::string run() const { return directory_.path("run"); }
  std::string packed() const { return directory_.path("packed.h5"); }
  // One linear of one layer, to be rebuilt by read_weight.py.
  struct Wanted {
    std::string path, cell;
    std::int64_t layer = 0;
    const QuantizedLinear* linear = nullptr;
  };
  // All of them in one Python process: starting one costs more than the work.
  void expect_rebuilt(const std::vector<Wanted>& wanted, float tolerance = 0) {
    std::string script =
        fmt::format("import sys\nsys.path.insert(0, '{}/results')\nimport numpy, read_weight\n",
                    BITGRID_SOURCE_DIR);
    for (std::size_t i = 0; i < wanted.size(); ++i)
      script += fmt::format(
          "layer = read_weight.open_layer('{}', '{}', {})\n"
          "numpy.save('{}', read_weight.read_weight(layer['linears']['{}']))\n",
          wanted[i].path, wanted[i].cell, wanted[i].layer,
          directory_.path(fmt::format("{}.npy", i)), wanted[i].linear->name);
    write_bytes(directory_.path("rebuild.py"), script);
    const Output output =
        run_command(fmt::format("{} -B {}", kPython, directory_.path("rebuild.py")));
    ASSERT_EQ(output.status, 0) << output.text;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const Matrix<float> w = rebuild_weight(Place{}, *wanted[i].linear);
      const std::string file = directory_.path(fmt::format("{}.npy", i));
      const std::string bytes = npy_content(file, fmt::format("{}, {}", w.rows(), w.cols()));
      const bool same = tolerance > 0 ? near(bytes, w, tolerance) : bytes == bytes_of(w);
      EXPECT_TRUE(same) << wanted[i].path << " " << wanted[i].cell << " " << wanted[i].linear->name;
    }
  }
  // All within `tolerance` of the largest magnitude, and zeros the same.
  static bool near(const std::string& bytes, const Matrix<float>& w, float tolerance) {
    if (bytes.size() != static_cast<std::size_t>(w.size()) * sizeof(float)) return false;
    std::vector<float> seen(static_cast<std::size_t>(w.size()));
    std::memcpy(seen.data(), bytes.data(), bytes.size());
    float largest = 0, off = 0;
    for (std::size_t i = 0; i < seen.size(); ++i) {
      const float expected = w.data()[i];
      largest = std::max(largest, std::fabs(expected));
      off = std::max(off, expected == 0 && seen[i] != 0 ? INFINITY : std::fabs(expected - seen[i]));
    }
    return off <= tolerance * largest;
  }
  static std::string bytes_of(const Matrix<float>& w) {
    return {reinterpret_cast<const char*>(w.data()),
            static_cast<std::size_t>(w.size()) * sizeof(float)};
  }
  // The elements of an .npy file of version 1: a header of its own length, then the bytes.
  static std::string npy_content(const std::string& file, const std::string& shape) {
    const std::string bytes = read_bytes(file);
    std::uint16_t header = 0;
    if (bytes.size() < 10) return "";
    std::memcpy(&header, bytes.data() + 8, 2);
    EXPECT_NE(bytes.find("'descr': '<f4', 'fortran_order': False, 'shape': (" + shape), bytes.npos)
        << bytes.substr(0, 100);
    return bytes.substr(std::size_t{10} + header);
  }
  TemporaryDirectory directory_;
};

TEST_F(Python, WeightsAreRebuiltBitForBit) {
  const std::vector<CellHeader> headers = sample_headers();
  const LayerRecord layers[] = {sample_layer(headers[1], 1), sample_layer(headers[2], 1)};
  std::vector<Wanted> wanted;
  for (const std::string& path : {run(), run() + "/results.h5", packed()})
    for (const std::size_t i : {0, 1})
      for (const QuantizedLinear& linear : layers[i].linears)
        wanted.push_back({path, headers[i + 1].name, 1, &linear});
  expect_rebuilt(wanted);
}

// Every width, symmetric grids (no zeros), groups in order and permuted.
TEST_F(Python, EveryWidthIsUnpacked) {
  Store store = Store::join(run());
  std::vector<LayerRecord> layers(8);
  std::vector<Wanted> wanted;
  for (int bits = 1; bits <= 8; ++bits) {
    const CellHeader header = sample_header(fmt::format("rtn-w{}-g43", bits), "rtn", bits, 43);
    LayerRecord& layer = layers[static_cast<std::size_t>(bits - 1)];
    layer.linears = {sample_linear("mlp.up_proj", 3, 129, bits, 43, static_cast<unsigned>(bits))};
    auto& arrays = layer.linears[0].arrays;
    if (bits % 2 == 0)
      std::erase_if(arrays, [](const auto& array) { return array.name == "zeros"; });
    if (bits % 3 == 0)
      std::erase_if(arrays, [](const auto& array) { return array.name == "group_index"; });
    store.write_layer(header, layer);
    wanted.push_back({run(), header.name, 0, &layer.linears[0]});
  }
  store.rebuild_master();
  expect_rebuilt(wanted);
}

// A weight that is turned back from random seeds; awkward dimensions, scales where bit 0 of `kind`.
QuantizedLinear rotated_linear(std::int64_t rows, std::int64_t cols, std::uint8_t kind) {
  const auto plain = [](const std::string& name, DType dtype, std::vector<std::int64_t> shape,
                        const auto& values) {
    StoredArray array{name, dtype, std::move(shape), 0, true, {}};
    array.data.resize(values.size() * sizeof values[0]);
    std::memcpy(array.data.data(), values.data(), array.data.size());
    return array;
  };
  QuantizedLinear linear{
      fmt::format("r{}x{}k{}", rows, cols, kind), "incoherent", rows, cols, 3, -1, {}, {}};
  linear.arrays = {sample_packed("codes", rows, cols, 3, kind),
                   plain("delta", DType::f32, {1}, std::vector<float>{0.013f}),
                   plain("seeds", DType::i32, {4},
                         std::vector<std::int32_t>{-7, 1 << 30, 12345 + kind, -2147483647})};
  std::vector<std::uint16_t> scales;
  for (std::int64_t j = 0; j < cols; ++j)
    scales.push_back(j == cols / 2 ? 0 : static_cast<std::uint16_t>(0x3800 + j % 0x400));  // ½ … 1
  if (kind % 2 == 0) linear.arrays.push_back(plain("column_scales", DType::f16, {1, cols}, scales));
  StoredArray byte{"rotation", DType::u8, {1, 1}, 8, true, {std::byte{kind}}};
  if (kind != 0) linear.arrays.push_back(std::move(byte));
  return linear;
}

TEST_F(Python, RotationsAreTakenBack) {
  Store store = Store::join(run());
  const CellHeader header = sample_header("quip-w3", "quip", 3, -1);
  LayerRecord layer;
  for (const std::uint8_t kind : {0, 1, 2, 4, 5, 6})
    for (const auto& [rows, cols] : {std::pair{1, 7}, {129, 60}, {77, 128}})
      layer.linears.push_back(rotated_linear(rows, cols, kind));
  layer.linears.push_back(rotated_linear(384, 1792, 0));
  std::vector<Wanted> wanted;
  for (const QuantizedLinear& linear : layer.linears)
    wanted.push_back({run(), header.name, 0, &linear});
  store.write_layer(header, layer);
  store.rebuild_master();
  expect_rebuilt(wanted, 1e-5f);
}

TEST_F(Python, TheCommandWritesAFile) {
  const Output output = run_command(
      fmt::format("{} {}/results/read_weight.py {} gptq-w4-g32 0 mlp.down_proj --out {}", kPython,
                  BITGRID_SOURCE_DIR, packed(), directory_.path("w.npy")));
  EXPECT_EQ(output.status, 0) << output.text;
  EXPECT_NE(output.text.find("mlp.down_proj of layer 0: 3 x 64, mean "), output.text.npos)
      << output.text;
  const QuantizedLinear linear = sample_layer(sample_headers()[2], 0).linears[1];
  EXPECT_TRUE(npy_content(directory_.path("w.npy"), "3, 64") ==
              bytes_of(rebuild_weight(Place{}, linear)));
}

// One line each, exit code 2, no traceback.
TEST_F(Python, MistakesAreAnswered) {
  const CellHeader gptq = sample_headers()[2];
  const std::string layer =
      run() + "/" + layer_part(cell_directory(gptq.name, gptq.key), 1) + ".h5";
  // One Python process for all: a line of exit code and answer for each line of arguments.
  std::string cases;
  std::vector<std::string> answers;
  const auto expect_answer = [&](const std::string& arguments, const std::string& answer) {
    cases += arguments + "\n";
    answers.push_back(answer);
  };
  write_bytes(directory_.path("notes.h5"), "mine");
  for (const std::string& path : {run(), run() + "/results.h5", packed()}) {
    expect_answer(path + " gptq-w9 0 x", "no cells are called gptq-w9; there are: fp16.");
    expect_answer(path + " gptq-w4-g32 2 x", "has no layer 2; there are 0 to 1");
    expect_answer(path + " gptq-w4-g32 -1 x", "has no layer -1");
    expect_answer(path + " fp16 0 x", "has no tensors: it is the baseline");
    expect_answer(path + " gptq-w4-g32 1 q_proj", "has no linear q_proj; there are: mlp.down_proj");
    expect_answer(path + " gptq-w4-g32 1 mlp.up_proj --out /nowhere/w.npy", "/nowhere/w.npy");
  }
  expect_answer(directory_.path("none") + " a 0 x", "there is no such file or directory");
  expect_answer(directory_.path() + " a 0 x", "is not a results directory");
  expect_answer(directory_.path("notes.h5") + " a 0 x", "damaged or not a file of bitgrid");
  expect_answer(layer + " gptq-w4-g32 1 x", "is neither a results directory nor a packed file");
  const std::string good = read_bytes(layer);
  std::string flipped = good;
  flipped[good.size() / 2] ^= 1;
  for (const auto& [name, bad] :
       {std::pair{"flipped.h5", flipped}, {"short.h5", good.substr(0, 600)}, {"empty.h5", ""}}) {
    write_bytes(directory_.path(name), bad);
    expect_answer(directory_.path(name) + " gptq-w4-g32 1 mlp.up_proj", ": damaged");
  }
  const std::string bare = directory_.path("bare");
  fs::create_directories(bare + "/cells");
  fs::copy(fs::path(layer).parent_path(), bare + "/cells/" + cell_directory(gptq.name, gptq.key));
  write_bytes(bare + "/" + layer_part(cell_directory(gptq.name, gptq.key), 1) + ".h5", flipped);
  expect_answer(bare + " gptq-w4-g32 1 mlp.up_proj", "layer-0001.h5: damaged");
  write_bytes(directory_.path("cases"), cases);
  write_bytes(directory_.path("ask.py"), fmt::format(R"(
import contextlib, io, json, sys
sys.path.insert(0, '{}/results')
import read_weight
for line in open('{}'):
    sys.argv, answer = ['read_weight.py'] + line.split(), io.StringIO()
    with contextlib.redirect_stderr(answer):
        code = read_weight.main()
    print(code, json.dumps(answer.getvalue()))
)",
                                                     BITGRID_SOURCE_DIR, directory_.path("cases")));
  std::istringstream said(
      run_command(fmt::format("{} -B {}", kPython, directory_.path("ask.py"))).text);
  std::string line;
  for (const std::string& answer : answers) {
    std::getline(said, line);
    EXPECT_TRUE(line.starts_with("2 \"read_weight.py: ")) << line;
    EXPECT_NE(line.find(answer), line.npos) << line << "\nwanted: " << answer;
    EXPECT_EQ(line.find("\\n"), line.size() - 3) << line;  // the only line end is the last
  }
  const Output output = run_command(
      fmt::format("{} {}/results/read_weight.py /nowhere a 0 b", kPython, BITGRID_SOURCE_DIR));
  EXPECT_EQ(WEXITSTATUS(output.status), 2) << output.text;
}

TEST_F(Python, H5pyReadsEverythingThroughTheMaster) {
  const std::string cell = cell_directory("gptq-w4-g32", sample_headers()[2].key);
  write_bytes(directory_.path("read.py"), R"(
import sys, h5py, numpy as np
def visit(group):                      # every attribute and dataset, links followed
    count = len(dict(group.attrs))
    for item in group.values():
        count += len(dict(item.attrs))
        count += visit(item) if isinstance(item, h5py.Group) else item[()].size * 0 + 1
    return count
f = h5py.File(sys.argv[1], "r")
print(visit(f) > 300)
run, cell, layer = f["run"], f["cells"][sys.argv[2]]["cell"], f["cells"][sys.argv[2]]["layer-0001"]
print(run.attrs["name"], list(run["cell_names"].asstr()), int(run["ranks/0001"].attrs["weight_bytes_read"]))
print(cell.attrs["status"], cell.attrs["sweep_text"].strip(), list(cell.attrs["hosts"]), cell.attrs["tensors_kept"])
print(dict(cell["recipe/options"].attrs), list(cell["recipe"].attrs["chain"]))
m = cell["metrics/0000"]
print(m.attrs["set"], float(m.attrs["perplexity"]), m["window_sums"][()].tolist())
q = layer["linears/self_attn.q_proj"]
print(q["scales"].dtype, float(q["scales"][0, 0]), q["codes"].chunks, q["codes"].fletcher32, q["scales"].shape)
print(np.isnan(q.attrs["solve_s"]), q.attrs["fallback"], list(layer.attrs["linears"]))
)");
  const std::string expected =
      "True\n"
      "demo ['fp16', 'rtn-w3-pc', 'gptq-w4-g32'] 2000000\n"
      "finished name = \"demo\"  # ünïcode ['n1', 'n2'] True\n"
      "{'damp': 0.01, 'mse': False, 'order': 'act', 'steps': 3} ['gptq']\n"
      "wikitext2 5.754602676005731 [446.25, 444.5, 448.0]\n"
      "float16 5.960464477539063e-08 (129, 48) True (129, 3)\n"
      "True False ['self_attn.q_proj', 'mlp.down_proj', 'mlp.up_proj']\n";
  for (const std::string& path : {run() + "/results.h5", packed()}) {
    const Output output = run_command(fmt::format("PYTHONIOENCODING=utf-8 {} {} {} {}", kPython,
                                                  directory_.path("read.py"), path, cell));
    EXPECT_EQ(output.text, expected) << path;
  }
}

// bf16 and fp16 are float types of the file itself.
TEST_F(Python, SmallFloatsHaveTheirValues) {
  const CellHeader header = sample_header("rtn-w2-g64", "rtn", 2, -1);
  LayerRecord layer = sample_layer(header, 0);
  const std::uint16_t halves[] = {0x3c00, 0x0001, 0x7bff, 0xc500,
                                  0x8000};  // 1, 2^-24, 65504, -5, -0
  const std::uint16_t brains[] = {0x3f80, 0x0080, 0x7f7f, 0xc0a0,
                                  0x3eab};  // 1, 2^-126, largest, -5, 1/3
  for (const auto& [name, dtype, values] :
       {std::tuple{"half", DType::f16, halves}, {"brain", DType::bf16, brains}}) {
    StoredArray array{name, dtype, {5}, 0, false, std::vector<std::byte>(10)};
    std::memcpy(array.data.data(), values, 10);
    layer.linears[0].arrays.push_back(std::move(array));
  }
  Store store = Store::join(run());
  store.write_layer(header, layer);
  const std::string file =
      fmt::format("{}/{}.h5", run(), layer_part(cell_directory(header.name, header.key), 0));
  const Output output = run_command(
      fmt::format("{} -c 'import h5py; q = h5py.File(\"{}\")[\"linears/self_attn.q_proj\"]; "
                  "print([float(x) for x in q[\"half\"]], [float(x) for x in q[\"brain\"]])'",
                  kPython, file));
  EXPECT_EQ(output.text,
            "[1.0, 5.960464477539063e-08, 65504.0, -5.0, -0.0] "
            "[1.0, 1.1754943508222875e-38, 3.3895313892515355e+38, -5.0, 0.333984375]\n");
}

}  // namespace
}  // namespace bitgrid::results

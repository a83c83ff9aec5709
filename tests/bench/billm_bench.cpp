// BiLLM of one linear from its inputs: statistics, factor, searches, rounding and the measured
// error.
//   billm_bench ROWS COLUMNS TOKENS FOLDER [THREADS]
// Writes W.npy and X.npy to the folder, for tests/bench/peers/billm_peer.py, and prints one JSON
// line for the project's choices and one for those of the published code, which is what the peer
// does.
#include <fmt/format.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "core/methods/recipe_needs.hpp"
#include "core/methods/resolve_recipe.hpp"
#include "tests/bench/bench_report.hpp"
#include "tests/core/methods/solo_work.hpp"

namespace bitgrid::bench {
namespace {

void write_npy(const std::string& path, const Matrix<float>& m) {
  std::string header = fmt::format(
      "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", m.rows(), m.cols());
  header.resize((header.size() + 11 + 63) / 64 * 64 - 11, ' ');
  header += '\n';
  std::ofstream out(path, std::ios::binary);
  out << "\x93NUMPY" << '\x01' << '\0' << static_cast<char>(header.size() & 0xff)
      << static_cast<char>(header.size() >> 8) << header;
  out.write(reinterpret_cast<const char*>(m.data()),
            static_cast<std::streamsize>(m.size() * sizeof(float)));
  if (!out) throw Error("billm_bench: cannot write " + path);
}

// Roughly bell-shaped weights, and inputs whose neighbours are correlated and whose channels
// differ.
Matrix<float> make_weights(std::int64_t rows, std::int64_t in) {
  Matrix<float> w = random_matrix(rows, in, 0.02f, 1);
  for (std::uint64_t seed = 2; seed < 6; ++seed) {
    const Matrix<float> more = random_matrix(rows, in, 0.02f, seed);
    for (std::int64_t i = 0; i < w.size(); ++i) w.data()[i] += more.data()[i];
  }
  return w;
}
Matrix<float> make_inputs(std::int64_t tokens, std::int64_t in) {
  Matrix<float> x = random_matrix(tokens, in, 1.0f, 7);
  for (std::int64_t t = 0; t < tokens; ++t)
    for (std::int64_t j = 1; j < in; ++j)
      x(t, j) = (0.5f * x(t, j - 1) + x(t, j)) * (j % 61 == 0 ? 4.0f : 1.0f);
  return x;
}

void run(const Place& place, const Matrix<float>& w, const Matrix<float>& x,
         const std::map<std::string, OptionValue>& options) {
  const Recipe recipe = resolve_recipe("billm", 1.1, w.cols() % 128 == 0 ? 128 : -1, options);
  std::vector<double> times;
  double loss = 0;
  for (int i = 0; i < 3; ++i)
    times.push_back(seconds([&] {
      test::SoloTapWork work(place, x.view(), recipe_needs(recipe).rounding);
      loss = test::round_linear(place, recipe, w.view(), work)
                 .stored.diagnostics.relative_output_error;
    }));
  const Spread spread = spread_of(times);
  fmt::print(
      "{{\"bench\": \"{}\", \"rows\": {}, \"columns\": {}, \"tokens\": {}, \"threads\": {}, "
      "\"seconds\": {:.4f}, \"least\": {:.4f}, \"most\": {:.4f}, \"loss\": {:.6f}, \"commit\": "
      "\"{}\", \"processor\": \"{}\"}}\n",
      recipe_name(recipe), w.rows(), w.cols(), x.rows(), place_threads(place), spread.median,
      spread.least, spread.most, loss, commit(), processor());
}

int main_of(int argc, char** argv) {
  if (argc < 5) {
    fmt::print(stderr, "billm_bench ROWS COLUMNS TOKENS FOLDER [THREADS]\n");
    return 2;
  }
  const Matrix<float> w = make_weights(std::atol(argv[1]), std::atol(argv[2]));
  const Matrix<float> x = make_inputs(std::atol(argv[3]), std::atol(argv[2]));
  const std::string folder = argv[4];
  write_npy(folder + "/W.npy", w);
  write_npy(folder + "/X.npy", x);
  const Place place = cpu_place(argc > 5 ? std::atoi(argv[5]) : 2);
  run(place, w, x, {});
  run(place, w, x, {{"variant", std::string("repository")}, {"compensation", std::string("diag")}});
  return 0;
}

}  // namespace
}  // namespace bitgrid::bench

int main(int argc, char** argv) { return bitgrid::bench::main_of(argc, argv); }

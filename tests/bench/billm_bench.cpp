// BiLLM of one linear from its inputs: statistics, factor, searches, rounding and the measured
// error.
//   billm_bench ROWS COLUMNS TOKENS FOLDER [THREADS]
// Writes W.npy and X.npy to the folder, for tests/bench/peers/billm_peer.py, and prints one JSON
// line for the project's choices and one for those of the published code, which is what the peer
// does.
#include <fmt/format.h>

#include <cstdlib>
#include <string>

#include "core/methods/recipe_needs.hpp"
#include "core/methods/resolve_recipe.hpp"
#include "tests/bench/bench_cases.hpp"
#include "tests/core/methods/solo_work.hpp"

namespace bitgrid::bench {
namespace {

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
  const Matrix<float> w = bell_weights(std::atol(argv[1]), std::atol(argv[2]));
  const Matrix<float> x = correlated_inputs(std::atol(argv[3]), std::atol(argv[2]));
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

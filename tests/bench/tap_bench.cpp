// One linear by any method, from its inputs: the statistic, the searches and the rounding; the
// measurement of the errors, which is no part of any method, apart. Prints one JSON line; --write
// leaves weights and inputs as .npy, for the programs in peers/.
#include <fmt/format.h>

#include <cstdlib>
#include <map>
#include <string>

#include "core/methods/recipe_needs.hpp"
#include "core/methods/resolve_recipe.hpp"
#include "tests/bench/bench_cases.hpp"
#include "tests/core/methods/solo_work.hpp"

namespace bitgrid::bench {
namespace {

OptionValue option_value(const std::string& text) {
  if (text == "true" || text == "false") return text == "true";
  char* end = nullptr;
  const long whole = std::strtol(text.c_str(), &end, 10);
  if (*end == '\0') return std::int64_t{whole};
  const double real = std::strtod(text.c_str(), &end);
  if (*end == '\0') return real;
  return text;
}

int run(int argc, char** argv) {
  if (argc < 7) {
    fmt::print(stderr,
               "usage: tap_bench METHOD BITS GROUP OUT IN TOKENS [OPTION=VALUE …] [--threads=N] "
               "[--write=FOLDER]\n");
    return 2;
  }
  std::map<std::string, OptionValue> options;
  std::string folder;
  int threads = 2;
  for (int i = 7; i < argc; ++i) {
    const std::string text = argv[i], key = text.substr(0, text.find('=')),
                      value = text.substr(std::min(text.size(), key.size() + 1));
    if (key == "--write")
      folder = value;
    else if (key == "--threads")
      threads = std::atoi(value.c_str());
    else
      options[key] = option_value(value);
  }
  const Recipe recipe = resolve_recipe(argv[1], std::atof(argv[2]), std::atoll(argv[3]), options);
  const std::int64_t out = std::atoll(argv[4]), in = std::atoll(argv[5]);
  const std::int64_t tokens = std::atoll(argv[6]);
  const Matrix<float> w = bell_weights(out, in), x = correlated_inputs(tokens, in);
  if (!folder.empty()) {
    write_npy(folder + "/W.npy", w);
    write_npy(folder + "/X.npy", x);
  }
  const Place place = cpu_place(threads);
  constexpr std::int64_t kWindow = 256;
  double statistics_s = 0;
  std::unique_ptr<test::SoloTapWork> work;
  RoundedLinear rounded;
  const double cpu_before = cpu_seconds();
  const double total_s = seconds([&] {
    statistics_s = seconds([&] {
      work = std::make_unique<test::SoloTapWork>(place, x.view(), recipe_needs(recipe).rounding,
                                                 std::max<std::int64_t>(1, tokens / kWindow));
    });
    rounded = std::move(round_unmeasured(place, test::task_of(recipe, {w.view()}), *work).front());
  });
  const double cpu_s = cpu_seconds() - cpu_before;
  LinearDiagnostics& d = rounded.stored.diagnostics;
  const MatrixView<const float> value = rounded.weight.view();
  LinearDiagnostics* const diagnostics[] = {&d};
  const double errors_s = seconds([&] {
    measure_again(place, test::task_of(recipe, {w.view()}), *work, {&value, 1}, diagnostics);
  });
  fmt::print(
      "{{\"recipe\": \"{}\", \"seconds\": {:.4f}, \"cpu_s\": {:.4f}, \"statistics_s\": {:.4f}, "
      "\"factor_s\": {:.4f}, \"errors_s\": {:.4f}, "
      "\"loss\": {}, \"bits\": {:.4f}, \"commit\": \"{}\", \"processor\": \"{}\"}}\n",
      recipe_name(recipe), total_s, cpu_s, statistics_s, d.factor_s, errors_s,
      d.relative_output_error, rounded.stored.bits_per_weight(), commit(), processor());
  return 0;
}

}  // namespace
}  // namespace bitgrid::bench

int main(int argc, char** argv) { return bitgrid::bench::run(argc, argv); }

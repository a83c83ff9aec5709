// One linear by any method, from its inputs: the statistic, the searches, the rounding, and the
// errors' measurement. Prints one JSON line; --write leaves weights and inputs as .npy, for the
// programs in peers/.
#include <fmt/format.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <string>

#include "core/methods/recipe_needs.hpp"
#include "core/methods/resolve_recipe.hpp"
#include "tests/bench/bench_report.hpp"
#include "tests/core/methods/solo_work.hpp"

namespace bitgrid::bench {
namespace {

// Neighbouring channels are correlated, some are large, and runs of them differ in size.
Matrix<float> make_inputs(std::int64_t tokens, std::int64_t in) {
  Matrix<float> x = random_matrix(tokens, in, 1.0f, 1);
  for (std::int64_t t = 0; t < tokens; ++t)
    for (std::int64_t j = 1; j < in; ++j)
      x(t, j) = (0.5f * x(t, j - 1) + x(t, j)) * (j % 61 == 0 ? 2.0f : 1.0f);
  for (std::int64_t t = 0; t < tokens; ++t)
    for (std::int64_t j = 0; j < in; ++j) x(t, j) *= 0.25f + 0.25f * static_cast<float>(j / 96 % 9);
  return x;
}

void write_npy(const std::string& path, const Matrix<float>& m) {
  std::string header = fmt::format(
      "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", m.rows(), m.cols());
  header.resize((header.size() + 11 + 63) / 64 * 64 - 11, ' ');
  header += '\n';
  std::ofstream out(path, std::ios::binary);
  out << "\x93NUMPY\x01" << '\0' << static_cast<char>(header.size() % 256)
      << static_cast<char>(header.size() / 256) << header;
  out.write(reinterpret_cast<const char*>(m.data()),
            static_cast<std::streamsize>(m.size() * static_cast<std::int64_t>(sizeof(float))));
}

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
  const Matrix<float> w = random_matrix(out, in, 0.05f, 2), x = make_inputs(tokens, in);
  if (!folder.empty()) {
    write_npy(folder + "/weights.npy", w);
    write_npy(folder + "/inputs.npy", x);
  }
  const Place place = cpu_place(threads);
  constexpr std::int64_t kWindow = 256;
  double statistics_s = 0, total_s = 0;
  RoundedLinear rounded;
  total_s = seconds([&] {
    std::unique_ptr<test::SoloTapWork> work;
    statistics_s = seconds([&] {
      work = std::make_unique<test::SoloTapWork>(place, x.view(), recipe_needs(recipe).rounding,
                                                 std::max<std::int64_t>(1, tokens / kWindow));
    });
    rounded = test::round_linear(place, recipe, w.view(), *work);
  });
  const LinearDiagnostics& d = rounded.stored.diagnostics;
  fmt::print(
      "{{\"recipe\": \"{}\", \"seconds\": {:.4f}, \"statistics_s\": {:.4f}, \"factor_s\": {:.4f}, "
      "\"loss\": {}, \"bits\": {:.4f}, \"commit\": \"{}\", \"processor\": \"{}\"}}\n",
      recipe_name(recipe), total_s, statistics_s, d.factor_s, d.relative_output_error,
      rounded.stored.bits_per_weight(), commit(), processor());
  return 0;
}

}  // namespace
}  // namespace bitgrid::bench

int main(int argc, char** argv) { return bitgrid::bench::run(argc, argv); }

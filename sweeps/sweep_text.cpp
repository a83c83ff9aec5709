#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <string>

#include "core/methods/recipe_needs.hpp"
#include "kernels/error.hpp"
#include "kernels/sha256.hpp"
#include "sweeps/sweep.hpp"
#include "sweeps/sweep_toml.hpp"

namespace bitgrid {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

constexpr Unit kByteUnits[] = {{"B", 1},        {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30},
                               {"TiB", 0x1p40}, {"kB", 1e3},     {"KB", 1e3},     {"MB", 1e6},
                               {"GB", 1e9},     {"TB", 1e12}};
constexpr Unit kSecondUnits[] = {{"ms", 1e-3}, {"s", 1}, {"min", 60}, {"h", 3600}, {"d", 86400}};

// "NUMBER UNIT"; NaN where it is not.
double parse_quantity(std::string_view text, std::span<const Unit> units) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nan("");
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  for (const auto& unit : units)
    if (unit.name == text) return number * unit.factor;
  return std::nan("");
}

// A TOML float keeps its point: 2 would be read as an integer.
std::string toml_number(double value) {
  std::string text = fmt::format("{}", value);
  return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
}

std::string option_toml(const OptionValue& value) {
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const auto* integer = std::get_if<std::int64_t>(&value)) return fmt::format("{}", *integer);
  if (const auto* real = std::get_if<double>(&value)) return toml_number(*real);
  return toml_quote(std::get<std::string>(value));
}

std::string cell_toml(const Recipe& cell) {
  std::string out = fmt::format("\n[[grid]]\nmethod = {}\n",
                                toml_quote(fmt::format("{}", fmt::join(cell.chain, "+"))));
  if (!cell.quantizes()) return out;
  const bool whole = cell.bits == std::floor(cell.bits);
  out += fmt::format(
      "{} = {}\ngroup = {}\n", cell.has_budget() ? "budget" : "bits",
      whole ? fmt::format("{}", static_cast<int>(cell.bits)) : toml_number(cell.bits), cell.group);
  for (const auto& [key, value] : cell.options)
    if (key != "budget") out += fmt::format("{} = {}\n", key, option_toml(value));
  return out;
}

std::string toml_array(const std::vector<std::string>& texts) {
  std::vector<std::string> quoted;
  for (const std::string& text : texts) quoted.push_back(toml_quote(text));
  return fmt::format("[{}]", fmt::join(quoted, ", "));
}

std::string or_auto(std::int64_t value) {
  return value == 0 ? "\"auto\"" : fmt::format("{}", value);
}

}  // namespace

std::int64_t parse_bytes(const std::string& text) {
  const double bytes = parse_quantity(text, kByteUnits);
  if (!(bytes >= 1 && bytes <= 0x1p60))
    throw InputError(fmt::format("expected a size such as \"20GiB\" or \"512 MiB\", found {}",
                                 quote_for_message(text)));
  return static_cast<std::int64_t>(bytes);
}

double parse_seconds(const std::string& text) {
  const double seconds = parse_quantity(text, kSecondUnits);
  if (!(seconds > 0 && seconds <= 1e9))
    throw InputError(fmt::format("expected a time such as \"10min\" or \"90s\", found {}",
                                 quote_for_message(text)));
  return seconds;
}

std::string sweep_text(const Sweep& sweep) {
  const auto& e = sweep.evaluation;
  const auto& c = sweep.calibration;
  const auto& r = sweep.run;
  std::string out = fmt::format("name = {}\nmodel = {}\noutput = {}\n\n[data]\ndir = {}\n",
                                toml_quote(sweep.name), toml_quote(sweep.model),
                                toml_quote(sweep.output), toml_quote(sweep.data_dir));
  out +=
      fmt::format("\n[calibration]\ndata = {}\nwindows = {}\nlength = {}\nseed = {}\nshards = {}\n",
                  toml_quote(c.data), c.windows, c.length, c.seed, c.shards);
  out += fmt::format(
      "\n[evaluation]\nperplexity = {}\nlength = {}\nbos = {}\ndivergence = {}\ntasks = "
      "{}\nprofile = {}\n"
      "mmlu_shots = {}\nlimit = {}\nwave = {}\n",
      toml_array(e.perplexity), e.length, toml_quote(e.bos), e.divergence, toml_array(e.tasks),
      toml_quote(e.profile), e.mmlu_shots, e.limit, toml_quote(e.wave));
  out += fmt::format(
      "\n[run]\nstages = {}\nreplicas = {}\nthreads = {}\ndevice = {}\nmemory = {}\ndeadline = "
      "\"{}s\"\n"
      "reproducible = {}\nkeep = \"{}\"\n",
      or_auto(r.stages), or_auto(r.replicas), or_auto(r.threads), toml_quote(r.device),
      r.memory_bytes == 0 ? "\"auto\"" : fmt::format("\"{}B\"", r.memory_bytes), r.deadline_s,
      r.reproducible, r.keep_tensors ? "all" : "metrics");
  for (const auto& cell : sweep.cells) out += cell_toml(cell);
  return out;
}

std::string cell_key(const Recipe& recipe, const std::string& calibration_fingerprint,
                     std::int64_t shards, std::int64_t seed) {
  std::string text = fmt::format("bitgrid cell 1\n{}\nseed={}\n", recipe_canonical(recipe), seed);
  if (uses_calibration(recipe))
    text += fmt::format("calibration={}\nshards={}\n", calibration_fingerprint, shards);
  return sha256_hex(text);
}

}  // namespace bitgrid

#include "sweeps/methods_text.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/methods/registry.hpp"
#include "core/text/nearest_word.hpp"
#include "kernels/error.hpp"

namespace bitgrid {
namespace {

std::string bits_of(const Method& method) {
  if (!method.bits_legal.empty()) return fmt::format("{} bits", fmt::join(method.bits_legal, ", "));
  if (method.bits_min == method.bits_max) return fmt::format("{} bits", method.bits_min);
  return fmt::format("{} to {} bits{}", method.bits_min, method.bits_max,
                     method.bits_fractional ? ", fractions too" : "");
}

std::string kind_of(const Method& method) {
  switch (method.kind) {
    case MethodKind::baseline:
      return "baseline: nothing is quantized";
    case MethodKind::transform:
      return fmt::format("transform; alone it rounds to nearest, before another: {}+gptq",
                         method.name);
    case MethodKind::rotation:
      return fmt::format("rotation, before {}", fmt::join(method.rules, ", "));
    case MethodKind::rounding:
      break;
  }
  return bits_of(method) + (method.groups ? "" : ", one scale per linear: group does not apply");
}

std::string legal_values(const OptionSpec& option) {
  if (!option.choices.empty() && std::holds_alternative<std::string>(option.fallback))
    return fmt::format(" ({})", fmt::join(option.choices, ", "));
  return "";
}

std::string method_text(const Method& method) {
  std::string out = fmt::format("{}  {}\n", method.name, method.title);
  if (!method.later.empty())
    return out + fmt::format("    not in this version: {}\n", method.later);
  out += fmt::format("    {}\n", kind_of(method));
  for (const OptionSpec& option : method.options) {
    if (option.key == "budget") continue;  // a key beside bits, see the README
    const std::string fallback = option_text(option.fallback);
    out += fmt::format("    {} = {}\n        {}{}\n", option.key,
                       fallback.empty() ? "\"\"" : fallback, option.help, legal_values(option));
  }
  return out;
}

}  // namespace

std::string methods_text(const std::string& name) {
  std::string out;
  std::vector<std::string> names;
  for (const Method& method : all_methods()) {
    names.emplace_back(method.name);
    if (name.empty() || name == method.name) out += (out.empty() ? "" : "\n") + method_text(method);
  }
  if (!out.empty()) return out;
  const std::string near = nearest_word(name, names);
  throw InputError(fmt::format("unknown method '{}'; known are {}{}", name, fmt::join(names, ", "),
                               near.empty() ? "" : fmt::format("; did you mean '{}'?", near)));
}

}  // namespace bitgrid

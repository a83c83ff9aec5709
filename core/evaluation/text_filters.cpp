#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/evaluation/task_definition.hpp"
#include "core/evaluation/task_template.hpp"
#include "core/text/json_input.hpp"
#include "core/text/nearest_word.hpp"
#include "core/text/python_case.hpp"
#include "core/text/utf8.hpp"
#include "kernels/error.hpp"

namespace bitgrid {
namespace {

std::string strip(std::string_view text) { return std::string(python_strip(text)); }
std::string lstrip(std::string_view text) { return std::string(python_lstrip(text)); }
std::string rstrip(std::string_view text) { return std::string(python_rstrip(text)); }

std::string spaces(std::string_view text) {
  std::string out(text);
  std::replace(out.begin(), out.end(), '_', ' ');
  return out;
}

// Python's str.replace: left to right, matches do not overlap.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  for (std::size_t at = 0;;) {
    const std::size_t found = text.find(from, at);
    out += text.substr(at, found - at);
    if (found == text.npos) return out;
    out += to;
    at = found + from.size();
  }
}

// Deletes what the pattern \[.*?\] matches: from a bracket to the next closing one in the same
// line, where there is one.
std::string without_brackets(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] == '[') {
      const std::size_t end = text.find_first_of("]\n", at);
      if (end != text.npos && text[end] == ']') {
        at = end + 1;
        continue;
      }
    }
    out += text[at++];
  }
  return out;
}

// How the harness cleans HellaSwag's texts, which come from WikiHow pages with marks in brackets.
std::string clean_brackets(std::string_view text) {
  const std::string titled = replace_all(python_strip(text), " [title]", ". ");
  return replace_all(without_brackets(titled), "  ", " ");
}

std::size_t blank_of(std::string_view text) {
  const std::size_t blank = text.find('_');
  if (blank == text.npos)
    throw InputError(fmt::format("{} has no blank \"_\" to fill", shown_text(text)));
  return blank;
}
std::string before_blank(std::string_view text) {
  return std::string(text.substr(0, blank_of(text)));
}
std::string after_blank(std::string_view text) {
  return std::string(text.substr(blank_of(text) + 1));
}

struct NamedFilter {
  std::string_view name;
  TextFilter filter;
};
constexpr std::array kFilters = {
    NamedFilter{"strip", strip},
    NamedFilter{"lstrip", lstrip},
    NamedFilter{"rstrip", rstrip},
    NamedFilter{"spaces", spaces},
    NamedFilter{"capitalize", python_capitalize},
    NamedFilter{"clean_brackets", clean_brackets},
    NamedFilter{"before_blank", before_blank},
    NamedFilter{"after_blank", after_blank},
};

}  // namespace

std::span<const std::string_view> task_filter_names() {
  static constexpr auto kNames = [] {
    std::array<std::string_view, kFilters.size()> names;
    for (std::size_t i = 0; i < names.size(); ++i) names[i] = kFilters[i].name;
    return names;
  }();
  return kNames;
}

TextFilter find_filter(std::string_view name) {
  for (const NamedFilter& known : kFilters) {
    if (known.name == name) return known.filter;
  }
  const std::vector<std::string> names(task_filter_names().begin(), task_filter_names().end());
  const std::string near = name.size() <= 64 ? nearest_word(name, names) : "";
  throw InputError(fmt::format("unknown filter {}{}", shown_text(name),
                               near.empty() ? fmt::format("; known: {}", fmt::join(names, ", "))
                                            : fmt::format("; did you mean '{}'?", near)));
}

std::string apply_filters(std::span<const TextFilter> filters, std::string text) {
  for (const TextFilter filter : filters) text = filter(text);
  return text;
}

}  // namespace bitgrid

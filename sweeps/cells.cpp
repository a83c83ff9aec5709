#include "sweeps/cells.hpp"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "core/methods/registry.hpp"
#include "core/methods/resolve_recipe.hpp"
#include "kernels/error.hpp"
#include "sweeps/sweep.hpp"

namespace bitgrid {
namespace {

// Far more than anybody runs, and the resolved sweep of that many cells is still a file that can be
// read.
constexpr std::size_t kCellsMax = 10000;

// One key of a [[grid]] and what it stands for, one value after the other.
struct Axis {
  std::string key;
  int line = 0;
  std::vector<const TomlValue*> values;
};

// A recipe before it is resolved.
struct Draft {
  std::string chain;
  double bits = 16;
  std::int64_t group = -1;
  std::map<std::string, OptionValue> options;

  Recipe resolve() const { return resolve_recipe(chain, bits, group, options); }
};

// With what no method quantizes activations: a chain may be legal only so.
std::map<std::string, OptionValue> plain_options() {
  return {{"activation_bits", std::int64_t{16}}};
}

// The words that options of this key take, whatever their type, such as "auto".
std::vector<std::string> words_of(const std::string& key) {
  std::vector<std::string> words;
  for (const Method& method : all_methods())
    for (const OptionSpec& spec : method.options)
      if (spec.key == key) words.insert(words.end(), spec.choices.begin(), spec.choices.end());
  std::sort(words.begin(), words.end());
  words.erase(std::unique(words.begin(), words.end()), words.end());
  return words;
}

bool is_number(const std::string& word) {
  return !word.empty() && std::all_of(word.begin(), word.end(),
                                      [](unsigned char c) { return std::isdigit(c) != 0; });
}

class Grid {
 public:
  Grid(const SweepSource& source, const TomlValue& grid) : source_(source), line_(grid.line) {
    const auto* table = grid.get_if<TomlValue::Table>();
    if (table == nullptr) source_.fail_kind("grid", "tables [[grid]]", grid);
    for (const auto& entry : *table) axes_.push_back(make_axis(entry));
    check_methods();
    check_keys();
  }

  // The number of cells, at most kCellsMax + 1.
  std::size_t size() const {
    std::size_t size = 1;
    for (const auto& axis : axes_) {
      if (axis.values.size() > kCellsMax / size) return kCellsMax + 1;
      size *= axis.values.size();
    }
    return size;
  }

  int line() const { return line_; }
  // Of what a model may refuse: the budget, the group; else of the [[grid]].
  int shape_line() const {
    for (const char* key : {"budget", "group"})
      if (const Axis* axis = find(key)) return axis->line;
    return line_;
  }

  void expand(std::vector<Recipe>& out) const {
    const std::size_t count = size();
    std::vector<std::size_t> at(axes_.size(), 0);
    for (std::size_t i = 0; i < count; ++i) {
      out.push_back(resolve(at));
      for (std::size_t a = axes_.size(); a-- > 0;) {
        if (++at[a] < axes_[a].values.size()) break;
        at[a] = 0;
      }
    }
  }

 private:
  Axis make_axis(const TomlEntry& entry) const {
    Axis axis{entry.key, entry.line, {}};
    if (const auto* items = entry.value.get_if<TomlValue::Array>()) {
      if (items->empty())
        source_.fail(entry.line,
                     fmt::format("{}: an empty array: no cell", quote_for_message(entry.key)));
      if (items->size() > kCellsMax) fail_too_many(entry.line);
      for (const auto& item : *items) axis.values.push_back(&item);
    } else {
      axis.values.push_back(&entry.value);
    }
    return axis;
  }

  [[noreturn]] void fail_too_many(int line) const {
    source_.fail(line, fmt::format("more than {} cells", kCellsMax));
  }

  const Axis* find(std::string_view key) const {
    for (const auto& axis : axes_)
      if (axis.key == key) return &axis;
    return nullptr;
  }

  // Resolves each method of the grid on its own: wrong names are found, and its option keys are
  // known from here on.
  void check_methods() {
    const Axis* methods = find("method");
    if (methods == nullptr) source_.fail(line_, "this [[grid]] has no 'method'");
    for (const TomlValue* value : methods->values) {
      const auto* chain = value->get_if<std::string>();
      if (chain == nullptr) source_.fail_kind("method", "a string", *value);
      if (chain->size() > 256)
        source_.fail(value->line, fmt::format("unknown method {}", quote_for_message(*chain)));
      try {
        defaults_.emplace(*chain, resolve_recipe(*chain, legal_bits(*chain), -1, plain_options()));
      } catch (const InputError& e) {
        source_.fail(value->line, e.what());
      }
      const Recipe& recipe = defaults_.at(*chain);
      if (find("bits") != nullptr && find("budget") != nullptr)
        source_.fail(find("budget")->line, "give either bits or a budget of bits, not both");
      if (recipe.quantizes() && find("bits") == nullptr && find("budget") == nullptr)
        source_.fail(line_, fmt::format("this [[grid]] has no 'bits', which {} needs", *chain));
      if (!recipe.quantizes() && find("group") != nullptr)
        source_.fail(find("group")->line,
                     fmt::format("{} quantizes nothing: it takes no 'group'", *chain));
    }
  }

  void check_keys() const {
    for (const auto& axis : axes_) {
      if (axis.key == "method" || axis.key == "bits" || axis.key == "group" ||
          axis.key == "activation_bits")
        continue;
      check_option(axis);
    }
  }

  // An option must belong to every method of its grid: one that is dropped for some cells would be
  // read as if it held.
  void check_option(const Axis& axis) const {
    std::vector<std::string> words = {"method", "bits", "group", "activation_bits"};
    const std::string* takes = nullptr;
    const std::string* refuses = nullptr;
    for (const auto& [chain, recipe] : defaults_) {
      (recipe.options.count(axis.key) != 0 ? takes : refuses) = &chain;
      for (const auto& [key, value] : recipe.options) words.push_back(key);
    }
    if (refuses == nullptr) return;
    const std::string key = quote_for_message(axis.key);
    if (takes != nullptr)
      source_.fail(
          axis.line,
          fmt::format("{0} does not take {1}, which {2} does: give {0} a [[grid]] of its own",
                      *refuses, key, *takes));
    for (const auto& method : all_methods())
      for (const auto& option : method.options)
        if (option.key == axis.key)
          source_.fail(axis.line,
                       fmt::format("{} does not take {}, an option of {}{}", *refuses, key,
                                   method.name, way_to_have(method, option, *refuses)));
    std::sort(words.begin(), words.end());
    words.erase(std::unique(words.begin(), words.end()), words.end());
    source_.fail(axis.line,
                 fmt::format("unknown key {} in [[grid]]{}", key, suggestion(axis.key, words)));
  }

  Recipe resolve(const std::vector<std::size_t>& at) const {
    Draft draft;
    for (std::size_t a = 0; a < axes_.size(); ++a)
      if (axes_[a].key == "method") draft.chain = *axes_[a].values[at[a]]->get_if<std::string>();
    const Recipe& defaults = defaults_.at(draft.chain);
    for (std::size_t a = 0; a < axes_.size(); ++a) {
      const std::string& key = axes_[a].key;
      const TomlValue& value = *axes_[a].values[at[a]];
      if (key == "bits" || key == "budget") {
        draft.bits = number(key, value);
        if (key == "budget") draft.options["budget"] = true;
      } else if (key == "group") {
        const auto* group = value.get_if<std::int64_t>();
        if (group == nullptr) source_.fail_kind(key, "an integer", value);
        draft.group = *group;
      } else if (key == "activation_bits") {
        draft.options[key] = option(key, value, std::int64_t{16});
      } else if (key != "method") {
        draft.options[key] = option(key, value, defaults.options.at(key));
      }
    }
    try {
      return draft.resolve();
    } catch (const InputError&) {
      blame(draft, at);
      throw;
    }
  }

  double number(const std::string& key, const TomlValue& value) const {
    double number = 0;
    if (const auto* integer = value.get_if<std::int64_t>()) {
      number = static_cast<double>(*integer);
    } else if (const auto* real = value.get_if<double>()) {
      number = *real;
    } else {
      source_.fail_kind(key, "a number", value);
    }
    if (!std::isfinite(number)) source_.fail(value.line, key + ": expected a finite number");
    return number;
  }

  // The value in the option's own type.
  OptionValue option(const std::string& key, const TomlValue& value,
                     const OptionValue& like) const {
    if (std::holds_alternative<bool>(like)) {
      if (const auto* flag = value.get_if<bool>()) return *flag;
      source_.fail_kind(key, "true or false", value);
    }
    if (std::holds_alternative<std::int64_t>(like)) {
      if (const auto* integer = value.get_if<std::int64_t>()) return *integer;
      source_.fail_kind(key, "an integer", value);
    }
    const std::vector<std::string> words = words_of(key);
    if (std::holds_alternative<double>(like)) {
      const auto* word = value.get_if<std::string>();
      if (word == nullptr) return number(key, value);
      if (std::find(words.begin(), words.end(), *word) != words.end()) return *word;
      source_.fail_kind(key,
                        words.empty()
                            ? "a number"
                            : fmt::format("a number or \"{}\"", fmt::join(words, "\", \"")),
                        value);
    }
    if (const auto* text = value.get_if<std::string>()) return *text;
    // Words that are numbers may be written as such.
    if (const auto* integer = value.get_if<std::int64_t>();
        integer != nullptr && std::any_of(words.begin(), words.end(), is_number))
      return fmt::format("{}", *integer);
    source_.fail_kind(key, "a string", value);
  }

  // The registry's sentence says what is wrong, not where. Giving it one part more at a time finds
  // the line.
  void blame(const Draft& whole, const std::vector<std::size_t>& at) const {
    Draft draft{whole.chain, legal_bits(whole.chain), -1, plain_options()};
    if (whole.options.contains("budget")) draft.options["budget"] = true;
    const auto attempt = [&](const std::string& key) {
      try {
        draft.resolve();
      } catch (const InputError& e) {
        int line = line_;
        for (std::size_t a = 0; a < axes_.size(); ++a)
          if (axes_[a].key == key || (key == "bits" && axes_[a].key == "budget"))
            line = axes_[a].values[at[a]]->line;
        source_.fail(line, e.what());
      }
    };
    attempt("method");
    draft.bits = whole.bits;
    attempt("bits");
    draft.group = whole.group;
    attempt("group");
    for (const auto& [key, value] : whole.options) {
      draft.options[key] = value;
      attempt(key);
    }
    if (!whole.options.contains("activation_bits")) draft.options.erase("activation_bits");
    attempt("method");
  }

  const SweepSource& source_;
  int line_;
  std::vector<Axis> axes_;
  std::map<std::string, Recipe> defaults_;  // by method as written
};

}  // namespace

std::vector<Recipe> expand_grids(const SweepSource& source, const TomlValue* grids,
                                 std::vector<int>& lines) {
  if (grids == nullptr) source.fail(0, "no [[grid]]: nothing to do");
  const auto* tables = grids->get_if<TomlValue::Array>();
  if (tables == nullptr) source.fail_kind("grid", "tables [[grid]]", *grids);
  if (tables->empty()) source.fail(grids->line, "no [[grid]]: nothing to do");

  struct Seen {
    std::size_t cell;
    int line;
  };
  std::vector<Recipe> cells;
  std::unordered_map<std::string, Seen> seen;
  std::size_t total = 0;
  for (const auto& table : *tables) {
    const Grid grid(source, table);
    total += grid.size();
    if (total > kCellsMax) source.fail(grid.line(), fmt::format("more than {} cells", kCellsMax));
    std::vector<Recipe> more;
    grid.expand(more);
    for (auto& recipe : more) {
      const auto [entry, is_new] =
          seen.try_emplace(recipe_name(recipe), Seen{cells.size(), grid.line()});
      if (is_new) {
        cells.push_back(std::move(recipe));
        lines.push_back(grid.shape_line());
      } else if (!(recipe == cells[entry->second.cell])) {
        source.fail(
            grid.line(),
            fmt::format("the name {} already stands for another cell, of the [[grid]] at {}",
                        entry->first, source.where(entry->second.line)));
      }
    }
  }
  return cells;
}

std::vector<std::int64_t> choose_cells(const std::vector<Recipe>& cells,
                                       const std::string& patterns) {
  std::vector<std::string> names;
  for (const auto& cell : cells) names.push_back(recipe_name(cell));
  std::vector<bool> chosen(cells.size(), patterns.empty());
  for (std::size_t begin = 0; !patterns.empty() && begin <= patterns.size();) {
    const std::size_t end = std::min(patterns.find(',', begin), patterns.size());
    const std::string pattern = patterns.substr(begin, end - begin);
    begin = end + 1;
    bool any = false;
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (fnmatch(pattern.c_str(), names[i].c_str(), 0) != 0) continue;
      chosen[i] = any = true;
    }
    if (!any)
      throw InputError(fmt::format("--cells: {} matches no cell{}", quote_for_message(pattern),
                                   suggestion(pattern, names)));
  }
  std::vector<std::int64_t> out;
  for (std::size_t i = 0; i < cells.size(); ++i)
    if (chosen[i]) out.push_back(static_cast<std::int64_t>(i));
  return out;
}

}  // namespace bitgrid

#include "core/methods/mixed_precision.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <limits>
#include <optional>

#include "kernels/error.hpp"

namespace bitgrid {
namespace {

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::size_t at = 0;
  for (;;) {
    const std::size_t end = text.find(separator, at);
    parts.push_back(text.substr(at, end == std::string::npos ? end : end - at));
    if (end == std::string::npos) return parts;
    at = end + 1;
  }
}

std::optional<std::int64_t> whole_number(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 0) return std::nullopt;
  return number;
}

bool part_matches(const std::string& pattern, const std::string& part) {
  if (pattern == part) return true;
  const std::size_t dash = pattern.find('-');
  if (dash == std::string::npos) return false;
  const auto first = whole_number(std::string_view(pattern).substr(0, dash));
  const auto last = whole_number(std::string_view(pattern).substr(dash + 1));
  const auto number = whole_number(part);
  return first && last && number && *first <= *number && *number <= *last;
}

// Of ascending costs, those candidates that lie on the lower convex hull of error over cost.
std::vector<std::size_t> hull_of(const std::vector<BitsCandidate>& all) {
  std::vector<std::size_t> hull = {0};
  for (;;) {
    const BitsCandidate& from = all[hull.back()];
    std::size_t next = 0;
    double best = 0;
    for (std::size_t i = hull.back() + 1; i < all.size(); ++i) {
      const auto cost = static_cast<double>(all[i].stored_bits - from.stored_bits);
      const double gain = (from.error - all[i].error) / cost;
      if (cost > 0 && gain > best) {
        best = gain;
        next = i;
      }
    }
    if (next == 0) return hull;
    hull.push_back(next);
  }
}

}  // namespace

std::vector<BitsRule> parse_mix(const std::string& text) {
  std::vector<BitsRule> rules;
  if (text.empty()) return rules;
  constexpr std::size_t kLengthMax = 120;  // it is part of the cell's name, which names files
  if (text.size() > kLengthMax)
    throw InputError(fmt::format("option 'mix' must have at most {} characters, not {}", kLengthMax,
                                 text.size()));
  for (const std::string& part : split(text, '+')) {
    const std::size_t at = part.find('=');
    const auto refuse = [&] {
      throw InputError(fmt::format(
          "option 'mix' must be rules such as \"down_proj=4+layers.0-3=8\", not '{}'", part));
    };
    if (at == std::string::npos || at == 0) refuse();
    double bits = 0;
    const char* end = part.data() + part.size();
    const auto [stop, error] = std::from_chars(part.data() + at + 1, end, bits);
    if (error != std::errc() || stop != end) refuse();
    const std::string pattern = part.substr(0, at);
    const auto legal = [](unsigned char c) { return std::isalnum(c) || c == '_' || c == '-'; };
    for (const std::string& word : split(pattern, '.'))
      if (word.empty() || !std::all_of(word.begin(), word.end(), legal)) refuse();
    rules.push_back({pattern, bits});
  }
  return rules;
}

bool rule_matches(const BitsRule& rule, std::int64_t layer, Linear linear) {
  const std::vector<std::string> pattern = split(rule.pattern, '.');
  const std::vector<std::string> name =
      split(layer_prefix(layer) + std::string(linear_name(linear)), '.');
  return std::search(name.begin(), name.end(), pattern.begin(), pattern.end(),
                     [](const std::string& part, const std::string& word) {
                       return part_matches(word, part);
                     }) != name.end();
}

std::vector<std::size_t> choose_candidates(
    const std::vector<std::vector<BitsCandidate>>& candidates, std::int64_t limit) {
  std::vector<std::vector<std::size_t>> hulls;
  std::vector<std::size_t> at(candidates.size(), 0);  // on the hull
  std::int64_t spent = 0;
  for (const auto& all : candidates) {
    hulls.push_back(hull_of(all));
    spent += all.front().stored_bits;
  }
  if (spent > limit)
    throw Error(fmt::format("the budget is {} bits, the fewest that these linears need are {}",
                            limit, spent));
  std::vector<bool> full(candidates.size(), false);  // its next step does not fit any more
  for (;;) {
    double best = 0;
    std::size_t winner = candidates.size();
    for (std::size_t l = 0; l < candidates.size(); ++l) {
      if (full[l] || at[l] + 1 == hulls[l].size()) continue;
      const BitsCandidate& now = candidates[l][hulls[l][at[l]]];
      const BitsCandidate& next = candidates[l][hulls[l][at[l] + 1]];
      const std::int64_t cost = next.stored_bits - now.stored_bits;
      if (spent + cost > limit) {
        full[l] = true;
        continue;
      }
      const double gain = (now.error - next.error) / static_cast<double>(cost);
      if (gain > best) {
        best = gain;
        winner = l;
      }
    }
    if (winner == candidates.size()) break;
    spent += candidates[winner][hulls[winner][at[winner] + 1]].stored_bits -
             candidates[winner][hulls[winner][at[winner]]].stored_bits;
    ++at[winner];
  }
  std::vector<std::size_t> chosen;
  for (std::size_t l = 0; l < candidates.size(); ++l) chosen.push_back(hulls[l][at[l]]);
  return chosen;
}

}  // namespace bitgrid

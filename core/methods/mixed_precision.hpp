#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/methods/recipe.hpp"

namespace bitgrid {

// One rule of an option mix = "down_proj=4+layers.0-3=8": linears that the pattern matches get
// these bits; of several rules that match, the last one counts.
struct BitsRule {
  // Parts of a linear's name, "layers.17.mlp.down_proj", that follow each other; "0-3" stands for a
  // range of layers.
  std::string pattern;
  double bits = 0;
  bool operator==(const BitsRule&) const = default;
};

// Throws InputError naming the rule that cannot be read.
std::vector<BitsRule> parse_mix(const std::string& text);
bool rule_matches(const BitsRule& rule, std::int64_t layer, Linear linear);

// A candidate for one linear: what it costs and what it loses.
struct BitsCandidate {
  double bits = 0;
  std::int64_t stored_bits = 0;  // all arrays that rebuilding needs
  double error = 0;              // of the output, relative
};

// Chooses a candidate for each linear so that Σ stored_bits ≤ limit and Σ error is small: from the
// cheapest ones on, the step that gains most error per bit first, on the lower convex hull of each
// linear's candidates (the optimum of the relaxed problem, rounded down; equal gains go to the
// first linear). candidates [linears][…] by ascending stored_bits. Returns an index for each
// linear. Throws Error if even the cheapest candidates do not fit.
std::vector<std::size_t> choose_candidates(
    const std::vector<std::vector<BitsCandidate>>& candidates, std::int64_t limit);

}  // namespace bitgrid

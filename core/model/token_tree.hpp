#pragma once

#include <cstdint>
#include <vector>

#include "core/model/segments.hpp"

namespace bitgrid {

// Token sequences that share beginnings, as a tree: every path from a root to a node is the
// beginning of a sequence. Rows of all matrices are the tokens, branch after branch.
struct TokenBranch {
  std::int32_t parent = -1;   // −1: a sequence begins here; else an earlier branch
  std::int32_t first = 0;     // row of its first token; branches follow each other without gaps
  std::int32_t tokens = 0;    // at least 1
  std::int32_t position = 0;  // of its first token: where its parent ends
  bool operator==(const TokenBranch&) const = default;
};
struct TokenTree {
  std::vector<std::int32_t> ids;
  // Depth first: a branch stands behind its parent, and everything below a branch stands before
  // the next branch that is not below it.
  std::vector<TokenBranch> branches;

  std::int64_t tokens() const { return static_cast<std::int64_t>(ids.size()); }
  std::int64_t longest() const;  // positions that the longest sequence takes
  // Multiply-adds of attention's two products, per head and head size.
  std::int64_t attended() const;
};

// As layer_forward, for all sequences of a tree at once: x [tokens, hidden]; each token sees its
// own branch up to itself and the branches above. Keys and values of a path are kept side by side,
// so that a shared beginning is projected, rotated and stored once.
struct TreeScratch {
  LayerScratch layer;
  Matrix<float> keys, values;  // of the path that is being walked
};
void tree_forward(const Place&, const LlamaConfig&, const LayerWeights&, const RopeTable&,
                  const TokenTree&, MatrixView<float> x, TreeScratch&);

}  // namespace bitgrid

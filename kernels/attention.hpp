#pragma once

#include <cstdint>

#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// Causal grouped-query attention of one sequence; softmax in fp32 over the whole visible row.
//   y_a = softmax(q_a k_bᵀ / sqrt(head_size) + causal mask) v_b,  b = ⌊a / (heads / kv_heads)⌋
//   q, y [tokens, heads · head_size] fp32    k, v [keys, kv_heads · head_size] fp32, keys >= tokens
// The queries are the last tokens of the sequence: query t sees keys 0 … keys − tokens + t. q and k
// are rotated already. Queries go in blocks of fixed size that skip the keys behind them.
void attention(const Place& place, MatrixView<const float> q, MatrixView<const float> k,
               MatrixView<const float> v, std::int64_t head_size, MatrixView<float> y);

namespace cpu {
void attention(const Place& place, MatrixView<const float> q, MatrixView<const float> k,
               MatrixView<const float> v, std::int64_t head_size, MatrixView<float> y);
}
namespace cuda {
void attention(void* stream, MatrixView<const float> q, MatrixView<const float> k,
               MatrixView<const float> v, std::int64_t head_size, MatrixView<float> y);
}

}  // namespace bitgrid

#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

#include "tests/oracle/test_matrix.hpp"

namespace bitgrid::oracle {

// A Llama forward pass in plain fp64 loops, for models of a few thousand weights.
struct LlamaShape {
  std::size_t heads, kv_heads, head_size;
  double epsilon, theta;
};
struct LlamaLayer {
  Row input_norm, post_attention_norm;
  Rows q, k, v, o, gate, up, down;  // [out, in]
};

inline Rows linear(const Rows& x, const Rows& w) {
  Rows y(x.size(), Row(w.size()));
  for (std::size_t t = 0; t < x.size(); ++t)
    for (std::size_t o = 0; o < w.size(); ++o)
      for (std::size_t i = 0; i < w[o].size(); ++i) y[t][o] += x[t][i] * w[o][i];
  return y;
}

inline Rows rms_norm(const Rows& x, const Row& weight, double epsilon) {
  Rows y = x;
  for (Row& row : y) {
    double squares = 0;
    for (const double v : row) squares += v * v;
    const double root = std::sqrt(squares / static_cast<double>(row.size()) + epsilon);
    for (std::size_t j = 0; j < row.size(); ++j) row[j] = weight[j] * row[j] / root;
  }
  return y;
}

// Row t is position t.
inline Rows rope(const Rows& x, std::size_t head_size, double theta) {
  Rows y = x;
  const std::size_t half = head_size / 2;
  for (std::size_t t = 0; t < x.size(); ++t)
    for (std::size_t h = 0; h < x[t].size(); h += head_size)
      for (std::size_t j = 0; j < half; ++j) {
        const double angle =
            static_cast<double>(t) *
            std::pow(theta, -2.0 * static_cast<double>(j) / static_cast<double>(head_size));
        y[t][h + j] = x[t][h + j] * std::cos(angle) - x[t][h + j + half] * std::sin(angle);
        y[t][h + j + half] = x[t][h + j + half] * std::cos(angle) + x[t][h + j] * std::sin(angle);
      }
  return y;
}

// The queries are the last rows of the sequence that k and v hold.
inline Rows attention(const Rows& q, const Rows& k, const Rows& v, std::size_t heads,
                      std::size_t kv_heads) {
  const std::size_t size = q[0].size() / heads;
  Rows y(q.size(), Row(q[0].size()));
  for (std::size_t t = 0; t < q.size(); ++t)
    for (std::size_t a = 0; a < heads; ++a) {
      const std::size_t b = a / (heads / kv_heads);
      const std::size_t visible = k.size() - q.size() + t + 1;
      Row weights(visible);
      double sum = 0;
      for (std::size_t s = 0; s < visible; ++s) {
        double score = 0;
        for (std::size_t j = 0; j < size; ++j) score += q[t][a * size + j] * k[s][b * size + j];
        weights[s] = std::exp(score / std::sqrt(static_cast<double>(size)));
        sum += weights[s];
      }
      for (std::size_t s = 0; s < visible; ++s)
        for (std::size_t j = 0; j < size; ++j)
          y[t][a * size + j] += weights[s] / sum * v[s][b * size + j];
    }
  return y;
}

inline Rows swiglu(const Rows& gate, const Rows& up) {
  Rows y = gate;
  for (std::size_t t = 0; t < y.size(); ++t)
    for (std::size_t j = 0; j < y[t].size(); ++j)
      y[t][j] = gate[t][j] / (1 + std::exp(-gate[t][j])) * up[t][j];
  return y;
}

inline Rows add(Rows x, const Rows& y) {
  for (std::size_t t = 0; t < x.size(); ++t)
    for (std::size_t j = 0; j < x[t].size(); ++j) x[t][j] += y[t][j];
  return x;
}

inline Rows layer_forward(const Rows& x, const LlamaLayer& layer, const LlamaShape& shape) {
  const Rows a = rms_norm(x, layer.input_norm, shape.epsilon);
  const Rows q = rope(linear(a, layer.q), shape.head_size, shape.theta);
  const Rows k = rope(linear(a, layer.k), shape.head_size, shape.theta);
  const Rows heads = attention(q, k, linear(a, layer.v), shape.heads, shape.kv_heads);
  const Rows middle = add(x, linear(heads, layer.o));
  const Rows b = rms_norm(middle, layer.post_attention_norm, shape.epsilon);
  return add(middle, linear(swiglu(linear(b, layer.gate), linear(b, layer.up)), layer.down));
}

// −log softmax(row)[target]; logits of a few units, so nothing is subtracted first.
inline double token_loss(const Row& logits, std::size_t target) {
  double sum = 0;
  for (const double l : logits) sum += std::exp(l);
  return std::log(sum) - logits[target];
}

}  // namespace bitgrid::oracle

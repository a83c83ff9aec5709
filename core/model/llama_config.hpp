#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace bitgrid {

struct RopeScaling {  // rope_type "llama3"
  double factor = 1;
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  std::int64_t original_max_position_embeddings = 8192;
  bool operator==(const RopeScaling&) const = default;
};

// What config.json says of a Llama model (Llama 3, 3.1, 3.2 and older ones); names as in Hugging
// Face's file.
struct LlamaConfig {
  std::int64_t hidden_size = 4096;
  std::int64_t intermediate_size = 11008;
  std::int64_t layer_count = 32;
  std::int64_t head_count = 32;
  std::int64_t kv_head_count = 32;
  std::int64_t head_size = 128;  // not always hidden_size / head_count
  std::int64_t vocab_size = 32000;
  std::int64_t max_position_embeddings = 2048;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000;
  bool rope_scaled = false;
  RopeScaling rope_scaling;
  bool tie_word_embeddings = false;
  bool operator==(const LlamaConfig&) const = default;

  std::int64_t query_size() const {
    return head_count * head_size;
  }  // rows of q_proj, columns of o_proj
  std::int64_t kv_size() const { return kv_head_count * head_size; }  // rows of k_proj and v_proj
};

// Reads the text of a config.json. Throws InputError naming file and key.
LlamaConfig parse_llama_config(std::string_view json, const std::string& file);

}  // namespace bitgrid

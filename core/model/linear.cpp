#include "core/model/linear.hpp"

#include "kernels/error.hpp"

namespace bitgrid {

std::string_view linear_name(Linear linear) {
  constexpr std::string_view names[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                        "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                        "mlp.down_proj"};
  return names[static_cast<int>(linear)];
}

std::span<const Linear> linears_of(Tap tap) {
  const std::span<const Linear> all(kLinears);
  switch (tap) {
    case Tap::attention_input:
      return all.subspan(0, 3);
    case Tap::attention_output:
      return all.subspan(3, 1);
    case Tap::mlp_input:
      return all.subspan(4, 2);
    case Tap::mlp_hidden:
      return all.subspan(6, 1);
  }
  return {};
}

std::int64_t linear_rows(const LlamaConfig& config, Linear linear) {
  switch (linear) {
    case Linear::q:
      return config.query_size();
    case Linear::k:
    case Linear::v:
      return config.kv_size();
    case Linear::gate:
    case Linear::up:
      return config.intermediate_size;
    case Linear::o:
    case Linear::down:
      return config.hidden_size;
  }
  return 0;
}

std::int64_t linear_cols(const LlamaConfig& config, Linear linear) {
  switch (linear) {
    case Linear::o:
      return config.query_size();
    case Linear::down:
      return config.intermediate_size;
    default:
      return config.hidden_size;
  }
}

std::int64_t tap_size(const LlamaConfig& config, Tap tap) {
  return linear_cols(config, linears_of(tap)[0]);
}

std::string layer_prefix(std::int64_t layer) {
  return "model.layers." + std::to_string(layer) + ".";
}

}  // namespace bitgrid

#include "core/model/llama_config.hpp"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/checkpoint/strict_json.hpp"
#include "core/text/json_input.hpp"
#include "kernels/error.hpp"

namespace bitgrid {
namespace {
using Json = nlohmann::json;

constexpr std::size_t kFileBytesMax = 1 << 20;
constexpr int kDepthMax = 8;
constexpr std::int64_t kSizeMax =
    std::numeric_limits<std::int32_t>::max();  // token ids and BLAS take 32 bits

// An object of the file and the path of keys that leads to it.
class Object {
 public:
  Object(const Json& json, std::string file, std::string path)
      : json_(&json), file_(std::move(file)), path_(std::move(path)) {}

  [[noreturn]] void refuse(std::string_view key, std::string_view problem) const {
    throw InputError(fmt::format("{}: {}{}: {}", file_, path_, key, problem));
  }

  // null means absent.
  const Json* find(const char* key) const {
    const auto it = json_->find(key);
    return it == json_->end() || it->is_null() ? nullptr : &*it;
  }

  std::optional<std::int64_t> size(const char* key) const {
    const Json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_number())
      refuse(key, fmt::format("expected a whole number, found {}", found(*value)));
    const double number = value->get<double>();
    if (number != std::floor(number))
      refuse(key, fmt::format("expected a whole number, found {}", found(*value)));
    if (!(number >= 1 && number <= static_cast<double>(kSizeMax)))
      refuse(key, fmt::format("expected 1 to {}, found {}", kSizeMax, found(*value)));
    return static_cast<std::int64_t>(number);
  }

  std::optional<double> number(const char* key) const {
    const Json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_number()) refuse(key, fmt::format("expected a number, found {}", found(*value)));
    return value->get<double>();
  }

  std::optional<double> positive(const char* key) const {
    const auto value = number(key);
    if (value && !(*value > 0))
      refuse(key, fmt::format("expected a number above 0, found {}", *value));
    return value;
  }

  std::optional<std::string> text(const char* key) const {
    const Json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_string()) refuse(key, fmt::format("expected a string, found {}", found(*value)));
    return value->get<std::string>();
  }

  bool flag(const char* key) const {
    const Json* value = find(key);
    if (value == nullptr) return false;
    if (!value->is_boolean())
      refuse(key, fmt::format("expected true or false, found {}", found(*value)));
    return value->get<bool>();
  }

  std::optional<Object> object(const char* key) const {
    const Json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_object())
      refuse(key, fmt::format("expected an object, found {}", found(*value)));
    return Object(*value, file_, path_ + key + ".");
  }

  bool holds_objects() const {
    for (const Json& value : *json_)
      if (value.is_object()) return true;
    return false;
  }

 private:
  // A value as it may stand in a one-line message.
  static std::string found(const Json& value) {
    if (value.is_structured()) return value.is_object() ? "an object" : "a list";
    return value.is_string() ? quote(value.get<std::string>()) : value.dump();
  }

  const Json* json_;
  std::string file_;
  std::string path_;
};

struct Rope {
  std::optional<double> theta;
  std::optional<RopeScaling> scaling;
};

RopeScaling read_llama3_scaling(const Object& rope) {
  const auto required = [&](const char* key) {
    const auto value = rope.positive(key);
    if (!value) rope.refuse(key, "missing, and rope_type llama3 needs it");
    return *value;
  };
  RopeScaling scaling;
  scaling.factor = required("factor");
  if (scaling.factor < 1)
    rope.refuse("factor", fmt::format("expected at least 1, found {}", scaling.factor));
  scaling.low_freq_factor = required("low_freq_factor");
  scaling.high_freq_factor = required("high_freq_factor");
  if (!(scaling.high_freq_factor > scaling.low_freq_factor))
    rope.refuse("high_freq_factor", fmt::format("expected more than low_freq_factor {}, found {}",
                                                scaling.low_freq_factor, scaling.high_freq_factor));
  const auto positions = rope.size("original_max_position_embeddings");
  if (!positions)
    rope.refuse("original_max_position_embeddings", "missing, and rope_type llama3 needs it");
  scaling.original_max_position_embeddings = *positions;
  return scaling;
}

// The object behind rope_scaling (older files) or rope_parameters (transformers 5), where the type
// may be left out.
Rope read_rope(const Object& rope, bool type_required) {
  if (rope.holds_objects()) rope.refuse("rope_type", "one rope per kind of layer is not supported");
  const auto type = rope.text("rope_type");
  const auto old_type = rope.text("type");
  if (type && old_type && *type != *old_type)
    rope.refuse("rope_type",
                fmt::format("says {} where type says {}", quote(*type), quote(*old_type)));
  if (!type && !old_type && type_required) rope.refuse("rope_type", "missing");
  const std::string name = type ? *type : old_type.value_or("default");
  if (rope.number("partial_rotary_factor").value_or(1) != 1)
    rope.refuse("partial_rotary_factor", "only 1 is supported");
  Rope result;
  result.theta = rope.positive("rope_theta");
  if (name == "llama3") {
    result.scaling = read_llama3_scaling(rope);
  } else if (name != "default") {
    rope.refuse(type ? "rope_type" : "type",
                fmt::format("expected \"default\" or \"llama3\", found {}", quote(name)));
  }
  return result;
}

void read_rope(const Object& root, LlamaConfig& config) {
  Rope rope;
  rope.theta = root.positive("rope_theta");
  const auto old_spelling = root.object("rope_scaling");
  if (old_spelling) rope.scaling = read_rope(*old_spelling, true).scaling;
  if (const auto parameters = root.object("rope_parameters")) {
    const Rope newer = read_rope(*parameters, false);
    if (rope.theta && newer.theta && *rope.theta != *newer.theta)
      root.refuse("rope_parameters",
                  fmt::format("rope_theta is {} there and {} outside", *newer.theta, *rope.theta));
    if (old_spelling && newer.scaling != rope.scaling)
      root.refuse("rope_parameters", "disagrees with rope_scaling");
    if (newer.theta) rope.theta = newer.theta;
    rope.scaling = newer.scaling;
  }
  config.rope_theta = rope.theta.value_or(config.rope_theta);
  config.rope_scaled = rope.scaling.has_value();
  config.rope_scaling = rope.scaling.value_or(RopeScaling{});
}

void read_sizes(const Object& root, LlamaConfig& config) {
  const auto read = [&](const char* key, std::int64_t& size) {
    size = root.size(key).value_or(size);
  };
  read("hidden_size", config.hidden_size);
  read("intermediate_size", config.intermediate_size);
  read("num_hidden_layers", config.layer_count);
  read("num_attention_heads", config.head_count);
  read("vocab_size", config.vocab_size);
  read("max_position_embeddings", config.max_position_embeddings);
  config.kv_head_count = root.size("num_key_value_heads").value_or(config.head_count);
  if (config.head_count % config.kv_head_count != 0)
    root.refuse("num_key_value_heads", fmt::format("{} does not divide num_attention_heads {}",
                                                   config.kv_head_count, config.head_count));
  const auto head_size = root.size("head_dim");
  if (!head_size && config.hidden_size % config.head_count != 0)
    root.refuse("head_dim",
                fmt::format("missing, and num_attention_heads {} does not divide hidden_size {}",
                            config.head_count, config.hidden_size));
  config.head_size = head_size.value_or(config.hidden_size / config.head_count);
  if (config.head_size % 2 != 0)
    root.refuse("head_dim", fmt::format("expected an even number, found {}", config.head_size));
  if (config.query_size() > kSizeMax)
    root.refuse("head_dim", fmt::format("{} heads of {} exceed {} columns", config.head_count,
                                        config.head_size, kSizeMax));
}

// Byte counts of the whole model are computed in 64 bits.
void check_total_size(const Object& root, const LlamaConfig& config) {
  const auto real = [](std::int64_t size) { return static_cast<double>(size); };
  const double layer =
      real(config.hidden_size) * (2 * real(config.query_size()) + 2 * real(config.kv_size()) +
                                  3 * real(config.intermediate_size));
  const double parameters =
      real(config.layer_count) * layer + 2 * real(config.vocab_size) * real(config.hidden_size);
  if (parameters > 0x1p58)
    root.refuse("hidden_size", "the model's sizes multiply to more than 2^58 parameters");
}

// What would need arithmetic that is not there.
void refuse_other_architectures(const Object& root) {
  const auto type = root.text("model_type");
  if (type != "llama")
    root.refuse("model_type", type ? fmt::format("expected \"llama\", found {}", quote(*type))
                                   : "missing; expected \"llama\"");
  const auto activation = root.text("hidden_act");
  if (activation && *activation != "silu")
    root.refuse("hidden_act", fmt::format("expected \"silu\", found {}", quote(*activation)));
  for (const char* bias : {"attention_bias", "mlp_bias"})
    if (root.flag(bias)) root.refuse(bias, "linears with a bias are not supported");
  if (root.find("quantization_config") != nullptr)
    root.refuse("quantization_config",
                "the checkpoint is quantized already; expected plain weights");
}
}  // namespace

LlamaConfig parse_llama_config(std::string_view json, const std::string& file) {
  if (json.size() > kFileBytesMax)
    throw InputError(
        fmt::format("{}: {} bytes, expected at most {}", file, json.size(), kFileBytesMax));
  const Json parsed = parse_json(json, file, kDepthMax);
  if (!parsed.is_object()) throw InputError(file + ": expected a JSON object");
  const Object root(parsed, file, "");
  refuse_other_architectures(root);
  LlamaConfig config;
  read_sizes(root, config);
  config.rms_norm_eps = root.positive("rms_norm_eps").value_or(config.rms_norm_eps);
  read_rope(root, config);
  config.tie_word_embeddings = root.flag("tie_word_embeddings");
  check_total_size(root, config);
  return config;
}

}  // namespace bitgrid

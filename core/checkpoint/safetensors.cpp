#include "core/checkpoint/safetensors.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "core/checkpoint/strict_json.hpp"
#include "kernels/error.hpp"

namespace bitgrid {
namespace {

constexpr std::uint64_t kPrefixBytes = 8;
constexpr std::uint64_t kHeaderBytesMax = 100'000'000;  // of the reference implementation
constexpr std::size_t kTensorsMax = 1'000'000;
constexpr std::size_t kNameBytesMax = 1024;
constexpr std::size_t kRankMax = 8;
constexpr std::string_view kJsonSpaces = " \t\n\r";

constexpr SafetensorsDType kDTypes[] = {
    {"BF16", 16, DType::bf16}, {"F16", 16, DType::f16}, {"F32", 32, DType::f32},
    {"F64", 64, DType::f64},   {"U8", 8, DType::u8},    {"I8", 8, DType::i8},
    {"I32", 32, DType::i32},   {"U32", 32, DType::u32}, {"I64", 64, DType::i64},
    {"BOOL", 8, {}},           {"I16", 16, {}},         {"U16", 16, {}},
    {"U64", 64, {}},           {"C64", 64, {}},         {"F8_E4M3", 8, {}},
    {"F8_E5M2", 8, {}},        {"F8_E8M0", 8, {}},      {"F8_E4M3FNUZ", 8, {}},
    {"F8_E5M2FNUZ", 8, {}},    {"F4", 4, {}},           {"F6_E2M3", 6, {}},
    {"F6_E3M2", 6, {}},
};

[[noreturn]] void refuse(const std::string& file, const std::string& rule) {
  throw InputError(file + ": " + rule);
}
[[noreturn]] void refuse(const std::string& file, std::string_view tensor,
                         const std::string& rule) {
  throw InputError(fmt::format("{}: tensor {}: {}", file, quote(tensor), rule));
}

bool has_control_character(std::string_view name) {
  for (std::size_t i = 0; i < name.size(); ++i) {
    const auto c = static_cast<unsigned char>(name[i]);
    if (c < 0x20 || c == 0x7f) return true;
    // U+0080 … U+009F are C2 80 … C2 9F; the name is valid UTF-8, so a C2 has a successor.
    if (c == 0xc2 && static_cast<unsigned char>(name[i + 1]) < 0xa0) return true;
  }
  return false;
}

// {"NAME": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}, …, "__metadata__": {"key":
// "text", …}}
class HeaderReader final : public JsonEvents {
 public:
  explicit HeaderReader(const std::string& file) : file_(file) {}
  std::vector<SafetensorsTensor> tensors;

  void begin_object() override {
    if (where_ == Where::outside) {
      where_ = Where::header;
    } else if (where_ == Where::header && in_metadata_) {
      where_ = Where::metadata;
    } else if (where_ == Where::header) {
      where_ = Where::tensor;
      fields_ = {};
      offset_count_ = 0;
    } else {
      wrong_value();
    }
  }

  void key(std::string_view name) override {
    switch (where_) {
      case Where::header:
        in_metadata_ = name == "__metadata__";
        if (!in_metadata_) begin_tensor(name);
        return;
      case Where::tensor:
        key_ = name;
        if (name == "dtype")
          fields_.dtype = true;
        else if (name == "shape")
          fields_.shape = true;
        else if (name == "data_offsets")
          fields_.offsets = true;
        else
          refuse(file_, tensor().name,
                 "unknown key " + quote(name) + "; expected dtype, shape, data_offsets");
        return;
      default:  // a key of __metadata__
        return;
    }
  }

  void begin_array() override {
    if (where_ == Where::tensor && key_ == "shape")
      where_ = Where::shape;
    else if (where_ == Where::tensor && key_ == "data_offsets")
      where_ = Where::offsets;
    else
      wrong_value();
  }

  void end() override {
    switch (where_) {
      case Where::offsets:
        if (offset_count_ != 2) wrong_value();
        where_ = Where::tensor;
        return;
      case Where::shape:
        where_ = Where::tensor;
        return;
      case Where::tensor:
        end_tensor();
        where_ = Where::header;
        return;
      case Where::metadata:
        where_ = Where::header;
        return;
      default:
        where_ = Where::outside;
    }
  }

  void scalar(const JsonScalar& value) override {
    const bool is_integer = value.kind == JsonScalar::Kind::unsigned_integer;
    const bool is_text = value.kind == JsonScalar::Kind::text;
    if (where_ == Where::shape && is_integer) {
      if (tensor().shape.size() == kRankMax)
        refuse(file_, tensor().name, fmt::format("more than {} dimensions", kRankMax));
      tensor().shape.push_back(value.integer);
    } else if (where_ == Where::offsets && is_integer && offset_count_ < 2) {
      (offset_count_++ == 0 ? tensor().begin : tensor().end) = value.integer;
    } else if (where_ == Where::tensor && key_ == "dtype" && is_text) {
      set_dtype(value.text);
    } else if (where_ != Where::metadata || !is_text) {
      wrong_value();
    }
  }

 private:
  enum class Where { outside, header, metadata, tensor, shape, offsets };
  struct Fields {
    bool dtype = false, shape = false, offsets = false;
  };

  SafetensorsTensor& tensor() { return tensors.back(); }

  void begin_tensor(std::string_view name) {
    if (tensors.size() == kTensorsMax)
      refuse(file_, fmt::format("more than {} tensors", kTensorsMax));
    if (name.size() > kNameBytesMax)
      refuse(file_, name, fmt::format("the name is longer than {} bytes", kNameBytesMax));
    if (has_control_character(name)) refuse(file_, name, "control character in the name");
    tensors.push_back({.name = std::string(name), .dtype = {}, .shape = {}, .begin = 0, .end = 0});
    key_.clear();
  }

  void set_dtype(std::string_view name) {
    const auto* known = std::find_if(std::begin(kDTypes), std::end(kDTypes),
                                     [&](const SafetensorsDType& t) { return t.name == name; });
    if (known == std::end(kDTypes)) refuse(file_, tensor().name, "unknown dtype " + quote(name));
    tensor().dtype = *known;
  }

  void end_tensor() {
    const std::string_view absent = !fields_.dtype     ? "dtype"
                                    : !fields_.shape   ? "shape"
                                    : !fields_.offsets ? "data_offsets"
                                                       : "";
    if (!absent.empty()) refuse(file_, tensor().name, fmt::format("{} is missing", absent));
  }

  [[noreturn]] void wrong_value() {
    if (where_ == Where::outside) refuse(file_, "the header must be a JSON object");
    if (where_ == Where::metadata || in_metadata_)
      refuse(file_, "__metadata__ must be an object that maps strings to strings");
    if (where_ == Where::header)
      refuse(file_, tensor().name, "must be an object with dtype, shape, data_offsets");
    if (key_ == "dtype") refuse(file_, tensor().name, "dtype must be a string");
    if (key_ == "shape")
      refuse(file_, tensor().name, "shape must be an array of non-negative integers below 2^64");
    refuse(file_, tensor().name, "data_offsets must be two non-negative integers below 2^64");
  }

  const std::string& file_;
  Where where_ = Where::outside;
  std::string key_;  // of the open tensor
  bool in_metadata_ = false;
  Fields fields_;
  int offset_count_ = 0;
};

// The bytes that dtype and shape ask for.
std::uint64_t data_bytes(const SafetensorsTensor& t, const std::string& file) {
  std::uint64_t bits = 1;
  bool overflow = false;
  for (const std::uint64_t n : t.shape) overflow |= __builtin_mul_overflow(bits, n, &bits);
  overflow |= __builtin_mul_overflow(bits, std::uint64_t{t.dtype.bits}, &bits);
  if (overflow) refuse(file, t.name, "the shape has more than 2^64 bits");
  if (bits % 8 != 0) refuse(file, t.name, "the size is not a whole number of bytes");
  return bits / 8;
}

// Sorts by position; every byte of the data must belong to exactly one tensor.
void check_ranges(std::vector<SafetensorsTensor>& tensors, std::uint64_t data_bytes_available,
                  const std::string& file) {
  for (const auto& t : tensors) {
    if (t.begin > t.end)
      refuse(file, t.name,
             fmt::format("data_offsets [{}, {}] end before they begin", t.begin, t.end));
    if (t.end > data_bytes_available)
      refuse(file, t.name,
             fmt::format("data_offsets [{}, {}] go beyond the file, which has {} bytes of data",
                         t.begin, t.end, data_bytes_available));
    if (const auto bytes = data_bytes(t, file); bytes != t.end - t.begin)
      refuse(file, t.name,
             fmt::format("data_offsets [{}, {}] hold {} bytes, dtype {} and shape need {}", t.begin,
                         t.end, t.end - t.begin, t.dtype.name, bytes));
  }
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  std::uint64_t position = 0;
  for (const auto& t : tensors) {
    if (t.begin != position)
      refuse(file, t.name,
             fmt::format("data_offsets [{}, {}] leave a {}: byte {} was expected", t.begin, t.end,
                         t.begin > position ? "hole" : "overlap", position));
    position = t.end;
  }
  if (position != data_bytes_available)
    refuse(file, fmt::format("the tensors end at byte {} of the data, the file has {}", position,
                             data_bytes_available));
}

}  // namespace

std::uint64_t safetensors_header_bytes(std::span<const std::byte> prefix, std::uint64_t file_bytes,
                                       const std::string& file) {
  if (file_bytes < kPrefixBytes || prefix.size() < kPrefixBytes)
    refuse(file, fmt::format("not a safetensors file: {} bytes, fewer than 8", file_bytes));
  std::uint64_t n = 0;
  for (std::size_t i = 0; i < kPrefixBytes; ++i)
    n |= std::to_integer<std::uint64_t>(prefix[i]) << (8 * i);
  if (n > kHeaderBytesMax)
    refuse(file, fmt::format("not a safetensors file: a header of {} bytes, more than {}", n,
                             kHeaderBytesMax));
  if (n > file_bytes - kPrefixBytes)
    refuse(file, fmt::format("truncated: a header of {} bytes in a file of {}", n, file_bytes));
  return n;
}

SafetensorsHeader parse_safetensors_header(std::string_view json, std::uint64_t file_bytes,
                                           const std::string& file) {
  BITGRID_ASSERT(json.size() + kPrefixBytes <= file_bytes);
  SafetensorsHeader header;
  header.data_offset = kPrefixBytes + json.size();
  HeaderReader reader(file);
  read_json(json, file + " (header)", {.depth = 8}, reader);
  header.tensors = std::move(reader.tensors);
  check_ranges(header.tensors, file_bytes - header.data_offset, file);
  if (kJsonSpaces.find(json.front()) != std::string_view::npos)
    header.warnings.push_back(file + ": whitespace before the header");
  return header;
}

SafetensorsHeader parse_safetensors(std::span<const std::byte> whole_file,
                                    const std::string& file) {
  const auto prefix = whole_file.first(std::min<std::size_t>(whole_file.size(), kPrefixBytes));
  const auto n = safetensors_header_bytes(prefix, whole_file.size(), file);
  const std::string_view json(reinterpret_cast<const char*>(whole_file.data()) + kPrefixBytes, n);
  return parse_safetensors_header(json, whole_file.size(), file);
}

}  // namespace bitgrid

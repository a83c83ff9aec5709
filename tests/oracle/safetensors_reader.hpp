#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace bitgrid::oracle {

// Reads tensors of a file that a test ships; trusts it.
class SafetensorsReader {
 public:
  explicit SafetensorsReader(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    if (!in) throw std::runtime_error("cannot open " + path);
    bytes_.assign(std::istreambuf_iterator<char>(in), {});
    std::uint64_t header = 0;
    std::memcpy(&header, bytes_.data(), 8);
    table_ = nlohmann::json::parse(bytes_.begin() + 8,
                                   bytes_.begin() + 8 + static_cast<std::ptrdiff_t>(header));
    begin_ = 8 + header;
  }

  std::vector<std::int64_t> shape(const std::string& name) const {
    return table_.at(name).at("shape");
  }

  // T as stored: float for F32, std::int32_t for I32.
  template <class T>
  std::vector<T> values(const std::string& name) const {
    const auto& entry = table_.at(name);
    if (entry.at("dtype") != (std::is_same_v<T, float> ? "F32" : "I32"))
      throw std::runtime_error("dtype of " + name);
    const std::uint64_t first = entry.at("data_offsets").at(0);
    const std::uint64_t last = entry.at("data_offsets").at(1);
    std::vector<T> values((last - first) / sizeof(T));
    std::memcpy(values.data(), bytes_.data() + begin_ + first, last - first);
    return values;
  }

 private:
  std::vector<char> bytes_;
  nlohmann::json table_;
  std::uint64_t begin_ = 0;
};

}  // namespace bitgrid::oracle

#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/checkpoint/input_file.hpp"
#include "core/checkpoint/safetensors.hpp"
#include "core/model/llama_config.hpp"

namespace bitgrid {

struct StoredTensor {
  SafetensorsTensor tensor;
  std::size_t file = 0;      // index into TensorTable::files
  std::uint64_t offset = 0;  // of the first byte, from the start of the file
};

// All shards of a model directory, their headers read and checked, and what they hold. No byte of
// the data was read.
struct TensorTable {
  std::vector<InputFile> files;  // not mapped yet
  std::map<std::string, StoredTensor> tensors;
  std::vector<std::string> warnings;
};
TensorTable open_weight_files(const std::string& directory);

// Leaves the tensors of a Llama model in the table: exactly the names and shapes that the
// configuration asks for, each in bf16, f16 or f32. Names that say nothing new (rotary frequencies,
// the head of a tied model) are taken out with a warning. Anything else is an InputError.
void keep_llama_tensors(TensorTable& table, const LlamaConfig& config,
                        const std::string& directory);

}  // namespace bitgrid

#include <H5Cpp.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "kernels/error.hpp"
#include "results/file.hpp"
#include "results/hdf5.hpp"
#include "results/hdf5_types.hpp"

namespace bitgrid::results {
namespace {

constexpr std::int64_t kChunkBytes =
    256 * 1024;                                 // checksums fastest, and a flipped bit costs little
constexpr std::int64_t kWholeBytes = 4 * 1024;  // up to here a dataset is one contiguous piece

std::vector<hsize_t> extent(const std::vector<std::int64_t>& shape) {
  return {shape.begin(), shape.end()};
}

// Whole rows of the last axis as far as they fit, then along the axis before it, and so on.
std::vector<hsize_t> chunk_shape(const std::vector<std::int64_t>& shape,
                                 std::int64_t element_bytes) {
  std::vector<hsize_t> chunk(shape.size(), 1);
  std::int64_t room = kChunkBytes / element_bytes;
  for (std::size_t axis = shape.size(); axis-- > 0 && room > 1;) {
    const std::int64_t count = std::min(shape[axis], room);
    chunk[axis] = static_cast<hsize_t>(count);
    room /= count;
    if (count < shape[axis]) break;
  }
  return chunk;
}

H5::DSetCreatPropList creation(const std::vector<std::int64_t>& shape, std::int64_t element_bytes) {
  H5::DSetCreatPropList list;
  if (H5Pset_obj_track_times(list.getId(), false) < 0)  // equal content, equal bytes
    throw H5::PropListIException("H5Pset_obj_track_times", "failed");
  list.setFillTime(H5D_FILL_TIME_NEVER);
  std::int64_t bytes = element_bytes;
  for (const std::int64_t n : shape) bytes *= n;
  if (bytes > kWholeBytes && !shape.empty()) {
    const std::vector<hsize_t> chunk = chunk_shape(shape, element_bytes);
    list.setChunk(static_cast<int>(chunk.size()), chunk.data());
    list.setFletcher32();
  }
  return list;
}

H5::DataSpace space_of(const std::vector<std::int64_t>& shape) {
  if (shape.empty()) return H5::DataSpace();
  const std::vector<hsize_t> size = extent(shape);
  return H5::DataSpace(static_cast<int>(size.size()), size.data());
}

struct AttributeWriter {
  const H5::H5Object& object;
  const std::string& name;

  void write(const H5::DataType& type, const H5::DataSpace& space, const void* values) const {
    H5::Attribute attribute = object.createAttribute(name, type, space);
    if (space.getSimpleExtentNpoints() > 0) attribute.write(type, values);
  }
  void operator()(bool value) const {
    const auto byte = static_cast<signed char>(value);
    write(hdf5_bool(), H5::DataSpace(), &byte);
  }
  void operator()(std::int64_t value) const {
    write(hdf5_type(DType::i64), H5::DataSpace(), &value);
  }
  void operator()(double value) const { write(hdf5_type(DType::f64), H5::DataSpace(), &value); }
  void operator()(const std::string& value) const {
    const char* text = value.c_str();
    write(hdf5_text(), H5::DataSpace(), &text);
  }
  void operator()(const std::vector<std::int64_t>& values) const {
    write(hdf5_type(DType::i64), space_of({static_cast<std::int64_t>(values.size())}),
          values.data());
  }
  void operator()(const std::vector<std::string>& values) const {
    std::vector<const char*> texts;
    for (const std::string& value : values) texts.push_back(value.c_str());
    write(hdf5_text(), space_of({static_cast<std::int64_t>(values.size())}), texts.data());
  }
};

void write_attributes(const H5::H5Object& object,
                      const std::map<std::string, Attribute>& attributes) {
  for (const auto& [name, value] : attributes) std::visit(AttributeWriter{object, name}, value);
}

struct DatasetWriter {
  const H5::Group& group;
  const std::string& name;

  H5::DataSet operator()(const Numbers& numbers) const {
    const H5::DataType type = hdf5_type(numbers.dtype);
    std::int64_t bytes = dtype_bytes(numbers.dtype);
    for (const std::int64_t n : numbers.shape) bytes *= n;
    BITGRID_ASSERT(bytes == static_cast<std::int64_t>(numbers.bytes.size()));
    H5::DataSet dataset = group.createDataSet(name, type, space_of(numbers.shape),
                                              creation(numbers.shape, dtype_bytes(numbers.dtype)));
    if (bytes > 0) dataset.write(numbers.bytes.data(), type);
    return dataset;
  }
  // Texts of one fixed length, padded with zero bytes: they lie in the dataset itself, under its
  // checksum.
  H5::DataSet operator()(const std::vector<std::string>& texts) const {
    std::size_t length = 1;
    for (const std::string& text : texts) length = std::max(length, text.size());
    H5::StrType type(H5::PredType::C_S1, length);
    type.setCset(H5T_CSET_UTF8);
    type.setStrpad(H5T_STR_NULLPAD);
    std::vector<char> padded(length * texts.size(), '\0');
    for (std::size_t i = 0; i < texts.size(); ++i)
      std::memcpy(padded.data() + i * length, texts[i].data(), texts[i].size());
    const std::vector<std::int64_t> shape = {static_cast<std::int64_t>(texts.size())};
    H5::DataSet dataset = group.createDataSet(name, type, space_of(shape),
                                              creation(shape, static_cast<std::int64_t>(length)));
    if (!texts.empty()) dataset.write(padded.data(), type);
    return dataset;
  }
};

void write_node(const H5::Group& group, const Node& node) {
  write_attributes(group, node.attributes);
  for (const auto& [name, dataset] : node.datasets) {
    const H5::DataSet written = std::visit(DatasetWriter{group, name}, dataset.content);
    write_attributes(written, dataset.attributes);
  }
  for (const auto& [name, child] : node.groups) write_node(group.createGroup(name), child);
  for (const auto& [name, file] : node.links)
    if (H5Lcreate_external(file.c_str(), "/", group.getId(), name.c_str(), H5P_DEFAULT,
                           H5P_DEFAULT) < 0)
      throw H5::GroupIException("H5Lcreate_external", "failed for " + name);
}

std::int64_t content_bytes(const Node& node) {
  std::int64_t bytes = 4096;
  for (const auto& [name, dataset] : node.datasets)
    if (const auto* numbers = std::get_if<Numbers>(&dataset.content))
      bytes += static_cast<std::int64_t>(numbers->bytes.size());
  for (const auto& [name, child] : node.groups) bytes += content_bytes(child);
  return bytes;
}

// H5Ocopy does not survive a full disk (HDF5 1.10 crashes in its metadata cache), so the space is
// taken beforehand: the parts, and 4 KiB each for the groups around them.
void reserve_for(const H5::H5File& target, const std::string& file,
                 const std::vector<Part>& parts) {
  std::int64_t bytes = 256 * 1024;
  for (const Part& part : parts)
    bytes += static_cast<std::int64_t>(std::filesystem::file_size(part.file)) + 4096;
  void* handle = nullptr;
  target.getVFDHandle(&handle);
  reserve_space(*static_cast<int*>(handle), bytes, file);
}

H5::FileCreatPropList file_creation() {
  H5::FileCreatPropList list;
  list.setUserblock(kUserBlockBytes);
  if (H5Pset_obj_track_times(list.getId(), false) < 0)
    throw H5::PropListIException("H5Pset_obj_track_times", "failed");
  return list;
}

}  // namespace

std::vector<std::byte> hdf5_image(const Node& root) {
  H5::Exception::dontPrint();
  try {
    H5::FileAccPropList access;
    const auto increment = static_cast<std::size_t>(content_bytes(root) / 64 + (1 << 20));
    access.setCore(increment, false);  // nothing reaches the disk
    H5::H5File file("bitgrid-image", H5F_ACC_TRUNC, file_creation(), access);
    write_node(file.openGroup("/"), root);
    file.flush(H5F_SCOPE_GLOBAL);
    const ssize_t size = H5Fget_file_image(file.getId(), nullptr, 0);
    if (size < 0) throw H5::FileIException("H5Fget_file_image", "failed");
    std::vector<std::byte> image(static_cast<std::size_t>(size));
    if (H5Fget_file_image(file.getId(), image.data(), image.size()) != size)
      throw H5::FileIException("H5Fget_file_image", "failed");
    return image;
  } catch (const H5::Exception& e) {
    throw Error(fmt::format("HDF5: {}: {}", e.getFuncName(), e.getDetailMsg()));
  }
}

void merge_hdf5(const std::string& file, const std::vector<Part>& parts,
                const std::map<std::string, Attribute>& root_attributes) {
  H5::Exception::dontPrint();
  std::string at = "creating it";
  try {
    H5::H5File target(file, H5F_ACC_TRUNC, file_creation(), unlocked_access());
    reserve_for(target, file, parts);
    write_attributes(target.openGroup("/"), root_attributes);
    H5::PropList intermediate(H5P_LINK_CREATE);
    if (H5Pset_create_intermediate_group(intermediate.getId(), 1) < 0)
      throw H5::PropListIException("H5Pset_create_intermediate_group", "failed");
    for (const Part& part : parts) {
      at = "copying " + part.file;
      const H5::H5File source(part.file, H5F_ACC_RDONLY, H5::FileCreatPropList::DEFAULT,
                              unlocked_access());
      if (H5Ocopy(source.getId(), "/", target.getId(), part.group.c_str(), H5P_DEFAULT,
                  intermediate.getId()) < 0)
        throw H5::FileIException("H5Ocopy", "failed");
    }
    at = "closing it";
    target.flush(H5F_SCOPE_GLOBAL);
    target.close();
  } catch (const H5::Exception& e) {
    throw RunError(
        fmt::format("cannot write {}: {}: {}: {}", file, at, e.getFuncName(), e.getDetailMsg()));
  }
}

}  // namespace bitgrid::results

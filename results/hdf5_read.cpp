#include <H5Cpp.h>
#include <fmt/format.h>

#include <cstring>

#include "kernels/error.hpp"
#include "results/hdf5.hpp"
#include "results/hdf5_types.hpp"

namespace bitgrid::results {
namespace {

// The innermost line of HDF5's error stack is the one that says what happened.
std::string innermost_reason(const H5::Exception& e) {
  std::string reason;
  const auto visit = [](unsigned, const H5E_error2_t* line, void* text) -> herr_t {
    if (line->desc != nullptr) *static_cast<std::string*>(text) = line->desc;
    return 0;
  };
  if (H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, visit, &reason) < 0 || reason.empty())
    return fmt::format("{}: {}", e.getFuncName(), e.getDetailMsg());
  return reason;
}

// Runs fn; whatever HDF5 throws becomes an Error about `what`.
template <class Fn>
auto reading(const std::string& what, Fn&& fn) {
  try {
    return fn();
  } catch (const H5::Exception& e) {
    throw Error(fmt::format("{}: {}", what, innermost_reason(e)));
  }
}

std::vector<std::string> read_texts(const H5::Attribute& attribute, std::size_t count) {
  const H5::StrType type = hdf5_text();
  std::vector<char*> raw(count, nullptr);
  if (count > 0) attribute.read(type, raw.data());
  std::vector<std::string> texts;
  for (char* text : raw) {
    texts.emplace_back(text == nullptr ? "" : text);
    if (text != nullptr && H5free_memory(text) < 0) throw Error("H5free_memory failed");
  }
  return texts;
}

Attribute read_attribute(const H5::Attribute& attribute) {
  const H5::DataSpace space = attribute.getSpace();
  const bool scalar = space.getSimpleExtentNdims() == 0;
  const auto count = static_cast<std::size_t>(space.getSimpleExtentNpoints());
  switch (attribute.getTypeClass()) {
    case H5T_ENUM: {
      signed char value = 0;
      if (scalar) attribute.read(hdf5_bool(), &value);
      return value != 0;
    }
    case H5T_FLOAT: {
      if (!scalar) break;
      double value = 0;
      attribute.read(hdf5_type(DType::f64), &value);
      return value;
    }
    case H5T_INTEGER: {
      std::vector<std::int64_t> values(count);
      if (count > 0) attribute.read(hdf5_type(DType::i64), values.data());
      if (scalar) return values.at(0);
      return values;
    }
    case H5T_STRING: {
      std::vector<std::string> texts = read_texts(attribute, count);
      if (scalar) return texts.at(0);
      return texts;
    }
    default:
      break;
  }
  throw Error("its type is none that bitgrid writes");
}

std::map<std::string, Attribute> read_attributes(const H5::H5Object& object,
                                                 const std::string& path) {
  std::map<std::string, Attribute> attributes;
  const int count = reading(path, [&] { return object.getNumAttrs(); });
  for (int i = 0; i < count; ++i) {
    const auto attribute =
        reading(path, [&] { return object.openAttribute(static_cast<unsigned>(i)); });
    const std::string name = reading(path, [&] { return attribute.getName(); });
    const std::string where = fmt::format("{}: attribute {}", path, name);
    attributes[name] = with_context(
        where, [&] { return reading("HDF5", [&] { return read_attribute(attribute); }); });
  }
  return attributes;
}

std::vector<std::int64_t> shape_of(const H5::DataSet& dataset) {
  const H5::DataSpace space = dataset.getSpace();
  std::vector<hsize_t> size(static_cast<std::size_t>(space.getSimpleExtentNdims()));
  if (!size.empty()) space.getSimpleExtentDims(size.data());
  return {size.begin(), size.end()};
}

Dataset read_dataset(const H5::DataSet& dataset, const std::string& path) {
  Dataset result;
  const auto shape = reading(path, [&] { return shape_of(dataset); });
  const auto type = reading(path, [&] { return dataset.getDataType(); });
  std::size_t bytes = reading(path, [&] { return type.getSize(); });
  const std::size_t element_bytes = bytes;
  for (const std::int64_t n : shape) bytes *= static_cast<std::size_t>(n);
  std::vector<std::byte> storage(bytes);
  if (bytes > 0) reading(path, [&] { dataset.read(storage.data(), type); });
  if (type.getClass() == H5T_STRING) {
    std::vector<std::string> texts;
    for (std::size_t at = 0; at < bytes; at += element_bytes) {
      const char* text = reinterpret_cast<const char*>(storage.data() + at);
      texts.emplace_back(text, strnlen(text, element_bytes));
    }
    result.content = std::move(texts);
  } else {
    Numbers numbers;
    numbers.dtype = with_context(path, [&] { return dtype_of(type); });
    numbers.shape = shape;
    numbers.storage = std::move(storage);
    numbers.bytes = numbers.storage;
    result.content = std::move(numbers);
  }
  result.attributes = read_attributes(dataset, path);
  return result;
}

std::string external_file(const H5::Group& group, const std::string& name,
                          const std::string& path) {
  return reading(path, [&] {
    H5L_info_t info;
    if (H5Lget_info(group.getId(), name.c_str(), &info, H5P_DEFAULT) < 0)
      throw H5::GroupIException("H5Lget_info", "failed");
    std::vector<char> value(info.u.val_size);
    const char* file = nullptr;
    const char* object = nullptr;
    if (H5Lget_val(group.getId(), name.c_str(), value.data(), value.size(), H5P_DEFAULT) < 0 ||
        H5Lunpack_elink_val(value.data(), value.size(), nullptr, &file, &object) < 0)
      throw H5::GroupIException("H5Lget_val", "failed");
    return std::string(file);
  });
}

enum class ChildKind { group, dataset, link, other };

ChildKind kind_of(const H5::Group& group, const std::string& name, const std::string& path) {
  return reading(path, [&] {
    H5L_info_t info;
    if (H5Lget_info(group.getId(), name.c_str(), &info, H5P_DEFAULT) < 0)
      throw H5::GroupIException("H5Lget_info", "failed");
    if (info.type == H5L_TYPE_EXTERNAL) return ChildKind::link;
    if (info.type != H5L_TYPE_HARD) return ChildKind::other;
    const H5O_type_t type = group.childObjType(name);
    if (type == H5O_TYPE_GROUP) return ChildKind::group;
    return type == H5O_TYPE_DATASET ? ChildKind::dataset : ChildKind::other;
  });
}

std::vector<std::string> names_in(const H5::Group& group, const std::string& path) {
  return reading(path, [&] {
    std::vector<std::string> names;
    const hsize_t count = group.getNumObjs();
    for (hsize_t i = 0; i < count; ++i) names.push_back(group.getObjnameByIdx(i));
    return names;
  });
}

// faults: null: the first one is thrown; else they are collected, and what was read is dropped.
Node read_node(const H5::Group& group, const std::string& path, std::vector<std::string>* faults) {
  Node node;
  const auto collecting = [&](auto&& fn) {
    if (faults == nullptr) return fn();
    try {
      fn();
    } catch (const Error& e) {
      faults->push_back(e.what());
    }
  };
  collecting([&] { node.attributes = read_attributes(group, path); });
  std::vector<std::string> names;
  collecting([&] { names = names_in(group, path); });
  for (const std::string& name : names) {
    const std::string child = (path == "/" ? "/" : path + "/") + name;
    collecting([&] {
      switch (kind_of(group, name, child)) {
        case ChildKind::group: {
          const auto below = reading(child, [&] { return group.openGroup(name); });
          node.groups[name] = read_node(below, child, faults);
          break;
        }
        case ChildKind::dataset: {
          const auto dataset = reading(child, [&] { return group.openDataSet(name); });
          Dataset content = read_dataset(dataset, child);
          if (faults == nullptr) node.datasets[name] = std::move(content);
          break;
        }
        case ChildKind::link:
          node.links[name] = external_file(group, name, child);
          break;
        case ChildKind::other:
          throw Error(child + ": is neither group nor dataset");
      }
    });
  }
  return node;
}

H5::H5File open_file(const std::string& file) {
  H5::Exception::dontPrint();
  return reading("cannot open", [&] {
    return H5::H5File(file, H5F_ACC_RDONLY, H5::FileCreatPropList::DEFAULT, unlocked_access());
  });
}

}  // namespace

Node read_hdf5(const std::string& file, const std::string& group) {
  return with_context(file, [&] {
    const H5::H5File h5 = open_file(file);
    const auto root = reading(group, [&] { return h5.openGroup(group); });
    return read_node(root, group, nullptr);
  });
}

std::map<std::string, Attribute> read_hdf5_attributes(const std::string& file,
                                                      const std::string& group) {
  return with_context(file, [&] {
    const H5::H5File h5 = open_file(file);
    const auto root = reading(group, [&] { return h5.openGroup(group); });
    return read_attributes(root, group);
  });
}

std::vector<std::string> list_hdf5(const std::string& file, const std::string& group) {
  return with_context(file, [&]() -> std::vector<std::string> {
    const H5::H5File h5 = open_file(file);
    const auto root = reading("/", [&] { return h5.openGroup("/"); });
    if (group != "/" && !reading(group, [&] { return root.nameExists(group); })) return {};
    return names_in(reading(group, [&] { return root.openGroup(group); }), group);
  });
}

std::vector<std::string> unreadable_hdf5(const std::string& file) {
  std::vector<std::string> faults;
  try {
    const H5::H5File h5 = open_file(file);
    read_node(reading("/", [&] { return h5.openGroup("/"); }), "/", &faults);
  } catch (const Error& e) {
    faults.push_back(e.what());
  }
  return faults;
}

}  // namespace bitgrid::results

#include "results/hdf5_types.hpp"

#include <H5Cpp.h>

#include "kernels/error.hpp"

namespace bitgrid::results {
namespace {

// fp16: exponent of 5 bits at 10, mantissa of 10 bits, bias 15. bf16: exponent of 8 bits at 7,
// mantissa of 7, bias 127.
H5::FloatType float16_type(std::size_t exponent_bits, std::size_t mantissa_bits, std::size_t bias) {
  H5::FloatType type(H5::PredType::IEEE_F32LE);
  type.setFields(15, mantissa_bits, exponent_bits, 0, mantissa_bits);  // before the size shrinks
  type.setPrecision(16);
  type.setOffset(0);
  type.setSize(2);
  type.setEbias(bias);
  return type;
}

}  // namespace

H5::DataType hdf5_type(DType dtype) {
  using H5::PredType;
  switch (dtype) {
    case DType::f32:
      return PredType::IEEE_F32LE;
    case DType::f16:
      return float16_type(5, 10, 15);
    case DType::bf16:
      return float16_type(8, 7, 127);
    case DType::f64:
      return PredType::IEEE_F64LE;
    case DType::u8:
      return PredType::STD_U8LE;
    case DType::i8:
      return PredType::STD_I8LE;
    case DType::i32:
      return PredType::STD_I32LE;
    case DType::i64:
      return PredType::STD_I64LE;
    case DType::u32:
      return PredType::STD_U32LE;
  }
  throw Error("no HDF5 type for element type " + std::to_string(static_cast<int>(dtype)));
}

DType dtype_of(const H5::DataType& type) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16, DType::f64, DType::u8, DType::i8,
                            DType::i32, DType::i64, DType::u32})
    if (type == hdf5_type(dtype)) return dtype;
  throw Error("its element type is none that bitgrid writes");
}

H5::EnumType hdf5_bool() {
  H5::EnumType type(H5::PredType::STD_I8LE);
  signed char value = 0;
  type.insert("FALSE", &value);
  value = 1;
  type.insert("TRUE", &value);
  return type;
}

H5::StrType hdf5_text() {
  H5::StrType type(H5::PredType::C_S1, H5T_VARIABLE);
  type.setCset(H5T_CSET_UTF8);
  return type;
}

H5::FileAccPropList unlocked_access() {
  H5::FileAccPropList access;
  if (H5Pset_file_locking(access.getId(), false, true) < 0)
    throw H5::PropListIException("H5Pset_file_locking", "failed");
  return access;
}

}  // namespace bitgrid::results

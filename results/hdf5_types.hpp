#pragma once

#include "kernels/dtype.hpp"

namespace H5 {
class DataType;
class EnumType;
class FileAccPropList;
class StrType;
}  // namespace H5

namespace bitgrid::results {

// The HDF5 types of what we store, as they lie in the file: little-endian, bf16 and fp16 as proper
// float types. They serve as memory types too, so that HDF5 copies bytes and converts nothing.
H5::DataType hdf5_type(DType dtype);
DType dtype_of(const H5::DataType& type);  // Error if it is none of ours
H5::EnumType hdf5_bool();                  // FALSE = 0, TRUE = 1, one byte: what h5py uses
H5::StrType hdf5_text();                   // of variable length, UTF-8

// Without HDF5's own file locks: our files are complete before they get their name and never
// change, and the locks would only fail on file systems that have none.
H5::FileAccPropList unlocked_access();

}  // namespace bitgrid::results

#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "results/node.hpp"

namespace bitgrid::results {

// The only place that calls HDF5. Every failure is an Error that names file, object and reason;
// HDF5 prints nothing.

// The bytes of an HDF5 file that holds `root`, made in memory, to be put behind a user block of
// kUserBlockBytes. Equal nodes give equal bytes. Arrays beyond 4 KiB are cut into chunks of 256
// KiB, each with a Fletcher-32 checksum.
std::vector<std::byte> hdf5_image(const Node& root);

// One group of a file with everything below it. External links are listed, not followed.
Node read_hdf5(const std::string& file, const std::string& group);
// Only the attributes of one group.
std::map<std::string, Attribute> read_hdf5_attributes(const std::string& file,
                                                      const std::string& group);
// The names in a group, sorted; empty if there is no such group.
std::vector<std::string> list_hdf5(const std::string& file, const std::string& group);
// Reads every dataset below the root; one "OBJECT: reason" for each that cannot be read.
std::vector<std::string> unreadable_hdf5(const std::string& file);

// Makes `file` (its user block left empty) out of the root groups of other files. A full disk is
// found beforehand; disk errors that HDF5 keeps to itself only by reading the file back.
struct Part {
  std::string file;   // its root group …
  std::string group;  // … becomes this group, "/cells/NAME.KEY8/layer-0017"
};
void merge_hdf5(const std::string& file, const std::vector<Part>& parts,
                const std::map<std::string, Attribute>& root_attributes);

}  // namespace bitgrid::results

#!/bin/bash
# headers_test.sh ROOT COMPILER   every header compiles on its own, warnings included
set -uo pipefail
cd "$1" || exit 1
compiler=$2

# One line of source, so that the header is not the main file, where #pragma once is a warning.
compile() {
  echo "#include \"$1\"" | "$compiler" -std=c++20 -fsyntax-only -Wall -Wextra -Wpedantic -Werror -I. -DBITGRID_SOURCE_DIR='"."' -DBITGRID_BIN_DIR='"."' -x c++ - 2>&1 && exit 0
  echo "does not compile alone: $1"
  exit 1
}
export compiler
export -f compile
# shellcheck disable=SC2016  # the inner shell expands
find kernels core dist results sweeps tests -name '*.hpp' -print0 | xargs -0 -P "$(nproc)" -n 1 bash -c 'compile "$1"' compile

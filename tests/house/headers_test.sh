#!/bin/bash
# headers_test.sh ROOT COMPILER   every header compiles on its own, warnings included
#
# One that some source includes before anything else has shown it already, when that source was compiled.
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
folders=(kernels core dist results sweeps tests)
shown=$(find "${folders[@]}" -name '*.cpp' -exec awk 'FNR == 1 { found = 0 }
  !found && /^#include/ { found = 1; if ($2 ~ /^"/) print substr($2, 2, length($2) - 2) }' {} + | sort -u)
alone=$(comm -23 <(find "${folders[@]}" -name '*.hpp' | sort) <(echo "$shown"))
[ -n "$alone" ] || { echo "found no headers to compile in $1"; exit 1; }
# shellcheck disable=SC2016  # the inner shell expands
xargs -P "$(nproc)" -n 1 bash -c 'compile "$1"' compile <<< "$alone"

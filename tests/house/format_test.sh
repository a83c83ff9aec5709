#!/bin/bash
# format_test.sh ROOT   every source is as clang-format 14 writes it (other versions differ in details)
set -uo pipefail
cd "$1" || exit 1
command -v clang-format-14 > /dev/null || { echo "skipped: clang-format-14 is not installed"; exit 77; }

faults=$(find kernels core dist results sweeps tests \( -name '*.[hc]pp' -o -name '*.cu' \) -print0 |
  xargs -0 clang-format-14 --dry-run -Werror --ferror-limit=1 2>&1 | grep ': error:')
[ -z "$faults" ] && exit 0
echo "not formatted; clang-format-14 -i FILE mends it:"
cut -d: -f1,2 <<< "$faults" | tr -d ' ' | sort
exit 1

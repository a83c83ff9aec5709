#!/bin/bash
# shell_test.sh ROOT   what shellcheck has to say of the scripts
set -uo pipefail
cd "$1" || exit 1
command -v shellcheck > /dev/null || { echo "skipped: shellcheck is not installed"; exit 77; }
find bootstrap.sh .ci slurm tests \( -name '*.sh' -o -name '*.sbatch' -o -path .ci/run \) -print0 | xargs -0 shellcheck --severity=style

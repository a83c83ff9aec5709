#!/bin/bash
# bootstrap.sh COMMAND   on Debian 12: installs what is missing (as root), builds, runs
#
#   demo             builds and runs the demo sweep: a small model over a grid of methods and bits, then prints its table
#   test  [PRESET]   builds PRESET (cpu) and runs its tests; for cpu also compiles the CUDA backend where nvcc is found
#   build [PRESET]   builds PRESET; the program is build/PRESET/bin/bitgrid
#
# PRESET: cpu, cpu-asan, cuda, fuzz (build only); see CMakePresets.json.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

build_packages=(g++ cmake ninja-build pkg-config openmpi-bin libopenmpi-dev libhdf5-dev libopenblas-pthread-dev
  liblapacke-dev libtbb-dev libfmt-dev libtomlplusplus-dev libcli11-dev nlohmann-json3-dev libpcre2-dev libutf8proc-dev
  libssl-dev zlib1g-dev libgtest-dev libgmock-dev libbenchmark-dev)
# clang-format and shellcheck read the sources, h5py the results; Slurm runs a sweep the way a cluster does; what the presets
# cpu and cuda have in common is compiled once with ccache.
test_packages=(ccache clang-format-14 shellcheck python3 python3-h5py slurm-wlm slurm-client munge libpmix-dev iproute2)
fuzz_packages=(clang libclang-rt-14-dev)

usage() {
  sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
}

# Installs those of the named packages that are missing.
need() {
  local missing=() package
  if ! command -v dpkg-query > /dev/null; then
    echo "bootstrap: not a Debian system; these Debian packages, or what they hold, are needed: $*" >&2
    return
  fi
  for package in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2> /dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ]; then
    echo "bootstrap: these packages are missing; install them as root: apt-get install ${missing[*]}" >&2
    exit 2
  fi
  echo "bootstrap: installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -qq -y --no-install-recommends "${missing[@]}" > /dev/null
}

# Compilers at a time: a core and a gigabyte and a half of free memory for each.
jobs() {
  local cores by_memory
  cores=$(nproc)
  by_memory=$(awk '/^MemAvailable/ {print int($2 / 1572864)}' /proc/meminfo)
  if [ "$by_memory" -lt 1 ]; then by_memory=1; fi
  echo $((cores < by_memory ? cores : by_memory))
}

configure() { # PRESET; its output matters only if it fails
  mkdir -p build
  cmake --preset "$1" > "build/configure-$1.log" 2>&1 || { cat "build/configure-$1.log" >&2; exit 1; }
}

build() { # PRESET [TARGET…]
  local preset=$1
  shift
  configure "$preset"
  cmake --build --preset "$preset" -j "$(jobs)" ${1:+--target "$@"}
}

# The CUDA backend compiles and links wherever nvcc is, GPU or not, and says why it finds no device.
check_cuda() {
  if ! command -v nvcc > /dev/null && [ ! -x /usr/local/cuda/bin/nvcc ]; then
    echo "bootstrap: skipped the CUDA backend: nvcc was not found (PATH, /usr/local/cuda/bin)"
    return
  fi
  build cuda bitgrid bitgrid_cuda cuda_tests
  ctest --preset cuda -L cuda --no-tests=error
}

command=${1:-}
preset=${2:-cpu}
[ $# -le 2 ] || usage
case $command in
  build | test) grep -q "{\"name\": \"$preset\", \"inherits\"" CMakePresets.json || usage ;;
  demo) [ $# = 1 ] || usage ;;
  *) usage ;;
esac

packages=("${build_packages[@]}")
if [ "$preset" = fuzz ]; then packages+=("${fuzz_packages[@]}"); fi
if [ "$command" = test ]; then packages+=("${test_packages[@]}"); fi
need "${packages[@]}"
case $command in
  demo | build) if [ "$preset" = fuzz ]; then build fuzz; else build "$preset" bitgrid; fi ;;
  test) build "$preset" ;;
esac
case $command in
  demo)
    bitgrid=build/cpu/bin/bitgrid
    "$bitgrid" sweep sweeps/demo/demo.toml
    "$bitgrid" table sweeps/demo/runs/demo
    ;;
  test)
    ctest --preset "$preset" -j "$(jobs)" --no-tests=error
    if [ "$preset" = cpu ]; then check_cuda; fi
    ;;
esac

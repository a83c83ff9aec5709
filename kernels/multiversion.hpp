#pragma once

// A function marked BITGRID_MULTIVERSION is compiled for AVX-512, for AVX2 with FMA and for plain
// x86-64; the program picks one when it starts, so the binary does not depend on the machine that
// built it. Plain loops inside it are vectorized. The levels are spelled x86-64-vN: "arch=haswell"
// would mean that one Intel model and leave AMD's with plain code. Sanitizers cannot run before the
// program picks, and clang 14 lacks the spelling: both build one version. With BITGRID_HD (CUDA)
// this is the only place where a header looks at the compiler.
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && \
    !defined(__SANITIZE_ADDRESS__)
#define BITGRID_MULTIVERSION \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define BITGRID_MULTIVERSION
#endif

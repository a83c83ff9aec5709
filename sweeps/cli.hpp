#pragma once

namespace bitgrid {

// The program: parses the command line, runs one command, returns its exit code. Under mpirun or
// srun every rank calls it; only rank 0 prints.
int run_command_line(int argc, char** argv);

}  // namespace bitgrid

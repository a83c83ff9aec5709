#include "sweeps/cli.hpp"

int main(int argc, char** argv) { return bitgrid::run_command_line(argc, argv); }

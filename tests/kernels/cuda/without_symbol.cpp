// A shared library that is none of ours.
extern "C" int bitgrid_test_unrelated() { return 1; }

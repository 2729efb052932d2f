// What a library may need beside it; see MatrixLibraryTest.
extern "C" int lathe_fake_needed() { return 1; }

/* solib.h: what the Makefile put beside the test programs: shared libraries built from tests/fixtures, generated files. */
#ifndef QM_SOLIB_H
#define QM_SOLIB_H
#include <stddef.h>
/* The path of `name` in the build folder, which the test program's own path tells. 0, or -1 where there is none. */
int solib_build(char *path, size_t n, const char *name);
/* The path of <name>.so: beside the test program, in ../fixtures. 0, or -1 where it was not built. */
int solib_path(const char *name, char *path, size_t n);
/* A fresh directory under $QMOE_TEST_TMP or /tmp; the caller removes it with solib_remove. */
int solib_tmp(char *dir, size_t n);
void solib_remove(const char *dir); /* and the files in it, one level of folders deep */
#endif

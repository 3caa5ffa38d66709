#include "solib.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int solib_build(char *path, size_t n, const char *name) {
    char exe[2048];
    ssize_t len = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (len <= 0) return -1;
    exe[len] = 0;
    char *slash = strrchr(exe, '/');
    if (!slash) return -1;
    *slash = 0;
    int k = snprintf(path, n, "%s/../%s", exe, name);
    return k > 0 && (size_t)k < n && access(path, R_OK) == 0 ? 0 : -1;
}

int solib_path(const char *name, char *path, size_t n) {
    char file[256];
    int k = snprintf(file, sizeof file, "fixtures/%s.so", name);
    return k > 0 && (size_t)k < sizeof file ? solib_build(path, n, file) : -1;
}

int solib_tmp(char *dir, size_t n) {
    const char *base = getenv("QMOE_TEST_TMP");
    int k = snprintf(dir, n, "%s/qmoe-test-XXXXXX", base && *base ? base : "/tmp");
    return k > 0 && (size_t)k < n && mkdtemp(dir) ? 0 : -1;
}

static void remove_level(const char *dir, int depth) {
    DIR *d = opendir(dir);
    if (!d) return;
    for (struct dirent *f; (f = readdir(d));) {
        char p[4096];
        if (!strcmp(f->d_name, ".") || !strcmp(f->d_name, "..")) continue;
        snprintf(p, sizeof p, "%s/%s", dir, f->d_name);
        if (unlink(p) && depth) remove_level(p, depth - 1);
    }
    closedir(d);
    rmdir(dir);
}

void solib_remove(const char *dir) { remove_level(dir, 1); }

/* NVRTC: what is asked of it for which machine, its errors, and the disk cache. Runs with no GPU; where
 * the library itself is missing, only its absence can be tested and the rest is skipped, in words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "solib.h"
#include "../../runtime/base/log.h"
#include "../../runtime/device/cache.h"
#include "../../runtime/device/kernels.h"
#include "../../runtime/device/texts.h"
#include "../../runtime/device/nvrtc.h"

static qm_nvrtc *rtc;
static qm_device *dev;
static char tmp[1024];

static void assert_in(const char *text, const char *part) {
    if (!strstr(text, part)) fail_msg("\"%s\" is not in \"%s\"", part, text);
}
#define NEED_NVRTC() \
    if (!rtc) skip()

static int setup(void **state) {
    (void)state;
    qm_err e = {0};
    const char *spec = getenv("QMOE_TEST_DEVICE");
    if (solib_tmp(tmp, sizeof tmp)) return -1;
    setenv("QMOE_CACHE", tmp, 1);
    if (qm_device_open(&dev, spec && *spec ? spec : "sim", NULL, 0, &e)) {
        print_error("%s\n", e.msg);
        return -1;
    }
    if (qm_nvrtc_open(&rtc, &e)) print_message("skipping: %s\n", e.msg);
    return 0;
}
static int teardown(void **state) {
    (void)state;
    qm_nvrtc_close(rtc);
    qm_device_close(dev);
    solib_remove(tmp);
    return 0;
}

static void absence_is_said(void **state) {
    (void)state;
    qm_nvrtc *n = (qm_nvrtc *)&dev;
    qm_err e = {0};
    const char *was = getenv("QMOE_NVRTC");
    char keep[1024];
    snprintf(keep, sizeof keep, "%s", was ? was : "");
    setenv("QMOE_NVRTC", "/nonexistent/libnvrtc.so.13", 1);
    assert_int_equal(qm_nvrtc_open(&n, &e), QM_ERR_UNSUPPORTED);
    assert_null(n);
    assert_in(e.msg, "/nonexistent/libnvrtc.so.13");
    char path[2304]; /* a library, but not NVRTC */
    assert_int_equal(solib_path("old_libcuda", path, sizeof path), 0);
    setenv("QMOE_NVRTC", path, 1);
    assert_int_equal(qm_nvrtc_open(&n, &e), QM_ERR_UNSUPPORTED);
    assert_in(e.msg, "lacks nvrtc");
    setenv("QMOE_NVRTC", keep, 1);
}

/* A library that others may write, or that is another's, or below a folder of which that is true, is not even opened. */
static void untrusted_libraries_are_not_loaded(void **state) {
    (void)state;
    char from[2304], dir[1100], path[1200];
    const char *was = getenv("QMOE_NVRTC");
    char keep[1024];
    snprintf(keep, sizeof keep, "%s", was ? was : "");
    assert_int_equal(solib_path("old_libcuda", from, sizeof from), 0);
    snprintf(dir, sizeof dir, "%s/lib", tmp);
    assert_int_equal(mkdir(dir, 0755), 0);
    snprintf(path, sizeof path, "%s/libnvrtc.so.13", dir);
    FILE *in = fopen(from, "rb"), *out = fopen(path, "wb");
    assert_true(in && out);
    for (int c; (c = getc(in)) != EOF;) putc(c, out);
    fclose(in);
    fclose(out);
    setenv("QMOE_NVRTC", path, 1);
    static const struct {
        mode_t file, folder;
        int other;
        const char *says;
    } cases[] = {{0757, 0755, 0, "others may write it"},
                 {0775, 0755, 0, "others may write it"},
                 {0755, 0777, 0, "a folder on its way"},
                 {0755, 0775, 0, "a folder on its way"},
                 {0755, 0755, 1, "it belongs to another user"},
                 {0755, 0755, 2, "a folder on its way"},
                 {0755, 0755, 0, "lacks nvrtc"},
                 {0755, 01777, 0, "lacks nvrtc"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qm_nvrtc *n;
        qm_err e = {0};
        if (cases[i].other && geteuid()) continue; /* only root can give files away */
        assert_int_equal(chmod(path, cases[i].file) | chmod(dir, cases[i].folder), 0);
        if (cases[i].other) assert_int_equal(chown(cases[i].other == 1 ? path : dir, 65534, 65534), 0);
        assert_int_equal(qm_nvrtc_open(&n, &e), QM_ERR_UNSUPPORTED);
        assert_in(e.msg, cases[i].says);
        if (cases[i].other) assert_int_equal(chown(cases[i].other == 1 ? path : dir, 0, 0), 0);
    }
    if (was) setenv("QMOE_NVRTC", keep, 1);
    else unsetenv("QMOE_NVRTC");
}

static void architecture(void **state) {
    (void)state;
    NEED_NVRTC();
    int major, minor;
    qm_err e = {0};
    char arch[32];
    qm_nvrtc_version(rtc, &major, &minor);
    int same = major * 1000 + minor * 10, older = same - 1000;
    const struct {
        int cc_major, cc_minor, driver, rc;
        const char *arch;
    } cases[] = {
        {8, 0, same, 0, "compute_80"},
        {8, 9, same, 0, "compute_89"},
        {8, 9, same + 1000, 0, "compute_89"},
        {8, 9, older, 0, "sm_89"}, /* an older driver cannot read this NVRTC's PTX */
        {9, 0, older, 0, "sm_90"},
        {12, 1, same, 0, "compute_121"},
        {99, 0, older, QM_ERR_UNSUPPORTED, NULL}, /* no cubin for a chip that NVRTC does not know */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        qm_device d = {.cc_major = cases[i].cc_major,
                       .cc_minor = cases[i].cc_minor,
                       .driver_version = cases[i].driver,
                       .name = "made up"};
        assert_int_equal(qm_nvrtc_arch(rtc, &d, arch, &e), cases[i].rc);
        if (cases[i].arch) assert_string_equal(arch, cases[i].arch);
        else assert_in(e.msg, "made up");
    }
    /* PTX of the newest architecture NVRTC knows serves a newer chip */
    qm_device d = {.cc_major = 99, .driver_version = same};
    assert_int_equal(qm_nvrtc_arch(rtc, &d, arch, &e), 0);
    assert_int_equal(strncmp(arch, "compute_", 8), 0);
}

static const char good[] = "extern \"C\" __global__ void f(int *p) { p[threadIdx.x] = N; }";

static void compiling(void **state) {
    (void)state;
    NEED_NVRTC();
    void *image;
    size_t bytes;
    qm_err e = {0};
    const char *opt[] = {"-DN=12345"};
    assert_int_equal(qm_nvrtc_compile(rtc, "good.cu", good, "compute_80", opt, 1, &image, &bytes, &e), 0);
    assert_in(image, ".target sm_80");
    assert_in(image, "12345");
    free(image);
    assert_int_equal(qm_nvrtc_compile(rtc, "good.cu", good, "sm_89", opt, 1, &image, &bytes, &e), 0);
    assert_true(bytes > 64 && !memcmp(image, "\177ELF", 4));
    free(image);
    assert_int_equal(qm_nvrtc_compile(rtc, "good.cu", good, "compute_80", NULL, 0, &image, &bytes, &e), QM_ERR_DEVICE);
    assert_null(image);
    assert_in(e.msg, "good.cu(1)");
    assert_in(e.msg, "\"N\" is undefined");
    assert_int_equal(qm_nvrtc_compile(rtc, "good.cu", good, "compute_7", opt, 1, &image, &bytes, &e), QM_ERR_DEVICE);
}

static void header_is_there(void **state) {
    (void)state;
    NEED_NVRTC();
    if (!qm_header_text("abi.h")) fail_msg("the build has not embedded contracts/abi.h");
    void *image;
    size_t bytes;
    qm_err e = {0};
    const char *src =
        "#include \"abi.h\"\nstatic_assert(QM_TILE_ROWS == 32, \"\");\nextern \"C\" __global__ void f() {}";
    if (qm_nvrtc_compile(rtc, "abi.cu", src, "compute_80", NULL, 0, &image, &bytes, &e)) fail_msg("%s", e.msg);
    free(image);
}

/* The one file in the cache folder, or how many there are. */
static int cache_files(char *path, size_t n) {
    int count = 0;
    DIR *d = opendir(getenv("QMOE_CACHE"));
    if (!d) return 0;
    for (struct dirent *f; (f = readdir(d));)
        if (f->d_name[0] != '.') {
            snprintf(path, n, "%s/%s", getenv("QMOE_CACHE"), f->d_name);
            count++;
        }
    closedir(d);
    return count;
}

static int load(const char *const *opt, int n_opt) {
    CUmodule m;
    CUfunction f;
    qm_err e = {0};
    int from_cache = -1;
    if (qm_nvrtc_module(rtc, dev, "repack", opt, n_opt, &m, &from_cache, &e)) fail_msg("%s", e.msg);
    assert_int_equal(dev->cu.ModuleGetFunction(&f, m, "qm_repack_wide"), CUDA_SUCCESS);
    assert_int_equal(dev->cu.ModuleUnload(m), CUDA_SUCCESS);
    return from_cache;
}

static void cache_is_used_and_mended(void **state) {
    (void)state;
    NEED_NVRTC();
    char path[2048], dir[1100];
    snprintf(dir, sizeof dir, "%s/a", tmp); /* made on first use */
    setenv("QMOE_CACHE", dir, 1);
    assert_int_equal(load(NULL, 0), 0);
    assert_int_equal(cache_files(path, sizeof path), 1); /* and no temporary file left */
    assert_int_equal(load(NULL, 0), 1);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    /* damage of every kind is found, and mended by compiling again */
    for (int kind = 0; kind < 5; kind++) {
        int fd = open(path, O_RDWR);
        assert_true(fd >= 0);
        off_t at = kind == 0 ? 0 : kind == 1 ? 12 : kind == 2 ? st.st_size / 2 : st.st_size - 1;
        char c;
        if (kind < 4) {
            assert_int_equal(pread(fd, &c, 1, at), 1);
            c = (char)(c ^ 0x20);
            assert_int_equal(pwrite(fd, &c, 1, at), 1);
        } else {
            assert_int_equal(ftruncate(fd, st.st_size - 7), 0);
        }
        close(fd);
        assert_int_equal(load(NULL, 0), 0);
        assert_int_equal(load(NULL, 0), 1);
    }
    const char *opt[] = {"-DSOMETHING=1"};
    assert_int_equal(load(opt, 1), 0); /* another key */
    assert_int_equal(cache_files(path, sizeof path), 2);
    assert_int_equal(load(NULL, 0), 1);
    setenv("QMOE_CACHE", tmp, 1);
}

static void unwritable_cache_is_no_error(void **state) {
    (void)state;
    NEED_NVRTC();
    char dir[1100];
    snprintf(dir, sizeof dir, "%s/file", tmp);
    int fd = open(dir, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    strcat(dir, "/below"); /* no folder can be made under a file, not even by root */
    setenv("QMOE_CACHE", dir, 1);
    assert_int_equal(load(NULL, 0), 0);
    assert_int_equal(load(NULL, 0), 0);
    setenv("QMOE_CACHE", tmp, 1);
}

static void cache_folder(void **state) {
    (void)state;
    char dir[256], home[256];
    const char *h = getenv("HOME"), *x = getenv("XDG_CACHE_HOME");
    char keep_x[256];
    snprintf(home, sizeof home, "%s", h ? h : "");
    snprintf(keep_x, sizeof keep_x, "%s", x ? x : "");
    assert_int_equal(qm_cache_dir(dir, sizeof dir), 0);
    assert_string_equal(dir, tmp);
    unsetenv("QMOE_CACHE");
    setenv("XDG_CACHE_HOME", "/x/cache", 1);
    assert_int_equal(qm_cache_dir(dir, sizeof dir), 0);
    assert_string_equal(dir, "/x/cache/qmoe-gpu");
    setenv("XDG_CACHE_HOME", "", 1); /* empty counts as unset */
    setenv("HOME", "/home/x", 1);
    assert_int_equal(qm_cache_dir(dir, sizeof dir), 0);
    assert_string_equal(dir, "/home/x/.cache/qmoe-gpu");
    assert_int_equal(qm_cache_dir(dir, 10), -1);
    unsetenv("HOME");
    assert_int_equal(qm_cache_dir(dir, sizeof dir), -1);
    qm_cache_key key = qm_cache_key_begin();
    size_t n;
    qm_cache_put(&key, "x", 1); /* nowhere: silently nothing */
    assert_null(qm_cache_get(&key, &n));
    if (h) setenv("HOME", home, 1);
    if (x) setenv("XDG_CACHE_HOME", keep_x, 1);
    else unsetenv("XDG_CACHE_HOME");
    setenv("QMOE_CACHE", tmp, 1);
}

static char warned[2048];
static void keep_warning(void *user, int level, const char *line) {
    (void)user;
    if (level == QM_LOG_WARN) snprintf(warned, sizeof warned, "%s", line);
}

/* What is not an absolute path is no folder of ours, and is said once. */
static void relative_cache_is_ignored(void **state) {
    (void)state;
    char dir[256], keep_home[256], keep_x[256];
    const char *h = getenv("HOME"), *x = getenv("XDG_CACHE_HOME");
    snprintf(keep_home, sizeof keep_home, "%s", h ? h : "");
    snprintf(keep_x, sizeof keep_x, "%s", x ? x : "");
    qm_log_set(keep_warning, NULL);
    unsetenv("QMOE_CACHE");
    setenv("XDG_CACHE_HOME", "x/cache", 1);
    setenv("HOME", "/home/x", 1);
    warned[0] = 0;
    assert_int_equal(qm_cache_dir(dir, sizeof dir), 0);
    assert_string_equal(dir, "/home/x/.cache/qmoe-gpu");
    assert_string_equal(warned, "XDG_CACHE_HOME is not an absolute path: ignored");
    warned[0] = 0;
    assert_int_equal(qm_cache_dir(dir, sizeof dir), 0);
    assert_string_equal(warned, "");
    setenv("HOME", "home", 1);
    assert_int_equal(qm_cache_dir(dir, sizeof dir), -1);
    qm_log_set(NULL, NULL);
    if (h) setenv("HOME", keep_home, 1);
    else unsetenv("HOME");
    if (x) setenv("XDG_CACHE_HOME", keep_x, 1);
    else unsetenv("XDG_CACHE_HOME");
    setenv("QMOE_CACHE", tmp, 1);
}

/* Entries and folders that others may write, or have written, are neither read nor filled. */
static void cache_of_others_is_not_used(void **state) {
    (void)state;
    char dir[1100], path[2048];
    qm_cache_key key = qm_cache_key_begin();
    size_t n;
    struct stat st;
    snprintf(dir, sizeof dir, "%s/others", tmp);
    setenv("QMOE_CACHE", dir, 1);
    qm_log_set(keep_warning, NULL);
    warned[0] = 0;
    qm_cache_key_add_str(&key, "entry");
    qm_cache_put(&key, "code", 4);
    void *p = qm_cache_get(&key, &n);
    assert_true(p && n == 4 && !memcmp(p, "code", 4));
    free(p);
    assert_int_equal(cache_files(path, sizeof path), 1);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_string_equal(warned, "");
    for (int folder = 0; folder < 2; folder++)
        for (int kind = 0; kind < 3; kind++) {
            const char *what = folder ? dir : path;
            if (kind == 2 && geteuid()) continue;
            if (kind == 2) assert_int_equal(chown(what, 65534, 65534), 0);
            else assert_int_equal(chmod(what, kind ? (folder ? 0720 : 0620) : (folder ? 01777 : 0602)), 0);
            p = qm_cache_get(&key, &n);
            assert_null(p);
            if (folder) {
                qm_cache_key other = key;
                qm_cache_key_add_str(&other, "more");
                qm_cache_put(&other, "x", 1);
                assert_int_equal(cache_files(path, sizeof path), 1);
            }
            if (kind == 2) assert_int_equal(chown(what, 0, 0), 0);
            assert_int_equal(chmod(what, folder ? 0700 : 0600), 0);
            p = qm_cache_get(&key, &n);
            assert_non_null(p);
            free(p);
        }
    assert_in(warned, "is not used: others may write it");
    /* a link or a FIFO in an entry's place is a miss, at once */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_null(qm_cache_get(&key, &n));
    qm_log_set(NULL, NULL);
    setenv("QMOE_CACHE", tmp, 1);
}

static void hash_separates(void **state) {
    (void)state;
    qm_cache_key a = qm_cache_key_begin(), b = qm_cache_key_begin();
    qm_cache_key_add_str(&a, "ab"), qm_cache_key_add_str(&a, "c");
    qm_cache_key_add_str(&b, "a"), qm_cache_key_add_str(&b, "bc");
    assert_true(a.a != b.a && a.b != b.b);
    qm_cache_key c = qm_cache_key_begin();
    qm_cache_key_add(&c, "a", 1);
    assert_true(c.a == 0xaf63dc4c8601ec8cu); /* FNV-1a 64 of "a", as published */
}

int main(void) {
    const struct CMUnitTest t[] = {
        cmocka_unit_test(absence_is_said),
        cmocka_unit_test(untrusted_libraries_are_not_loaded),
        cmocka_unit_test(relative_cache_is_ignored),
        cmocka_unit_test(cache_of_others_is_not_used),
        cmocka_unit_test(architecture),
        cmocka_unit_test(compiling),
        cmocka_unit_test(header_is_there),
        cmocka_unit_test(cache_is_used_and_mended),
        cmocka_unit_test(unwritable_cache_is_no_error),
        cmocka_unit_test(cache_folder),
        cmocka_unit_test(hash_separates),
    };
    return cmocka_run_group_tests(t, setup, teardown);
}

/* npy.c: see npy.h. */
#include "npy.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "input.h"
#include "outfile.h"
#include "quant.h"

static const char MAGIC[6] = "\x93NUMPY";
enum { PREFIX = 10, ALIGN = 64, MAX_HEADER = 1 << 16 };

int qm_npy_write(const char *path, const float *x, uint64_t n, qm_err *e) {
    char head[2 * ALIGN];
    int len = snprintf(head + PREFIX, sizeof head - PREFIX,
                       "{'descr': '<f4', 'fortran_order': False, 'shape': (%" PRIu64 ",), }", n);
    size_t total = (PREFIX + (size_t)len + 1 + ALIGN - 1) / ALIGN * ALIGN;
    memcpy(head, MAGIC, sizeof MAGIC);
    head[6] = 1;
    head[7] = 0;
    head[8] = (char)((total - PREFIX) & 0xff);
    head[9] = (char)((total - PREFIX) >> 8);
    memset(head + PREFIX + len, ' ', total - PREFIX - (size_t)len - 1);
    head[total - 1] = '\n';
    qm_outfile *f;
    int rc = qm_outfile_open(&f, path, 0, e);
    if (rc) return rc;
    rc = qm_outfile_put(f, head, total, e);
    if (!rc) rc = qm_outfile_put(f, x, 4 * n, e);
    if (!rc) rc = qm_outfile_finish(f, e);
    qm_outfile_close(f);
    return rc;
}

/* The text after 'key': in the header, or NULL. */
static const char *value_of(const char *head, const char *key) {
    char quoted[32];
    for (const char *q = "'\""; *q; q++) {
        snprintf(quoted, sizeof quoted, "%c%s%c", *q, key, *q);
        const char *at = strstr(head, quoted);
        if (!at) continue;
        at += strlen(quoted);
        while (*at == ' ') at++;
        if (*at++ != ':') continue;
        while (*at == ' ') at++;
        return at;
    }
    return NULL;
}

static int parse_shape(const char *s, qm_npy *a) {
    a->n = 1;
    if (*s++ != '(') return -1;
    for (;;) {
        while (*s == ' ' || *s == ',') s++;
        if (*s == ')') return 0;
        if (*s < '0' || *s > '9' || a->n_dims == QM_NPY_MAX_DIMS) return -1;
        char *end;
        errno = 0;
        uint64_t v = strtoull(s, &end, 10);
        if (*end == 'L') end++; /* as Python 2 wrote it */
        if (errno || (v && a->n > UINT64_MAX / 8 / v)) return -1;
        a->shape[a->n_dims++] = v;
        a->n *= v;
        s = end;
    }
}

/* Element size, or 0: not a type that is read. */
static unsigned size_of(const char *descr) {
    if (descr[0] != '\'' && descr[0] != '"') return 0;
    if (descr[1] != '<' || descr[2] != 'f' || descr[4] != descr[0]) return 0;
    return descr[3] == '2' || descr[3] == '4' || descr[3] == '8' ? (unsigned)(descr[3] - '0') : 0;
}

static void convert(float *to, const unsigned char *from, uint64_t n, unsigned size) {
    for (uint64_t i = 0; i < n; i++) {
        uint16_t h;
        double d;
        if (size == 2) {
            memcpy(&h, from + 2 * i, 2);
            to[i] = qm_f16_to_f32(h);
        } else if (size == 4) {
            memcpy(to + i, from + 4 * i, 4);
        } else {
            memcpy(&d, from + 8 * i, 8);
            to[i] = (float)d;
        }
    }
}

static int read_all(const char *path, FILE *f, qm_npy *a, char *head, unsigned char **raw, qm_err *e) {
    unsigned char fix[12];
    size_t n_fix = PREFIX, len;
    if (fread(fix, 1, PREFIX, f) != PREFIX || memcmp(fix, MAGIC, sizeof MAGIC))
        return qm_fail(e, QM_ERR_FORMAT, "%s: not a .npy file", path);
    if (fix[6] < 1 || fix[6] > 3) return qm_fail(e, QM_ERR_UNSUPPORTED, "%s: .npy version %u.%u", path, fix[6], fix[7]);
    len = fix[8] | (size_t)fix[9] << 8;
    if (fix[6] > 1) { /* 32 bits of header length */
        if (fread(fix + n_fix, 1, 2, f) != 2) return qm_fail(e, QM_ERR_FORMAT, "%s: cut off in its header", path);
        len |= (size_t)fix[10] << 16 | (size_t)fix[11] << 24;
    }
    if (len >= MAX_HEADER) return qm_fail(e, QM_ERR_FORMAT, "%s: a header of %zu bytes", path, len);
    if (fread(head, 1, len, f) != len) return qm_fail(e, QM_ERR_FORMAT, "%s: cut off in its header", path);
    head[len] = 0;
    const char *descr = value_of(head, "descr"), *order = value_of(head, "fortran_order"),
               *shape = value_of(head, "shape");
    if (!descr || !order || !shape || parse_shape(shape, a))
        return qm_fail(e, QM_ERR_FORMAT, "%s: its header lacks descr, fortran_order or a shape of up to %d dimensions",
                       path, QM_NPY_MAX_DIMS);
    unsigned size = size_of(descr);
    if (!size)
        return qm_fail(e, QM_ERR_UNSUPPORTED, "%s: elements are %.*s; expected '<f4', '<f8' or '<f2'", path,
                       (int)strcspn(descr, ",}"), descr);
    uint32_t wide = 0;
    for (uint32_t i = 0; i < a->n_dims; i++) wide += a->shape[i] > 1;
    if (strncmp(order, "False", 5) && wide > 1)
        return qm_fail(e, QM_ERR_UNSUPPORTED, "%s: in Fortran order; expected C order (numpy.ascontiguousarray)", path);
    /* what the file holds, before anything of its claimed size is allocated */
    long at = ftell(f);
    if (at < 0 || fseek(f, 0, SEEK_END)) return qm_fail(e, QM_ERR_IO, "%s: %s", path, strerror(errno));
    uint64_t have = (uint64_t)ftell(f) - (uint64_t)at;
    if (have < a->n * size)
        return qm_fail(e, QM_ERR_FORMAT, "%s: cut off: %" PRIu64 " elements of %" PRIu64, path, have / size, a->n);
    a->v = malloc(4 * a->n + 1);
    *raw = malloc(a->n * size + 1);
    if (!a->v || !*raw) return qm_fail(e, QM_ERR_NOMEM, "%s: out of memory", path);
    if (fseek(f, at, SEEK_SET) || fread(*raw, size, a->n, f) != a->n)
        return qm_fail(e, QM_ERR_IO, "%s: cannot be read", path);
    convert(a->v, *raw, a->n, size);
    return 0;
}

int qm_npy_read(const char *path, qm_npy *a, qm_err *e) {
    memset(a, 0, sizeof *a);
    uint64_t bytes;
    int fd, bad = qm_input_open(&fd, &bytes, path, e);
    if (bad) return bad;
    FILE *f = fdopen(fd, "rb");
    if (!f) {
        close(fd);
        return qm_fail(e, QM_ERR_NOMEM, "%s: out of memory", path);
    }
    unsigned char *raw = NULL;
    char *head = malloc(MAX_HEADER + 1);
    int rc = head ? read_all(path, f, a, head, &raw, e) : qm_fail(e, QM_ERR_NOMEM, "%s: out of memory", path);
    fclose(f);
    free(raw);
    free(head);
    if (rc) {
        free(a->v);
        a->v = NULL;
    }
    return rc;
}

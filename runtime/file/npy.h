/* npy.h: arrays in NumPy's .npy format, version 1.0 (numpy.lib.format, "Format Version 1.0"): the magic
 * "\x93NUMPY", two bytes of version, u16 header length, a Python literal {'descr': '<f4', 'fortran_order': False,
 * 'shape': (3, 4), } padded with spaces to a multiple of 64 and ended by a newline, then the elements. */
#ifndef QM_NPY_H
#define QM_NPY_H
#include <stddef.h>
#include <stdint.h>
#include "../base/err.h"

enum { QM_NPY_MAX_DIMS = 8 };
typedef struct {
    uint64_t shape[QM_NPY_MAX_DIMS]; /* [n_dims] */
    uint32_t n_dims;
    uint64_t n; /* elements */
    float *v;   /* [n], from f2, f4 or f8 */
} qm_npy;

/* Writes x [n] as '<f4' of shape (n,). */
int qm_npy_write(const char *path, const float *x, uint64_t n, qm_err *e);
/* Reads '<f2', '<f4' or '<f8' (versions 1.0 to 3.0), in C order. free(a->v). Errors name the file and what is
 * wrong with it; QM_ERR_IO where it cannot be opened. f8 beyond f32's range becomes inf. */
int qm_npy_read(const char *path, qm_npy *a, qm_err *e);
#endif

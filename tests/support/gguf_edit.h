/* gguf_edit.h: a copy of a GGUF with some keys and tensors changed, for tests of what a reader makes of them. */
#ifndef QM_GGUF_EDIT_H
#define QM_GGUF_EDIT_H
#include "runtime/file/gguf.h"

typedef enum {
    GE_DROP, /* the key or tensor `name` is left out; it must be there */
    GE_U32,
    GE_F32,
    GE_BOOL,
    GE_STR,    /* the key is set, or added: v, or s */
    GE_PREFIX, /* keys that begin with `name` begin with s instead */
    GE_TENSOR, /* replaced or added: type, ne (0: absent dimension); F32 is v sin(i + 1), other types are zeros */
    GE_SCALE   /* every element of an F32 tensor is multiplied by v */
} gguf_edit_what;

typedef struct {
    gguf_edit_what what;
    const char *name;
    double v;
    const char *s;
    uint32_t type;
    uint64_t ne[4];
} gguf_edit;

/* Fails the test where an edit has nothing to act on. */
void gguf_edit_file(const char *in, const char *out, const gguf_edit *edits, size_t n);
#endif

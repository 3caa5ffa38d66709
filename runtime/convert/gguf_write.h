/* gguf_write.h: writing a GGUF v3 file from front to back (outfile.h says how and where to). It appears under its name
 * only when qm_gguf_writer_finish succeeds. Errors stick: after the first, every call returns it and does nothing.
 *
 * Order: keys, then qm_gguf_write_tensor for every tensor, then the data of each tensor in that order. */
#ifndef QM_GGUF_WRITE_H
#define QM_GGUF_WRITE_H
#include "../file/gguf.h"

typedef struct qm_gguf_writer qm_gguf_writer;

int qm_gguf_writer_open(qm_gguf_writer **out, const char *path, qm_err *e);
/* Without finish nothing has changed. NULL is fine. */
void qm_gguf_writer_close(qm_gguf_writer *w);

/* Any key of a read file, arrays included, under its own name. */
int qm_gguf_write_kv(qm_gguf_writer *w, const qm_kv *kv);
int qm_gguf_write_u32(qm_gguf_writer *w, const char *key, uint32_t v);
int qm_gguf_write_f32(qm_gguf_writer *w, const char *key, float v);
int qm_gguf_write_bool(qm_gguf_writer *w, const char *key, int v);
int qm_gguf_write_str(qm_gguf_writer *w, const char *key, const char *s);
/* Starts an array of n elements (str or i32); exactly n qm_gguf_push_* must follow. */
int qm_gguf_write_array(qm_gguf_writer *w, const char *key, qm_kv_type type, uint64_t n);
int qm_gguf_push_str(qm_gguf_writer *w, const char *s, size_t n);
int qm_gguf_push_i32(qm_gguf_writer *w, int32_t v);

/* Declares the next tensor: a type that qm_ggml_type_size knows, ne as in the file. */
int qm_gguf_write_tensor(qm_gguf_writer *w, const char *name, uint32_t type, uint32_t n_dims, const uint64_t *ne);
/* Bytes of data of all tensors declared so far, padding included. */
uint64_t qm_gguf_writer_data_bytes(const qm_gguf_writer *w);
/* QM_ERR_LIMIT when the disk has less room than those and `more` bytes. */
int qm_gguf_writer_room(const qm_gguf_writer *w, uint64_t more, qm_err *e);
/* The next n bytes of the current tensor; moves on by itself when a tensor is complete. */
int qm_gguf_write_data(qm_gguf_writer *w, const void *p, size_t n);
/* All the data as a hole in the file: zeros that take no room on the disk (where its file system can). In
 * place of every qm_gguf_write_data. */
int qm_gguf_write_hole(qm_gguf_writer *w);
/* Checks that everything declared was written; then the file has its name. Fills e with the first error. */
int qm_gguf_writer_finish(qm_gguf_writer *w, qm_err *e);
#endif

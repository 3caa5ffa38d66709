/* texts.h: the texts that the build put into the program (tools/embed.sh). */
#ifndef QM_TEXTS_H
#define QM_TEXTS_H

/* The preprocessed PTX of one file ("matvec"), NUL-terminated; NULL if there is none. */
const char *qm_ptx_text(const char *file);
/* The CUDA C of one file ("repack"), likewise: compiled at run time (nvrtc.h). */
const char *qm_cu_text(const char *file);
/* A header that such a text may include ("abi.h"), where the build embedded it; else NULL. */
const char *qm_header_text(const char *name);
#endif

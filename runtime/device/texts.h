/* texts.h: the texts that the build put into the program (tools/embed.sh). */
#ifndef QM_TEXTS_H
#define QM_TEXTS_H
#include "../base/err.h"

/* The preprocessed PTX of one file ("matvec"), NUL-terminated; NULL if there is none. With QM_PTX_DEPENDENT behind the name: its
 * text for dependent launches, on compute capability 9.0 and later. */
#define QM_PTX_DEPENDENT ".sm_90"
const char *qm_ptx_text(const char *file);
/* Of a file's PTX what one entry needs: all but the other entries, of which empty lines are left, so that a line's number
 * stays. A driver compiles a module whole: a program that runs two weight types should not wait for seven. *out is the
 * caller's; QM_ERR_UNSUPPORTED: no such file or entry. */
int qm_ptx_entry(char **out, const char *file, const char *entry, qm_err *e);
/* The text of a file that has its bodies as cases, without those that are not needed ([n]): what lies between the label L_case_<i>_...
 * and the next one, and the line that goes there. *out is the caller's. */
int qm_ptx_cases(char **out, const char *file, const unsigned char *needed, int n, qm_err *e);
/* The CUDA C of one file ("repack"), likewise: compiled at run time (nvrtc.h). */
const char *qm_cu_text(const char *file);
/* A header that such a text may include ("abi.h"), where the build embedded it; else NULL. */
const char *qm_header_text(const char *name);
#endif

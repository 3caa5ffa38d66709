/* env.h: environment variables that are numbers: switches for measuring. */
#ifndef QM_ENV_H
#define QM_ENV_H
#include "err.h"
/* What the variable says, 0 to most; *v stays where there is none. QM_ERR_ARG: something else. */
int qm_env_number(const char *name, unsigned long most, unsigned long *v, qm_err *e);
#endif

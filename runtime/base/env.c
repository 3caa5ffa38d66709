/* env.c: see env.h. */
#include "env.h"
#include <stdlib.h>

int qm_env_number(const char *name, unsigned long most, unsigned long *v, qm_err *e) {
    const char *s = getenv(name);
    char *end;
    if (!s) return 0;
    unsigned long n = strtoul(s, &end, 10);
    if (*s < '0' || *s > '9' || *end || n > most) return qm_fail(e, QM_ERR_ARG, "%s '%s': 0 to %lu", name, s, most);
    *v = n;
    return 0;
}

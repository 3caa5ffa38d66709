/* json.c: see json.h. */
#include "json.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/qmoe.h"

json_t *qm_host_json_text(const char *s, size_t n) {
    char *t = qm_text_utf8(s, n, &n);
    json_t *j = t ? json_stringn(t, n) : NULL;
    free(t);
    return j;
}

json_t *qm_host_json_str(const char *s) { return s ? qm_host_json_text(s, strlen(s)) : json_null(); }

json_t *qm_host_json_number(double v) { return isfinite(v) ? json_real(v) : json_null(); }

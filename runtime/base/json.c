/* json.c: see json.h. */
#include "json.h"
#include "text.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_t *qm_json_text(const char *s, size_t n) {
    size_t k = 0;
    char *t = qm_text_utf8(s, n, &k);
    json_t *j = t ? json_stringn(t, k) : NULL;
    free(t);
    return j;
}

json_t *qm_json_str(const char *s) { return s ? qm_json_text(s, strlen(s)) : json_null(); }

json_t *qm_json_number(double v) { return isfinite(v) ? json_real(v) : json_null(); }

int qm_json_put(json_t *object, const char *key, size_t n, json_t *value) {
    size_t k = 0;
    char *t = qm_text_utf8(key, n, &k), *longer = t ? realloc(t, k + 16) : NULL;
    int rc = -1;
    if (longer) {
        t = longer;
        size_t full = k;
        for (int i = 2; json_object_getn(object, t, full); i++) full = k + (size_t)snprintf(t + k, 16, " (%d)", i);
        rc = json_object_setn_new(object, t, full, value);
    } else json_decref(value);
    free(t);
    return rc;
}

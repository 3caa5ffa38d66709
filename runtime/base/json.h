/* json.h: what every writer of JSON needs: text of unknown bytes, and numbers that JSON may not have. Nothing here
 * makes an answer fail: what JSON cannot hold is kept as well as it can be. NULL only when memory is out. */
#ifndef QM_JSON_H
#define QM_JSON_H
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* A string; what is not UTF-8 becomes U+FFFD. */
json_t *qm_json_text(const char *s, size_t n);
json_t *qm_json_str(const char *s); /* the same up to the NUL; NULL: null */
/* null where v is not finite. */
json_t *qm_json_number(double v);
/* object[key] = value, which it takes. Keys that are the same once repaired get " (2)" ... after them. */
int qm_json_put(json_t *object, const char *key, size_t n, json_t *value);
#endif

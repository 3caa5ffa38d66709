/* json.h: what commands that print JSON share: text of unknown bytes, and numbers that JSON may not have. */
#ifndef QM_HOST_JSON_H
#define QM_HOST_JSON_H
#include <jansson.h>
#include <stddef.h>

/* A string; what is not UTF-8 becomes U+FFFD. NULL: no memory. */
json_t *qm_host_json_text(const char *s, size_t n);
json_t *qm_host_json_str(const char *s); /* the same up to the NUL; NULL: null */
/* null where v is not finite. */
json_t *qm_host_json_number(double v);
#endif

/* kv_type.c: the types of the KV cache by their names (contracts/kv.def). */
#include <string.h>
#include "plan.h"

const char qm_cache_types[] =
#define QM_KV_CACHE(name, NAME, bytes) "|" #name
#include "../../contracts/kv.def"
#undef QM_KV_CACHE
    ;

static int one(qm_kv_cache_type *kv, const char *name, qm_err *e) {
    for (int i = 0; i < QM_N_KV_CACHE; i++)
        if (!strcmp(name, qm_kv_cache_name((qm_kv_cache_type)i))) {
            *kv = (qm_kv_cache_type)i;
            return 0;
        }
    return qm_fail(e, QM_ERR_ARG, "keys and values in %s: the KV cache (-ctk, -ctv) has %s", name, qm_cache_types + 1);
}

int qm_kv_type_of(qm_kv_cache_type *kv, const char *k, const char *v, qm_err *e) {
    qm_kv_cache_type of_v;
    if (!k) k = "f16";
    if (!v) v = "f16";
    if (one(kv, k, e) || one(&of_v, v, e)) return QM_ERR_ARG;
    if (*kv == of_v) return 0;
    return qm_fail(e, QM_ERR_ARG, "keys in %s and values in %s: the KV cache has one type for both (-ctk and -ctv)", k,
                   v);
}

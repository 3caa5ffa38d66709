/* parts.c: see parts.h. */
#include "parts.h"

static void give(qm_parts *p, qm_part kind, const char *s, size_t n) {
    if (!p->rc) p->rc = p->out(p->user, kind, s, n);
}

void qm_parts_flush(qm_parts *p) {
    if (p->wait.n) give(p, p->kind, p->wait.s, p->wait.n);
    p->wait.n = 0;
}

void qm_parts_put(qm_parts *p, qm_part kind, const char *s, size_t n) {
    if (p->kind != kind) qm_parts_flush(p);
    p->kind = kind;
    qm_bytes_put(&p->wait, s, n);
}

void qm_parts_call(qm_parts *p, const char *name, size_t n) {
    qm_parts_flush(p);
    p->calls++;
    give(p, QM_PART_CALL, name, n);
}

void qm_parts_call_end(qm_parts *p) {
    qm_parts_flush(p);
    give(p, QM_PART_CALL_END, "", 0);
}

/* trace_report.h: a trace as text for people (trace_text.c) and as JSON (trace_json.c). */
#ifndef QM_TRACE_REPORT_H
#define QM_TRACE_REPORT_H
#include "../base/print.h"
#include "trace_verdict.h"

void qm_trace_text(qm_printer *o, const qm_trace_result *r);
struct json_t;
struct json_t *qm_trace_json(const qm_trace_result *r); /* NULL: out of memory */
/* A token's text on a line (qm_text_show); returns to, n >= 16. */
const char *qm_trace_token(const qm_trace_result *r, uint32_t id, char *to, size_t n);
#endif

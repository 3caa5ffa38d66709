/* sink.c: see sink.h. */
#include "sink.h"
#include <stdlib.h>
#include <string.h>
#include "../json.h"

int sink_take(sink_answer *a, const char *id_prefix, qm_part part, const char *s, size_t n) {
    sink_call *c = a->n_calls ? &a->calls[a->n_calls - 1] : NULL;
    switch (part) {
    case QM_PART_TEXT: return qm_buffer_put(&a->text, s, n);
    case QM_PART_THINKING: return qm_buffer_put(&a->thinking, s, n);
    case QM_PART_CALL:
        if (!(c = realloc(a->calls, (a->n_calls + 1) * sizeof *c))) return -1;
        a->calls = c;
        c += a->n_calls;
        *c = (sink_call){{0}, {0}, {0}};
        a->n_calls++;
        api_id(c->id, id_prefix);
        return qm_buffer_put(&c->name, s, n);
    case QM_PART_ARGUMENTS: return c ? qm_buffer_put(&c->arguments, s, n) : 0;
    default: return 0;
    }
}

void sink_answer_free(sink_answer *a) {
    free(a->text.s);
    free(a->thinking.s);
    for (size_t i = 0; i < a->n_calls; i++) {
        free(a->calls[i].name.s);
        free(a->calls[i].arguments.s);
    }
    free(a->calls);
    *a = (sink_answer){0};
}

json_t *sink_text(const qm_buffer *b) { return sink_string(b->s ? b->s : "", b->n); }

json_t *sink_string(const char *s, size_t n) {
    json_t *j = json_stringn(s, n); /* looks whether it is UTF-8 */
    return j ? j : qm_host_json_text(s, n);
}

void sink_fingerprint(const server *s, char out[96]) {
    snprintf(out, 96, "qmoe-gpu-%.40s-%s-%s", s->commit ? s->commit : QM_VERSION, s->info.device, s->info.executor);
}

static double per_second(double n, double seconds) { return seconds > 0 ? n / seconds : 0; }

json_t *sink_timings(const task_usage *u) {
    const double prompt_s = u->first_token_s > u->queued_s ? u->first_token_s - u->queued_s : 0;
    const double predicted_s = u->total_s > u->first_token_s ? u->total_s - u->first_token_s : 0;
    const uint32_t computed = u->n_prompt > u->n_cached ? u->n_prompt - u->n_cached : 0;
    return json_pack("{s:I, s:I, s:f, s:f, s:f, s:I, s:f, s:f, s:f, s:f}", "cache_n", (json_int_t)u->n_cached,
                     "prompt_n", (json_int_t)computed, "prompt_ms", 1e3 * prompt_s, "prompt_per_token_ms",
                     computed ? 1e3 * prompt_s / computed : 0, "prompt_per_second", per_second(computed, prompt_s),
                     "predicted_n", (json_int_t)u->n_generated, "predicted_ms", 1e3 * predicted_s,
                     "predicted_per_token_ms", u->tokens_per_s > 0 ? 1e3 / u->tokens_per_s : 0, "predicted_per_second",
                     u->tokens_per_s, "queued_ms", 1e3 * u->queued_s);
}

static void most(double *a, double b) {
    if (b > *a) *a = b;
}

void sink_add_usage(task_usage *sum, const task_usage *u) {
    sum->n_prompt += u->n_prompt;
    sum->n_cached += u->n_cached;
    sum->n_generated += u->n_generated;
    most(&sum->queued_s, u->queued_s);
    most(&sum->first_token_s, u->first_token_s);
    most(&sum->total_s, u->total_s);
    most(&sum->tokens_per_s, u->tokens_per_s);
}

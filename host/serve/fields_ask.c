/* fields_ask.c: the fields that all protocols have: how tokens are chosen, and where an answer ends. */
#include "api.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { MOST_BIASES = 1024, MOST_STOPS = 16, LONGEST_STOP = 1024 };

static uint64_t drawn_seed(void) {
    uint32_t v = 0; /* few enough digits to be copied by hand */
    if (getrandom(&v, sizeof v, 0) != sizeof v) v = (uint32_t)(uintptr_t)&v;
    return v;
}

static uint64_t seed(fields *f, const server *s) {
    if (!fields_any(f, "seed")) return s->seeded ? s->sampling.seed : drawn_seed();
    int64_t v = fields_int(f, "seed", INT64_MIN, INT64_MAX, 0);
    return v == -1 ? drawn_seed() : (uint64_t)v;
}

static void add_bias(fields *f, const server *s, task_ask *a, int64_t id, double v) {
    if (id < 0 || id >= s->info.n_vocab)
        return fields_fail(f, "logit_bias", "%lld is no token: expected 0 to %u", (long long)id, s->info.n_vocab - 1);
    if (!(v == -INFINITY || fabs(v) <= 1e6))
        return fields_fail(f, "logit_bias", "%g for token %lld: expected -1e6 to 1e6", v, (long long)id);
    qm_sampling *p = &a->sampling;
    for (size_t i = 0; i < p->n_bias; i++)
        if (a->bias[i].id == id) {
            a->bias[i].bias = (float)v;
            return;
        }
    if (p->n_bias == MOST_BIASES) return fields_fail(f, "logit_bias", "for more than %d tokens", MOST_BIASES);
    a->bias[p->n_bias++] = (qm_logit_bias){(uint32_t)id, (float)v};
}

/* {"15043": -100}; or as llama.cpp has it [[15043, -100], [15044, false]], false for never. */
static void biases(fields *f, const server *s, task_ask *a) {
    const json_t *v = fields_any(f, "logit_bias");
    if (!v && !s->sampling.n_bias) return;
    a->sampling.bias = a->bias = calloc(MOST_BIASES, sizeof *a->bias);
    if (!a->bias) {
        a->sampling.n_bias = 0;
        return fields_fail(f, "logit_bias", "out of memory");
    }
    if (s->sampling.n_bias) memcpy(a->bias, s->sampling.bias, s->sampling.n_bias * sizeof *a->bias);
    const char *name;
    json_t *x;
    size_t i;
    if (json_is_object(v)) {
        json_object_foreach ((json_t *)v, name, x) {
            char *end;
            long long id = strtoll(name, &end, 10);
            if (*name < '0' || *name > '9' || *end || !json_is_number(x))
                return fields_fail(f, "logit_bias", "expected {\"TOKEN ID\": number, ...}");
            add_bias(f, s, a, id, json_number_value(x));
        }
    } else if (json_is_array(v)) {
        json_array_foreach (v, i, x) {
            const json_t *id = json_array_get(x, 0), *b = json_array_get(x, 1);
            if (json_array_size(x) != 2 || !json_is_integer(id) || !(json_is_number(b) || json_is_false(b)))
                return fields_fail(f, "logit_bias", "expected [[TOKEN ID, number or false], ...]");
            add_bias(f, s, a, json_integer_value(id), json_is_false(b) ? -INFINITY : json_number_value(b));
        }
    } else if (v) fields_fail(f, "logit_bias", "expected an object {\"TOKEN ID\": number, ...}");
}

static void add_stop(fields *f, const char *name, task_ask *a, const json_t *v) {
    if (!json_is_string(v)) return fields_fail(f, name, "expected a string, or an array of strings");
    size_t n = json_string_length(v);
    if (!n || n > LONGEST_STOP) return fields_fail(f, name, "expected strings of 1 to %d bytes", LONGEST_STOP);
    if (!(a->stop[a->n_stop] = strdup(json_string_value(v)))) return fields_fail(f, name, "out of memory");
    a->n_stop++;
}

static void stops(fields *f, const char *name, task_ask *a) {
    json_t *v = fields_any(f, name), *x;
    size_t i;
    if (!v) return;
    if (json_array_size(v) > MOST_STOPS) return fields_fail(f, name, "more than %d strings", MOST_STOPS);
    if (!(a->stop = calloc(MOST_STOPS, sizeof *a->stop))) return fields_fail(f, name, "out of memory");
    if (!json_is_array(v)) return add_stop(f, name, a, v);
    json_array_foreach (v, i, x) add_stop(f, name, a, x);
}

void fields_sampling(fields *f, server *s, const char *stop_name, task_ask *a) {
    a->sampling = s->sampling;
    qm_sampling *p = &a->sampling;
    p->temperature = (float)fields_number(f, "temperature", -1000, 1000, (double)p->temperature);
    p->top_k = (int32_t)fields_int(f, "top_k", -1, INT32_MAX, p->top_k);
    p->top_p = fields_number(f, "top_p", 0, 1, p->top_p);
    p->min_p = fields_number(f, "min_p", 0, 1, p->min_p);
    p->presence_penalty = (float)fields_number(f, "presence_penalty", -100, 100, (double)p->presence_penalty);
    p->frequency_penalty = (float)fields_number(f, "frequency_penalty", -100, 100, (double)p->frequency_penalty);
    double repeat = fields_number(f, "repeat_penalty", 0.01, 100, (double)p->repeat_penalty);
    p->repeat_penalty = (float)fields_number(f, "repetition_penalty", 0.01, 100, repeat);
    p->repeat_last_n = (int32_t)fields_int(f, "repeat_last_n", -1, INT32_MAX, p->repeat_last_n);
    p->seed = seed(f, s);
    a->ignore_eos = fields_bool(f, "ignore_eos", 0);
    biases(f, s, a);
    stops(f, stop_name, a);
    qm_err e;
    if (!*f->error && qm_sampling_check(p, &e)) fields_fail(f, "temperature", "%s", e.msg);
}

uint32_t fields_max_tokens(fields *f, const char *const *names, size_t n, uint32_t otherwise) {
    int64_t got = INT64_MIN;
    for (size_t i = 0; i < n; i++) {
        int64_t v = fields_int(f, names[i], -1, INT32_MAX, INT64_MIN);
        if (!v) fields_fail(f, names[i], "0: expected 1 or more, or -1: until the context is full");
        if (got == INT64_MIN) got = v;
    }
    return got == INT64_MIN ? otherwise : got < 0 ? 0 : (uint32_t)got;
}

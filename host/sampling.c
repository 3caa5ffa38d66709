/* sampling.c: the parameters by name, with their ranges; defaults come from the model (qm_engine_sampling). */
#include "sampling.h"
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { TEMP, TOP_K, TOP_P, MIN_P, PENALTY, LAST_N, SEED, N_PARAMS };

typedef struct {
    const char *name, *range, *help;
    double lo, hi;
    int whole;
} param;

#define WHOLE_MAX 2147483647.0
static const param params[N_PARAMS] = {
    [TEMP] = {"temp", "0 to 1000; 0 is greedy", "temperature", 0, 1000, 0},
    [TOP_K] = {"top-k", "0 to 2147483647; 0 is off", "only the k likeliest tokens", 0, WHOLE_MAX, 1},
    [TOP_P] = {"top-p", "0 to 1; 1 is off", "only the likeliest tokens that make up p", 0, 1, 0},
    [MIN_P] = {"min-p", "0 to 1; 0 is off", "only tokens at least p times as likely as the likeliest", 0, 1, 0},
    [PENALTY] = {"repeat-penalty", "0.01 to 100; 1 is off", "tokens of the window become less likely", 0.01, 100, 0},
    [LAST_N] = {"repeat-last-n", "-1 to 2147483647; 0 is off, -1 the whole context", "the window, in tokens", -1, WHOLE_MAX, 1},
    [SEED] = {"seed", "0 to 9223372036854775807, or -1 for a random one", "of the draws", -1, 9223372036854775807.0, 1},
};

static char *given[N_PARAMS]; /* by options; NULL: not given */
const struct poptOption qm_sampling_table[] = {
    {"temp", 0, POPT_ARG_STRING, &given[TEMP], 0, "temperature; 0: greedy (default: the file's, else 0.8)", "X"},
    {"top-k", 0, POPT_ARG_STRING, &given[TOP_K], 0, "only the K likeliest tokens; 0: off (default: the file's, else 40)", "K"},
    {"top-p", 0, POPT_ARG_STRING, &given[TOP_P], 0,
     "only the likeliest tokens that together have probability P; 1: off (default: the file's, else 0.95)", "P"},
    {"min-p", 0, POPT_ARG_STRING, &given[MIN_P], 0,
     "only tokens at least P times as likely as the likeliest; 0: off (default: the file's, else 0.05)", "P"},
    {"repeat-penalty", 0, POPT_ARG_STRING, &given[PENALTY], 0,
     "make tokens of the last ones less likely; 1: off (default: the file's, else 1)", "X"},
    {"repeat-last-n", 0, POPT_ARG_STRING, &given[LAST_N], 0,
     "how many are the last ones; 0: off, -1: the whole context (default: the file's, else 64)", "N"},
    {"seed", 's', POPT_ARG_STRING, &given[SEED], 0, "of the draws; -1: a random one, which is printed (default)", "N"},
    POPT_TABLEEND};

/* llama.cpp's spelling with - or _; "temperature" is what the word means. */
static int find(const char *name) {
    if (!strcmp(name, "temperature")) return TEMP;
    for (int i = 0; i < N_PARAMS; i++) {
        const char *a = params[i].name, *b = name;
        while (*a && (*a == *b || (*a == '-' && *b == '_'))) a++, b++;
        if (!*a && !*b) return i;
    }
    return -1;
}

static uint64_t random_seed(void) {
    uint32_t v = 0; /* few enough digits to be copied by hand */
    if (getrandom(&v, sizeof v, 0) != sizeof v) v = (uint32_t)(uintptr_t)&v;
    return v;
}

/* p may be NULL: only a check. */
static int put(qm_sampling *p, int i, const char *text, const char *shown) {
    char *end;
    errno = 0;
    long long whole = params[i].whole ? strtoll(text, &end, 10) : 0;
    double v = params[i].whole ? (double)whole : strtod(text, &end);
    if (errno || end == text || *end || !(v >= params[i].lo && v <= params[i].hi)) {
        qm_host_say("%s%s %s: expected %s", shown, params[i].name, text, params[i].range);
        return -1;
    }
    if (!p) return 0;
    switch (i) {
    case TEMP: p->temperature = (float)v; break;
    case TOP_K: p->top_k = (int32_t)whole; break;
    case TOP_P: p->top_p = v; break;
    case MIN_P: p->min_p = v; break;
    case PENALTY: p->repeat_penalty = (float)v; break;
    case LAST_N: p->repeat_last_n = (int32_t)whole; break;
    default: p->seed = whole < 0 ? random_seed() : (uint64_t)whole;
    }
    return 0;
}

int qm_sampling_args(void) {
    for (int i = 0; i < N_PARAMS; i++)
        if (given[i] && put(NULL, i, given[i], "--")) return QM_EXIT_USAGE;
    return -1;
}

void qm_sampling_choose(const qm_engine *g, qm_sampling *p) {
    qm_engine_sampling(g, p);
    p->seed = random_seed();
    for (int i = 0; i < N_PARAMS; i++)
        if (given[i]) put(p, i, given[i], "--");
}

int qm_sampling_set(qm_sampling *p, const char *name, const char *value) {
    int i = find(name);
    if (i >= 0) return put(p, i, value, "");
    const char *names[N_PARAMS];
    for (int k = 0; k < N_PARAMS; k++) names[k] = params[k].name;
    const char *near = qm_host_nearest(name, names, N_PARAMS);
    if (near) qm_host_say("there is nothing called %s to set; did you mean %s?", name, near);
    else qm_host_say("there is nothing called %s to set; /set lists what there is", name);
    return -1;
}

static void value(char *s, size_t n, const qm_sampling *p, int i) {
    switch (i) {
    case TEMP: snprintf(s, n, "%g", (double)p->temperature); break;
    case TOP_K: snprintf(s, n, "%" PRId32, p->top_k); break;
    case TOP_P: snprintf(s, n, "%g", p->top_p); break;
    case MIN_P: snprintf(s, n, "%g", p->min_p); break;
    case PENALTY: snprintf(s, n, "%g", (double)p->repeat_penalty); break;
    case LAST_N: snprintf(s, n, "%" PRId32, p->repeat_last_n); break;
    default: snprintf(s, n, "%" PRIu64, p->seed);
    }
}

static int is_greedy(const qm_sampling *p) { return p->temperature == 0 || p->top_k == 1; }
static int penalises(const qm_sampling *p) { return p->repeat_penalty != 1 && p->repeat_last_n != 0; }

void qm_sampling_print(FILE *f, const qm_sampling *p) {
    char v[32];
    if (is_greedy(p)) fputs("greedy", f);
    for (int i = 0; i < N_PARAMS; i++) {
        int penalty = i == PENALTY || i == LAST_N;
        if (penalty ? !penalises(p) : is_greedy(p)) continue;
        value(v, sizeof v, p, i);
        fprintf(f, "%s%s %s", i || is_greedy(p) ? ", " : "", params[i].name, v);
    }
    fputc('\n', f);
}

void qm_sampling_list(FILE *f, const qm_sampling *p) {
    char v[32];
    for (int i = 0; i < N_PARAMS; i++) {
        value(v, sizeof v, p, i);
        fprintf(f, "  %-15s %-12s %s (%s)\n", params[i].name, v, params[i].help, params[i].range);
    }
}

/* The shortest decimal that is this float: 0.8 and not 0.800000012. */
static double shortest(float x) {
    char v[32];
    snprintf(v, sizeof v, "%.7g", (double)x);
    return strtof(v, NULL) == x ? strtod(v, NULL) : (double)x;
}

json_t *qm_sampling_json(const qm_sampling *p) {
    return json_pack("{s:b, s:f, s:I, s:f, s:f, s:f, s:I, s:I}", "greedy", is_greedy(p), "temp", shortest(p->temperature),
                     "top_k", (json_int_t)p->top_k, "top_p", p->top_p, "min_p", p->min_p, "repeat_penalty",
                     shortest(p->repeat_penalty), "repeat_last_n", (json_int_t)p->repeat_last_n, "seed", (json_int_t)p->seed);
}

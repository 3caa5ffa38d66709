/* sampling.c: the parameters by name, with their ranges; defaults come from the model (qm_engine_sampling). */
#include "sampling.h"
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { TEMP, TOP_K, TOP_P, MIN_P, PENALTY, LAST_N, PRESENCE, FREQUENCY, SEED, N_NUMBERS };
enum { SAMPLERS = N_NUMBERS, LETTERS, BIAS, N_PARAMS };
enum { MAX_BIAS = 1025 }; /* one more than the library takes: it says so */

typedef struct {
    const char *name, *range, *help;
    double lo, hi;
    int whole;
    int sampler; /* the link of the chain that it belongs to; 0: none */
    double off;
} param;

#define WHOLE_MAX 2147483647.0
static const param params[N_PARAMS] = {
    [TEMP] = {"temp", "-1000 to 1000; 0 or less is greedy", "temperature", -1000, 1000, 0, QM_SAMPLER_TEMPERATURE, 1},
    [TOP_K] = {"top-k", "-1 to 2147483647; 0 or -1 is off", "only the k likeliest tokens", -1, WHOLE_MAX, 1,
               QM_SAMPLER_TOP_K, 0},
    [TOP_P] = {"top-p", "0 to 1; 1 is off", "only the likeliest tokens that make up p", 0, 1, 0, QM_SAMPLER_TOP_P, 1},
    [MIN_P] = {"min-p", "0 to 1; 0 is off", "only tokens at least p times as likely as the likeliest", 0, 1, 0,
               QM_SAMPLER_MIN_P, 0},
    [PENALTY] = {"repeat-penalty", "0.01 to 100; 1 is off", "tokens of the window become less likely", 0.01, 100, 0,
                 QM_SAMPLER_PENALTIES, 1},
    [LAST_N] = {"repeat-last-n", "-1 to 2147483647; 0 is off, -1 the whole context", "the window, in tokens", -1,
                WHOLE_MAX, 1, 0, 0},
    [PRESENCE] = {"presence-penalty", "-100 to 100; 0 is off", "taken from the logits of tokens of the window", -100,
                  100, 0, QM_SAMPLER_PENALTIES, 0},
    [FREQUENCY] = {"frequency-penalty", "-100 to 100; 0 is off", "the same, for each time that they are there", -100,
                   100, 0, QM_SAMPLER_PENALTIES, 0},
    [SEED] = {"seed", "0 to 9223372036854775807, or -1 for a random one", "of the draws", -1, 9223372036854775807.0, 1,
              0, 0},
    [SAMPLERS] = {"samplers", "names, as \"top_k;temperature\"", "what takes effect, in this order", 0, 0, 0, 0, 0},
    [LETTERS] = {"sampler-seq", "letters of e k p m t", "the same in letters", 0, 0, 0, 0, 0},
    [BIAS] = {"logit-bias", "ID+BIAS or ID-BIAS, at most 1000000 or -inf", "added to a token's logit", 0, 0, 0, 0, 0},
};

static char *given[N_PARAMS]; /* by options; NULL: not given */
static char **given_bias;     /* NULL-terminated */
const struct poptOption qm_sampling_table[] = {
    {"temp", 0, POPT_ARG_STRING, &given[TEMP], 0, "temperature; 0: greedy (default: the file's, else 0.8)", "X"},
    {"top-k", 0, POPT_ARG_STRING, &given[TOP_K], 0,
     "only the K likeliest tokens; 0: off (default: the file's, else 40)", "K"},
    {"top-p", 0, POPT_ARG_STRING, &given[TOP_P], 0,
     "only the likeliest tokens that together have probability P; 1: off (default: the file's, else 0.95)", "P"},
    {"min-p", 0, POPT_ARG_STRING, &given[MIN_P], 0,
     "only tokens at least P times as likely as the likeliest; 0: off (default: the file's, else 0.05)", "P"},
    {"repeat-penalty", 0, POPT_ARG_STRING, &given[PENALTY], 0,
     "make tokens of the last ones less likely; 1: off (default: the file's, else 1)", "X"},
    {"repeat-last-n", 0, POPT_ARG_STRING, &given[LAST_N], 0,
     "how many are the last ones; 0: off, -1: the whole context (default: the file's, else 64)", "N"},
    {"presence-penalty", 0, POPT_ARG_STRING, &given[PRESENCE], 0,
     "take X from the logit of each token that is among the last ones (default: 0)", "X"},
    {"frequency-penalty", 0, POPT_ARG_STRING, &given[FREQUENCY], 0,
     "take X from it for each time that it is among them (default: 0)", "X"},
    {"logit-bias", 0, POPT_ARG_ARGV, &given_bias, 0,
     "add to a token's logit: 15043+1, 15043-inf; again for more tokens", "ID(+/-)BIAS"},
    {"samplers", 0, POPT_ARG_STRING, &given[SAMPLERS], 0,
     "what takes effect, in this order (default: the file's, else penalties;temperature;top_k;top_p;min_p)", "NAMES"},
    {"sampler-seq", 0, POPT_ARG_STRING, &given[LETTERS], 0, "the same in letters: e k p m t", "LETTERS"},
    {"sampling-seq", 0, POPT_ARG_STRING, &given[LETTERS], 0, "another name for --sampler-seq", "LETTERS"},
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

static int refuse(int i, const char *text, const char *shown) {
    qm_host_say("%s%s %s: expected %s", shown, params[i].name, text, params[i].range);
    return -1;
}

static int put_number(qm_sampling *p, int i, const char *text, const char *shown) {
    char *end;
    errno = 0;
    long long whole = params[i].whole ? strtoll(text, &end, 10) : 0;
    double v = params[i].whole ? (double)whole : strtod(text, &end);
    if (errno || end == text || *end || !(v >= params[i].lo && v <= params[i].hi)) return refuse(i, text, shown);
    switch (i) {
    case TEMP: p->temperature = (float)v; break;
    case TOP_K: p->top_k = (int32_t)whole; break;
    case TOP_P: p->top_p = v; break;
    case MIN_P: p->min_p = v; break;
    case PENALTY: p->repeat_penalty = (float)v; break;
    case LAST_N: p->repeat_last_n = (int32_t)whole; break;
    case PRESENCE: p->presence_penalty = (float)v; break;
    case FREQUENCY: p->frequency_penalty = (float)v; break;
    default: p->seed = whole < 0 ? random_seed() : (uint64_t)whole;
    }
    return 0;
}

/* Biases only ever grow at their end: what a qm_sampling counts of them stays as it is. */
static qm_logit_bias biases[MAX_BIAS];

static int put_bias(qm_sampling *p, const char *text, const char *shown) {
    char *end;
    errno = 0;
    unsigned long long id = strtoull(text, &end, 10);
    if (!strcmp(text, "off")) {
        p->n_bias = 0;
        return 0;
    }
    if (errno || *text < '0' || *text > '9' || id > UINT32_MAX || (*end != '+' && *end != '-'))
        return refuse(BIAS, text, shown);
    const char *number = end;
    double v = strtod(number, &end);
    if (end == number || *end || !(v == -INFINITY || fabs(v) <= 1e6)) return refuse(BIAS, text, shown);
    if (p->n_bias == MAX_BIAS) {
        qm_host_say("%slogit-bias %s: there are too many", shown, text);
        return -1;
    }
    biases[p->n_bias++] = (qm_logit_bias){(uint32_t)id, (float)v};
    p->bias = biases;
    return 0;
}

static int put(qm_sampling *p, int i, const char *text, const char *shown) {
    unsigned char chain[QM_N_SAMPLERS];
    qm_err e;
    if (i < N_NUMBERS) return put_number(p, i, text, shown);
    if (i == BIAS) return put_bias(p, text, shown);
    if (qm_samplers_parse(chain, text, i == LETTERS, &e)) {
        qm_host_say("%s%s", shown, e.msg);
        return -1;
    }
    memcpy(p->samplers, chain, sizeof chain);
    return 0;
}

static int put_given(qm_sampling *p) {
    for (int i = 0; i < N_PARAMS; i++)
        if (given[i] && put(p, i, given[i], "--")) return -1;
    for (char **b = given_bias; b && *b; b++)
        if (put_bias(p, *b, "--")) return -1;
    return 0;
}

int qm_sampling_args(void) {
    qm_sampling p = {.top_p = 1, .repeat_penalty = 1, .repeat_last_n = 64};
    qm_err e;
    if (put_given(&p)) return QM_EXIT_USAGE;
    if (given[SAMPLERS] && given[LETTERS])
        return qm_host_usage("--samplers and --sampler-seq say the same; give one of them");
    if (qm_sampling_check(&p, &e)) return qm_host_usage("--%s", e.msg);
    return -1;
}

static int in_chain(const qm_sampling *p, int sampler) {
    return !p->samplers[0] || memchr(p->samplers, sampler, sizeof p->samplers) != NULL;
}

static double number(const qm_sampling *p, int i) {
    switch (i) {
    case TEMP: return (double)p->temperature;
    case TOP_K: return p->top_k;
    case TOP_P: return p->top_p;
    case MIN_P: return p->min_p;
    case PENALTY: return (double)p->repeat_penalty;
    case LAST_N: return p->repeat_last_n;
    case PRESENCE: return (double)p->presence_penalty;
    case FREQUENCY: return (double)p->frequency_penalty;
    default: return (double)p->seed;
    }
}

void qm_sampling_choose(const qm_engine *g, qm_sampling *p) {
    qm_engine_sampling(g, p);
    p->seed = random_seed();
    put_given(p);
    for (int i = 0; i < N_NUMBERS; i++)
        if (given[i] && params[i].sampler && !in_chain(p, params[i].sampler) && number(p, i) != params[i].off)
            qm_host_say("--%s %s has no effect: %s not name %s", params[i].name, given[i],
                        given[SAMPLERS] || given[LETTERS] ? "the samplers that were asked for do"
                                                          : "the file's order of samplers does",
                        qm_sampler_name(params[i].sampler));
}

int qm_sampling_seeded(void) { return given[SEED] && strtoll(given[SEED], NULL, 10) >= 0; }

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
    if (i == SEED) snprintf(s, n, "%" PRIu64, p->seed);
    else if (i < N_NUMBERS && params[i].whole) snprintf(s, n, "%" PRId64, (int64_t)number(p, i));
    else if (i < N_NUMBERS) snprintf(s, n, "%g", number(p, i));
    else if (i == BIAS) snprintf(s, n, "%zu token%s", p->n_bias, p->n_bias == 1 ? "" : "s");
    else {
        *s = 0;
        for (const unsigned char *c = p->samplers[0] ? p->samplers : qm_samplers_default; *c; c++)
            snprintf(s + strlen(s), n - strlen(s), "%s%s", *s ? ";" : "", qm_sampler_name(*c));
    }
}

int qm_sampling_greedy(const qm_sampling *p) {
    return (p->temperature <= 0 && in_chain(p, QM_SAMPLER_TEMPERATURE)) ||
           (p->top_k == 1 && in_chain(p, QM_SAMPLER_TOP_K));
}

/* Whether the parameter has a say in what is drawn. */
static int counts(const qm_sampling *p, int i) {
    int penalises = p->repeat_last_n != 0 && in_chain(p, QM_SAMPLER_PENALTIES);
    switch (i) {
    case PENALTY:
    case PRESENCE:
    case FREQUENCY: return penalises && number(p, i) != params[i].off;
    case LAST_N: return counts(p, PENALTY) || counts(p, PRESENCE) || counts(p, FREQUENCY);
    case BIAS: return p->n_bias > 0;
    case SAMPLERS: return p->samplers[0] && memcmp(p->samplers, qm_samplers_default, sizeof qm_samplers_default);
    case LETTERS: return 0;
    default: return !qm_sampling_greedy(p) && (!params[i].sampler || in_chain(p, params[i].sampler));
    }
}

void qm_sampling_print(FILE *f, const qm_sampling *p) {
    static const int order[] = {TEMP, TOP_K, TOP_P, MIN_P, PENALTY, LAST_N, PRESENCE, FREQUENCY, BIAS, SAMPLERS, SEED};
    char v[96];
    int n = qm_sampling_greedy(p);
    if (n) fputs("greedy", f);
    for (size_t k = 0; k < sizeof order / sizeof *order; k++) {
        if (!counts(p, order[k])) continue;
        value(v, sizeof v, p, order[k]);
        fprintf(f, "%s%s %s", n++ ? ", " : "", params[order[k]].name, v);
    }
    fputc('\n', f);
}

void qm_sampling_list(FILE *f, const qm_sampling *p) {
    char v[96];
    for (int i = 0; i < N_PARAMS; i++) {
        if (i == LETTERS) continue;
        value(v, sizeof v, p, i);
        fprintf(f, "  %-17s %-12s %s (%s)\n", params[i].name, v, params[i].help, params[i].range);
    }
}

/* The shortest decimal that is this float: 0.8 and not 0.800000012. */
static double shortest(float x) {
    char v[32];
    snprintf(v, sizeof v, "%.7g", (double)x);
    return strtof(v, NULL) == x ? strtod(v, NULL) : (double)x;
}

/* [[id, bias], ...], false for never: as llama.cpp's server has it. */
static json_t *bias_json(const qm_sampling *p) {
    json_t *a = json_array();
    for (size_t i = 0; i < p->n_bias; i++) {
        json_t *b = isfinite(p->bias[i].bias) ? json_real(shortest(p->bias[i].bias)) : json_false();
        json_array_append_new(a, json_pack("[I, o]", (json_int_t)p->bias[i].id, b));
    }
    return a;
}

json_t *qm_sampling_json(const qm_sampling *p) {
    char chain[96];
    value(chain, sizeof chain, p, SAMPLERS);
    return json_pack("{s:b, s:f, s:I, s:f, s:f, s:f, s:I, s:f, s:f, s:s, s:o, s:I}", "greedy", qm_sampling_greedy(p),
                     "temp", shortest(p->temperature), "top_k", (json_int_t)p->top_k, "top_p", p->top_p, "min_p",
                     p->min_p, "repeat_penalty", shortest(p->repeat_penalty), "repeat_last_n",
                     (json_int_t)p->repeat_last_n, "presence_penalty", shortest(p->presence_penalty),
                     "frequency_penalty", shortest(p->frequency_penalty), "samplers", chain, "logit_bias", bias_json(p),
                     "seed", (json_int_t)p->seed);
}

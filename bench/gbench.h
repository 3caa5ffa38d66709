/* gbench.h: Google Benchmark for C. A bench is a name and three callbacks; time is what they say it is (events on
 * the device's clock), never the host's. The usual --benchmark_* flags work. gbench.cc is the only C++ here. */
#ifndef QM_GBENCH_H
#define QM_GBENCH_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef struct qm_gbench qm_gbench; /* the bench that runs */
typedef struct {
    /* Prepares; called before each measurement, also of the same bench again (the number of iterations is found
     * by trying). Returns how many units of work one call of run does, or 0 after a failure: why[] says what. */
    uint32_t (*begin)(void *user, char *why, size_t n);
    /* Does them; *seconds is their time. Returns 0, or another value with why[] filled. */
    int (*run)(void *user, double *seconds, char *why, size_t n);
    /* After the runs: counters. May be NULL. */
    void (*end)(void *user, qm_gbench *g);
} qm_gbench_calls;

/* calls and user must live until qm_gbench_main returns. iterations: units of work, 0 = until --benchmark_min_time. */
void qm_gbench_add(const char *name, const qm_gbench_calls *calls, void *user, uint64_t iterations);

/* A figure as it is, or a quantity of one unit of work that becomes a rate: n / second. */
typedef enum { QM_GBENCH_PLAIN, QM_GBENCH_RATE } qm_gbench_kind;
void qm_gbench_counter(qm_gbench *g, const char *name, double v, qm_gbench_kind kind);
void qm_gbench_label(qm_gbench *g, const char *text);

/* A line of the report's head, in JSON under "context". */
void qm_gbench_context(const char *key, const char *value);

/* Reads the --benchmark_* flags, refuses others, runs what was added. Returns the exit status: 0, 1 if a bench
 * failed or none matched, 2 for a wrong flag. */
int qm_gbench_main(int argc, char **argv);

#ifdef __cplusplus
}
#endif
#endif

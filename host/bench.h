/* bench.h: what the files of `qmoe-gpu bench` share: the options as they were given, and who does what.
 * bench.c reads the options and runs the tests, bench_out.c writes the four formats, bench_ops.c is
 * --per-op and --predict, bench_choose.c --choose. */
#ifndef QM_HOST_BENCH_H
#define QM_HOST_BENCH_H
#include "host.h"
#include "runtime/qmoe_tools.h"

enum { QM_BENCH_LIST_MAX = 32 };
typedef struct {
    uint32_t v[QM_BENCH_LIST_MAX];
    int n;
} qm_bench_list;

typedef struct {
    const char *model, *device, *executor;        /* device and executor may be NULL: the default */
    qm_bench_list n_prompt, n_gen, depth, n_seqs; /* -p, -n, -d, -np; a 0 in -p or -n means no such test */
    int tests;                                    /* 1: -p, -n or -np was given */
    uint32_t reps, n_ctx, n_ubatch;               /* n_ctx 0: what the tests need */
    uint64_t seed;
    int warmup, prefill; /* prefill: depth is reached by computing it, not by random keys and values */
    qm_format format;
    int per_op, verbose, quiet; /* --predict with --per-op: its ops too; verbose: each op */
} qm_bench_options;

/* The engine that they ask for, by this executor, of so many positions. */
qm_engine_opts qm_bench_engine(const qm_bench_options *o, const char *executor, uint32_t n_ctx);

enum { QM_BENCH_REPS_MAX = 1000 };
/* Everything measured once, before the tests. */
typedef struct {
    qm_engine_info info;
    qm_machine machine;
    qm_bandwidth bandwidth; /* all 0: not measured */
    qm_load_limits limits;
    double file_cached;   /* before the load */
    uint64_t used, total; /* device memory */
} qm_bench_facts;

typedef struct {
    qm_bench_test test;
    char name[QM_BENCH_NAME], time[24];     /* "tg128 @ d4096"; when it began */
    uint64_t samples_ns[QM_BENCH_REPS_MAX]; /* [test.reps] */
    qm_bench_result result;
} qm_bench_record;

/* The tests that the options ask for: how many; 0: none or too many, which has been said. */
int qm_bench_list_tests(const qm_bench_options *o, const qm_bench_test **out);
/* The output: begin once, a record as each test ends, end once. Non-zero: writing failed. */
int qm_bench_out_begin(const qm_bench_options *o, const qm_bench_facts *f);
int qm_bench_out_record(const qm_bench_options *o, const qm_bench_facts *f, const qm_bench_record *r, int index);
int qm_bench_out_end(const qm_bench_options *o, const qm_bench_facts *f);

/* --per-op: the ops of the decode step at each depth of -d. Returns the exit status. */
int qm_bench_per_op(const qm_bench_options *o);
/* --choose: graph against persistent, in the tests of generation. Returns the exit status. */
int qm_bench_choose(const qm_bench_options *o);
/* --predict CHIP: of the tests, or without -p, -n and -np of a decode step at each depth, an estimate for chips that are not here; o->model may be NULL. Returns the exit status. */
int qm_bench_predict(const qm_bench_options *o, const char *chip);
#endif

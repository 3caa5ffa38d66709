/* measure.h: the part of qmoe.h that measures. Included by it, never by itself. */
#ifndef QM_MEASURE_H
#define QM_MEASURE_H
#ifndef QMOE_H
#error "include qmoe.h"
#endif

/* What ran. What cannot be read is 0 or "". Clocks are the device's own peak figures, not those of the moment. */
typedef struct {
    char device[16], device_name[128]; /* "cuda:0" or "sim" */
    int simulated;                     /* 1: times say nothing about a GPU */
    char driver[32], cuda[16];         /* of the kernel module, "580.65.06"; of the driver's interface, "13.0" */
    uint32_t cc, n_sm, clock_khz, mem_clock_khz, mem_bus_bits; /* cc 89 = 8.9 */
    uint64_t mem_bytes, l2_bytes;
    char cpu[128], os[128], arch[32], version[16], commit[48], date[24]; /* date: ISO 8601, UTC */
    uint32_t n_cpu;
} qm_machine;
void qm_engine_machine(const qm_engine *g, qm_machine *m);
struct json_t;
struct json_t *qm_machine_json(const qm_machine *m); /* jansson; null where unknown; the "machine" of every result */

/* One test in llama-bench's terms: a prompt of n_prompt tokens, or n_gen generated ones (one of the two is 0),
 * behind depth positions that the cache holds. Tokens are random, the same in every run. */
typedef struct {
    uint32_t n_prompt, n_gen, depth, reps; /* reps >= 1 */
    uint64_t seed;
    int warmup;  /* one run before, not counted */
    int prefill; /* 1: the depth is computed; 0: random keys and values stand in for it, in no time */
} qm_bench_test;
/* A run lasts until its last token has been sampled and has reached the host. */
typedef struct {
    double avg_ns, stddev_ns, avg_ts, stddev_ts; /* of the runs; ts: tokens a second; stddev of n - 1 */
    double first_token_ns;                       /* average over the runs: until the first sampled token is here */
    double weight_bytes, kv_bytes;               /* read for a token, averaged over the test's tokens */
} qm_bench_result;
/* samples_ns: [reps], one a run. */
int qm_bench_run(qm_engine *g, const qm_bench_test *t, uint64_t *samples_ns, qm_bench_result *r, qm_err *e);

/* What the device's memory gives, in bytes a second; best and median of several passes over `bytes`, far more
 * than its L2 holds. read: 16-byte loads by every multiprocessor. copy: device to device; a byte copied
 * counts twice, as read and as written. QM_ERR_UNSUPPORTED for the executor "ref". */
typedef struct {
    double read_best, read_median, copy_best, copy_median;
    uint64_t bytes;
    uint32_t passes;
} qm_bandwidth;
int qm_engine_bandwidth(qm_engine *g, qm_bandwidth *b, qm_err *e);
/* What loading is held against, in bytes a second. storage: reading the file past the page cache; where the file
 * system does not allow that (direct = 0) through it, which may flatter. bus: pinned host memory to the device,
 * 0 for "ref". */
typedef struct {
    double storage, bus;
    int direct;
} qm_load_limits;
int qm_engine_load_limits(qm_engine *g, const char *path, qm_load_limits *l, qm_err *e);
/* How much of a file is in the page cache, 0 to 1; negative where it cannot be told. Of a split set: of that part. */
double qm_file_cached(const char *path);
/* Device memory in use now, by whomever, and all there is. 0 and 0 for "ref". */
int qm_engine_memory(qm_engine *g, uint64_t *used, uint64_t *total, qm_err *e);

typedef enum { QM_FORMAT_MD, QM_FORMAT_CSV, QM_FORMAT_JSON, QM_FORMAT_JSONL } qm_format;
typedef struct {
    const uint32_t *depth; /* [n_depth] positions in the cache before the step */
    int n_depth;
    qm_format format;
    int by_kind, every_op; /* MD: a table of kinds of ops, or of each op. The other formats hold each op always. */
    int runs;              /* on a GPU: timed runs, 0 = 50; on the software device nothing is timed */
    uint64_t seed;
    const char *executor; /* of an estimate: "graph" (NULL) or "persistent" */
} qm_ops_opts;
/* One decode step op by op: weights, bytes, and what the device counts (software device) or how long it
 * takes and how long the gaps are (GPU; by the device's own clock, from inside the kernels). */
int qm_bench_ops(qm_engine *g, const qm_ops_opts *o, qm_write_fn w, void *user, qm_err *e);
/* The same, estimated, for chips that are not here: "rtx4090", "rtx4090,gb10", "all". gguf_path NULL: the
 * shape of Qwen3-30B-A3B in Q4_K_M. Reads a file's header, never its weights. MD with neither by_kind nor
 * every_op: one line for each chip and depth. */
int qm_bench_predict_ops(const char *gguf_path, const char *chips, const qm_ops_opts *o, qm_write_fn w, void *user,
                         qm_err *e);
#endif

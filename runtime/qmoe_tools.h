/* qmoe_tools.h: measuring and looking inside: reports of a file, a machine and a step; benchmarks, estimates, perplexity;
 * synthetic and quantised files. What a program needs that runs a model is in qmoe.h. */
#ifndef QMOE_TOOLS_H
#define QMOE_TOOLS_H
#include "qmoe.h"
#ifdef __cplusplus
extern "C" {
#endif

/* ---- reports: text is handed to w piece by piece; a non-zero return stops ---- */
typedef int (*qm_write_fn)(void *user, const char *s, size_t n);
enum { QM_INSPECT_META = 1, QM_INSPECT_TENSORS = 2, QM_INSPECT_PLAN = 4, QM_INSPECT_JSON = 8 };
/* Any GGUF, of whatever architecture and types: the report says whether it runs here, and what stands against it. An
 * error where it is no GGUF, or where a plan is asked for of a file that does not run. */
int qm_inspect(const char *gguf_path, int what, qm_write_fn w, void *user, qm_err *e);
int qm_doctor(int json, qm_write_fn w, void *user, qm_err *e); /* 0 also when things are missing */

/* ---- looking inside ---- */
typedef struct {
    const char *path;       /* the model's file: free_run opens it a second time */
    int json, verbose;      /* verbose: text shows every slot, and every op that was compared */
    int all_positions;      /* the use of experts is counted over the whole prompt, not at its last position alone */
    uint32_t top_k;         /* logits shown; 0 = 5 */
    const char *dump;       /* NULL, or a directory: <layer>.<slot>.npy of every vector, f32 */
    const char *compare;    /* NULL, "ref" (the C references), or a directory of .npy files with such names */
    int free_run;           /* "ref" computes the whole prompt on its own; else each op from the device's inputs */
    const char *stop_after; /* "qkv" or "3.qkv": "ref" compares no further than the first such op */
    int first_layer, last_layer; /* what is compared and dumped; last < 0: everything, the ends included */
    double min_cosine;           /* a cosine below it departs; 0: 0.9999 against "ref", 0.999 against a directory */
} qm_trace_opts;
/* The step of the prompt's last position, observed: statistics of every layer's slots, what the routers chose, the
 * logits, a verdict. It is the step that generate computes, its ops launched one by one with launches in between that
 * only read; then the engine's executor computes the same step, and the report says whether the logits are the same.
 * departed: 1 where a comparison found a departure, or the executor other logits. */
int qm_trace(qm_engine *g, const char *prompt, size_t n_prompt, const uint32_t *ids, size_t n_ids,
             const qm_trace_opts *o, int *departed, qm_write_fn w, void *user, qm_err *e);

/* ---- synthetic models ---- */
typedef struct {
    const char *preset; /* "tiny" (NULL), "qwen3-30b-a3b", "tiny-dense" ...: runtime/arch has them */
    uint64_t seed;
    /* each 0 = the preset's */
    uint32_t n_layers, n_embd, n_head, n_kv_head, head_dim, n_expert, n_expert_used, n_ff_exp, n_vocab, n_ctx;
    const char *types; /* NULL = preset's mix ("q4_k_m"); or one type for all matrices: "f32" "f16" "q8_0" ... */
    int tied;          /* 1: token_embd is the output too; 0: the preset's */
    int bf16_routers; /* 1: their weights are BF16 values in F32, as files made of BF16 weights have them; 0: the preset's */
    int sparse;       /* 1: the shape alone: the weights are a hole in the file, all zero, and take no disk */
    int (*progress)(void *user, uint64_t done, uint64_t total);
    void *user;
} qm_synth_opts;
int qm_synth(const char *out_path, const qm_synth_opts *o, qm_err *e);

/* ---- quantising: one GGUF into another, in other types ---- */
typedef struct {                  /* one tensor, done */
    const char *name, *from, *to; /* types by name: "F16", "Q4_K" */
    const char *note;             /* NULL, or why `to` is not what the mix asks for */
    uint32_t n_dims;
    uint64_t ne[4]; /* row length first */
    uint64_t bytes_from, bytes;
    double rms, rmse; /* root mean squares: of the weights, of what they lost */
} qm_quantize_tensor;
typedef struct {
    const char *type; /* NULL = "q4_k_m"; q4_k_s q5_k_m q5_k_s q6_k q8_0 bf16 f16 f32 ... */
    uint32_t threads; /* 0 = the processors there are; the bytes written do not depend on it */
    /* After each tensor; then progress in source bytes. A non-zero return cancels. Either may be NULL. */
    int (*on_tensor)(void *user, const qm_quantize_tensor *t);
    int (*progress)(void *user, uint64_t done, uint64_t total);
    void *user;
} qm_quantize_opts;
const char *qm_quantize_types(void);     /* their names: "q4_k_m q4_k_s ... q6_k" */
int qm_quantize_knows(const char *type); /* 1: it is a name of a type, in upper or lower case */
/* in: any part of a split set will do; out: one file, which appears only when it is complete. All keys are
 * kept but those of the split and the alignment; general.file_type and quantization_version are set. A
 * weight that is not finite or that its type cannot hold is an error that names it. */
int qm_quantize(const char *in_path, const char *out_path, const qm_quantize_opts *o, qm_err *e);

/* ---- measuring ---- */
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
/* The "machine" of every result: a JSON object in UTF-8, null where unknown; free() it. NULL: no memory. */
char *qm_machine_json(const qm_machine *m);

/* One test in llama-bench's terms: a prompt of n_prompt tokens, or n_gen generated ones (one of the two is 0),
 * after depth positions that the cache holds. Tokens are random, the same in every run. */
typedef struct {
    uint32_t n_prompt, n_gen, depth, reps; /* reps >= 1 */
    uint32_t n_seqs;                       /* sequences at once, each with all of that; 0: one */
    uint64_t seed;
    int warmup;  /* one run before, not counted */
    int prefill; /* 1: the depth is computed; 0: random keys and values stand in for it, in no time */
} qm_bench_test;
/* Its name: "pp512", "tg128 @ d4096", "tg128 x8" (8 sequences). */
enum { QM_BENCH_NAME = 64 };
void qm_bench_test_name(char *s, size_t n, const qm_bench_test *t);
/* A run lasts until its last token has been sampled and has reached the host. */
typedef struct {
    double avg_ns, stddev_ns, avg_ts, stddev_ts; /* of the runs; ts: tokens a second; stddev of n - 1 */
    double first_token_ns;         /* average over the runs: until the first sampled token of each is here */
    double weight_bytes, kv_bytes; /* read for a token, averaged over the test's tokens */
} qm_bench_result;
/* samples_ns: [reps], one a run. */
int qm_bench_run(qm_engine *g, const qm_bench_test *t, uint64_t *samples_ns, qm_bench_result *r, qm_err *e);

/* From here on "auto" takes the faster of the two on this device for this model; tokens a second of decoding, as measured. It is kept in
 * the cache's folder, until kernels, driver or model change. QM_ERR_UNSUPPORTED on a device whose times are the host's. */
int qm_engine_keep_choice(const qm_engine *g, double graph, double persistent, qm_err *e);

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
    const char *apart;             /* of an estimate: as in qm_engine_opts */
    const char *cache_k, *cache_v; /* likewise */
    const char *dependent_launch;  /* of an estimate: "off": none, where the chip has them */
    const char *executor;          /* of an estimate: "graph" (NULL) or "persistent", which takes steps of one row */
    uint32_t n_ubatch;             /* of an estimate of tests: rows of a step at most, 1 .. 512; 0 = 512 */
} qm_ops_opts;
/* One decode step op by op: weights, bytes, and what the device counts (software device) or how long it
 * takes and how long the gaps are (GPU; by the device's own clock, from inside the kernels). */
int qm_bench_ops(qm_engine *g, const qm_ops_opts *o, qm_write_fn w, void *user, qm_err *e);
/* The same, estimated, for chips that are not here: "rtx4090", "rtx4090,gb10", "all". gguf_path NULL: the
 * shape of Qwen3-30B-A3B in Q4_K_M. Reads a file's header, never its weights. MD with neither by_kind nor
 * every_op: one line for each chip and depth. */
int qm_bench_predict_ops(const char *gguf_path, const char *chips, const qm_ops_opts *o, qm_write_fn w, void *user,
                         qm_err *e);
/* Tests t [n], estimated likewise: one line or record for each chip and test; by_kind or every_op: their steps, op by op.
 * o's depths are not looked at, the tests have theirs. */
int qm_bench_predict_tests(const char *gguf_path, const char *chips, const qm_bench_test *t, int n,
                           const qm_ops_opts *o, qm_write_fn w, void *user, qm_err *e);

/* ---- how well a model predicts a text, and how far two computations of it are apart ---- */
/* A file of log-probabilities (docs/logprobs.md): token sequences and, for their scored positions, the likeliest
 * tokens or all of them, as some program computed them. */
typedef struct {
    char note[512];           /* who computed them, from what */
    uint32_t n_vocab, k;      /* entries for each position; k = n_vocab: all */
    uint32_t n_seqs, longest; /* sequences; tokens of the longest */
    uint64_t n_scored;
} qm_logprobs_info;
int qm_logprobs_get_info(const char *path, qm_logprobs_info *i, qm_err *e);

typedef struct {
    uint32_t n_ctx;      /* tokens of a chunk; 0 = 512 */
    uint32_t max_chunks; /* 0 = as many as the text has */
    const char *base;    /* NULL, or a file of log-probabilities to compare with. Its sequences are run, and no text */
    const char *out;     /* NULL, or a file of log-probabilities to write */
    const char *note;    /* for out */
    uint32_t k;          /* for out: entries for each position; 0 = all */
    /* After each chunk or sequence, with the perplexity so far. A non-zero return cancels. May be NULL. */
    int (*on_chunk)(void *user, uint32_t done, uint32_t n, double ppl);
    /* Before each step of some positions: tokens done, of all; the chunk that they are in, from 1, of how many; the
     * perplexity so far, 0 where nothing is scored yet. A non-zero return cancels. May be NULL. */
    int (*on_position)(void *user, uint64_t done, uint64_t of, uint32_t chunk, uint32_t n, double ppl);
    void *user;
} qm_perplexity_opts;

/* Where base has k < n_vocab entries, KL is that of the distribution over its k tokens and "any other": at most the
 * true KL, which is larger by no more than what lies within "any other" (rest_mass says how probable that is). */
typedef struct {
    uint64_t n;       /* positions */
    double mean, err; /* KL(base || here), in nats; standard error of the mean */
    double max, min, p999, p99, p95, p90, median;
    uint32_t max_seq, max_pos; /* where the largest is */
    double rest_mass;          /* mean base probability of the tokens that base does not name; 0 if it names all */
    uint64_t n_same;           /* positions with the same likeliest token */
    uint64_t n_near;           /* of the others, how many where base's likeliest leads by less than 0.1 nats */
    uint64_t n_next;           /* positions where base knows the probability of the text's next token: */
    double base_ppl;           /*   perplexity by base, there */
    double mean_dp, rms_dp;    /*   its probability here minus that by base: mean, root mean square */
} qm_divergence;

typedef struct {
    uint32_t n_seqs;             /* chunks */
    uint64_t n_tokens, n_scored; /* tokens computed; tokens predicted */
    double nll, ppl, err;        /* mean -log p of the next token, its exponential, and the standard error of that */
    double seconds;
    qm_divergence kl; /* with base */
} qm_perplexity_result;

/* Perplexity as llama-perplexity takes it: the text in chunks of n_ctx tokens, each computed from an empty cache,
 * what does not fill a chunk left out; in each, the tokens of the second half are scored, given all before them.
 * The first token of a chunk is replaced by the BOS token if the model wants one. tokens: the text's, NULL with base. */
int qm_perplexity(qm_engine *g, const uint32_t *tokens, size_t n, const qm_perplexity_opts *o, qm_perplexity_result *r,
                  qm_err *e);
#ifdef __cplusplus
}
#endif
#endif

/* qmoe.h: the engine: open a model, tokenise, generate, chat. Measuring and looking inside: qmoe_tools.h.
 * Programs in host/ see these two alone.
 *
 * An engine is a model on a device: immutable once open, one per process is usual. A session is one
 * sequence: its tokens and its KV cache. Functions return 0 or a negative QM_ERR_* and fill *e. Nothing
 * here prints or exits. An engine and its sessions belong to one thread at a time. */
#ifndef QMOE_H
#define QMOE_H
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#ifdef __cplusplus
extern "C" {
#endif

#define QM_VERSION "0.1.0"

/* ---- engine ---- */
/* The context where nobody says: at least, and as n_wanted for what has no end of its own (a chat, generate -n -1). */
enum { QM_CTX_LEAST = 4096, QM_CTX_OPEN = 32768 };
enum { QM_UBATCH_MOST = 512 }; /* rows of a step */
typedef struct qm_engine qm_engine;
typedef struct qm_engine_info qm_engine_info;
#define QM_CTX_MODEL UINT32_MAX /* n_ctx: the model's limit */
#define QM_KV_SHARED UINT32_MAX /* n_kv: what one sequence may have is what all have together */
typedef struct {
    const char *device; /* "auto" (NULL), "cuda:N", "sim" */
    /* "graph": one CUDA graph node per op; "persistent": one resident kernel walks the ops of a step of one row, other steps are
     * as with "graph"; "ref": the C reference on the host; "auto" (NULL): what bench --choose has measured on this device with this
     * model to be faster, else persistent on compute capability 8.x and graph elsewhere */
    const char *executor;
    /* KV cache positions to make room for; QM_CTX_MODEL: the model's limit. 0: max(n_needed + 8, n_wanted,
     * QM_CTX_LEAST), at most the model's limit; where that does not fit into memory what does, if that is n_needed at
     * least (QM_CTX_LEAST or the model's limit, where n_needed is not known). What cannot be is refused before any
     * weight is loaded. */
    uint32_t n_ctx;
    /* Sequences (sessions, and those of a qm_batch) that may be open at once, which share the KV cache: 1 .. 1024; 0: 4. */
    uint32_t n_parallel;
    /* Rows of a step at most, positions of prompts and sequences that are computed together: 1 .. 512, rounded up to a power
     * of two, and no more than n_ctx takes; 0: 512. A step's scratch memory grows with it; no result depends on it. */
    uint32_t n_ubatch;
    /* Of these, rows whose logits one step can have: n_parallel at least, n_ubatch at most; 0: n_parallel. More are for who
     * scores a text (qm_perplexity); each takes scratch memory, about 8 bytes a token of the vocabulary. */
    uint32_t n_outs;
    /* Positions of the KV cache, all sequences together; 0: n_ctx for each of the n_parallel that were asked for, or
     * n_ctx in all where none were. QM_KV_SHARED: n_ctx in all. */
    uint32_t n_kv;
    /* How keys and values are kept in the cache, one of qm_cache_types; NULL: "f16". Both alike, or QM_ERR_ARG. */
    const char *cache_k, *cache_v;
    /* Of a step of one row: what is an op of its own though one could compute more (qm_apart_words, with commas between;
     * "all"). NULL: nothing is. The bits are the same; QM_ERR_ARG: no such word. */
    const char *apart;
    /* Whether an op of a step may begin while the one before it still runs, on a GPU of compute capability 9.0 or later with a
     * driver of CUDA 12.3 or later (docs/decode.md): "auto" (NULL): where that works; "on": or QM_ERR_UNSUPPORTED, saying why it
     * does not; "off". The bits are the same. */
    const char *dependent_launch;
    uint32_t n_needed; /* positions that will be taken for certain: prompt and tokens to generate; 0: not known */
    uint32_t n_wanted; /* as many as would be of use; 0: no more than is needed */
    /* Once the file is open and before anything is loaded: qm_engine_tokenize and qm_engine_render work, and n_needed and
     * n_wanted may be set from what they say. Non-zero: an error, *e is filled. May be NULL. */
    int (*measure)(void *user, const qm_engine *g, uint32_t *n_needed, uint32_t *n_wanted, qm_err *e);
    float rope_base; /* above 1: overrides the file's; 0: none; else QM_ERR_ARG */
    int f32_act;     /* "ref" only: activations are not quantised: the yardstick for what that costs */
    int no_nfc;      /* tokenise text as it stands, as llama.cpp does; the model's own tokenizer normalises to NFC */
    const char *chat_template; /* Jinja; NULL: the file's own, or without one plain ChatML */
    /* NULL, or a JSON object of variables for the template: "{\"enable_thinking\": false}" */
    const char *template_kwargs;
    /* What will run, once it is known and before any weight is loaded. Then loading progress in bytes. A
     * non-zero return cancels. Either may be NULL. */
    int (*before_load)(void *user, const qm_engine_info *i);
    int (*progress)(void *user, uint64_t done, uint64_t total);
    /* One line about something that takes its time: the driver compiling kernels that it has not in its cache. May be
     * NULL. */
    void (*notice)(void *user, const char *line);
    void *user;
} qm_engine_opts;
/* "|f16|q8_0": every type's name behind a bar. An array, so that tables of options can hold its address. */
extern const char qm_cache_types[];
extern const char qm_apart_words[]; /* "none|all|norm..." */
int qm_engine_open(qm_engine **out, const char *gguf_path, const qm_engine_opts *o, qm_err *e);
void qm_engine_close(qm_engine *g);
/* The calling thread is the engine's from here on; who opened it needs not call it, another thread does first of all. */
int qm_engine_take(qm_engine *g, qm_err *e);

struct qm_engine_info {
    char arch[32], name[96], device[16], device_name[128], device_why[256], executor[16];
    char executor_why[256]; /* how it was chosen; "": it was asked for */
    int interpreted;      /* 1: no GPU: kernels are interpreted on this host, and a large model takes seconds a token */
    char chat_format[24]; /* "the file's template", "the caller's template", "ChatML" */
    /* n_expert 0: none; n_ff_exp is then the one feed-forward network's */
    uint32_t n_layers, n_embd, n_head, n_kv_head, head_dim, n_expert, n_expert_used, n_ff_exp, n_vocab;
    uint32_t n_ctx_train, n_ctx;
    uint32_t n_parallel, n_kv; /* sequences at once; positions of the KV cache, which they share */
    uint32_t n_ubatch;         /* rows of a step at most */
    uint64_t weight_bytes;     /* on the device, packed */
    uint64_t bytes_per_token;  /* weight bytes a decode step reads */
    uint64_t kv_bytes, scratch_bytes;
    char cache[16];          /* the type of keys and values in the cache */
    int concurrent;          /* 1: ops that share nothing but inputs may run at once (0 with QMOE_CONCURRENT=0) */
    int dependent;           /* 1: ops begin by dependent launches where they can */
    char dependent_why[160]; /* where not: why not */
    uint64_t prefetch_bytes; /* "persistent": most that is asked for ahead in one pause (QMOE_PREFETCH) */
    /* weights that a multiprocessor should have on its way, by its memory; 0: all that it can (QMOE_FLIGHT) */
    uint32_t flight_bytes;
    uint64_t ring_bytes; /* and shared memory of a multiprocessor that weights may fill ahead (QMOE_RING) */
    uint64_t kept_bytes; /* weights that the L2 is asked to keep from one token to the next (QMOE_L2_KEEP) */
    int n_narrow; /* routers of F32 that lie in BF16's bytes, which hold them exactly (none with QMOE_NARROW=0) */
    double load_s, upload_s; /* all of the load; of it, buffers and weights. 0 before the load */
    double compile_s;        /* of the load: modules, which the driver compiles the first time */
};
void qm_engine_get_info(const qm_engine *g, qm_engine_info *i);

/* What a model takes of a device's memory, by part, in bytes; decided before any work. */
typedef struct {
    uint32_t n_ctx;  /* positions of a sequence that the figures are for */
    uint32_t n_seqs; /* sequences at once */
    uint32_t n_rows; /* rows of a step at most */
    uint64_t n_kv;   /* positions of the KV cache, all sequences together */
    uint64_t weights, kv;
    uint64_t scratch, rope; /* activations between ops; RoPE table */
    uint64_t step;          /* the record of a step's rows */
    uint64_t sequence;      /* of all sessions that may be open: tokens, block tables, logits */
    uint64_t loading;       /* staging, given back after the load */
    uint64_t headroom;      /* for the driver: modules, graphs */
    uint64_t need;          /* the sum */
    uint64_t free, total;   /* the device's */
    uint64_t limit;         /* what may be used: 95% of total, and no more than is free */
    int fits;               /* need <= limit */
    uint32_t n_ctx_train;   /* the model's limit */
    uint32_t n_ctx_max;     /* the largest context that fits, at most the model's limit; 0: none */
} qm_memory;
/* For the context that qm_engine_open would choose by o's n_ctx, n_needed and n_wanted, on o's device (NULL: as
 * there); loads nothing. 0 also where it does not fit (fits is 0 then); an error where there is no such file, device
 * or context. */
int qm_memory_estimate(qm_memory *m, const char *gguf_path, const qm_engine_opts *o, qm_err *e);

/* ---- text ---- */
typedef struct {
    uint32_t *v;
    size_t n, cap;
} qm_tokens;                       /* v grows by realloc; {0} is an empty one */
void qm_tokens_free(qm_tokens *t); /* it is empty again */
/* special != 0: control tokens in the text are matched (trusted text only). Appends. */
int qm_engine_tokenize(const qm_engine *g, const char *text, size_t n, int special, qm_tokens *out, qm_err *e);
/* The bytes of a token, [*n], which may be a part of a character; of a control token its text. NULL: no such id. They
 * live as long as g. */
const char *qm_engine_piece(const qm_engine *g, uint32_t id, size_t *n);
/* The same as it counts for an answer: a control token has no bytes, but for the tags that answers are read by (<think>,
 * </think>, <tool_call>, </tool_call>). qm_generate's text is made of these; qm_answer_push (qmoe_text.h) takes them. */
const char *qm_engine_answer_piece(const qm_engine *g, uint32_t id, size_t *n);

/* A file's vocabulary alone: no weights are read, no device is opened, and the model need not be one that runs here. */
typedef struct qm_vocab qm_vocab;
int qm_vocab_open(qm_vocab **out, const char *gguf_path, int no_nfc, qm_err *e);
void qm_vocab_close(qm_vocab *v);
/* As qm_engine_tokenize. bos != 0: with the BOS token in front, if the file asks for one. */
int qm_vocab_tokenize(const qm_vocab *v, const char *text, size_t n, int special, int bos, qm_tokens *out, qm_err *e);
uint32_t qm_vocab_n(const qm_vocab *v);                                /* its ids are 0 .. n - 1 */
const char *qm_vocab_piece(const qm_vocab *v, uint32_t id, size_t *n); /* as qm_engine_piece */

/* ---- generation ---- */
typedef struct qm_session qm_session;
int qm_session_open(qm_session **out, qm_engine *g, qm_err *e);
void qm_session_close(qm_session *s);
/* Forgets all tokens from position n on (n <= length). */
int qm_session_truncate(qm_session *s, uint32_t n, qm_err *e);
uint32_t qm_session_length(const qm_session *s);

/* The links of the chain that chooses a token, in llama.cpp's names. */
typedef enum {
    QM_SAMPLER_END,
    QM_SAMPLER_PENALTIES,
    QM_SAMPLER_TEMPERATURE,
    QM_SAMPLER_TOP_K,
    QM_SAMPLER_TOP_P,
    QM_SAMPLER_MIN_P,
    QM_N_SAMPLERS
} qm_sampler;
const char *qm_sampler_name(int sampler); /* "penalties" "temperature" "top_k" "top_p" "min_p" */
/* The order where nobody says another one. */
extern const unsigned char qm_samplers_default[QM_N_SAMPLERS];
/* A chain, up to QM_SAMPLER_END, from llama.cpp's names ("penalties;top_k;temperature"), or, letters != 0, from its
 * letters ("ekt"). dry, typ_p, top_n_sigma and xtc are passed over: nothing here turns them on. QM_ERR_ARG,
 * QM_ERR_UNSUPPORTED: a name that is unknown, there twice, or would change the result. */
int qm_samplers_parse(unsigned char out[QM_N_SAMPLERS], const char *text, int letters, qm_err *e);

typedef struct {
    uint32_t id;
    float bias; /* -1e6 .. 1e6, or -INFINITY: never */
} qm_logit_bias;

/* How tokens are chosen, in llama.cpp's names. Biases come first, then the chain: unless it says otherwise penalties,
 * temperature, top_k, top_p, min_p; then the draw (contracts/abi.h, "Sampling"). The choice for a position depends on
 * the seed, the position and the logits, on nothing else. */
typedef struct {
    float temperature;     /* -1000 .. 1000; 0 or less: greedy, nothing is drawn */
    int32_t top_k;         /* 0 or less: off; 1: greedy */
    double top_p;          /* 0 .. 1; 1: off; at least one token stays */
    double min_p;          /* 0 .. 1; 0: off */
    float repeat_penalty;  /* 0.01 .. 100; 1: off */
    int32_t repeat_last_n; /* the window of all penalties; -1 or more; 0: off; -1: the whole context */
    uint64_t seed;
    float presence_penalty;                /* -100 .. 100; taken from the logit of a token of the window; 0: off */
    float frequency_penalty;               /* -100 .. 100; the same, times how often it is there; 0: off */
    unsigned char samplers[QM_N_SAMPLERS]; /* qm_sampler, up to QM_SAMPLER_END; all zero: the order above. What is not
                                              there is off. Penalties that are on come first. */
    const qm_logit_bias *bias; /* [n_bias], of at most 1024 different tokens; read by qm_session_set_sampling alone */
    size_t n_bias;
} qm_sampling;
/* What qm_session_set_sampling would say of it, but for the vocabulary. */
int qm_sampling_check(const qm_sampling *p, qm_err *e);
/* From the next computed position on. A new session is greedy. QM_ERR_ARG names the range. */
int qm_session_set_sampling(qm_session *s, const qm_sampling *p, qm_err *e);
/* The file's general.sampling.*, and for what it does not say llama.cpp's defaults: 0.8, 40, 0.95, 0.05, a
 * penalty of 1 over 64, and the order above. What it asks for and is not to be had is a warning that names it. The
 * seed is 0. */
void qm_engine_sampling(const qm_engine *g, qm_sampling *p);

typedef enum {
    QM_FINISH_NONE,
    QM_FINISH_EOG,
    QM_FINISH_STOP,
    QM_FINISH_LENGTH,
    QM_FINISH_CONTEXT,
    QM_FINISH_CALLBACK,
    QM_FINISH_CANCELLED, /* qm_batch_cancel, qm_batch_close */
    QM_FINISH_ERROR      /* of a request: qm_usage.error says which */
} qm_finish;
const char *qm_finish_name(qm_finish f); /* "eog" "stop" "length" "context" "callback" "cancelled" "error" */

typedef struct {
    uint32_t max_tokens; /* 0 = until the context is full */
    int ignore_eos;
    const char *const *stop; /* stop strings, n_stop of them; never emitted */
    size_t n_stop;
    /* Called once for every sampled token, in order, before anything ends the answer: for the end-of-generation token
     * too, whose text is empty. text: whole UTF-8 characters only, possibly empty (held back: it may be the beginning
     * of a stop string). Non-zero return stops after this token: there is no further call. After the last token it may
     * be called once more with id = UINT32_MAX for text that was held back. */
    int (*on_token)(void *user, uint32_t id, const char *text, size_t n);
    /* Called before each step of the prompt, of up to n_ubatch positions; may be NULL. Non-zero cancels:
     * QM_ERR_CANCELLED, and the session holds what has been computed. */
    int (*on_prefill)(void *user, uint32_t done, uint32_t total);
    void *user;
} qm_gen_opts;
typedef struct {
    qm_finish finish;
    uint32_t n_prompt, n_generated;
    uint32_t n_reused;          /* qm_session_chat: positions before the prompt that the cache held */
    double prefill_s, decode_s; /* decode: from the first token to the last */
    double first_token_s;
    uint64_t logits_hash; /* FNV-1a over the f32 logits of the last prompt position */
} qm_gen_stats;
/* Prefills the prompt after what the session holds, then decodes (qm_session_set_sampling). */
int qm_generate(qm_session *s, const uint32_t *prompt, size_t n_prompt, const qm_gen_opts *o, qm_gen_stats *st,
                qm_err *e);
/* The logits [n_vocab] of the last computed position (blocks until they are there). */
int qm_session_logits(qm_session *s, float *out, qm_err *e);
/* Teacher forcing: appends one token and computes its logits. */
int qm_session_eval(qm_session *s, uint32_t token, qm_err *e);

/* ---- many sequences at once ----
 * A batch computes requests together: its steps have a row for each sequence that decodes, and what room is left is for
 * prompts, the oldest first. Sequences join and leave between steps. Neither that nor what is beside it changes a
 * request's tokens: they are those that it has alone. What requests begin with alike is computed once, as long as the
 * KV cache has room to keep it: whole pages of 32 positions.
 *
 * Where the cache is full, what nobody uses is dropped first, the oldest first; then the youngest request that runs is
 * paused, and later goes on with the same tokens; those that have not begun wait. A request that could never fit is
 * refused.
 *
 * Threads: one steps the batch (step, wait, state, close), and all callbacks come from it; no session of the engine may
 * be used beside it by another. submit and cancel may be called from any thread, also from a callback. */
typedef struct qm_batch qm_batch;
typedef struct {
    uint32_t n_seqs;  /* requests that run at once; each is a sequence of the engine's n_parallel. 0: all of these */
    uint32_t n_queue; /* how many more may wait for them; 0: any number */
    uint32_t n_rows;  /* rows of a step at most; 0: as many as the engine has room for (n_ubatch) */
} qm_batch_opts;
/* o may be NULL. QM_ERR_LIMIT where the engine has not as many sequences left. */
int qm_batch_open(qm_batch **out, qm_engine *g, const qm_batch_opts *o, qm_err *e);
/* Requests that are not done end with QM_FINISH_CANCELLED. */
void qm_batch_close(qm_batch *b);

/* What a request took. Times in seconds from its submit. */
typedef struct {
    qm_finish finish;
    uint32_t n_prompt, n_generated;
    uint32_t n_cached; /* positions of the prompt that were not computed for it: the cache had them */
    uint32_t n_paused; /* how often it was */
    double started_s;  /* until its first step; 0: it had none */
    double first_token_s, total_s;
    qm_err error; /* QM_FINISH_ERROR: why; else its code is 0 */
} qm_usage;

/* The natural logarithm of a token's probability before anything of the sampling chain: softmax of the model's own
 * logits, without biases, penalties, temperature or mask. */
typedef struct {
    uint32_t id;
    float logprob;
} qm_logprob;
enum { QM_TOP_LOGPROBS = 20 };
/* Of a token that was chosen, and the n most likely ones of its position: best first, of equals the lower id. */
typedef struct {
    float logprob;
    uint32_t n;
    qm_logprob top[QM_TOP_LOGPROBS];
} qm_logprobs;

typedef struct {
    const uint32_t *ids; /* the prompt [n]; copied, as are sampling and stop */
    size_t n;
    const qm_sampling *sampling; /* NULL: greedy */
    uint32_t max_tokens;         /* 0: until the context is full */
    int ignore_eos;
    const uint32_t *stop; /* token ids [n_stop] that end the answer: QM_FINISH_STOP */
    size_t n_stop;
    int no_reuse; /* 1: the whole prompt is computed, whatever the cache has of it: for measuring */
    int logprobs; /* 1: on_token is told the token's, and of the most likely ones n_logprobs, 0 .. QM_TOP_LOGPROBS */
    uint32_t n_logprobs;
    /* Which tokens may come next: [(n_vocab + 31) / 32] words, bit i % 32 of word i / 32 is token i. NULL: all may, this
     * once. Called before each choice of this request, after on_token of the one before; after a pause it may be called
     * again for the same choice. The words are read before it is called again. Where they allow nothing the request ends
     * with QM_FINISH_ERROR. Such a request has a row in a step only when its last token has been looked at: alone it pays
     * a round trip to the host for each token; beside others it is in every second step, while they go on. May be NULL:
     * no limits. */
    const uint32_t *(*mask)(void *user);
    /* Every token, in order, the one that ends the answer too; lp: NULL unless asked for. Not 0: the answer ends here,
     * QM_FINISH_CALLBACK. May be NULL. */
    int (*on_token)(void *user, uint32_t id, const qm_logprobs *lp);
    /* Once, last; the request is gone when this returns. May be NULL. */
    void (*on_end)(void *user, const qm_usage *u);
    void *user;
} qm_request;
/* Any thread. ticket, unless NULL: its name for qm_batch_cancel. QM_ERR_ARG: a value out of range, QM_ERR_LIMIT: it
 * does not fit the context, or the queue is full; then there will be no callback. */
int qm_batch_submit(qm_batch *b, const qm_request *r, uint64_t *ticket, qm_err *e);
/* Any thread. The request ends with QM_FINISH_CANCELLED at the beginning of the next qm_batch_step: it has no row in
 * any step after that, and its pages are the others'. 0: there is no such request, or it is cancelled already; else
 * 1. */
int qm_batch_cancel(qm_batch *b, uint64_t ticket);

/* Does what is next: enqueues a step, and collects the tokens of the one before it; so one or two are on their way. 1:
 * there is more to do; 0: no request is there. Negative: a step failed, and the requests that ran have ended with
 * QM_FINISH_ERROR; those that wait are still there. */
int qm_batch_step(qm_batch *b, qm_err *e);
/* Until a request is there, at most so long: 1, or 0 where none has come. */
int qm_batch_wait(qm_batch *b, double seconds);

typedef struct {
    uint32_t n_running, n_waiting;
    uint32_t n_pages;         /* of the KV cache */
    uint32_t n_held;          /* of these in use */
    uint32_t n_kept;          /* not in use, but good for who begins with the same */
    uint64_t n_steps, n_rows; /* since it was opened */
} qm_batch_state;
void qm_batch_get_state(qm_batch *b, qm_batch_state *s);

/* ---- conversations ---- */
/* content: [n] bytes of UTF-8, or QM_ERR_ARG with the place of the first byte that is not; may be empty. Never trusted:
 * what looks like a control token in it is ordinary text. */
typedef struct {
    const char *role, *content;
    size_t n;
} qm_message;

/* A conversation in the model's chat format, with the assistant's turn opened after it; appended to out. */
int qm_engine_render(const qm_engine *g, const qm_message *m, size_t n_messages, qm_tokens *out, qm_err *e);

/* 1 where the template itself opens a <think> block at the end of the conversation as rendered, so that the answer begins
 * inside of it and has no such tag; 0; or negative, as qm_engine_render. */
int qm_engine_thinks(const qm_engine *g, const qm_message *m, size_t n_messages, qm_err *e);

/* A conversation as JSON text: what chat APIs send. */
typedef struct {
    /* An array of objects. role: system, developer (system, where the template does not name it), user, assistant, or what
     * else the template names: tool. content: a string, or an array of {"type": "text", "text": ...}, joined with a line end
     * between two; of an assistant also null. Of an assistant also reasoning_content, and tool_calls: an array of {"type":
     * "function", "function": {"name", "arguments": an object, or its text}}. All other members are the template's to read. */
    const char *messages;
    /* An array of {"type": "function", "function": {"name", "description", "parameters"}}; or NULL. */
    const char *tools;
    const char *kwargs; /* an object of variables for the template, over qm_engine_opts.template_kwargs; or NULL */
    int no_turn;        /* 1: the assistant's turn is not opened (add_generation_prompt is false) */
    /* Text that the assistant's turn begins with, so that an answer goes on from it; or NULL. QM_ERR_UNSUPPORTED where the
     * template has opened a <think> block in that place. */
    const char *begun;
} qm_conversation;
/* As qm_engine_render, and nothing in it is trusted: no name, description, argument or result becomes a control token.
 * thinking, unless NULL: 0: no thinking is to be expected: the template has no <think>, or has closed the block; 1: the
 * answer may begin with one; 2: the template has opened it. Errors begin with the place ("messages[2].content[1]: ..."): QM_ERR_ARG;
 * QM_ERR_UNSUPPORTED: an image, or tools where the template has none; QM_ERR_LIMIT: 64 MiB or 100 levels of JSON. */
int qm_engine_render_json(const qm_engine *g, const qm_conversation *c, qm_tokens *out, int *thinking, qm_err *e);
/* Its text [*n], with a NUL after it; malloc'd. */
int qm_engine_render_text(const qm_engine *g, const qm_conversation *c, char **text, size_t *n, qm_err *e);

/* How the template writes calls of tools, and the model, which was taught by it, will: 0: it takes no tools, or has calls
 * of another kind (tools are refused then); QM_TOOLS_JSON: <tool_call>{"name", "arguments"}</tool_call>; QM_TOOLS_XML:
 * <tool_call><function=NAME><parameter=KEY>VALUE</parameter></function></tool_call>. */
enum { QM_TOOLS_JSON = 1, QM_TOOLS_XML = 2 };
int qm_engine_tool_format(const qm_engine *g);

/* Answers a conversation in a session that may hold an earlier state of it: what the rendered conversation and the
 * session begin with alike stays in the cache, the rest of the session is forgotten, the rest of the conversation
 * computed. st->n_prompt counts what was computed, st->n_reused what was not. The session afterwards ends with
 * the answer. QM_ERR_LIMIT, with the numbers, where the conversation leaves no room for a token: the session is then as
 * it was. o->max_tokens is cut to what the context has room for. */
int qm_session_chat(qm_session *s, const qm_message *m, size_t n_messages, const qm_gen_opts *o, qm_gen_stats *st,
                    qm_err *e);

/* ---- files: how this library reads and writes them, for its callers ---- */
/* n bytes as the file `path`, all at once: what stands there is replaced, with its mode, when they are on the disk;
 * links are followed; a device or a FIFO is written through; a file that is read by this process is refused. */
int qm_write_file(const char *path, const void *p, size_t n, qm_err *e);
/* The file at path has been read, and is not to be written over by this process. */
int qm_input_keep(const char *path, qm_err *e);
/* Removes what unfinished output is on the disk. Async-signal-safe: for the handler of a signal that ends the process. */
void qm_abandon_files(void);
/* For a handler of SIGBUS: the name, fit to be printed, of the mapped file that addr lies in, or NULL. shrank: 1 where
 * the file is shorter by now than it was, 0 where it cannot be read. Async-signal-safe. */
const char *qm_input_fault(const void *addr, int *shrank);

#ifdef __cplusplus
}
#endif
#endif

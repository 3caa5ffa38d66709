/* arch.c: hyperparameters from the metadata. */
#include "arch.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "../base/log.h"
#include "../base/text.h"

/* A file may use either spelling as its key prefix, whatever general.architecture says. */
static const char *const prefixes[] = {"qwen3moe", "qwen3_moe"};

typedef struct {
    const qm_gguf *g;
    qm_err *e;
} reader;

/* Defines get_<type>(r, key, v): 1 found, 0 absent under both prefixes, negative on error. */
#define GETTER(name, ctype)                                                 \
    static int get_##name(reader *r, const char *key, ctype *v) {          \
        char full[128];                                                     \
        for (int i = 0; i < 2; i++) {                                       \
            snprintf(full, sizeof full, "%s.%s", prefixes[i], key);         \
            int rc = qm_gguf_get_##name(r->g, full, v, r->e);               \
            if (rc) return rc;                                              \
        }                                                                   \
        return 0;                                                           \
    }
GETTER(u32, uint32_t)
GETTER(f32, float)
GETTER(str, qm_str)

static int missing(reader *r, const char *key) {
    return qm_fail(r->e, QM_ERR_FORMAT, "%s: missing metadata key qwen3moe.%s", qm_gguf_path(r->g), key);
}

static int need_u32(reader *r, const char *key, uint32_t lo, uint32_t hi, uint32_t *v) {
    int rc = get_u32(r, key, v);
    if (rc < 0) return rc;
    if (!rc) return missing(r, key);
    if (*v < lo || *v > hi)
        return qm_fail(r->e, QM_ERR_FORMAT, "%s: qwen3moe.%s: %u is outside %u..%u", qm_gguf_path(r->g), key,
                       *v, lo, hi);
    return 0;
}

static int read_arch(qm_hparams *hp, reader *r) {
    qm_str s;
    const char *path = qm_gguf_path(r->g);
    int rc = qm_gguf_get_str(r->g, "general.architecture", &s, r->e);
    if (rc < 0) return rc;
    if (!rc) return qm_fail(r->e, QM_ERR_FORMAT, "%s: missing metadata key general.architecture", path);
    qm_text_name(hp->arch, sizeof hp->arch, s.s, s.n);
    if (strcmp(hp->arch, "qwen3moe") && strcmp(hp->arch, "qwen3_moe"))
        return qm_fail(r->e, QM_ERR_UNSUPPORTED,
                       "%s: architecture '%s' is not supported (supported: qwen3moe, qwen3_moe)", path, hp->arch);
    rc = qm_gguf_get_str(r->g, "general.name", &s, r->e);
    if (rc < 0) return rc;
    if (rc) qm_text_name(hp->name, sizeof hp->name, s.s, s.n);
    return 0;
}

static int read_rope(qm_hparams *hp, reader *r, float override) {
    const char *path = qm_gguf_path(r->g);
    float f = 0;
    int rc = get_f32(r, "rope.freq_base", &f);
    if (rc < 0) return rc;
    if (!rc) {
        f = 1e6f;
        if (!(override > 0)) qm_log(QM_LOG_WARN, "%s: no qwen3moe.rope.freq_base; using 1000000", path);
    }
    if (override > 0) f = override;
    if (!(f > 1) || !isfinite(f))
        return qm_fail(r->e, QM_ERR_FORMAT, "%s: qwen3moe.rope.freq_base: %g is not above 1", path, (double)f);
    hp->rope_base = f;
    hp->rope_factor = 1;
    qm_str s;
    rc = get_str(r, "rope.scaling.type", &s);
    if (rc <= 0) return rc;
    char type[16];
    qm_text_name(type, sizeof type, s.s, s.n);
    if (!strcmp(type, "none")) return 0;
    if (strcmp(type, "linear") && strcmp(type, "yarn"))
        return qm_fail(r->e, QM_ERR_UNSUPPORTED,
                       "%s: qwen3moe.rope.scaling.type '%s' is not supported (supported: none, linear, yarn)", path,
                       type);
    rc = get_f32(r, "rope.scaling.factor", &f);
    if (rc < 0) return rc;
    if (!rc) return missing(r, "rope.scaling.factor");
    if (!(f >= 1) || !isfinite(f))
        return qm_fail(r->e, QM_ERR_FORMAT, "%s: qwen3moe.rope.scaling.factor: %g is below 1", path, (double)f);
    hp->rope_factor = f;
    hp->rope_yarn = !strcmp(type, "yarn");
    hp->rope_orig_ctx = hp->n_ctx_train;
    rc = get_u32(r, "rope.scaling.original_context_length", &hp->rope_orig_ctx);
    return rc < 0 ? rc : 0;
}

/* What must hold between the numbers, and what our kernels can run. */
static int check(const qm_hparams *hp, uint32_t value_length, const char *path, qm_err *e) {
    if (value_length != hp->head_dim)
        return qm_fail(e, QM_ERR_UNSUPPORTED, "%s: attention.value_length %u differs from key_length %u", path,
                       value_length, hp->head_dim);
    if (hp->head_dim != 64 && hp->head_dim != 128)
        return qm_fail(e, QM_ERR_UNSUPPORTED, "%s: head_dim %u is not supported (supported: 64, 128)", path,
                       hp->head_dim);
    if (hp->n_kv == 0 || hp->n_head % hp->n_kv)
        return qm_fail(e, QM_ERR_FORMAT, "%s: head_count %u is not a multiple of head_count_kv %u", path, hp->n_head,
                       hp->n_kv);
    if (hp->n_used > hp->n_expert)
        return qm_fail(e, QM_ERR_FORMAT, "%s: expert_used_count %u exceeds expert_count %u", path, hp->n_used,
                       hp->n_expert);
    if (hp->n_embd % 32 || hp->n_ff % 32)
        return qm_fail(e, QM_ERR_UNSUPPORTED,
                       "%s: embedding_length %u and expert_feed_forward_length %u must be multiples of 32", path,
                       hp->n_embd, hp->n_ff);
    return 0;
}

int qm_arch_read(qm_hparams *hp, const qm_gguf *g, float rope_base, qm_err *e) {
    reader r = {g, e};
    const char *path = qm_gguf_path(g);
    memset(hp, 0, sizeof *hp);
    int rc = read_arch(hp, &r);
    if (rc) return rc;
    if ((rc = need_u32(&r, "context_length", 1, 1u << 28, &hp->n_ctx_train)) ||
        (rc = need_u32(&r, "embedding_length", 32, 1u << 16, &hp->n_embd)) ||
        (rc = need_u32(&r, "block_count", 1, 1024, &hp->n_layers)) ||
        (rc = need_u32(&r, "attention.head_count", 1, 1024, &hp->n_head)) ||
        (rc = need_u32(&r, "expert_count", 1, 512, &hp->n_expert)) ||
        (rc = need_u32(&r, "expert_used_count", 1, 32, &hp->n_used)) ||
        (rc = need_u32(&r, "expert_feed_forward_length", 32, 1u << 16, &hp->n_ff)))
        return rc;
    hp->n_kv = hp->n_head;
    if ((rc = get_u32(&r, "attention.head_count_kv", &hp->n_kv)) < 0) return rc;
    hp->head_dim = hp->n_embd / hp->n_head;
    if ((rc = get_u32(&r, "attention.key_length", &hp->head_dim)) < 0) return rc;
    uint32_t value_length = hp->head_dim, shared_ff = 0;
    if ((rc = get_u32(&r, "attention.value_length", &value_length)) < 0) return rc;
    if ((rc = get_u32(&r, "expert_shared_feed_forward_length", &shared_ff)) < 0) return rc;
    if (shared_ff)
        return qm_fail(e, QM_ERR_UNSUPPORTED, "%s: shared experts (expert_shared_feed_forward_length %u)", path,
                       shared_ff);
    rc = get_f32(&r, "attention.layer_norm_rms_epsilon", &hp->eps);
    if (rc < 0) return rc;
    if (!rc) return missing(&r, "attention.layer_norm_rms_epsilon");
    if (!(hp->eps > 0 && hp->eps < 1))
        return qm_fail(e, QM_ERR_FORMAT, "%s: qwen3moe.attention.layer_norm_rms_epsilon: %g is outside 0..1", path,
                       (double)hp->eps);
    if ((rc = check(hp, value_length, path, e))) return rc;
    return read_rope(hp, &r, rope_base);
}

/* YaRN (Peng et al. 2023): pairs that turn more than beta_fast times over the original context keep
 * their frequency, those under beta_slow are interpolated, a linear ramp lies between. */
void qm_model_inv_freq(const qm_hparams *hp, double *inv_freq, double *mscale) {
    const double two_pi = 6.283185307179586, beta_fast = 32, beta_slow = 1;
    int half = (int)hp->head_dim / 2;
    double lo = 0, hi = 1;
    *mscale = 1;
    if (hp->rope_yarn) {
        double d = hp->head_dim, lb = 2 * log(hp->rope_base);
        lo = fmax(floor(d * log(hp->rope_orig_ctx / (beta_fast * two_pi)) / lb), 0);
        hi = fmin(ceil(d * log(hp->rope_orig_ctx / (beta_slow * two_pi)) / lb), d - 1);
        *mscale = 1 + 0.1 * log(hp->rope_factor);
    }
    for (int i = 0; i < half; i++) {
        double f = pow(hp->rope_base, -2.0 * i / hp->head_dim);
        double keep = 0; /* share of the unscaled frequency */
        if (hp->rope_yarn) keep = 1 - fmin(1, fmax(0, (i - lo) / fmax(0.001, hi - lo)));
        inv_freq[i] = f / hp->rope_factor * (1 - keep) + f * keep;
    }
}

/* rope.c: what rope.* says of rotary positions. Keys and defaults are llama.cpp's
 * where it reads them for this architecture; the yarn_* keys hold what transformers has as beta_fast, beta_slow and
 * attention_factor. */
#include <math.h>
#include <string.h>
#include "../base/log.h"
#include "hparams.h"

static int read_base(qm_hparams *hp, qm_keys *k, float override) {
    float f = 0;
    int rc = qm_key_f32(k, "rope.freq_base", &f);
    if (rc < 0) return rc;
    if (override != 0) {
        if (!(override > 1) || !isfinite(override))
            return qm_fail(k->e, QM_ERR_ARG, "a RoPE base of %g: must be a number above 1", (double) override);
        hp->rope_base = (double) override;
        return 0;
    }
    if (!rc) {
        f = (float)k->f->rope_base;
        qm_log(QM_LOG_WARN, "%s: no %s; using %.0f", qm_gguf_path(k->g), k->name, (double)f);
    }
    if (!(f > 1) || !isfinite(f)) return qm_key_refuse(k, QM_ERR_FORMAT, "is %g: must be a number above 1", (double)f);
    hp->rope_base = (double)f;
    return 0;
}

/* A factor above 0, or the default where the key is absent. */
static int positive(qm_keys *k, const char *key, double *v) {
    float f;
    int rc = qm_key_f32(k, key, &f);
    if (rc <= 0) return rc;
    if (!(f > 0) || !isfinite(f)) return qm_key_refuse(k, QM_ERR_FORMAT, "is %g: must be a number above 0", (double)f);
    *v = (double)f;
    return 1;
}

/* rope.scaling.factor, or its old name: 1 and above; 0 says that there is none. */
static int read_factor(qm_hparams *hp, qm_keys *k) {
    float f = 0;
    int rc = qm_key_f32(k, "rope.scaling.factor", &f);
    if (!rc) rc = qm_key_f32(k, "rope.scale_linear", &f);
    if (rc < 0) return rc;
    if (f != 0 && (!(f >= 1) || !isfinite(f)))
        return qm_key_refuse(k, QM_ERR_UNSUPPORTED, "is %g: must be 1 or more (0: none)", (double)f);
    hp->rope_factor = f == 0 ? 1 : (double)f;
    return rc;
}

static int read_yarn(qm_hparams *hp, qm_keys *k) {
    float ext = -1;
    int rc;
    hp->yarn_mscale = 1 + 0.1 * log(hp->rope_factor);
    if ((rc = positive(k, "rope.scaling.yarn_attn_factor", &hp->yarn_mscale)) < 0 ||
        (rc = positive(k, "rope.scaling.yarn_beta_fast", &hp->yarn_beta_fast)) < 0 ||
        (rc = positive(k, "rope.scaling.yarn_beta_slow", &hp->yarn_beta_slow)) < 0)
        return rc;
    if (hp->yarn_beta_fast < hp->yarn_beta_slow)
        return qm_key_refuse(k, QM_ERR_FORMAT, "is %g: must be at most yarn_beta_fast, %g", hp->yarn_beta_slow,
                             hp->yarn_beta_fast);
    if ((rc = qm_key_f32(k, "rope.scaling.yarn_ext_factor", &ext)) < 0) return rc;
    if (!(ext < 0) && ext != 1) /* below 0: not set */
        return qm_key_refuse(k, QM_ERR_UNSUPPORTED, "is %g: only 1, the whole of YaRN, is supported", (double)ext);
    return 0;
}

int qm_rope_read(qm_hparams *hp, qm_keys *k, float override) {
    uint32_t n_rot = hp->head_dim;
    qm_str type;
    int rc = read_base(hp, k, override);
    if (rc) return rc;
    if ((rc = qm_key_u32(k, "rope.dimension_count", &n_rot)) < 0) return rc;
    if (n_rot != hp->head_dim)
        return qm_key_refuse(k, QM_ERR_UNSUPPORTED, "is %u: only whole heads, %u, are rotated", n_rot, hp->head_dim);
    hp->yarn_beta_fast = 32;
    hp->yarn_beta_slow = 1;
    hp->rope_attn = 1;
    int has_factor = read_factor(hp, k);
    if (has_factor < 0) return has_factor;
    hp->rope_orig_ctx = 0;
    if ((rc = qm_key_u32(k, "rope.scaling.original_context_length", &hp->rope_orig_ctx)) < 0 ||
        (rc = positive(k, "rope.scaling.attn_factor", &hp->rope_attn)) < 0 ||
        (rc = qm_key_str(k, "rope.scaling.type", &type)) < 0)
        return rc;
    if (!hp->rope_orig_ctx) hp->rope_orig_ctx = hp->n_ctx_train;
    if (!rc) return 0; /* linear, if there is a factor */
    char name[16] = "";
    if (type.n < sizeof name) memcpy(name, type.s, type.n);
    if (!strcmp(name, "none")) hp->rope_factor = 1;
    else if (!strcmp(name, "yarn") || !strcmp(name, "linear")) {
        hp->rope_yarn = *name == 'y';
        if (!has_factor) {
            qm_key_f32(k, "rope.scaling.factor", &(float){0});
            return qm_key_missing(k);
        }
    } else return qm_key_refuse(k, QM_ERR_UNSUPPORTED, "is '%s': none, linear and yarn are supported", qm_show(type).s);
    return hp->rope_yarn ? read_yarn(hp, k) : 0;
}

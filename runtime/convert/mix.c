/* mix.c: llama.cpp's choice of types for its Q4_K_M and relatives, as far as the families here meet it (its
 * llama-quant.cpp has further rules for other architectures and for models of exactly eight experts). */
#include "mix.h"
#include "../file/gguf.h"
#include "../file/quant.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const qm_mix mixes[] = {
    {"q4_k_m", QM_TYPE_Q4_K, QM_TYPE_Q6_K, QM_TYPE_Q6_K, 'M', 15},
    {"q4_k_s", QM_TYPE_Q4_K, QM_TYPE_Q6_K, QM_TYPE_Q5_K, 'S', 14},
    {"q5_k_m", QM_TYPE_Q5_K, QM_TYPE_Q6_K, QM_TYPE_Q6_K, 'M', 17},
    {"q5_k_s", QM_TYPE_Q5_K, QM_TYPE_Q6_K, 0, 0, 16},
/* every matrix alike */
#define QM_STREAM(word, WORD, number, act, weights, bytes, pieces, piece_at, tail, tail_at, step, chunk, paired, \
                  segment, part, form, staged, maxnreg, maxnreg2, file_type, ...)                                \
    {#word, QM_TYPE_##WORD, QM_TYPE_##WORD, 0, 0, file_type},
#include "../../contracts/streams.def"
#undef QM_STREAM
};
const char qm_mix_names[] = "q4_k_m q4_k_s q5_k_m q5_k_s"
#define QM_STREAM(word, ...) " " #word
#include "../../contracts/streams.def"
#undef QM_STREAM
    ;

const qm_mix *qm_mix_find(const char *name) {
    for (size_t i = 0; i < sizeof mixes / sizeof *mixes; i++)
        if (!strcasecmp(mixes[i].name, name)) return &mixes[i];
    return NULL;
}

/* _M: the first and last eighth of the layers and every third between. */
static int m_layer(uint32_t i, uint32_t n) { return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2; }

static int ends(const char *s, const char *tail) {
    size_t n = strlen(s), k = strlen(tail);
    return n >= k && !strcmp(s + n - k, tail);
}

static uint32_t wanted_type(const qm_mix *m, const char *name, uint32_t n_dims, uint32_t n_layers, int tied) {
    if (n_dims < 2 || !ends(name, ".weight") || ends(name, "_norm.weight") || ends(name, "ffn_gate_inp.weight"))
        return QM_TYPE_F32;
    if (!strcmp(name, tied ? "token_embd.weight" : "output.weight")) return m->output;
    unsigned i;
    if (!m->rule || sscanf(name, "blk.%u.", &i) != 1) return m->base;
    int v = ends(name, ".attn_v.weight"), down = ends(name, ".ffn_down_exps.weight") || ends(name, ".ffn_down.weight");
    if (m->rule == 'M' && (v || down) && m_layer(i, n_layers)) return m->more;
    if (m->rule == 'S' && ((v && i < 4) || (down && i < n_layers / 8))) return m->more;
    return m->base;
}

uint32_t qm_mix_type(const qm_mix *m, const char *name, uint32_t n_dims, uint64_t ne0, uint32_t n_layers, int tied,
                     uint32_t *wanted) {
    uint32_t type = wanted_type(m, name, n_dims, n_layers, tied), block = 1, bytes;
    if (wanted) *wanted = type;
    if (qm_ggml_type_size(type, &block, &bytes) && ne0 % block) type = ne0 % 32 ? QM_TYPE_F16 : QM_TYPE_Q8_0;
    return type;
}

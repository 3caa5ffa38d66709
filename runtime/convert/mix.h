/* mix.h: which type each tensor of a file gets when the file as a whole is to be "q4_k_m". */
#ifndef QM_MIX_H
#define QM_MIX_H
#include <stdint.h>

typedef struct {
    const char *name;
    uint32_t base;      /* qm_type of most matrices */
    uint32_t output;    /* of output.weight, or of token_embd.weight where the two are one */
    uint32_t more;      /* of attn_v and ffn_down in the layers that the rule picks */
    int rule;           /* 0: no layer; 'M', 'S': llama.cpp's rules for _M and _S */
    uint32_t file_type; /* llama.cpp's number, general.file_type */
} qm_mix;

/* NULL if there is none of this name; case does not matter. */
const qm_mix *qm_mix_find(const char *name);
extern const char qm_mix_names[]; /* "q4_k_m q4_k_s ...", for messages */

/* The type of a tensor, by llama.cpp's rule for qwen3moe and qwen3. name: as in the file; n_layers: the model's; tied:
 * the file has no output.weight. Norms, biases and the router stay F32. Where rows of ne0 weights are no
 * whole blocks: Q8_0, else F16; *wanted is the type before that. */
uint32_t qm_mix_type(const qm_mix *m, const char *name, uint32_t n_dims, uint64_t ne0, uint32_t n_layers, int tied,
                     uint32_t *wanted);
#endif

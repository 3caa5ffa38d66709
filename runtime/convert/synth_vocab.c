/* synth_vocab.c: a byte-level BPE vocabulary of any size, the same on every run. Bytes come first, in
 * GPT-2's order and spelling; then merges of letters, built from parts that exist already; then Qwen3's
 * special tokens; then unused padding. With 151,936 tokens the special ids are the real model's. */
#include "synth.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REAL_MERGES = 151387, MAX_MERGED_BYTES = 14, MAX_TOKEN_BYTES = 24, MAX_TRIES = 64 };

static const struct {
    const char *text;
    int control;
} specials[QM_SYNTH_SPECIALS] = {
    {"<|endoftext|>", 1},
    {"<|im_start|>", 1},
    {"<|im_end|>", 1},
    {"<|object_ref_start|>", 1},
    {"<|object_ref_end|>", 1},
    {"<|box_start|>", 1},
    {"<|box_end|>", 1},
    {"<|quad_start|>", 1},
    {"<|quad_end|>", 1},
    {"<|vision_start|>", 1},
    {"<|vision_end|>", 1},
    {"<|vision_pad|>", 1},
    {"<|image_pad|>", 1},
    {"<|video_pad|>", 1},
    {"<tool_call>", 0},
    {"</tool_call>", 0},
    {"<|fim_prefix|>", 0},
    {"<|fim_middle|>", 0},
    {"<|fim_suffix|>", 0},
    {"<|fim_pad|>", 0},
    {"<|repo_name|>", 0},
    {"<|file_sep|>", 0},
    {"<tool_response>", 0},
    {"</tool_response>", 0},
    {"<think>", 0},
    {"</think>", 0},
};

static const char chat_template[] =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' "
    "+ '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/* Token text is UTF-8 of one character per byte: printable Latin-1 bytes stand for themselves, the
 * other 68 for U+0100 onwards (GPT-2's bytes_to_unicode). The ids follow that same order. */
static int is_plain(int b) { return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174; }

typedef struct {
    qm_synth_vocab *v;
    uint32_t *hash; /* [n_hash] id + 1, open addressing; 0 = free */
    uint32_t n_hash;
} builder;

static const char *text_of(const qm_synth_vocab *v, uint32_t id, uint32_t *n) {
    *n = v->at[id + 1] - v->at[id];
    return v->text + v->at[id];
}

/* Appends token `id` made of two pieces. Returns 0, or 1 if that text exists already. */
static int add(builder *b, uint32_t id, const char *p, uint32_t pn, const char *q, uint32_t qn) {
    qm_synth_vocab *v = b->v;
    char *to = v->text + v->at[id];
    memcpy(to, p, pn);
    memcpy(to + pn, q, qn);
    uint64_t h = 0xcbf29ce484222325u;
    for (uint32_t i = 0; i < pn + qn; i++) h = (h ^ (uint8_t)to[i]) * 0x100000001b3u;
    for (uint32_t i = (uint32_t)(h >> 32) % b->n_hash;; i = i + 1 == b->n_hash ? 0 : i + 1) {
        if (!b->hash[i]) {
            b->hash[i] = id + 1;
            break;
        }
        uint32_t n;
        const char *s = text_of(v, b->hash[i] - 1, &n);
        if (n == pn + qn && memcmp(s, to, n) == 0) return 1;
    }
    v->at[id + 1] = v->at[id] + pn + qn;
    return 0;
}

/* A part for a merge: among the first merges mostly letters by their frequency in English, later any
 * token made so far. */
static uint32_t pick(qm_rng *r, const uint32_t *letters, uint32_t n_letters, uint32_t n_merged) {
    if (n_merged < 40 || qm_rng_below(r, 4) == 0) return letters[qm_rng_below(r, n_letters)];
    return 256 + qm_rng_below(r, n_merged);
}

static void add_merges(builder *b) {
    /* letter frequencies per cent, roughly; every letter at least once */
    static const char pool[] = "eeeeeeeeeeeetttttttttaaaaaaaaoooooooiiiiiiinnnnnnnsssssshhhhhhrrrrrrddddllllcccuuummm"
                               "wwffggyyppbbvkjxqz";
    qm_synth_vocab *v = b->v;
    uint32_t letters[sizeof pool - 1], space = UINT32_MAX, n;
    for (size_t i = 0; i < sizeof pool - 1; i++) letters[i] = (uint32_t)(pool[i] - 33); /* plain bytes: id = b - 33 */
    for (uint32_t id = 0; id < 256; id++) { /* the space byte is spelled U+0120 */
        const char *s = text_of(v, id, &n);
        if (n == 2 && memcmp(s, "\xc4\xa0", 2) == 0) space = id;
    }
    qm_rng r = {0x766f636162};
    for (uint32_t k = 0; k < v->n_merges;) {
        uint32_t l, rt, ln, rn, tries = 0;
        int rc;
        do {
            l = qm_rng_below(&r, 5) == 0 ? space : pick(&r, letters, sizeof pool - 1, k);
            rt = pick(&r, letters, sizeof pool - 1, k);
            const char *ls = text_of(v, l, &ln), *rs = text_of(v, rt, &rn);
            /* a space only in front; tokens stay short */
            rc = (uint8_t)rs[0] == 0xc4 || ln + rn > MAX_MERGED_BYTES ? 1 : add(b, 256 + k, ls, ln, rs, rn);
        } while (rc && ++tries < MAX_TRIES);
        if (rc) continue; /* an unlucky run: the generator moves on, so the loop ends */
        v->left[k] = l;
        v->right[k] = rt;
        k++;
    }
}

int qm_synth_vocab_make(qm_synth_vocab *v, uint32_t n, qm_err *e) {
    memset(v, 0, sizeof *v);
    if (n < QM_SYNTH_MIN_VOCAB || n > 1u << 20)
        return qm_fail(e, QM_ERR_ARG, "a vocabulary of %u tokens: possible are %d to %u", n, QM_SYNTH_MIN_VOCAB,
                       1u << 20);
    uint32_t room = n - 256 - QM_SYNTH_SPECIALS, pad = n / 128 < 267 ? n / 128 : 267;
    if (room - pad > REAL_MERGES) pad = room - REAL_MERGES;
    v->n = n;
    v->n_merges = room - pad;
    v->first_special = 256 + v->n_merges;
    v->endoftext = v->first_special;
    v->im_end = v->first_special + 2;
    builder b = {.v = v, .n_hash = n * 2 + 1};
    v->left = malloc((v->n_merges + 1) * sizeof *v->left);
    v->right = malloc((v->n_merges + 1) * sizeof *v->right);
    v->at = calloc((size_t)n + 1, sizeof *v->at);
    v->text = malloc((size_t)n * MAX_TOKEN_BYTES);
    b.hash = calloc(b.n_hash, sizeof *b.hash);
    if (!v->left || !v->right || !v->at || !v->text || !b.hash) {
        free(b.hash);
        qm_synth_vocab_free(v);
        return qm_fail(e, QM_ERR_NOMEM, "no memory for a vocabulary of %u tokens", n);
    }
    uint32_t id = 0;
    for (int plain = 1; plain >= 0; plain--) /* the bytes that stand for themselves, then the others */
        for (int c = 0, other = 256; c < 256; c++) {
            int code = is_plain(c) ? c : other++;
            if (is_plain(c) != plain) continue;
            char s[2] = {(char)(code < 128 ? code : 0xc0 | code >> 6), (char)(0x80 | (code & 63))};
            add(&b, id++, s, code < 128 ? 1 : 2, s, 0);
        }
    add_merges(&b);
    for (uint32_t i = 0; i < QM_SYNTH_SPECIALS; i++)
        add(&b, v->first_special + i, specials[i].text, (uint32_t)strlen(specials[i].text), "", 0);
    for (id = v->first_special + QM_SYNTH_SPECIALS; id < n; id++) {
        char s[MAX_TOKEN_BYTES];
        int k = snprintf(s, sizeof s, "[PAD%u]", id); /* as llama.cpp's converter spells them */
        add(&b, id, s, (uint32_t)k, "", 0);
    }
    free(b.hash);
    return 0;
}

void qm_synth_vocab_free(qm_synth_vocab *v) {
    free(v->left);
    free(v->right);
    free(v->text);
    free(v->at);
    memset(v, 0, sizeof *v);
}

int qm_synth_vocab_write(const qm_synth_vocab *v, qm_gguf_writer *w) {
    uint32_t n, ln, rn;
    qm_gguf_write_str(w, "tokenizer.ggml.model", "gpt2");
    qm_gguf_write_str(w, "tokenizer.ggml.pre", "qwen2");
    qm_gguf_write_array(w, "tokenizer.ggml.tokens", QM_KV_STR, v->n);
    for (uint32_t i = 0; i < v->n; i++) {
        const char *s = text_of(v, i, &n);
        qm_gguf_push_str(w, s, n);
    }
    qm_gguf_write_array(w, "tokenizer.ggml.token_type", QM_KV_I32, v->n);
    for (uint32_t i = 0; i < v->n; i++) {
        /* llama.cpp's numbers: 1 normal, 3 control, 4 user defined, 5 unused */
        uint32_t s = i - v->first_special;
        qm_gguf_push_i32(w, i < v->first_special ? 1 : s >= QM_SYNTH_SPECIALS ? 5 : specials[s].control ? 3 : 4);
    }
    qm_gguf_write_array(w, "tokenizer.ggml.merges", QM_KV_STR, v->n_merges);
    for (uint32_t i = 0; i < v->n_merges; i++) {
        char s[2 * MAX_MERGED_BYTES];
        const char *l = text_of(v, v->left[i], &ln), *r = text_of(v, v->right[i], &rn);
        memcpy(s, l, ln);
        s[ln] = ' ';
        memcpy(s + ln + 1, r, rn);
        qm_gguf_push_str(w, s, ln + 1 + rn);
    }
    qm_gguf_write_u32(w, "tokenizer.ggml.eos_token_id", v->im_end);
    qm_gguf_write_u32(w, "tokenizer.ggml.padding_token_id", v->endoftext);
    qm_gguf_write_u32(w, "tokenizer.ggml.bos_token_id", v->endoftext);
    qm_gguf_write_bool(w, "tokenizer.ggml.add_bos_token", 0);
    return qm_gguf_write_str(w, "tokenizer.chat_template", chat_template);
}

/* fuzz_answer.c: any bytes as an answer, cut at once, byte by byte, and at random: the parts are the same; arguments are at
 * every moment a beginning of JSON, and whole where the call ends; where nothing but text comes, all of it does. The first
 * byte says what is looked for, the second where to cut. */
#include "must.h"
#include "runtime/base/rng.h"
#include "runtime/base/text.h"
#include "runtime/qmoe_text.h"
#include "json_prefix.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char tools[] =
    "[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {\"type\": \"object\", \"properties\": "
    "{\"s\": "
    "{\"type\": \"string\"}, \"i\": {\"type\": \"integer\"}, \"o\": {\"type\": \"object\"}, \"m\": {\"type\": "
    "[\"string\", "
    "\"null\"]}, \"b\": {\"type\": \"boolean\"}}}}}, {\"type\": \"function\", \"function\": {\"name\": \"now\"}}]";

/* Parts one behind the other, each kind's mark where it begins. */
typedef struct {
    char *s;
    size_t n, cap, args, text;
    int last, check;
} heard;

static void put(heard *h, const char *s, size_t n) {
    if (h->n + n > h->cap) MUST(h->s = realloc(h->s, h->cap = 2 * (h->n + n)));
    if (n) memcpy(h->s + h->n, s, n);
    h->n += n;
}

static int on_part(void *user, qm_part part, const char *s, size_t n) {
    heard *h = user;
    MUST(n ? part != QM_PART_CALL_END : part == QM_PART_CALL_END);
    MUST(part != QM_PART_ARGUMENTS || h->last == QM_PART_CALL || h->last == QM_PART_ARGUMENTS);
    MUST(part != QM_PART_CALL_END || h->last == QM_PART_ARGUMENTS);
    if (h->last != (int)part || part == QM_PART_CALL) put(h, (char[]){(char)part}, 1);
    if (part == QM_PART_ARGUMENTS && h->last != QM_PART_ARGUMENTS) h->args = h->n;
    put(h, s, n);
    h->last = part;
    if (part == QM_PART_TEXT) h->text += n;
    for (size_t i = 0, k; i < n; i += k) {
        uint32_t cp;
        int len = qm_utf8_decode((const uint8_t *)s + i, n - i, &cp);
        MUST(len > 0);
        k = (size_t)len;
    }
    if (h->check && part == QM_PART_ARGUMENTS) MUST(json_object_prefix(h->s + h->args, h->n - h->args) != JSON_BAD);
    if (part == QM_PART_CALL_END) MUST(json_object_prefix(h->s + h->args, h->n - 1 - h->args) == JSON_WHOLE);
    return 0;
}

/* cut: 0 at once, 1 byte by byte, else at random. */
static heard hear(const qm_answer_opts *like, const char *s, size_t n, uint64_t cut, int *stopped) {
    qm_answer *a;
    heard h = {.last = -1, .check = n < 3000};
    qm_answer_opts o = *like;
    o.out = on_part;
    o.user = &h;
    qm_rng r = {cut};
    MUST(!qm_answer_open(&a, &o, NULL));
    int rc = 0;
    for (size_t at = 0, k; at < n; at += k) {
        k = !cut ? n : cut == 1 ? 1 : 1 + qm_rng_below(&r, 12);
        if (k > n - at) k = n - at;
        rc = qm_answer_push(a, s + at, k);
        MUST(rc == 0 || rc == 1);
    }
    *stopped = qm_answer_end(a);
    MUST(*stopped == (qm_answer_stopped(a) != NULL) && *stopped >= rc);
    qm_answer_close(a);
    return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    static const char *const stop[] = {"STOP", "</b>", "\nb\n"};
    if (n < 2) return 0;
    const qm_answer_opts o = {
        .thinking = p[0] % 3, .tools = p[0] & 4 ? NULL : tools, .stop = stop, .n_stop = p[0] & 8 ? 3 : 0};
    const char *s = (const char *)p + 2;
    const size_t k = n - 2;
    int stopped[3];
    heard h[3];
    for (uint64_t i = 0; i < 3; i++) {
        h[i] = hear(&o, s, k, i < 2 ? i : 2 + (uint64_t)p[1], &stopped[i]);
        MUST(stopped[i] == stopped[0] && h[i].n == h[0].n && (!h[0].n || !memcmp(h[i].s, h[0].s, h[0].n)));
    }
    if (!o.thinking && !stopped[0] && h[0].n == h[0].text + 1) {
        size_t n_text;
        char *text = qm_text_utf8(s, k, &n_text);
        MUST(text && n_text == h[0].text && !memcmp(text, h[0].s + 1, n_text));
        free(text);
    }
    for (int i = 0; i < 3; i++) free(h[i].s);
    return 0;
}

/* guides.h: a vocabulary in memory that is difficult for guides: tokens that end inside of characters and escapes, that cross
 * the border of a string, that look like tags. For unit_schema and the fuzzer. */
#ifndef QM_TEST_GUIDES_H
#define QM_TEST_GUIDES_H
#include "runtime/text/guide.h"
#include "tok_gguf.h"

#define GV(x) \
    { x, sizeof x - 1 }
static const qm_str gv_extra[] = {GV("{\""),
                                  GV("\":"),
                                  GV("\",\""),
                                  GV("\"}"),
                                  GV("},"),
                                  GV("]}"),
                                  GV("ab"),
                                  GV("abc"),
                                  GV("12"),
                                  GV("00"),
                                  GV("true"),
                                  GV("\\u"),
                                  GV("\\n"),
                                  GV("\\\""),
                                  GV("a\""),
                                  GV("\"a"),
                                  GV("aaaaaaaa"),
                                  GV("</"),
                                  GV("tool_call>"),
                                  GV("<tool_call"),
                                  GV("\xc4\xa0"
                                     "a"),                  /* " a" */
                                  GV("\xc4\xa0\xc4\xa0"),   /* two spaces */
                                  GV("\xc4\x8a\xc4\xa0"),   /* "\n " */
                                  GV(">\xc4\x8a"),          /* ">\n" */
                                  GV("\xc3\x83\xc2\xa9"),   /* U+00E9, whole */
                                  GV("\xc3\x83\xc2\xa9\""), /* and a quote behind it */
                                  GV("\xc3\xa6\xc4\xb9"),   /* two bytes of three */
                                  GV("a\xc3\xa6\xc4\xb9"),  /* a letter, and two bytes of three */
                                  GV("\xc2\xa5\""),         /* the third one, and a quote */
                                  GV("<|endoftext|>"),
                                  GV("<|im_start|>"),
                                  GV("<|im_end|>"),
                                  GV("<think>"),
                                  GV("</think>"),
                                  GV("<tool_call>"),
                                  GV("</tool_call>"),
                                  GV("<x>"),
                                  GV("[PAD]")};
static const uint32_t gv_type[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                   1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3, 3, 3, 4, 4, 4, 3, 4, 5};
enum { GV_EXTRA = sizeof gv_extra / sizeof *gv_extra, GV_N = 256 + GV_EXTRA, GV_END = GV_N - 7 };

/* NULL: it could not be opened. */
static inline qm_tokenizer *gv_open(void) {
    static const qm_str merges[] = {GV("a b")};
    tg_spec s = {.model = "gpt2",
                 .pre = "qwen2",
                 .extra = gv_extra,
                 .extra_type = gv_type,
                 .n_extra = GV_EXTRA,
                 .merges = merges,
                 .n_merges = 1,
                 .byte_as_control = -1,
                 .bos = -1,
                 .eos = GV_END,
                 .eot = -1};
    tg_buf b = tg_build(&s);
    qm_gguf *g = NULL;
    qm_tokenizer *t = NULL;
    if (!qm_gguf_open_mem(&g, b.p, b.n, "guides.h", NULL) && qm_tokenizer_open(&t, g, NULL)) t = NULL;
    qm_gguf_close(g);
    free(b.p);
    return t;
}
#endif

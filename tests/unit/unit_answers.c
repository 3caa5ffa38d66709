/* unit_answers: how an answer ends, and what the next turn makes of it. The demo model speaks: its answers end by
 * themselves, and what it says is known. However one ended, the next turn's tokens are those of the whole conversation
 * rendered and tokenised anew, its logits those of computing them from nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fixture.h"

enum { MAX_TURNS = 8, MAX_TEXT = 1024 };
typedef struct {
    qm_engine *g;
    qm_session *s;
    qm_message m[2 * MAX_TURNS];
    size_t n;
    char said[MAX_TURNS][MAX_TEXT];
    /* of the last answer */
    uint32_t ids[512], calls, late; /* late: calls for text that was held back */
    size_t text_n;                  /* of the last sampled token */
    uint32_t stop_at;               /* the call that says stop; 0: none */
} talk;

static talk open_talk(const char *path, const char *tmpl) {
    const char *device = getenv("QMOE_TEST_DEVICE");
    talk t = {0};
    qm_err e;
    qm_engine_opts o = {.device = device ? device : "sim", .n_ctx = 512, .chat_template = tmpl};
    fix_ok(qm_engine_open(&t.g, path, &o, &e), &e);
    fix_ok(qm_session_open(&t.s, t.g, &e), &e);
    return t;
}
static void close_talk(talk *t) {
    qm_session_close(t->s);
    qm_engine_close(t->g);
}

static int on_token(void *user, uint32_t id, const char *s, size_t n) {
    talk *t = user;
    char *to = t->said[t->n / 2];
    assert_true(strlen(to) + n < MAX_TEXT);
    strncat(to, s, n);
    if (id == UINT32_MAX) return (int)(++t->late * 0);
    assert_int_equal(t->late, 0);
    t->text_n = n;
    t->ids[t->calls++] = id;
    return t->calls == t->stop_at;
}

/* The next answer. What was computed for it is what the conversation is when nothing has gone before. */
static qm_gen_stats turn(talk *t, const char *text, qm_gen_opts o) {
    qm_gen_stats st, fresh;
    qm_err e;
    qm_tokens want = {0};
    qm_session *other;
    t->m[t->n++] = (qm_message){"user", text, strlen(text)};
    t->said[t->n / 2][0] = 0;
    t->calls = t->late = 0;
    o.on_token = on_token;
    o.user = t;
    fix_ok(qm_session_chat(t->s, t->m, t->n, &o, &st, &e), &e);
    fix_ok(qm_engine_render(t->g, t->m, t->n, &want, &e), &e);
    assert_int_equal(st.n_reused + st.n_prompt, want.n);
    assert_memory_equal(t->s->ids, want.v, want.n * sizeof *want.v);
    fix_ok(qm_session_open(&other, t->g, &e), &e);
    fix_ok(qm_generate(other, want.v, want.n, &(qm_gen_opts){.max_tokens = 1}, &fresh, &e), &e);
    assert_true(st.logits_hash == fresh.logits_hash);
    qm_session_close(other);
    free(want.v);
    assert_int_equal(t->calls, st.n_generated);
    t->m[t->n] = (qm_message){"assistant", t->said[t->n / 2], strlen(t->said[t->n / 2])};
    t->n++;
    return st;
}
static const char *last(const talk *t) { return t->said[t->n / 2 - 1]; }

static const char DEMO[] = "models/demo.gguf";

/* Answers that the model ends: their end is in the cache once. */
static void test_ended_by_the_model(void **state) {
    (void)state;
    static const char *const asked[] = {"What is 2+2?", "Capital of France:", "Hello there", "Who are you?"};
    talk t = open_talk(DEMO, NULL);
    uint32_t held = 0;
    for (int i = 0; i < 4; i++) {
        qm_gen_stats st = turn(&t, asked[i], (qm_gen_opts){.max_tokens = 60});
        assert_int_equal(st.finish, QM_FINISH_EOG);
        assert_int_equal(st.n_reused, held); /* all but the end, which nothing has been computed from */
        held = t.s->n - 1;
        /* The callback saw the end: its id, no text. */
        assert_true(qm_token_is_eog(t.g->tok, t.ids[t.calls - 1]));
        assert_int_equal(t.text_n, 0);
    }
    assert_string_equal(t.said[0], "2 + 2 = 4");
    close_talk(&t);
}

/* An answer whose text would tokenise otherwise than it was generated: its tokens stay, all but the end. */
static void test_kept_as_generated(void **state) {
    (void)state;
    talk t = open_talk(DEMO, NULL);
    qm_err e;
    int found = 0;
    for (uint64_t seed = 12; seed < 60 && !found; seed++) { /* 15, on the software device */
        t.n = 0;
        fix_ok(qm_session_truncate(t.s, 0, &e), &e);
        fix_ok(
            qm_session_set_sampling(
                t.s, &(qm_sampling){.temperature = 3, .top_k = 6, .top_p = 1, .repeat_penalty = 1, .seed = seed}, &e),
            &e);
        qm_gen_stats st = turn(&t, "Who are you?", (qm_gen_opts){.max_tokens = 80});
        qm_tokens anew = {0};
        fix_ok(qm_engine_tokenize(t.g, last(&t), strlen(last(&t)), 0, &anew, &e), &e);
        found = st.finish == QM_FINISH_EOG && (anew.n != t.calls - 1 || memcmp(anew.v, t.ids, anew.n * sizeof *anew.v));
        free(anew.v);
    }
    assert_true(found);
    uint32_t held = t.s->n - 1;
    qm_gen_stats st;
    t.m[t.n] = (qm_message){"user", "Who are you?", 12};
    fix_ok(qm_session_chat(t.s, t.m, t.n + 1, &(qm_gen_opts){.max_tokens = 4}, &st, &e), &e);
    assert_int_equal(st.n_reused, held);
    close_talk(&t);
}

/* A stop string is not in the answer: the tokens that make it go, too. */
static void test_ended_by_a_stop_string(void **state) {
    (void)state;
    static const char *const stop[] = {"Par"};
    talk t = open_talk(DEMO, NULL);
    qm_gen_stats st = turn(&t, "Capital of France:", (qm_gen_opts){.max_tokens = 60, .stop = stop, .n_stop = 1});
    assert_int_equal(st.finish, QM_FINISH_STOP);
    assert_string_equal(last(&t), "The capital of France is ");
    st = turn(&t, "What is 2+2?", (qm_gen_opts){.max_tokens = 60});
    assert_true(st.n_reused > 0);
    turn(&t, "Who are you?", (qm_gen_opts){.max_tokens = 60});
    close_talk(&t);
}

/* Of several stop strings in one token the first in the text counts, in whatever order they are given. */
static void test_first_stop_string(void **state) {
    (void)state;
    static const char *const stop[2][2] = {{"pit", "cap"}, {"cap", "pit"}}; /* " capital" is a token */
    for (int i = 0; i < 2; i++) {
        talk t = open_talk(DEMO, NULL);
        qm_gen_stats st = turn(&t, "Capital of France:", (qm_gen_opts){.max_tokens = 60, .stop = stop[i], .n_stop = 2});
        assert_int_equal(st.finish, QM_FINISH_STOP);
        assert_string_equal(last(&t), "The ");
        assert_int_equal(t.calls, 2);
        close_talk(&t);
    }
}

/* callback_stop_short_circuits: stop at the third token is the third call and the last; what was held back then, as the
 * beginning of a stop string, is not in the answer. */
static void test_ended_by_the_callback(void **state) {
    (void)state;
    static const char *const stop[] = {" of Germany"};
    for (size_t n_stop = 0; n_stop < 2; n_stop++) {
        talk t = open_talk(DEMO, NULL);
        t.stop_at = 3;
        qm_gen_stats st =
            turn(&t, "Capital of France:", (qm_gen_opts){.max_tokens = 60, .stop = stop, .n_stop = n_stop});
        assert_int_equal(st.finish, QM_FINISH_CALLBACK);
        assert_int_equal(t.calls, 3);
        assert_int_equal(t.late, 0);
        assert_string_equal(last(&t), n_stop ? "The capital" : "The capital of");
        t.stop_at = 0;
        turn(&t, "What is 2+2?", (qm_gen_opts){.max_tokens = 60});
        turn(&t, "Who are you?", (qm_gen_opts){.max_tokens = 60});
        close_talk(&t);
    }
}

/* What the callback says at the end that the model made changes nothing: the answer is whole. */
static void test_callback_at_the_end(void **state) {
    (void)state;
    talk t = open_talk(DEMO, NULL);
    qm_gen_stats st = turn(&t, "What is 2+2?", (qm_gen_opts){.max_tokens = 60});
    t.stop_at = t.calls;
    t.n = 0;
    qm_err e;
    fix_ok(qm_session_truncate(t.s, 0, &e), &e);
    assert_int_equal(turn(&t, "What is 2+2?", (qm_gen_opts){.max_tokens = 60}).finish, QM_FINISH_EOG);
    assert_int_equal(t.calls, st.n_generated);
    t.stop_at = 0;
    turn(&t, "Who are you?", (qm_gen_opts){.max_tokens = 60});
    close_talk(&t);
}

static void test_ended_by_length(void **state) {
    (void)state;
    talk t = open_talk(DEMO, NULL);
    uint32_t held = 0;
    for (uint32_t n = 1; n < 5; n++) {
        qm_gen_stats st = turn(&t, "Tell me a story", (qm_gen_opts){.max_tokens = n});
        assert_int_equal(st.finish, QM_FINISH_LENGTH);
        assert_int_equal(st.n_reused, held);
        held = t.s->n - 1;
    }
    close_talk(&t);
}

/* A model that knows no words says bytes that are no characters, and stops inside of one: the text has U+FFFD for them, and
 * the next turn's tokens are those of the text. */
static void test_replaced_bytes(void **state) {
    (void)state;
    talk t = open_talk(fix_model("q8_0"), NULL);
    int replaced = 0;
    for (uint32_t n = 3; n < 5; n++) {
        turn(&t, "Hello there", (qm_gen_opts){.max_tokens = n, .ignore_eos = 1});
        replaced += strstr(last(&t), "\xef\xbf\xbd") != NULL;
    }
    assert_true(replaced > 0);
    close_talk(&t);
}

/* A format whose answers are followed by ordinary text: there, the pieces merge across the seam. */
static void test_seam_without_control_token(void **state) {
    (void)state;
    static const char *const formats[] = {
        "{% for m in messages %}{{ m.content }}{{ 'al' if m.role == 'assistant' else ':' }}{% endfor %}",
        "<|im_start|>{% for m in messages %}{{ m.content }}{{ 's.\n' if m.role == 'assistant' else '?\n' }}{% endfor "
        "%}"};
    for (int f = 0; f < 2; f++) {
        talk t = open_talk(DEMO, formats[f]);
        for (uint32_t n = 2; n < 7; n++)
            turn(&t, "Once upon a time there lived", (qm_gen_opts){.max_tokens = n, .ignore_eos = 1});
        close_talk(&t);
    }
}

/* Messages that are empty are answered; messages that are not UTF-8 are refused with the place, by a template and by
 * ChatML, and nothing else changes. */
static void test_what_a_message_may_be(void **state) {
    (void)state;
    talk t = open_talk(DEMO, NULL);
    turn(&t, "", (qm_gen_opts){.max_tokens = 5});
    turn(&t, "Hello there", (qm_gen_opts){.max_tokens = 5});
    static const struct {
        const char *s;
        size_t n, at;
    } bad[] = {{"caf\xe9", 4, 3},   {"\xff", 1, 0},     {"ab\xed\xa0\x80", 5, 2},
               {"x\xc0\xaf", 3, 1}, {"\xe2\x82", 2, 0}, {"a\0b\xf0\x9f\x90", 6, 3}};
    uint32_t n = qm_session_length(t.s);
    for (size_t i = 0; i < 6; i++) {
        qm_gen_stats st;
        qm_err e;
        char want[64];
        snprintf(want, sizeof want, "message %zu (user): not UTF-8 at byte %zu (0x%02x)", t.n, bad[i].at,
                 (unsigned char)bad[i].s[bad[i].at]);
        t.m[t.n] = (qm_message){"user", bad[i].s, bad[i].n};
        assert_int_equal(qm_session_chat(t.s, t.m, t.n + 1, &(qm_gen_opts){.max_tokens = 5}, &st, &e), QM_ERR_ARG);
        assert_string_equal(e.msg, want);
        assert_int_equal(qm_session_length(t.s), n);
    }
    qm_err e;
    qm_tokens ids = {0};
    assert_int_equal(qm_engine_render(t.g, &(qm_message){"us\xe9r", "x", 1}, 1, &ids, &e), QM_ERR_ARG);
    assert_string_equal(e.msg, "message 0: its role is not UTF-8 at byte 2 (0xe9)");
    turn(&t, "a\xc3\xa9\xf0\x9f\x90\x9f\xef\xbf\xbd", (qm_gen_opts){.max_tokens = 5});
    close_talk(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kept_as_generated),
        cmocka_unit_test(test_ended_by_the_model),
        cmocka_unit_test(test_ended_by_a_stop_string),
        cmocka_unit_test(test_first_stop_string),
        cmocka_unit_test(test_ended_by_the_callback),
        cmocka_unit_test(test_callback_at_the_end),
        cmocka_unit_test(test_ended_by_length),
        cmocka_unit_test(test_replaced_bytes),
        cmocka_unit_test(test_seam_without_control_token),
        cmocka_unit_test(test_what_a_message_may_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

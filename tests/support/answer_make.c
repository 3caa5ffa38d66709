/* answer_make.c: answers by the hundred: what models write, put together at random, with the parts that it means. */
#include <stdio.h>
#include "../../runtime/base/rng.h"
#include "../../runtime/text/bytes.h"
#include "answer_cases.h"

typedef struct {
    qm_rng r;
    qm_bytes text, parts;
    unsigned words;
} maker;

static uint32_t pick(maker *m, uint32_t n) { return qm_rng_below(&m->r, n); }
#define ONE_OF(m, list) ((list)[pick(m, sizeof(list) / sizeof *(list))])

static void word(maker *m, qm_bytes *b) {
    char s[16];
    snprintf(s, sizeof s, "word%04u", ++m->words);
    qm_bytes_str(b, s);
}

/* Words with what texts are made of between them; begins and ends in a word. */
static void prose(maker *m, qm_bytes *b) {
    static const char *const between[] = {
        " ",    " ",    ", ",        "\n",       "\n\n", " < ",           " <b> ",
        "\n  ", " {} ", " \"x\" ",   " \\n ",    "\t",   " caf\xc3\xa9 ", " \xf0\x9f\x98\x80\xe4\xbd\xa0 ",
        "</p>", "<",    " <param> ", "\n\n<func"};
    word(m, b);
    for (uint32_t n = pick(m, 6); n; n--) {
        qm_bytes_str(b, ONE_OF(m, between));
        word(m, b);
    }
}

/* A string as a value: what files hold. */
static void content(maker *m, qm_bytes *b) {
    static const char *const pieces[] = {"\n",
                                         "\n",
                                         "\"",
                                         "\\",
                                         "\t",
                                         "<div class=\"a\">",
                                         "</parameter> x",
                                         "</function>;",
                                         "'{}[]'",
                                         "\n</tool_call> ",
                                         "<tool_call>",
                                         "\xe4\xbd\xa0",
                                         "<parameter name=\"q\">",
                                         "\n<function=zz>",
                                         "}}",
                                         "\x02",
                                         "\n<parameter=nope>",
                                         "# "};
    for (uint32_t n = pick(m, 7); n; n--) {
        if (pick(m, 3)) qm_bytes_str(b, ONE_OF(m, pieces));
        else word(m, b);
    }
    if (!pick(m, 4)) word(m, b);
}

static void quote(qm_bytes *b, const qm_bytes *s, const char *newline) {
    qm_bytes_put1(b, '"');
    for (size_t i = 0; i < s->n; i++) {
        char hex[8];
        unsigned char c = (unsigned char)s->s[i];
        if (c == '"' || c == '\\') snprintf(hex, sizeof hex, "\\%c", c);
        else if (c == '\n') snprintf(hex, sizeof hex, "%s", newline);
        else if (c == '\t') snprintf(hex, sizeof hex, "\\t");
        else if (c < 0x20) snprintf(hex, sizeof hex, "\\u%04x", c);
        else snprintf(hex, sizeof hex, "%c", c);
        qm_bytes_str(b, hex);
    }
    qm_bytes_put1(b, '"');
}

/* JSON that is no string: as it is written, and as it is meant. */
static void value(maker *m, qm_bytes *said, qm_bytes *meant, char type, int depth) {
    static const char *const integers[] = {"0", "-7", "42", "1234567890"};
    static const char *const numbers[] = {"0.5", "-1e3", "3", "2.50E-2"};
    static const char *const bools[][2] = {{"true", "true"}, {"false", "false"}, {"True", "true"}, {"False", "false"}};
    static const char *const nulls[][2] = {{"null", "null"}, {"None", "null"}};
    if (type == 'i' || type == 'n') {
        const char *s = type == 'i' ? ONE_OF(m, integers) : ONE_OF(m, numbers);
        qm_bytes_str(said, s);
        qm_bytes_str(meant, s);
    } else if (type == 'b' || type == 'z') {
        const char *const *s = type == 'b' ? ONE_OF(m, bools) : ONE_OF(m, nulls);
        qm_bytes_str(said, s[0]);
        qm_bytes_str(meant, s[1]);
    } else if (type == 's') {
        qm_bytes s = {0};
        content(m, &s);
        quote(said, &s, pick(m, 2) ? "\\n" : "\n"); /* a line's end as it is, which JSON forbids */
        quote(meant, &s, "\\n");
        qm_bytes_free(&s);
    } else {
        const int object = type == 'o';
        const uint32_t n = depth > 2 ? 0 : pick(m, 4);
        qm_bytes *const both[] = {said, meant};
        for (int k = 0; k < 2; k++) qm_bytes_str(both[k], object ? "{" : "[");
        for (uint32_t i = 0; i < n; i++) {
            qm_bytes key = {0};
            word(m, &key);
            for (int k = 0; k < 2; k++) {
                if (i) qm_bytes_str(both[k], ", ");
                if (object) quote(both[k], &key, "");
                if (object) qm_bytes_str(both[k], ": ");
            }
            qm_bytes_free(&key);
            value(m, said, meant, "inbzsoa"[pick(m, 7)], depth + 1);
        }
        if (n && !pick(m, 5)) qm_bytes_str(said, ","); /* one too many */
        for (int k = 0; k < 2; k++) qm_bytes_str(both[k], object ? "}" : "]");
    }
}

static const char types[] = "sinbzoa"; /* f's parameters by these names have these types */

static void json_call(maker *m) {
    static const char *const before[] = {"<tool_call>\n{\"name\": \"f\", \"arguments\": {",
                                         "<tool_call>{\"name\":\"f\",\"arguments\":{",
                                         "<tool_call>\n{\n\"name\": \"f\",\n\"arguments\": {"};
    static const char *const after[] = {"}}\n</tool_call>",  "}}</tool_call>", "}\n</tool_call>",
                                        "}}}\n</tool_call>", "\n</tool_call>", "}, }</tool_call>"};
    qm_bytes_str(&m->text, ONE_OF(m, before));
    qm_bytes_str(&m->parts, C "f" A "{");
    for (uint32_t i = 0, n = pick(m, 5); i < n; i++) {
        char type = types[pick(m, 7)], key[8];
        snprintf(key, sizeof key, "\"%c\": ", type);
        if (i) qm_bytes_str(&m->text, ",");
        if (i) qm_bytes_str(&m->parts, ",");
        qm_bytes_str(&m->text, key);
        qm_bytes_str(&m->parts, key);
        value(m, &m->text, &m->parts, type, 0);
    }
    const char *end = ONE_OF(m, after);
    qm_bytes_str(&m->text, end);
    if (*end == '\n') qm_bytes_str(&m->parts, "\n"); /* brackets are missing, and closed where the tag stands */
    qm_bytes_str(&m->parts, "}" E);
}

static void xml_value(maker *m) {
    char type = types[pick(m, 7)], tag[32];
    qm_bytes said = {0}, meant = {0};
    if (type == 's') {
        content(m, &said);
        quote(&meant, &said, "\\n");
    } else value(m, &said, &meant, type, 0);
    snprintf(tag, sizeof tag, "<parameter=%c>", type);
    qm_bytes_str(&m->text, tag);
    const int lines = pick(m, 3) || !said.n || said.s[0] == '\n' || said.s[said.n - 1] == '\n';
    if (lines) qm_bytes_str(&m->text, "\n");
    qm_bytes_put(&m->text, said.s, said.n);
    qm_bytes_str(&m->text, lines ? "\n</parameter>" : "</parameter>");
    snprintf(tag, sizeof tag, "\"%c\": ", type);
    qm_bytes_str(&m->parts, tag);
    qm_bytes_put(&m->parts, meant.s, meant.n);
    qm_bytes_free(&said);
    qm_bytes_free(&meant);
}

static void xml_call(maker *m, int bare) {
    static const char *const space[] = {"\n", "\n", "", " \n"};
    static const char *const ends[] = {"</function>\n</tool_call>", "</function></tool_call>",
                                       "</function>\n</tool_call>\n</tool_call>"};
    if (!bare) qm_bytes_str(&m->text, "<tool_call>");
    if (!bare) qm_bytes_str(&m->text, ONE_OF(m, space));
    qm_bytes_str(&m->text, "<function=f>");
    qm_bytes_str(&m->text, ONE_OF(m, space));
    qm_bytes_str(&m->parts, C "f" A "{");
    for (uint32_t i = 0, n = pick(m, 5); i < n; i++) {
        if (i) qm_bytes_str(&m->parts, ", ");
        xml_value(m);
        qm_bytes_str(&m->text, ONE_OF(m, space));
    }
    qm_bytes_str(&m->text, bare && pick(m, 2) ? "</function>" : ONE_OF(m, ends));
    qm_bytes_str(&m->parts, "}" E);
}

static void make(maker *m, answer_case *c) {
    static const char *const spaces[] = {"", "\n", "\n\n", " ", " \n\t"};
    static const char *const tails[] = {"", "\n", "  \n"};
    int called = 0, trimmed = 0, line = 1; /* the answer so far ends in a call, in thinking, in a line's end */
    c->thinking = (int)pick(m, 3);
    if (c->thinking == 2 || (c->thinking && pick(m, 4))) {
        if (c->thinking == 1) qm_bytes_str(&m->text, "<think>");
        qm_bytes_str(&m->text, ONE_OF(m, spaces));
        if (pick(m, 5)) {
            qm_bytes_str(&m->parts, H);
            size_t at = m->text.n;
            prose(m, &m->text);
            qm_bytes_put(&m->parts, m->text.s + at, m->text.n - at);
        }
        qm_bytes_str(&m->text, ONE_OF(m, spaces));
        qm_bytes_str(&m->text, "</think>");
        trimmed = 1;
    }
    const uint32_t n = 1 + pick(m, 4);
    for (uint32_t i = 0, was_text = 0; i < n; i++) {
        const char *space = ONE_OF(m, spaces);
        if (!was_text && pick(m, 2)) {
            qm_bytes s = {0};
            prose(m, &s);
            qm_bytes_str(&m->text, space);
            qm_bytes_put(&m->text, s.s, s.n);
            qm_bytes_str(&m->parts, T);
            if (!called && !trimmed) qm_bytes_str(&m->parts, space);
            qm_bytes_put(&m->parts, s.s, s.n);
            qm_bytes_free(&s);
            was_text = 1;
            called = line = 0;
        } else {
            qm_bytes_str(&m->text, space);
            line |= strchr(space, '\n') != NULL;
            if (pick(m, 2)) json_call(m);
            else xml_call(m, line && !pick(m, 3));
            called = line = 1;
            was_text = 0;
        }
        trimmed = 0;
    }
    const char *tail = ONE_OF(m, tails);
    qm_bytes_str(&m->text, tail);
    if (!called) qm_bytes_str(&m->parts, tail);
}

/* One change. */
static void damage(maker *m) {
    static const char *const pieces[] = {"<tool_call>",
                                         "</tool_call>",
                                         "<function=f>",
                                         "</function>",
                                         "<parameter=s>",
                                         "</parameter>",
                                         "\"",
                                         "{",
                                         "}",
                                         "[",
                                         "\\",
                                         "\\u",
                                         "\n",
                                         "<",
                                         ">",
                                         ",",
                                         ":",
                                         "\xf0\x9f",
                                         "null",
                                         "<think>",
                                         "</think>",
                                         "{\"name\": \"f\"",
                                         "\"arguments\": ",
                                         "<parameter=",
                                         "\\ud83d"};
    qm_bytes *b = &m->text, out = {0};
    const size_t at = pick(m, (uint32_t)b->n + 1), most = b->n - at < 12 ? b->n - at : 12,
                 k = pick(m, (uint32_t)most + 1);
    qm_bytes_put(&out, b->s, at);
    switch (pick(m, 6)) {
    case 0: qm_bytes_put(&out, b->s + at + k, b->n - at - k); break;
    case 1:
    case 2:
        qm_bytes_str(&out, ONE_OF(m, pieces));
        qm_bytes_put(&out, b->s + at, b->n - at);
        break;
    case 3:
        qm_bytes_put(&out, b->s + at, k);
        qm_bytes_put(&out, b->s + at, b->n - at);
        break;
    case 4:
        if (k) qm_bytes_put1(&out, (char)pick(m, 256));
        if (k) qm_bytes_put(&out, b->s + at + 1, b->n - at - 1);
        break;
    default:
        if (at < b->n / 2) qm_bytes_put(&out, b->s + at, b->n - at); /* else the end is cut off */
    }
    qm_bytes_free(b);
    *b = out;
}

answer_made answer_make(uint64_t seed, int broken) {
    maker m = {.r = {seed * 2 + (uint64_t)broken}};
    answer_made a = {0};
    make(&m, &a.c);
    for (uint32_t n = broken ? 1 + pick(&m, 3) : 0; n; n--) damage(&m);
    qm_bytes_put1(&m.parts, 0);
    a.n = m.text.n;
    qm_bytes_put1(&m.text, 0);
    a.text = m.text.s;
    a.parts = m.parts.s;
    return a;
}

void answer_free(answer_made *m) {
    free(m->text);
    free(m->parts);
}

/* Text into tokens, as jinja2's lexer cuts it with trim_blocks and lstrip_blocks. */
#include "jinja_impl.h"
#include <errno.h>
#include <stdlib.h>

static jtok *put(jc *c, jtok_kind k, size_t from, size_t to) {
    static const char *const operators[] = {"or", "and", "", "== != >= <= > < in not", "+ -", "~", "* / // %"};
    for (; c->n_counted < from; c->n_counted++) c->line += c->src[c->n_counted] == '\n';
    c->tok = j_grow(c, c->tok, c->n_tok, 1, sizeof *c->tok);
    jtok *t = &c->tok[c->n_tok++];
    *t = (jtok){.k = k, .line = c->line, .v = {.k = J_STR, .n = to - from, .s = c->src + from}};
    for (int i = 0; i < 7 && (k == T_NAME || k == T_OP); i++)
        if (j_word(operators[i], t->v) >= 0) t->level = i + J_OR;
    return t;
}
_Noreturn static void fail_at(jc *c, size_t i, const char *why) {
    c->line = put(c, T_EOF, i, i)->line;
    j_fail(c, QM_ERR_FORMAT, "%s", why);
}
static int digit(uint32_t ch) { return ch - '0' < 10; }
static int name_char(uint32_t ch) { return ch == '_' || (ch | 32) - 'a' < 26 || ch >= 0x80 || digit(ch); }
static size_t sign(uint32_t ch) { return ch == '-' || ch == '+'; }
static int starts(const jc *c, size_t i, const char *with) {
    while (*with && c->src[i] == (uint32_t)*with) i++, with++;
    return !*with;
}
/* Does a tag end here? Where the text goes on, else 0. "-" strips all white space there; trim_blocks drops one line end
 * after a block or comment unless "+" says not to. close: "%}", "}}" or "#}". */
static size_t tag_end(const jc *c, size_t i, const char *close) {
    int minus = c->src[i] == '-', plus = c->src[i] == '+' && *close != '}';
    i += (size_t)(minus || plus);
    if (!starts(c, i, close)) return 0;
    for (i += 2; minus && i < c->n_src && j_space(c->src[i]);) i++;
    return i + (!minus && !plus && *close != '}' && c->src[i] == '\n');
}
/* The literal that starts at src[i]; of Python's escapes those of one letter. */
static size_t string(jc *c, size_t i) {
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    jv b = {.k = J_STR};
    size_t start = i++;
    for (; i >= c->n_src || c->src[i] != c->src[start]; i++) {
        if (i >= c->n_src) fail_at(c, start, "a string does not end");
        uint32_t ch = c->src[i], x = ch == '\\' ? c->src[i + 1] : 0;
        const char *e = x && x < 0x80 ? strchr(from, (int)x) : NULL;
        if (digit(x) || x == 'N' || x == 'x' || (x | 32) == 'u')
            fail_at(c, i, "a string has an escape that is not supported");
        if (x != '\n') j_put(c, &b, (e ? (uint32_t)to[e - from] : ch) | J_OWN); /* an escaped line end is nothing */
        i += e || x == '\n';
    }
    put(c, T_VALUE, start, i)->v = b;
    return i + 1;
}
static size_t number(jc *c, size_t i) { /* an integer */
    size_t start = i;
    while (digit(c->src[i])) i++;
    if (name_char(c->src[i]) || c->src[i] == '.' || (c->src[start] == '0' && i - start > 1))
        fail_at(c, start, "not a plain number");
    jtok *t = put(c, T_VALUE, start, i);
    const char *text = j_utf8(c, t->v, 60);
    errno = 0;
    t->v = j_int(strtoll(text, NULL, 10));
    if (errno == ERANGE) j_fail(c, QM_ERR_LIMIT, "the number %s does not fit 64 bits", text);
    return i;
}
/* The inside of a tag; returns where the text goes on. */
static size_t inside(jc *c, size_t i, const char *close) {
    static const char *const two[] = {"//", "==", "!=", ">=", "<="};
    for (size_t depth = 0, end, n;; i += n) {
        while (i < c->n_src && j_space(c->src[i])) i++;
        if (i >= c->n_src) fail_at(c, i, "the template ends inside a tag");
        uint32_t ch = c->src[i];
        if (!depth && (end = tag_end(c, i, close))) return put(c, T_OP, i + sign(ch), i + sign(ch) + 2), end;
        if (digit(ch) || ch == '\'' || ch == '"') {
            n = (digit(ch) ? number(c, i) : string(c, i)) - i;
        } else if (name_char(ch)) {
            for (n = 1; name_char(c->src[i + n]);) n++;
            put(c, T_NAME, i, i + n);
        } else {
            n = 1;
            for (size_t k = 0; k < 5; k++) n += (size_t)starts(c, i, two[k]);
            if (!ch || (n == 1 && !strchr("+-*/%~[](){}<>=.:|,", (int)ch))) fail_at(c, i, "an unexpected character");
            depth += strchr("([{", (int)ch) != NULL;
            depth -= depth && strchr(")]}", (int)ch);
            put(c, T_OP, i, i + n);
        }
    }
}
/* The template's text: line ends become "\n", one at the very end is dropped. */
static void read_source(jc *c) {
    if (c->n_text > (size_t)4 << 20) j_fail(c, QM_ERR_LIMIT, "%zu bytes of template; the limit is 4 MiB", c->n_text);
    c->src = j_alloc(c, (c->n_text + 4) * sizeof *c->src);
    for (size_t i = 0; i < c->n_text;) {
        uint32_t ch = 0;
        int k = qm_utf8_decode((const uint8_t *)c->text + i, c->n_text - i, &ch);
        if (k <= 0) fail_at(c, c->n_src, "not UTF-8");
        i += (size_t)k + (ch == '\r' && i + 1 < c->n_text && c->text[i + 1] == '\n');
        c->src[c->n_src++] = ch == '\r' ? '\n' : ch;
    }
    if (c->n_src && c->src[c->n_src - 1] == '\n') c->src[--c->n_src] = 0;
}
void j_lex(jc *c) {
    read_source(c);
    const uint32_t *s = c->src;
    for (size_t at = 0, tag, end; at < c->n_src; at = end) {
        for (tag = at; tag < c->n_src && !starts(c, tag, "{{") && !starts(c, tag, "{%") && !starts(c, tag, "{#");)
            tag++;
        size_t to = tag, line = tag, inner = tag + 2 + sign(s[tag + 2]);
        while (s[tag] && s[tag + 2] == '-' && to > at && j_space(s[to - 1])) to--;
        while (line > at && s[line - 1] != '\n' && j_space(s[line - 1])) line--;
        /* lstrip_blocks: white space before a block or comment that opens its line, unless "+" says not to */
        if (s[tag] && s[tag + 1] != '{' && s[tag + 2] != '+' && to == tag && (line == 0 || s[line - 1] == '\n'))
            to = line;
        if (to > at) put(c, T_DATA, at, to);
        if (tag >= c->n_src) break;
        if (s[tag + 1] != '#') {
            put(c, T_OP, tag, tag + 2);
            end = inside(c, inner, s[tag + 1] == '{' ? "}}" : "%}");
            continue;
        }
        for (end = 0; inner < c->n_src && !end; inner++) end = tag_end(c, inner, "#}");
        if (!end) fail_at(c, tag, "a comment does not end");
    }
    put(c, T_EOF, c->n_src, c->n_src);
    for (size_t i = 0; i < c->n_src; i++) c->src[i] |= J_OWN;
}

/* ---- the tokens, one by one ---- */
int j_means(const jtok *t, const char *word) {
    int named = t->k == T_NAME || t->k == T_OP;
    return named && (char)*t->v.s == *word && !j_word(word, t->v);
}
int j_at(jc *c, const char *word) {
    c->line = c->at->line;
    return j_means(c->at, word);
}
int j_accept(jc *c, const char *word) {
    if (!j_at(c, word)) return 0;
    c->at++;
    return 1;
}
int j_was(jc *c, const char *word) { return j_means(c->at - 1, word); }
_Noreturn void j_unexpected(jc *c, const char *want) {
    c->line = c->at->line;
    const char *got = c->at->k == T_EOF ? "the end of the template" : j_utf8(c, j_str(c, c->at->v), 60);
    j_fail(c, QM_ERR_FORMAT, "expected %s, got %s", want, got);
}
void j_expect(jc *c, const char *word) {
    if (!j_accept(c, word)) j_unexpected(c, word);
}
jv j_expect_name(jc *c) {
    if (c->at->k != T_NAME) j_unexpected(c, "a name");
    c->line = c->at->line;
    return c->at++->v;
}

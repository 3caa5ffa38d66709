/* Text into tokens, as jinja2's lexer cuts it. Line ends become "\n" and one at the very end is dropped;
 * "-" strips white space on its side of a tag; trim_blocks drops one line end after a block or comment,
 * lstrip_blocks the white space before one that opens its line; "+" switches either off. */
#include "jinja_impl.h"
#include "unicode.h"

static int bad_sign(char c) { return c == '-' || c == '+'; }
static int space_at(const char *s, size_t n, size_t i) { return i < n && (s[i] == ' ' || (s[i] >= 9 && s[i] <= 13)); }

static size_t skip_space(jc *c, const char *s, size_t n, size_t i) {
    for (uint32_t cp; i < n; c->line += cp == '\n') {
        size_t k = j_char((jstr){s, NULL, n}, i, &cp);
        if (!j_space(cp)) break;
        i += k;
    }
    return i;
}

static jtok *put(jc *c, jtok_kind k, const char *p, size_t n) {
    c->tok = j_grow(c, c->tok, c->n_tok, &c->cap_tok, sizeof *c->tok);
    c->tok[c->n_tok] = (jtok){.k = k, .line = c->line, .s = {p, c->ones, n}};
    return &c->tok[c->n_tok++];
}

/* Text before a tag that starts with `sign` ("-" or "+" or neither); own_line: as lstrip_blocks has it. */
static void data(jc *c, const char *s, size_t from, size_t to, char sign, int own_line) {
    size_t end = to, line = to;
    while (line > from && s[line - 1] != '\n') line--;
    int opens = line > from || from == 0 || s[from - 1] == '\n';
    size_t stop = sign == '-' ? from : own_line && opens && sign != '+' ? line : to;
    while (end > stop) { /* back over one character of white space */
        size_t k = end - 1;
        uint32_t cp;
        while (k > stop && ((uint8_t)s[k] & 0xc0) == 0x80) k--;
        j_char((jstr){s, NULL, to}, k, &cp);
        if (!j_space(cp)) break;
        end = k;
    }
    if (sign != '-' && end > stop) end = to; /* not white space alone: the line stays as it is */
    if (end > from) put(c, T_DATA, s + from, end - from);
    for (size_t i = from; i < to; i++) c->line += s[i] == '\n';
}

/* Does a tag end here? Its end; else 0. close: "%}", "}}" or "#}". */
static size_t tag_end(jc *c, const char *s, size_t n, size_t i, const char *close) {
    size_t at = i + (bad_sign(s[i]) && !(s[i] == '+' && *close == '}'));
    if (n - at < 2 || memcmp(s + at, close, 2)) return 0;
    if (at > i && s[i] == '-') return skip_space(c, s, n, at + 2);
    if (at == i && *close != '}' && at + 2 < n && s[at + 2] == '\n') return c->line++, at + 3;
    return at + 2;
}

/* A string literal at s[i]; Python's escapes. */
static size_t string(jc *c, const char *s, size_t n, size_t i) {
    char q = s[i++], *o;
    size_t end = i, m = 0;
    for (; end < n && s[end] != q; end++) end += s[end] == '\\';
    if (end >= n) j_fail(c, QM_ERR_FORMAT, "a string does not end");
    jtok *t = put(c, T_STR, s + i, end - i);
    o = j_alloc(c, end - i + 1);
    for (; i < end; i++) {
        c->line += s[i] == '\n';
        if (s[i] != '\\') {
            o[m++] = s[i];
            continue;
        }
        static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
        char x = s[++i];
        const char *e = x ? strchr(from, x) : NULL;
        int digits = x == 'x' ? 2 : x == 'u' ? 4 : x == 'U' ? 8 : 0;
        uint32_t cp = 0;
        if (e) o[m++] = to[e - from];
        else if (x == '\n') c->line++;
        else if (digits || (x >= '0' && x <= '7')) {
            if (digits) {
                for (int k = 0; k < digits; k++) {
                    const char *hex = "0123456789abcdef0123456789ABCDEF", *h = i + 1 < end && s[i + 1] ? strchr(hex, s[++i]) : NULL;
                    if (!h) j_fail(c, QM_ERR_FORMAT, "a string has a broken \\%c escape", x);
                    cp = cp << 4 | (uint32_t)((h - hex) & 15);
                }
            } else {
                for (int k = 0; k < 3 && i < end && s[i] >= '0' && s[i] <= '7'; k++, i++) cp = cp << 3 | (uint32_t)(s[i] - '0');
                i--;
            }
            if (cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000)) j_fail(c, QM_ERR_FORMAT, "a string has an escape that is no character");
            int k = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4; /* bytes in UTF-8 */
            for (int b = k - 1; b > 0; b--, cp >>= 6) o[m + (size_t)b] = (char)(0x80 | (cp & 63));
            o[m] = (char)(k == 1 ? cp : (0xf00u >> k & 0xff) | cp);
            m += (size_t)k;
        } else if (x == 'N') j_fail(c, QM_ERR_UNSUPPORTED, "\\N{...} in a string is not supported");
        else o[m++] = '\\', i--; /* an unknown escape stands for itself */
    }
    t->v = j_string((jstr){o, c->ones, m});
    return end + 1;
}

static size_t digits(const char *s, size_t n, size_t i, const char *set, char *o, size_t *m) {
    for (; i < n; i++) {
        if (s[i] && strchr(set, s[i])) o[(*m)++] = s[i];
        else if (s[i] != '_' || i + 1 >= n || !s[i + 1] || !strchr(set, s[i + 1])) break;
    }
    return i;
}

static size_t number(jc *c, const char *s, size_t n, size_t i) {
    static const char ten[] = "0123456789";
    char *o = j_alloc(c, n - i + 1);
    size_t m = 0, at = i, j = i;
    int base = 10, real = 0;
    char x = i + 2 < n && s[i] == '0' ? (char)(s[i + 1] | 32) : 0;
    if (x == 'x' || x == 'o' || x == 'b') j = digits(s, n, i + 2 + (s[i + 2] == '_'), x == 'x' ? "0123456789abcdefABCDEF" : x == 'o' ? "01234567" : "01", o, &m);
    if (m) {
        base = x == 'x' ? 16 : x == 'o' ? 8 : 2;
        i = j;
    } else {
        i = digits(s, n, i, ten, o, &m);
        int dotted = at > 0 && s[at - 1] == '.'; /* x.0.1 is two items */
        if (!dotted && i + 1 < n && s[i] == '.' && s[i + 1] >= '0' && s[i + 1] <= '9') real = 1, o[m++] = '.', i = digits(s, n, i + 1, ten, o, &m);
        j = i + 1 + (i + 1 < n && bad_sign(s[i + 1]));
        if (!dotted && j < n && (s[i] | 32) == 'e' && s[j] >= '0' && s[j] <= '9') {
            real = 1, o[m++] = 'e';
            if (j > i + 1) o[m++] = s[i + 1];
            i = digits(s, n, j, ten, o, &m);
        }
    }
    jtok *t = put(c, T_NUM, s + at, i - at);
    if (!real && base == 10 && o[0] == '0' && strspn(o, "0") < m) j_fail(c, QM_ERR_FORMAT, "the number %.*s starts with 0", (int)m, o);
    if (real) {
        size_t lead = 0; /* jansson reads it whatever the locale; JSON has no leading zeros */
        while (o[lead] == '0' && o[lead + 1] >= '0' && o[lead + 1] <= '9') lead++;
        json_t *r = json_loadb(o + lead, m - lead, JSON_DECODE_ANY, NULL);
        t->v = j_float(r ? json_real_value(r) : 0);
        json_decref(r);
        if (!r) j_fail(c, QM_ERR_LIMIT, "the number %.40s is out of range", o);
        return i;
    }
    t->v = j_int(0);
    for (size_t k = 0; k < m; k++) {
        int d = o[k] <= '9' ? o[k] - '0' : (o[k] | 32) - 'a' + 10;
        if (__builtin_mul_overflow(t->v.i, base, &t->v.i) || __builtin_add_overflow(t->v.i, d, &t->v.i))
            j_fail(c, QM_ERR_LIMIT, "the number %.40s does not fit 64 bits", o);
    }
    return i;
}

static int name_char(char x, int first) {
    return x == '_' || (x >= 'a' && x <= 'z') || (x >= 'A' && x <= 'Z') || (uint8_t)x >= 0x80 || (!first && x >= '0' && x <= '9');
}

/* The inside of a tag; returns where the text goes on. */
static size_t inside(jc *c, const char *s, size_t n, size_t i, const char *close) {
    char open[256];
    size_t depth = 0, end;
    for (;;) {
        if (i >= n) j_fail(c, QM_ERR_FORMAT, "the template ends inside a tag");
        int line = c->line;
        if (!depth && (end = tag_end(c, s, n, i, close))) {
            put(c, *close == '%' ? T_BLOCK_END : T_VAR_END, s + i, 2)->line = line;
            return end;
        }
        size_t at = skip_space(c, s, n, i);
        if (at > i) {
            i = at;
        } else if (s[i] >= '0' && s[i] <= '9') {
            i = number(c, s, n, i);
        } else if (name_char(s[i], 1)) {
            while (i < n && name_char(s[i], 0)) i++;
            put(c, T_NAME, s + at, i - at);
        } else if (s[i] == '\'' || s[i] == '"') {
            i = string(c, s, n, i);
        } else {
            static const char two[] = "// ** == != >= <= ", one[] = "+-*/%~[](){}<>=.:|,;";
            char pair[3] = {s[i], i + 1 < n ? s[i + 1] : ' ', 0};
            size_t k = pair[1] != ' ' && strstr(two, pair) ? 2 : 1;
            if (!s[i] || (k == 1 && !strchr(one, s[i]))) j_fail(c, QM_ERR_FORMAT, "unexpected character \"%.*s\"", (int)j_char((jstr){s, NULL, n}, i, NULL), s + i);
            if (strchr("([{", s[i])) {
                if (depth == sizeof open) j_fail(c, QM_ERR_LIMIT, "brackets nest deeper than the limit of %zu", sizeof open);
                open[depth++] = s[i] == '(' ? ')' : s[i] == '[' ? ']' : '}';
            } else if (strchr(")]}", s[i]) && (!depth || open[--depth] != s[i])) {
                j_fail(c, QM_ERR_FORMAT, "unexpected \"%c\"", s[i]);
            }
            put(c, T_OP, s + i, k);
            i += k;
        }
    }
}

/* Is s[i..] "word", with white space around, and the end of a block? Where that ends, else 0. */
static size_t raw_tag(jc *c, const char *s, size_t n, size_t i, const char *word) {
    size_t k = strlen(word);
    while (space_at(s, n, i)) i++;
    if (n - i < k || memcmp(s + i, word, k)) return 0;
    for (i += k; space_at(s, n, i);) i++;
    return i < n ? tag_end(c, s, n, i, "%}") : 0;
}

void j_lex(jc *c, const char *text, size_t text_n) {
    char *s = j_alloc(c, text_n + 1);
    size_t n = 0, pos = 0, end = 0;
    c->line = 1;
    c->ones = j_alloc(c, text_n + 1);
    memset(c->ones, 1, text_n + 1);
    for (size_t i = 0; i < text_n; i++) {
        uint32_t cp;
        if ((uint8_t)text[i] >= 0x80) { /* strings of a template are cut by characters: they must be some */
            int k = qm_utf8_decode((const uint8_t *)text + i, text_n - i, &cp);
            if (k <= 0) j_fail(c, QM_ERR_FORMAT, "not UTF-8");
            while (--k > 0) s[n++] = text[i++];
        }
        if (text[i] == '\r' && i + 1 < text_n && text[i + 1] == '\n') continue;
        s[n++] = text[i] == '\r' ? '\n' : text[i];
        c->line += s[n - 1] == '\n';
    }
    if (n && s[n - 1] == '\n') n--;
    c->line = 1;
    while (pos < n) {
        size_t q = pos;
        while (q < n && !(s[q] == '{' && q + 1 < n && strchr("{%#", s[q + 1]) && s[q + 1])) q++;
        if (q >= n) {
            put(c, T_DATA, s + pos, n - pos);
            break;
        }
        char kind = s[q + 1], sign = q + 2 < n ? s[q + 2] : ' ';
        size_t body = q + 2 + (size_t)bad_sign(sign);
        data(c, s, pos, q, sign, kind != '{');
        if (kind == '#' && body == n) break; /* jinja2 lets that pass */
        if (kind == '#') {
            for (end = 0; body < n && !(end = tag_end(c, s, n, body, "#}")); body++) c->line += s[body] == '\n';
            if (!end) j_fail(c, QM_ERR_FORMAT, "a comment does not end");
            pos = end;
        } else if (kind == '%' && (end = raw_tag(c, s, n, body, "raw"))) {
            size_t from = end, k = from;
            if (from > body && s[from - 1] == '\n' && s[from - 2] == '}' && s[from - 4] != '-') from--, k--, c->line--; /* raw trims no line end */
            for (end = 0; k < n; k++) {
                if (n - k < 2 || memcmp(s + k, "{%", 2)) continue;
                sign = k + 2 < n ? s[k + 2] : ' ';
                int line = c->line;
                end = raw_tag(c, s, n, k + 2 + (size_t)bad_sign(sign), "endraw");
                int after = c->line - line;
                c->line = line;
                if (!end) continue;
                data(c, s, from, k, sign, 1);
                c->line += after;
                break;
            }
            if (!end) j_fail(c, QM_ERR_FORMAT, "raw has no endraw");
            pos = end;
        } else {
            put(c, kind == '{' ? T_VAR : T_BLOCK, s + q, 2);
            pos = inside(c, s, n, body, kind == '{' ? "}}" : "%}");
        }
    }
    put(c, T_EOF, s + n, 0);
}

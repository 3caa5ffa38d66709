/* loose_json.c: see loose_json.h. */
#include "loose_json.h"
#include "charset.h"

enum { VALUE, FIRST_KEY, FIRST_VALUE, KEY, COLON, STRING, ESCAPE, HEX, WORD, AFTER, COMMA, END };

void qm_loose_json_begin(qm_loose_json *j) {
    qm_bytes wait = j->wait;
    wait.n = 0;
    *j = (qm_loose_json){.state = VALUE, .wait = wait};
}

void qm_loose_json_free(qm_loose_json *j) { qm_bytes_free(&j->wait); }

static int is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }
static int is_digit(char c) { return c >= '0' && c <= '9'; }
static int is_word(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '+' || c == '.';
}

void qm_json_escape(qm_bytes *out, const char *s, size_t n) {
    for (size_t i = 0, from = 0; i <= n; i++) {
        char escape[7];
        const size_t k = i < n ? qm_json_escape_cp((unsigned char)s[i], escape) : 0;
        if (!k && i < n) continue;
        qm_bytes_put(out, s + from, i - from);
        qm_bytes_put(out, escape, k);
        from = i + 1;
    }
}

static void flush(qm_loose_json *j, qm_bytes *out) {
    qm_bytes_put(out, j->wait.s, j->wait.n);
    j->wait.n = 0;
}

/* A number by RFC 8259, section 6. */
static int is_number(const char *s, size_t n) {
    size_t i = n && s[0] == '-', k = i;
    while (i < n && is_digit(s[i])) i++;
    if (i == k || (s[k] == '0' && i > k + 1)) return 0;
    if (i < n && s[i] == '.') {
        for (k = ++i; i < n && is_digit(s[i]);) i++;
        if (i == k) return 0;
    }
    if (i < n && (s[i] == 'e' || s[i] == 'E')) {
        i++;
        if (i < n && (s[i] == '+' || s[i] == '-')) i++;
        for (k = i; i < n && is_digit(s[i]);) i++;
        if (i == k) return 0;
    }
    return i == n;
}

static const struct {
    const char *said, *meant;
} words[] = {{"true", "true"}, {"false", "false"}, {"null", "null"},
             {"True", "true"}, {"False", "false"}, {"None", "null"}};
enum { N_WORDS = sizeof words / sizeof *words };

static int put_word(qm_loose_json *j, qm_bytes *out) {
    if (is_number(j->wait.s, j->wait.n)) {
        flush(j, out);
        return 0;
    }
    for (int i = 0; i < N_WORDS; i++)
        if (strlen(words[i].said) == j->wait.n && !memcmp(words[i].said, j->wait.s, j->wait.n)) {
            qm_bytes_str(out, words[i].meant);
            j->wait.n = 0;
            return 0;
        }
    return -1;
}

static qm_loose after_value(qm_loose_json *j) {
    j->state = j->depth ? AFTER : END;
    return j->depth ? QM_LOOSE_MORE : QM_LOOSE_DONE;
}

static qm_loose begin_value(qm_loose_json *j, char c, qm_bytes *out) {
    if (c == '"') {
        j->state = STRING;
        j->key = 0;
        qm_bytes_put1(out, c);
    } else if (c == '{' || c == '[') {
        if (j->depth == QM_JSON_DEPTH) return QM_LOOSE_BAD;
        j->open[j->depth++] = c;
        j->state = c == '{' ? FIRST_KEY : FIRST_VALUE;
        qm_bytes_put1(out, c);
    } else if (is_word(c)) {
        j->state = WORD;
        qm_bytes_put1(&j->wait, c);
    } else return QM_LOOSE_BAD;
    return QM_LOOSE_MORE;
}

static qm_loose begin_key(qm_loose_json *j, char c, qm_bytes *out) {
    if (c != '"') return QM_LOOSE_BAD;
    j->state = STRING;
    j->key = 1;
    qm_bytes_put1(out, c);
    return QM_LOOSE_MORE;
}

static int closes(const qm_loose_json *j, char c) {
    return j->depth && c == (j->open[j->depth - 1] == '{' ? '}' : ']');
}

static qm_loose close_one(qm_loose_json *j, char c, qm_bytes *out) {
    qm_bytes_put1(out, c);
    j->depth--;
    return after_value(j);
}

/* The high surrogate that waits has no other half. */
static void drop_high(qm_loose_json *j, qm_bytes *out) {
    if (!j->high) return;
    qm_bytes_str(out, "\\ufffd");
    j->high = 0;
    memmove(j->wait.s, j->wait.s + 6, j->wait.n -= 6);
}

static qm_loose in_string(qm_loose_json *j, char c, qm_bytes *out) {
    j->state = STRING;
    if (c == '\\') {
        j->state = ESCAPE;
        qm_bytes_put1(&j->wait, c);
        return QM_LOOSE_MORE;
    }
    drop_high(j, out);
    if (c != '"') {
        if ((unsigned char)c < 0x20) qm_json_escape(out, &c, 1);
        else qm_bytes_put1(out, c);
        return QM_LOOSE_MORE;
    }
    qm_bytes_put1(out, c);
    if (!j->key) return after_value(j);
    j->state = COLON;
    return QM_LOOSE_MORE;
}

/* What waits, "\" or "\u12", begins no escape: it stands for itself. */
static qm_loose no_escape(qm_loose_json *j, char c, qm_bytes *out) {
    drop_high(j, out);
    qm_bytes_put1(out, '\\');
    flush(j, out);
    return in_string(j, c, out);
}

static qm_loose in_escape(qm_loose_json *j, char c, qm_bytes *out) {
    if (!strchr("\"\\/bfnrtu", c) || !c) return no_escape(j, c, out);
    qm_bytes_put1(&j->wait, c);
    j->state = c == 'u' ? HEX : STRING;
    if (c == 'u') return QM_LOOSE_MORE;
    drop_high(j, out);
    flush(j, out);
    return QM_LOOSE_MORE;
}

static qm_loose in_hex(qm_loose_json *j, char c, qm_bytes *out) {
    if (!is_digit(c) && !((c | 32) >= 'a' && (c | 32) <= 'f')) return no_escape(j, c, out);
    qm_bytes_put1(&j->wait, c);
    if (j->wait.failed || j->wait.n < (j->high ? 12 : 6)) return QM_LOOSE_MORE;
    char hex[5] = {0};
    memcpy(hex, j->wait.s + j->wait.n - 4, 4);
    unsigned long cp = strtoul(hex, NULL, 16);
    j->state = STRING;
    int low = cp >= 0xdc00 && cp < 0xe000;
    if (low && j->high) j->high = 0; /* both halves */
    else {
        drop_high(j, out);
        if (cp >= 0xd800 && cp < 0xdc00) {
            j->high = (unsigned)cp;
            return QM_LOOSE_MORE;
        }
        if (low) {
            j->wait.n = 0;
            qm_bytes_str(out, "\\ufffd");
        }
    }
    flush(j, out);
    return QM_LOOSE_MORE;
}

static qm_loose in_word(qm_loose_json *j, char c, qm_bytes *out) {
    if (is_word(c)) {
        if (j->wait.n == QM_JSON_WORD) return QM_LOOSE_BAD;
        qm_bytes_put1(&j->wait, c);
        return QM_LOOSE_MORE;
    }
    if (put_word(j, out)) return QM_LOOSE_BAD;
    if (after_value(j) == QM_LOOSE_DONE) return QM_LOOSE_BEFORE;
    return qm_loose_json_put(j, c, out);
}

static qm_loose after_comma(qm_loose_json *j, char c, qm_bytes *out) {
    if (is_space(c)) {
        qm_bytes_put1(&j->wait, c);
        return QM_LOOSE_MORE;
    }
    if (closes(j, c)) {
        if (!j->wait.failed) qm_bytes_put(out, j->wait.s + 1, j->wait.n - 1);
        j->wait.n = 0;
        return close_one(j, c, out);
    }
    if (c != '"' && (j->open[j->depth - 1] == '{' || (c != '{' && c != '[' && !is_word(c)))) return QM_LOOSE_BAD;
    flush(j, out);
    return j->open[j->depth - 1] == '{' ? begin_key(j, c, out) : begin_value(j, c, out);
}

qm_loose qm_loose_json_put(qm_loose_json *j, char c, qm_bytes *out) {
    switch (j->state) {
    case STRING: return in_string(j, c, out);
    case ESCAPE: return in_escape(j, c, out);
    case HEX: return in_hex(j, c, out);
    case WORD: return in_word(j, c, out);
    case COMMA: return after_comma(j, c, out);
    case END: return QM_LOOSE_BEFORE;
    default: break;
    }
    if (is_space(c)) {
        qm_bytes_put1(out, c);
        return QM_LOOSE_MORE;
    }
    switch (j->state) {
    case FIRST_KEY: return c == '}' ? close_one(j, c, out) : begin_key(j, c, out);
    case FIRST_VALUE: return c == ']' ? close_one(j, c, out) : begin_value(j, c, out);
    case COLON:
        if (c != ':') return QM_LOOSE_BAD;
        qm_bytes_put1(out, c);
        j->state = VALUE;
        return QM_LOOSE_MORE;
    case AFTER:
        if (closes(j, c)) return close_one(j, c, out);
        if (c != ',') return QM_LOOSE_BAD;
        qm_bytes_put1(&j->wait, c);
        j->state = COMMA;
        return QM_LOOSE_MORE;
    default: return begin_value(j, c, out);
    }
}

int qm_loose_json_outside(const qm_loose_json *j) {
    return j->state != STRING && j->state != ESCAPE && j->state != HEX;
}

int qm_loose_json_close(qm_loose_json *j, qm_bytes *out) {
    if (!qm_loose_json_outside(j) || j->state == VALUE || j->state == COLON) return -1;
    if (j->state == WORD && put_word(j, out)) return -1;
    j->wait.n = 0;
    while (j->depth) qm_bytes_put1(out, j->open[--j->depth] == '{' ? '}' : ']');
    j->state = END;
    return 0;
}

void qm_loose_json_cut(qm_loose_json *j, qm_bytes *out) {
    if (j->state == WORD) {
        const size_t n = j->wait.n;
        qm_bytes_put1(&j->wait, '0'); /* "-", "1." and "1e" are beginnings of a number, too */
        if (is_number(j->wait.s, n) || is_number(j->wait.s, j->wait.n)) qm_bytes_put(out, j->wait.s, n);
        else
            for (int i = 0; i < N_WORDS; i++)
                if (n <= strlen(words[i].said) && !memcmp(words[i].said, j->wait.s, n)) {
                    qm_bytes_put(out, words[i].meant, n);
                    break;
                }
        j->wait.n = 0;
    }
    flush(j, out);
}

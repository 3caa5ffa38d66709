/* json_prefix.h: an oracle of its own for streamed JSON: which bytes may begin a JSON text (RFC 8259), and which are one. */
#ifndef QM_TEST_JSON_PREFIX_H
#define QM_TEST_JSON_PREFIX_H
#include <string.h>

typedef struct {
    const char *p, *end;
} json_at;
enum { JSON_BAD = -1, JSON_CUT = 0, JSON_WHOLE = 1 };

static inline void json_spaces(json_at *a) {
    while (a->p < a->end && (*a->p == ' ' || *a->p == '\t' || *a->p == '\r' || *a->p == '\n')) a->p++;
}

static inline int json_digits(json_at *a) {
    const char *from = a->p;
    while (a->p < a->end && *a->p >= '0' && *a->p <= '9') a->p++;
    return a->p > from ? JSON_WHOLE : a->p == a->end ? JSON_CUT : JSON_BAD;
}

static inline int json_number(json_at *a) {
    int r;
    if (*a->p == '-' && ++a->p == a->end) return JSON_CUT;
    if (*a->p == '0') a->p++;
    else if ((r = json_digits(a)) != JSON_WHOLE) return r;
    if (a->p < a->end && *a->p == '.' && (a->p++, (r = json_digits(a)) != JSON_WHOLE)) return r;
    if (a->p < a->end && (*a->p | 32) == 'e') {
        if (++a->p < a->end && (*a->p == '+' || *a->p == '-')) a->p++;
        if ((r = json_digits(a)) != JSON_WHOLE) return r;
    }
    return JSON_WHOLE;
}

static inline int json_quoted(json_at *a) {
    for (a->p++; a->p < a->end; a->p++) {
        if ((unsigned char)*a->p < 0x20) return JSON_BAD;
        if (*a->p == '"') {
            a->p++;
            return JSON_WHOLE;
        }
        if (*a->p != '\\') continue;
        if (++a->p == a->end) return JSON_CUT;
        if (!*a->p || !strchr("\"\\/bfnrtu", *a->p)) return JSON_BAD;
        for (int i = 0; *a->p == 'u' && i < 4; i++) {
            if (a->p + 1 + i == a->end) return JSON_CUT;
            char c = a->p[1 + i] | 32;
            if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return JSON_BAD;
        }
    }
    return JSON_CUT;
}

static inline int json_value(json_at *a) {
    json_spaces(a);
    if (a->p == a->end) return JSON_CUT;
    const char *const words[] = {"true", "false", "null"};
    for (int i = 0; i < 3; i++)
        if (*a->p == *words[i]) {
            const char *w = words[i];
            while (*w && a->p < a->end && *a->p == *w) a->p++, w++;
            return !*w ? JSON_WHOLE : a->p == a->end ? JSON_CUT : JSON_BAD;
        }
    if (*a->p == '"') return json_quoted(a);
    if (*a->p != '{' && *a->p != '[') return *a->p == '-' || (*a->p >= '0' && *a->p <= '9') ? json_number(a) : JSON_BAD;
    const char close = *a->p++ == '{' ? '}' : ']';
    int r;
    for (int i = 0;; i++) {
        json_spaces(a);
        if (a->p == a->end) return JSON_CUT;
        if (i == 0 && *a->p == close) break;
        if (close == '}') {
            if (*a->p != '"') return JSON_BAD;
            if ((r = json_quoted(a)) != JSON_WHOLE) return r;
            json_spaces(a);
            if (a->p == a->end) return JSON_CUT;
            if (*a->p++ != ':') return JSON_BAD;
        }
        if ((r = json_value(a)) != JSON_WHOLE) return r;
        json_spaces(a);
        if (a->p == a->end) return JSON_CUT;
        if (*a->p == close) break;
        if (*a->p++ != ',') return JSON_BAD;
    }
    a->p++;
    return JSON_WHOLE;
}

/* Whether s[0..n) begins with {, and is the beginning of JSON, or all of it. A lone number or word may go on. */
static inline int json_object_prefix(const char *s, size_t n) {
    json_at a = {s, s + n};
    if (n && *s != '{') return JSON_BAD;
    int r = json_value(&a);
    return r == JSON_WHOLE && a.p != a.end ? JSON_BAD : r;
}
#endif

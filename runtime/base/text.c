/* text.c: see text.h. */
#include "text.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The bounds of the second byte depend on the first (Unicode 15.0, table 3-7). */
int qm_utf8_decode(const uint8_t *p, size_t n, uint32_t *cp) {
    uint8_t b = p[0], lo = 0x80, hi = 0xbf;
    if (b < 0x80) {
        *cp = b;
        return 1;
    }
    size_t len;
    uint32_t c;
    if (b >= 0xc2 && b <= 0xdf) {
        len = 2;
        c = b & 0x1f;
    } else if (b >= 0xe0 && b <= 0xef) {
        len = 3;
        c = b & 0x0f;
        if (b == 0xe0) lo = 0xa0;
        if (b == 0xed) hi = 0x9f;
    } else if (b >= 0xf0 && b <= 0xf4) {
        len = 4;
        c = b & 0x07;
        if (b == 0xf0) lo = 0x90;
        if (b == 0xf4) hi = 0x8f;
    } else {
        return -1;
    }
    for (size_t i = 1; i < len; i++) {
        if (i == n) return 0;
        if (p[i] < lo || p[i] > hi) return -(int)i;
        c = c << 6 | (p[i] & 0x3f);
        lo = 0x80;
        hi = 0xbf;
    }
    *cp = c;
    return (int)len;
}

/* What a terminal would obey, or what would make a line read otherwise than it is. */
static int is_control(uint32_t c) {
    return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x2028 || c == 0x2029 || c == 0x200e || c == 0x200f ||
           (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

/* One character, or one byte that is none, as it is shown; how many bytes of s it was. */
static size_t show_one(char piece[8], const char *s, size_t n) {
    uint32_t c;
    int len = qm_utf8_decode((const uint8_t *)s, n, &c);
    if (len <= 0) snprintf(piece, 8, "\\x%02x", (unsigned char)*s);
    else if (!is_control(c)) {
        memcpy(piece, s, (size_t)len);
        piece[len] = 0;
    } else if (c == '\n' || c == '\r' || c == '\t') snprintf(piece, 8, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
    else snprintf(piece, 8, c < 0x80 ? "\\x%02x" : "\\u%04x", c & 0xffff);
    return len > 0 ? (size_t)len : 1;
}

const char *qm_text_show(char *out, size_t cap, const char *s, size_t n) {
    size_t at = 0, fits = 0; /* fits: where "..." can still go */
    for (size_t i = 0; i < n;) {
        char piece[8];
        i += show_one(piece, s + i, n - i);
        size_t k = strlen(piece);
        if (at + k + 1 > cap) {
            memcpy(out + fits, "...", 4);
            return out;
        }
        memcpy(out + at, piece, k);
        at += k;
        if (at + 4 <= cap) fits = at;
    }
    out[at] = 0;
    return out;
}

size_t qm_text_cut(const char *s, size_t n, size_t limit) {
    if (n <= limit) return n;
    size_t k = limit; /* back over at most three bytes that go on with a character */
    while (k && limit - k < 3 && ((unsigned char)s[k] & 0xc0) == 0x80) k--;
    return ((unsigned char)s[k] & 0xc0) == 0x80 ? limit : k;
}

char *qm_text_utf8(const char *s, size_t n, size_t *out_n) {
    char *out = n > SIZE_MAX / 4 ? NULL : malloc(3 * n + 1), *p = out;
    if (!out) return NULL;
    for (size_t i = 0; i < n;) {
        uint32_t c;
        int len = qm_utf8_decode((const uint8_t *)s + i, n - i, &c);
        size_t k = len > 0 ? (size_t)len : len < 0 ? (size_t)-len : n - i;
        memcpy(p, len > 0 ? s + i : "\xef\xbf\xbd", len > 0 ? k : 3);
        p += len > 0 ? k : 3;
        i += k;
    }
    *p = 0;
    *out_n = (size_t)(p - out);
    return out;
}

const char *qm_text_name(char *out, size_t cap, const char *s, size_t n) {
    size_t k = 0;
    n = qm_text_cut(s, n, 4 * cap); /* no more can be shown; a copy of a whole file's text is not wanted */
    char *t = qm_text_utf8(s, n, &k);
    qm_text_show(out, cap, t ? t : "?", t ? k : 1);
    free(t);
    return out;
}

#include "unicode.h"
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

qm_uc_class qm_unicode_class(uint32_t cp) {
    size_t lo = 0, hi = qm_uc_class_runs_n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (cp > qm_uc_class_runs[mid].last) lo = mid + 1;
        else hi = mid;
    }
    if (lo == qm_uc_class_runs_n || cp < qm_uc_class_runs[lo].first) return QM_UC_OTHER;
    return (qm_uc_class)qm_uc_class_runs[lo].class;
}

/* Characters that stand apart in NFC: those that the reference's Unicode 9.0 does not know, and
 * U+11A7, which no sequence composes with but which utf8proc 2.8 swallows after a Hangul syllable of
 * two letters (it takes it for the last letter number 0). */
static int unnormalised(uint32_t cp) {
    if (cp == 0x11a7) return 1;
    size_t lo = 0, hi = qm_uc_unnormalised_n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (cp > qm_uc_unnormalised[mid].last) lo = mid + 1;
        else hi = mid;
    }
    return lo < qm_uc_unnormalised_n && cp >= qm_uc_unnormalised[lo].first;
}

/* ---- NFC ---- */
typedef struct {
    utf8proc_int32_t *cp; /* [cap] decomposed code points of the run in hand */
    size_t n, cap;
    utf8proc_int32_t *tmp; /* [tmp_cap] for sorting */
    size_t tmp_cap;
    char *out; /* [out_cap] */
    size_t out_n, out_cap;
} nfc_state;

static int grow(void **p, size_t *cap, size_t need, size_t item) {
    if (need <= *cap) return 0;
    size_t c = *cap ? *cap : 256;
    while (c < need) c *= 2;
    void *q = realloc(*p, c * item);
    if (!q) return -1;
    *p = q;
    *cap = c;
    return 0;
}

static int put_bytes(nfc_state *s, const void *p, size_t n) {
    if (grow((void **)&s->out, &s->out_cap, s->out_n + n, 1)) return -1;
    memcpy(s->out + s->out_n, p, n);
    s->out_n += n;
    return 0;
}

static unsigned ccc(utf8proc_int32_t cp) { return (unsigned)utf8proc_get_property(cp)->combining_class; }

/* Stable sort of marks[0..n) by combining class. Counting sort where runs are long: the library's
 * own exchange sort is quadratic, and a run's length is the text's choice. */
static int sort_marks(nfc_state *s, utf8proc_int32_t *marks, size_t n) {
    if (n < 32) {
        for (size_t i = 1; i < n; i++) {
            utf8proc_int32_t m = marks[i];
            unsigned c = ccc(m);
            size_t j = i;
            for (; j > 0 && ccc(marks[j - 1]) > c; j--) marks[j] = marks[j - 1];
            marks[j] = m;
        }
        return 0;
    }
    if (grow((void **)&s->tmp, &s->tmp_cap, n, sizeof *s->tmp)) return -1;
    size_t at[257] = {0};
    for (size_t i = 0; i < n; i++) at[(ccc(marks[i]) & 255) + 1]++;
    for (size_t i = 1; i < 257; i++) at[i] += at[i - 1];
    for (size_t i = 0; i < n; i++) s->tmp[at[ccc(marks[i]) & 255]++] = marks[i];
    memcpy(marks, s->tmp, n * sizeof *marks);
    return 0;
}

/* Orders, composes and writes the decomposed run in hand. */
static int flush_run(nfc_state *s) {
    for (size_t i = 0; i < s->n;) {
        if (!ccc(s->cp[i])) {
            i++;
            continue;
        }
        size_t j = i + 1;
        while (j < s->n && ccc(s->cp[j])) j++;
        if (j - i > 1 && sort_marks(s, s->cp + i, j - i)) return -1;
        i = j;
    }
    utf8proc_ssize_t n = (utf8proc_ssize_t)s->n;
    if (n) n = utf8proc_normalize_utf32(s->cp, n, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (n < 0) return -1;
    if (grow((void **)&s->out, &s->out_cap, s->out_n + 4 * (size_t)n, 1)) return -1;
    for (utf8proc_ssize_t i = 0; i < n; i++)
        s->out_n += (size_t)utf8proc_encode_char(s->cp[i], (utf8proc_uint8_t *)s->out + s->out_n);
    s->n = 0;
    return 0;
}

int qm_unicode_nfc(const char *text, size_t n, char **out, size_t *out_n, qm_err *e) {
    *out = NULL;
    *out_n = n;
    /* Everything below U+0300 (first byte 0xcc) is a starter that stands composed already. */
    const uint8_t *p = (const uint8_t *)text;
    size_t i = 0;
    while (i < n && p[i] < 0xcc) i++;
    if (i == n) return 1;

    nfc_state s = {0};
    int rc = QM_ERR_NOMEM;
    for (i = 0; i < n;) {
        uint32_t cp;
        int len = qm_utf8_decode(p + i, n - i, &cp);
        if (len <= 0 || unnormalised(cp)) {
            size_t k = len > 0 ? (size_t)len : len < 0 ? (size_t)-len : n - i;
            if (flush_run(&s) || put_bytes(&s, p + i, k)) goto out;
            i += k;
            continue;
        }
        i += (size_t)len;
        /* The longest canonical decomposition has 4 code points; 32 is room enough. */
        if (grow((void **)&s.cp, &s.cap, s.n + 32, sizeof *s.cp)) goto out;
        int bound = 0;
        utf8proc_ssize_t k =
            utf8proc_decompose_char((utf8proc_int32_t)cp, s.cp + s.n, 32, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, &bound);
        if (k < 0 || k > 32) goto out;
        s.n += (size_t)k;
    }
    if (flush_run(&s)) goto out;
    if (s.out_n == n && !memcmp(s.out, text, n)) {
        rc = 1;
        goto out;
    }
    *out = s.out;
    *out_n = s.out_n;
    s.out = NULL;
    rc = 0;
out:
    free(s.cp);
    free(s.tmp);
    free(s.out);
    return rc < 0 ? qm_fail(e, rc, "no memory to normalise %zu bytes of text", n) : rc;
}

/* ---- streaming ---- */
size_t qm_utf8_push(qm_utf8_stream *s, const void *bytes, size_t n, int flush, char *out) {
    static const char replacement[3] = {(char)0xef, (char)0xbf, (char)0xbd};
    const uint8_t *p = bytes;
    size_t i = 0, w = 0;
    for (;;) {
        /* Up to 4 bytes to look at: what is held, then what is new. */
        uint8_t win[4];
        size_t held = s->n_hold, m = held;
        memcpy(win, s->hold, held);
        while (m < 4 && i + (m - held) < n) {
            win[m] = p[i + (m - held)];
            m++;
        }
        if (!m) break;
        uint32_t cp;
        int len = qm_utf8_decode(win, m, &cp);
        if (!len && !flush) { /* the start of a character: hold it */
            memcpy(s->hold, win, m);
            s->n_hold = (uint8_t)m;
            break;
        }
        size_t used;
        if (len > 0) {
            used = (size_t)len;
            memcpy(out + w, win, used);
            w += used;
        } else {
            used = len ? (size_t)-len : m;
            memcpy(out + w, replacement, 3);
            w += 3;
        }
        /* A held prefix was well formed, so that it is used up as a whole. */
        i += used - held;
        s->n_hold = 0;
    }
    return w;
}

/* Ranges of numbers, digit by digit: x >= b is "the same digits up to here, then a larger one, then any", for each place.
 * Written as regular expressions; both ends of a range are two automata, and the range what both accept. */
#include "digits.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "regex.h"

enum { EXACT_DIGITS = 15 }; /* decimals of so many digits and their doubles have one order (DBL_DIG) */

/* |v| in decimal: whole part without leading zeros ("0"), fraction without trailing ones (""). */
typedef struct {
    int negative;
    char whole[32], frac[32];
} decimal;

typedef struct {
    char *s; /* [cap], with a NUL */
    size_t n, cap;
    int failed;
} text;

static void put(text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void put(text *t, const char *fmt, ...) {
    va_list ap;
    for (int again = 0; again < 2 && !t->failed; again++) {
        va_start(ap, fmt);
        int k = vsnprintf(t->s ? t->s + t->n : NULL, t->cap - t->n, fmt, ap);
        va_end(ap);
        if ((size_t)k < t->cap - t->n) {
            t->n += (size_t)k;
            return;
        }
        size_t cap = 2 * t->cap + (size_t)k + 1;
        char *s = realloc(t->s, cap);
        if (s) t->s = s, t->cap = cap;
        else t->failed = 1;
    }
}

void qm_shortest(char out[32], double v) {
    for (int k = 1; k <= 17; k++) {
        snprintf(out, 32, "%.*g", k, v);
        if (strtod(out, NULL) == v) return;
    }
}

/* 0: too long for us: *huge says whether it is so for being far from zero. */
static int to_decimal(decimal *d, const json_t *v, int *huge) {
    char t[64], digits[32] = "";
    *huge = 0;
    if (json_is_integer(v)) snprintf(t, sizeof t, "%lld.0e0", (long long)json_integer_value(v));
    else {
        double x = json_real_value(v);
        for (int k = 0; k < 17; k++) { /* the shortest, with an exponent */
            snprintf(t, sizeof t, "%.*e", k, x);
            if (strtod(t, NULL) == x) break;
        }
    }
    memset(d, 0, sizeof *d);
    d->negative = *t == '-';
    int n = 0, point = -1;
    const char *p = t + d->negative;
    for (; *p && *p != 'e'; p++) {
        if (*p == '.') point = n;
        else if (n < 31) digits[n++] = *p;
    }
    if (point < 0) point = n;
    point += atoi(p + (*p == 'e'));
    while (n && digits[n - 1] == '0') n--;
    int lead = 0;
    while (lead < n && digits[lead] == '0') lead++;
    if (lead == n) { /* zero */
        strcpy(d->whole, "0");
        d->negative = 0;
        return 1;
    }
    *huge = point - lead > QM_INT_DIGITS;
    if (*huge || n - point >= 31) return 0;
    int w = 0, f = 0;
    for (int i = lead; i < point; i++) d->whole[w++] = i < n ? digits[i] : '0';
    if (!w) strcpy(d->whole, "0");
    for (int i = point < 0 ? point : point < lead ? point : (point > lead ? point : lead); i < n; i++)
        d->frac[f++] = i < 0 ? '0' : digits[i];
    return 1;
}

/* ---- whole parts, of up to K digits ---- */
#define K QM_INT_DIGITS
static void any_whole(text *t) { put(t, "(0|[1-9]\\d{0,%d})", K - 1); }

/* Larger than m, or m itself too. */
static void whole_above(text *t, const char *m, int itself) {
    int n = (int)strlen(m);
    put(t, "(");
    if (itself) put(t, "%s|", m);
    for (int i = 0; i < n; i++)
        if (m[i] < '9') put(t, "%.*s[%c-9]\\d{%d}|", i, m, m[i] + 1, n - 1 - i);
    if (n < K) put(t, "[1-9]\\d{%d,%d}", n, K - 1);
    else put(t, "[^\\x01-\\uffff]"); /* nothing, as good as */
    put(t, ")");
}

static void whole_below(text *t, const char *m) {
    int n = (int)strlen(m), first = 1;
    put(t, "(");
    for (int i = 0; i < n; i++) {
        int low = i || n == 1 ? '0' : '1';
        if (m[i] > low) put(t, "%s%.*s[%c-%c]\\d{%d}", first ? "" : "|", i, m, low, m[i] - 1, n - 1 - i), first = 0;
    }
    if (n > 1) put(t, "%s0|[1-9]\\d{0,%d}", first ? "" : "|", n - 2), first = 0;
    if (first) put(t, "[^\\x01-\\uffff]");
    put(t, ")");
}

/* ---- fractions, the point included, of up to m digits ---- */
static void any_frac(text *t, int m) { put(t, "(\\.\\d{1,%d})?", m); }

static void frac_above(text *t, const char *f, int strict, int m) {
    int k = (int)strlen(f);
    if (!k && !strict) {
        any_frac(t, m);
        return;
    }
    put(t, "\\.(");
    for (int i = 0; i < k; i++)
        if (f[i] < '9') put(t, "%.*s[%c-9]\\d{0,%d}|", i, f, f[i] + 1, m - 1 - i);
    if (strict) put(t, "%s0{0,%d}[1-9]\\d{0,%d}", f, m - k - 1, m - k - 1);
    else put(t, "%s\\d{0,%d}", f, m - k);
    put(t, ")");
}

static void frac_below(text *t, const char *f, int strict, int m) {
    int k = (int)strlen(f);
    if (!k) {
        put(t, "(\\.0{1,%d})?", m);
        return;
    }
    put(t, "(\\.(");
    for (int i = 0; i < k; i++) {
        if (f[i] > '0') put(t, "%.*s[0-%c]\\d{0,%d}|", i, f, f[i] - 1, m - 1 - i);
        if (i) put(t, "%.*s|", i, f);
    }
    if (strict) put(t, "0"); /* it is there already */
    else put(t, "%s0{0,%d}", f, m - k);
    put(t, "))?");
}

/* ---- numbers without a sign ---- */
static void above(text *t, const decimal *d, int strict, int m) {
    put(t, "(");
    whole_above(t, d->whole, 0);
    any_frac(t, m);
    put(t, "|%s", d->whole);
    frac_above(t, d->frac, strict, m);
    put(t, ")");
}

static void below(text *t, const decimal *d, int strict, int m) {
    put(t, "(");
    whole_below(t, d->whole);
    any_frac(t, m);
    if (!strict || *d->frac) {
        put(t, "|%s", d->whole);
        frac_below(t, d->frac, strict, m);
    }
    put(t, ")");
}

static int is_zero(const decimal *d) { return !strcmp(d->whole, "0") && !*d->frac; }

/* x >= d (side 0), x <= d (side 1). */
static void one_side(text *t, const decimal *d, int side, int strict, int m) {
    int outer = side ? d->negative : !d->negative; /* of the numbers with d's sign those farther from zero */
    const char *sign = d->negative ? "-" : "", *other = d->negative ? "" : "-";
    put(t, "(%s", sign);
    if (outer) above(t, d, strict, m);
    else below(t, d, strict, m);
    put(t, ")");
    if (!outer) { /* and all of the other sign */
        put(t, "|%s", other);
        if (is_zero(d) && strict) above(t, d, strict, m);
        else any_whole(t), any_frac(t, m);
    }
}

static int compile(qm_dfa *out, text *t, qm_err *e) {
    if (t->failed || !t->s) return qm_fail(e, QM_ERR_NOMEM, "a number's range: out of memory");
    return qm_regex_dfa(out, t->s, t->n, 0, e);
}

static int unbounded(qm_dfa *out, int integer, int plain, int m, qm_err *e) {
    char s[128];
    if (integer) snprintf(s, sizeof s, "0|-?[1-9]\\d{0,%d}", K - 1);
    else snprintf(s, sizeof s, "-?(0|[1-9]\\d{0,%d})(\\.\\d{1,%d})?%s", K - 1, m, plain ? "" : "([eE][-+]?\\d{1,2})?");
    return qm_regex_dfa(out, s, strlen(s), 0, e);
}

int qm_number_dfa(qm_dfa *out, int integer, const qm_bounds *b, qm_err *e) {
    memset(out, 0, sizeof *out);
    const json_t *v[2] = {b->least, b->most};
    int strict[2] = {b->least_strict, b->most_strict}, m = EXACT_DIGITS, nothing = 0, rc = 0;
    decimal d[2];
    for (int side = 0; side < 2; side++) {
        int huge;
        if (!v[side]) continue;
        if (!to_decimal(&d[side], v[side], &huge)) {
            if (!huge) return qm_fail(e, QM_ERR_UNSUPPORTED, "a bound of more than %d digits", EXACT_DIGITS);
            /* Beyond all that is written here: it bounds nothing, or everything. */
            int below_all = json_number_value(v[side]) < 0;
            nothing |= side ? below_all : !below_all;
            v[side] = NULL;
            continue;
        }
        int whole = is_zero(&d[side]) ? 1 : (int)strlen(d[side].whole), frac = (int)strlen(d[side].frac);
        int room =
            integer ? 32 : EXACT_DIGITS - whole; /* an integer's range has none of these digits: any number will do */
        if (room < 1 || room < frac + strict[side])
            return qm_fail(e, QM_ERR_UNSUPPORTED, "a bound of more than %d digits", EXACT_DIGITS);
        if (integer || room < m) m = room;
    }
    if ((rc = unbounded(out, integer, v[0] || v[1], v[0] || v[1] ? m : K, e))) return rc;
    for (int side = 0; side < 2 && !rc; side++) {
        if (!v[side]) continue;
        text t = {0};
        qm_dfa half = {0}, both = {0};
        one_side(&t, &d[side], side, strict[side], m);
        if (!(rc = compile(&half, &t, e))) rc = qm_dfa_both(&both, out, &half, 0, "a number's range", e);
        free(t.s);
        qm_dfa_free(&half);
        qm_dfa_free(out);
        *out = both;
    }
    if (!rc && nothing) out->n = 1;
    return rc;
}

/* lex.c: see lex.h. A constant's spelling: PTX ISA, "Constants". */
#include "lex.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

void lex_skip(lexer *x) {
    for (;;) {
        if (*x->p == '\n') {
            x->line++;
            x->p++;
        } else if (isspace((unsigned char)*x->p)) x->p++;
        else if (x->p[0] == '/' && x->p[1] == '/') {
            while (*x->p && *x->p != '\n') x->p++;
        } else if (x->p[0] == '/' && x->p[1] == '*') {
            for (x->p += 2; *x->p && !(x->p[0] == '*' && x->p[1] == '/'); x->p++)
                if (*x->p == '\n') x->line++;
            if (!*x->p) ptx_fail(x->u, x->line, "the text ends inside a comment");
            x->p += 2;
        } else return;
    }
}

int lex_accept(lexer *x, int c) {
    lex_skip(x);
    if (*x->p != c) return 0;
    x->p++;
    return 1;
}

void lex_expect(lexer *x, int c) {
    lex_skip(x);
    if (*x->p != c) ptx_fail(x->u, x->line, "expected `%c` but found `%.16s`", c, *x->p ? x->p : "the end");
    x->p++;
}

int lex_is_ident(int c) { return isalpha((unsigned char)c) || c == '_' || c == '$' || c == '%'; }
static int in_ident(int c) { return isalnum((unsigned char)c) || c == '_' || c == '$'; }

const char *lex_ident(lexer *x) {
    lex_skip(x);
    const char *s = x->p;
    if (!lex_is_ident(*s)) ptx_fail(x->u, x->line, "expected a name but found `%.16s`", *s ? s : "the end");
    x->p++;
    while (in_ident(*x->p)) x->p++;
    if (*s == '%' && x->p[0] == '.' && x->p[1] >= 'w' && x->p[1] <= 'z' && !in_ident(x->p[2])) x->p += 2;
    return ptx_strndup(x->u, s, (size_t)(x->p - s));
}

const char *lex_directive(lexer *x) {
    lex_skip(x);
    const char *s = x->p;
    if (*s != '.') ptx_fail(x->u, x->line, "expected a directive but found `%.16s`", *s ? s : "the end");
    x->p++;
    while (in_ident(*x->p)) x->p++;
    return ptx_strndup(x->u, s, (size_t)(x->p - s));
}

const char *lex_opcode(lexer *x) {
    lex_skip(x);
    const char *s = x->p;
    if (!lex_is_ident(*s)) ptx_fail(x->u, x->line, "expected an instruction but found `%.16s`", *s ? s : "the end");
    while (in_ident(*x->p) || *x->p == '.' || *x->p == ':') x->p++;
    return ptx_strndup(x->u, s, (size_t)(x->p - s));
}

static lex_num num_int(int64_t i) { return (lex_num){0, 0, i, (double)i}; }

static lex_num lex_number(lexer *x) {
    const char *s = x->p;
    char *end;
    lex_num v = {0, 0, 0, 0};
    if (s[0] == '0' && (s[1] == 'f' || s[1] == 'F' || s[1] == 'd' || s[1] == 'D') && isxdigit((unsigned char)s[2])) {
        int n = s[1] == 'f' || s[1] == 'F' ? 8 : 16, k = 0;
        uint64_t b = 0;
        for (x->p += 2; isxdigit((unsigned char)*x->p); x->p++, k++) {
            int c = tolower((unsigned char)*x->p);
            b = b << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
        }
        if (k != n) ptx_fail(x->u, x->line, "a 0%c constant has %d hex digits", s[1], n);
        v.is_f = 1;
        v.fbits = n * 4;
        v.i = (int64_t)b;
        if (n == 8) {
            uint32_t u = (uint32_t)b;
            float f;
            memcpy(&f, &u, 4);
            v.f = (double)f;
        } else memcpy(&v.f, &b, 8);
        return v;
    }
    int base = 10;
    const char *q = s;
    if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X')) base = 16, q = s + 2;
    else if (s[0] == '0' && (s[1] == 'b' || s[1] == 'B')) base = 2, q = s + 2;
    else if (s[0] == '0' && isdigit((unsigned char)s[1])) base = 8;
    if (base == 10) {
        const char *e = s;
        while (isdigit((unsigned char)*e)) e++;
        if (*e == '.' || ((*e == 'e' || *e == 'E') && (isdigit((unsigned char)e[1]) || e[1] == '-' || e[1] == '+'))) {
            v.is_f = 1;
            v.f = strtod(s, &end);
            x->p = end;
            return v;
        }
    }
    v.i = (int64_t)strtoull(q, &end, base);
    if (end == q) ptx_fail(x->u, x->line, "expected a number but found `%.16s`", s);
    x->p = end;
    if (*x->p == 'U') x->p++;
    if (in_ident(*x->p)) ptx_fail(x->u, x->line, "bad number `%.16s`", s);
    v.f = (double)v.i;
    return v;
}

static lex_num binary(lexer *x, int min);

static lex_num unary(lexer *x) {
    lex_num v;
    lex_skip(x);
    if (++x->depth > 64) ptx_fail(x->u, x->line, "a constant expression is nested too deeply");
    if (*x->p == '(') {
        x->p++;
        lex_skip(x);
        if (*x->p == '.') { /* a cast: (.s64) or (.u64) */
            lex_directive(x);
            lex_expect(x, ')');
            v = unary(x);
        } else {
            v = binary(x, 0);
            lex_expect(x, ')');
        }
    } else if (*x->p == '-') {
        x->p++;
        v = unary(x);
        v.i = v.fbits == 32 ? v.i ^ 0x80000000ll : v.fbits == 64 ? v.i ^ INT64_MIN : (int64_t)(0 - (uint64_t)v.i);
        v.f = -v.f;
    } else if (*x->p == '+') {
        x->p++;
        v = unary(x);
    } else if (*x->p == '~' || *x->p == '!') {
        int c = *x->p++;
        v = unary(x);
        v = num_int(c == '~' ? ~v.i : !v.i);
    } else v = lex_number(x);
    x->depth--;
    return v;
}

/* operators from loosest to tightest */
static const struct {
    const char *s;
    int prec;
} ops[] = {
    {"||", 1}, {"&&", 2}, {"==", 6}, {"!=", 6}, {"<=", 7}, {">=", 7}, {"<<", 8}, {">>", 8}, {"|", 3},
    {"^", 4},  {"&", 5},  {"<", 7},  {">", 7},  {"+", 9},  {"-", 9},  {"*", 10}, {"/", 10}, {"%", 10},
};

static lex_num binary(lexer *x, int min) {
    lex_num a = unary(x);
    for (;;) {
        lex_skip(x);
        int k = -1;
        if (*x->p == ',' || *x->p == ';' || *x->p == ']') break; /* most constants stand alone */
        for (int i = 0; i < (int)(sizeof ops / sizeof ops[0]) && k < 0; i++)
            if (!strncmp(x->p, ops[i].s, strlen(ops[i].s))) k = i;
        if (k < 0 || ops[k].prec <= min) break;
        if (ops[k].s[0] == '%' && (isalpha((unsigned char)x->p[1]) || x->p[1] == '_')) break;
        x->p += strlen(ops[k].s);
        lex_num b = binary(x, ops[k].prec);
        if (a.is_f || b.is_f) {
            double f = ops[k].s[0] == '+'   ? a.f + b.f
                       : ops[k].s[0] == '-' ? a.f - b.f
                       : ops[k].s[0] == '*' ? a.f * b.f
                                            : a.f / b.f;
            if (!strchr("+-*/", ops[k].s[0])) ptx_fail(x->u, x->line, "bad operator on a floating constant");
            a = (lex_num){1, 0, 0, f};
            continue;
        }
        uint64_t u = (uint64_t)a.i, w = (uint64_t)b.i;
        if ((ops[k].s[0] == '/' || ops[k].s[0] == '%') && (!w || (a.i == INT64_MIN && b.i == -1)))
            ptx_fail(x->u, x->line, "a constant expression divides by zero");
        switch (k) {
        case 0: u = a.i || b.i; break;
        case 1: u = a.i && b.i; break;
        case 2: u = a.i == b.i; break;
        case 3: u = a.i != b.i; break;
        case 4: u = a.i <= b.i; break;
        case 5: u = a.i >= b.i; break;
        case 6: u = w > 63 ? 0 : u << w; break;
        case 7: u = (uint64_t)(a.i >> (w > 63 ? 63 : w)); break;
        case 8: u |= w; break;
        case 9: u ^= w; break;
        case 10: u &= w; break;
        case 11: u = a.i < b.i; break;
        case 12: u = a.i > b.i; break;
        case 13: u += w; break;
        case 14: u -= w; break;
        case 15: u *= w; break;
        case 16: u = (uint64_t)(a.i / b.i); break;
        default: u = (uint64_t)(a.i % b.i); break;
        }
        a = num_int((int64_t)u);
    }
    if (min == 0 && *x->p == '?') {
        x->p++;
        lex_num t = binary(x, 0);
        lex_expect(x, ':');
        lex_num e = binary(x, 0);
        a = (a.is_f ? a.f != 0 : a.i != 0) ? t : e;
    }
    return a;
}

lex_num lex_expr(lexer *x) { return binary(x, 0); }

int64_t lex_int(lexer *x) {
    lex_skip(x);
    if (!isdigit((unsigned char)*x->p)) ptx_fail(x->u, x->line, "expected a number but found `%.16s`", x->p);
    /* `.version 7.4`: a dot ends the number here */
    char *end;
    unsigned long long v = strtoull(x->p, &end, 0);
    x->p = end;
    return (int64_t)v;
}

void lex_skip_to(lexer *x, int c) {
    while (*x->p && *x->p != c) {
        if (*x->p == '\n') x->line++;
        x->p++;
    }
    if (!*x->p) ptx_fail(x->u, x->line, "expected `%c` before the end", c);
    x->p++;
}

void lex_skip_line(lexer *x) {
    while (*x->p && *x->p != '\n') x->p++;
}

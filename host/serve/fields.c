/* fields.c: a request's JSON, read field by field. The first error is kept and names its field. */
#include "api.h"
#include "log.h"
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { DEEPEST = 64, MOST_VALUES = 1 << 20 };

/* Before a value is built: how deep they lie, and that there are not so many that they take far more memory than the
 * text did. What is not JSON at all is the parser's to say. */
static const char *too_much(const char *s, size_t n) {
    size_t depth = 0, values = 1;
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '"') {
            for (i++; i < n && s[i] != '"'; i++) i += s[i] == '\\';
        } else if (s[i] == '{' || s[i] == '[') {
            if (++depth > DEEPEST) return "arrays and objects lie more than 64 deep";
            values++;
        } else if (s[i] == '}' || s[i] == ']') depth -= depth > 0;
        else if (s[i] == ',' || s[i] == ':') values++;
        if (values > MOST_VALUES) return "there are more than 1048576 values";
    }
    return NULL;
}

json_t *api_body(http_request *r) {
    size_t n;
    const char *s = http_body(r, &n);
    const char *why = too_much(s, n);
    if (why) {
        api_error(r, 400, NULL, "the body: %s", why);
        return NULL;
    }
    json_error_t at;
    json_t *j = json_loadb(s, n, JSON_REJECT_DUPLICATES, &at);
    if (j && json_is_object(j)) return j;
    if (j) api_error(r, 400, NULL, "the body is JSON, and no object");
    else if (json_error_code(&at) == json_error_out_of_memory) api_error(r, 500, NULL, "out of memory");
    else api_error(r, 400, NULL, "the body is not JSON: line %d, column %d: %s", at.line, at.column, at.text);
    json_decref(j);
    return NULL;
}

void fields_begin(fields *f, const json_t *o) { *f = (fields){.o = o, .at = ""}; }

void fields_within(fields *f, const json_t *o, const char *at) { *f = (fields){.o = o, .at = at}; }

void fields_join(fields *f, const fields *inner) {
    if (*f->error || !*inner->error) return;
    memcpy(f->error, inner->error, sizeof f->error);
    memcpy(f->param, inner->param, sizeof f->param);
}

void fields_fail(fields *f, const char *param, const char *fmt, ...) {
    if (*f->error) return;
    snprintf(f->param, sizeof f->param, "%s%s", f->at, param);
    int n = snprintf(f->error, sizeof f->error, "%s: ", f->param);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(f->error + n, sizeof f->error - (size_t)n, fmt, ap);
    va_end(ap);
}

static const char *what(const json_t *v) {
    switch (json_typeof(v)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER:
    case JSON_REAL: return "a number";
    default: return json_is_null(v) ? "null" : "a boolean";
    }
}

json_t *fields_any(fields *f, const char *name) {
    if (f->n_known < sizeof f->known / sizeof *f->known) f->known[f->n_known++] = name;
    if (*f->error) return NULL;
    json_t *v = json_object_get(f->o, name);
    return json_is_null(v) ? NULL : v;
}

double fields_number(fields *f, const char *name, double low, double high, double otherwise) {
    const json_t *v = fields_any(f, name);
    if (!v) return otherwise;
    double x = json_number_value(v);
    if (!json_is_number(v)) fields_fail(f, name, "expected a number from %g to %g, got %s", low, high, what(v));
    else if (x < low || x > high) fields_fail(f, name, "%g: expected a number from %g to %g", x, low, high);
    else return x;
    return otherwise;
}

/* 16.0 is an integer too. */
static int is_whole(const json_t *v, int64_t *x) {
    if (json_is_integer(v)) {
        *x = json_integer_value(v);
        return 1;
    }
    double d = json_number_value(v);
    if (!json_is_real(v) || d != floor(d) || fabs(d) > 9007199254740992.0) return 0;
    *x = (int64_t)d;
    return 1;
}

int64_t fields_int(fields *f, const char *name, int64_t low, int64_t high, int64_t otherwise) {
    const json_t *v = fields_any(f, name);
    int64_t x = 0;
    if (!v) return otherwise;
    if (!is_whole(v, &x))
        fields_fail(f, name, "expected an integer from %lld to %lld, got %s", (long long)low, (long long)high,
                    json_is_number(v) ? "a fraction" : what(v));
    else if (x < low || x > high)
        fields_fail(f, name, "%lld: expected an integer from %lld to %lld", (long long)x, (long long)low,
                    (long long)high);
    else return x;
    return otherwise;
}

int fields_bool(fields *f, const char *name, int otherwise) {
    const json_t *v = fields_any(f, name);
    if (!v) return otherwise;
    if (!json_is_boolean(v)) fields_fail(f, name, "expected true or false, got %s", what(v));
    return json_is_true(v);
}

/* A NUL cannot be in it: the parser refuses it. */
const char *fields_string(fields *f, const char *name, const char *otherwise) {
    const json_t *v = fields_any(f, name);
    if (!v) return otherwise;
    if (!json_is_string(v)) fields_fail(f, name, "expected a string, got %s", what(v));
    return json_is_string(v) ? json_string_value(v) : otherwise;
}

json_t *fields_array(fields *f, const char *name) {
    json_t *v = fields_any(f, name);
    if (v && !json_is_array(v)) fields_fail(f, name, "expected an array, got %s", what(v));
    return json_is_array(v) ? v : NULL;
}

json_t *fields_object(fields *f, const char *name) {
    json_t *v = fields_any(f, name);
    if (v && !json_is_object(v)) fields_fail(f, name, "expected an object, got %s", what(v));
    return json_is_object(v) ? v : NULL;
}

/* Whether `list`, texts with bars between them, has the n bytes of s. */
static int listed(const char *list, const char *s, size_t n) {
    for (const char *p = list;; p++) {
        size_t m = strcspn(p, "|");
        if (m == n && !memcmp(p, s, n)) return 1;
        if (!*(p += m)) return 0;
    }
}

void fields_refuse(fields *f, const char *name, const char *unless, const char *why) {
    const json_t *v = fields_any(f, name);
    if (!v) return;
    char text[64];
    size_t n = json_dumpb(v, text, sizeof text, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
    if (n > 0 && n <= sizeof text && listed(unless, text, n)) return;
    fields_fail(f, name, "%s", why);
}

void fields_refuse_all(fields *f, const fields_refusal *v, size_t n) {
    for (size_t i = 0; i < n; i++) fields_refuse(f, v[i].name, v[i].unless, v[i].why);
}

/* Names that nobody knows are logged, each once, and no more of them than somebody would read. */
static void say_unknown(server *s, const char *name, const char *path) {
    enum { MOST = sizeof s->unknown / sizeof *s->unknown };
    char shown[sizeof *s->unknown];
    qm_text_show(shown, sizeof shown, name, strlen(name));
    for (size_t i = 0; i < s->n_unknown; i++)
        if (!strcmp(s->unknown[i], shown)) return;
    if (s->n_unknown == MOST) return;
    memcpy(s->unknown[s->n_unknown++], shown, sizeof shown);
    log_line(s, "info", "%s: the field %s is not known, and ignored%s", path, shown,
             s->n_unknown == MOST ? "; of further ones nothing is said" : "");
}

int fields_end(fields *f, server *s, http_request *r) {
    if (*f->error) {
        api_error(r, 400, f->param, "%s", f->error);
        return -1;
    }
    const char *name;
    json_t *v;
    json_object_foreach ((json_t *)f->o, name, v) {
        size_t i = 0;
        while (i < f->n_known && strcmp(f->known[i], name)) i++;
        if (i == f->n_known) say_unknown(s, name, http_path(r));
    }
    return 0;
}

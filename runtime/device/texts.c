/* texts.c: see texts.h. */
#include "texts.h"
#include <stdlib.h>
#include <string.h>

/* tools/embed.sh writes it: "matvec.ptx", "repack.cu" ..., then {NULL, NULL}. */
typedef struct {
    const char *name, *text;
} embedded_text;
extern const embedded_text qm_embedded[];

static const char *text_of(const char *file, const char *ext) {
    size_t n = strlen(file);
    for (const embedded_text *t = qm_embedded; t->name; t++)
        if (!strncmp(t->name, file, n) && !strcmp(t->name + n, ext)) return t->text;
    return NULL;
}
const char *qm_ptx_text(const char *file) { return text_of(file, ".ptx"); }

int qm_ptx_entry(char **out, const char *file, const char *entry, qm_err *e) {
    static const char head[] = ".visible .entry ";
    const size_t head_n = sizeof head - 1, n = strlen(entry);
    const char *text = qm_ptx_text(file);
    int drop = 0, found = 0;
    *out = NULL;
    if (!text) return qm_fail(e, QM_ERR_UNSUPPORTED, "kernel %s: this build has no kernels/ptx/%s.ptx", entry, file);
    char *to = malloc(strlen(text) + 1), *end = to;
    if (!to) return qm_fail(e, QM_ERR_NOMEM, "kernel %s: out of host memory", entry);
    for (const char *line = text; *line;) {
        const size_t line_n = strcspn(line, "\n") + (strchr(line, '\n') != NULL);
        if (!strncmp(line, head, head_n)) {
            drop = strncmp(line + head_n, entry, n) != 0 || line[head_n + n] != '(';
            found |= !drop;
        } else if (!strncmp(line, ".func", 5) || !strncmp(line, ".visible", 8)) drop = 0;
        if (!drop) {
            memcpy(end, line, line_n);
            end += line_n;
        } else *end++ = '\n';
        line += line_n;
    }
    *end = 0;
    if (!found) {
        free(to);
        return qm_fail(e, QM_ERR_UNSUPPORTED, "kernel %s: kernels/ptx/%s.ptx has no such entry", entry, file);
    }
    *out = to;
    return 0;
}

/* The number after word in the line; -1: it is not there. */
static int number_after(const char *line, size_t n, const char *word) {
    const size_t k = strlen(word);
    for (size_t i = 0; i + k < n; i++)
        if (!memcmp(line + i, word, k)) return (int)strtol(line + i + k, NULL, 10);
    return -1;
}

int qm_ptx_cases(char **out, const char *file, const unsigned char *needed, int n, qm_err *e) {
    const char *text = qm_ptx_text(file);
    int drop = 0, last = -1;
    *out = NULL;
    if (!text) return qm_fail(e, QM_ERR_UNSUPPORTED, "this build has no kernels/ptx/%s.ptx", file);
    char *to = malloc(strlen(text) + 1), *end = to;
    if (!to) return qm_fail(e, QM_ERR_NOMEM, "kernel %s: out of host memory", file);
    for (const char *line = text; *line;) {
        const size_t line_n = strcspn(line, "\n") + (strchr(line, '\n') != NULL);
        const int go = number_after(line, line_n, "bra L_case_");
        if (!strncmp(line, "L_case_", 7)) {
            last = number_after(line, line_n, "L_case_");
            drop = last < 0 || last >= n || !needed[last];
        } else if (!strncmp(line, "L_cases_end:", 12)) drop = 0;
        if (drop || (go >= 0 && (go >= n || !needed[go]))) *end++ = '\n'; /* a line's number stays */
        else {
            memcpy(end, line, line_n);
            end += line_n;
        }
        line += line_n;
    }
    *end = 0;
    if (last == n - 1) {
        *out = to;
        return 0;
    }
    free(to);
    return qm_fail(e, QM_ERR_UNSUPPORTED, "kernels/ptx/%s.ptx has %d cases, not %d", file, last + 1, n);
}

const char *qm_cu_text(const char *file) { return text_of(file, ".cu"); }
const char *qm_header_text(const char *name) { return text_of(name, ""); }

/* texts.c: see texts.h. */
#include "texts.h"
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
const char *qm_cu_text(const char *file) { return text_of(file, ".cu"); }
const char *qm_header_text(const char *name) { return text_of(name, ""); }

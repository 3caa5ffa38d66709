/* page.c: the page at "/": one text, made by tools/page.sh and part of the program. It loads nothing: its policy forbids it. */
#include <stdio.h>
#include <string.h>
#include "api.h"

/* tools/embed.sh writes it: page.html, page.csp, then {NULL, NULL}. */
typedef struct {
    const char *name, *text;
} embedded_text;
extern const embedded_text page_embedded[];

static const char *text_of(const char *name) {
    for (const embedded_text *t = page_embedded; t->name; t++)
        if (!strcmp(t->name, name)) return t->text;
    return "";
}

/* FNV-1a of 64 bits: another page, another tag. */
static void tag_of(char out[24], const char *s) {
    uint64_t h = 0xcbf29ce484222325u;
    for (; *s; s++) h = (h ^ (unsigned char)*s) * 0x100000001b3u;
    snprintf(out, 24, "\"%016llx\"", (unsigned long long)h);
}

/* If-None-Match: a list of tags, weak ones too, or "*". No tag of ours is part of another. */
static int has_it(const http_request *r, const char *tag) {
    const char *have = http_header(r, "If-None-Match");
    return have && (strstr(have, tag) || !strcmp(have, "*"));
}

void api_page(server *s, http_request *r) {
    (void)s;
    const char *page = text_of("page.html");
    char tag[24];
    tag_of(tag, page);
    http_set_header(r, "ETag", tag);
    http_set_header(r, "Cache-Control", "no-cache"); /* kept, but asked about: a new program brings a new page */
    if (has_it(r, tag)) {
        http_reply(r, 304, NULL, "", 0);
        return;
    }
    http_set_header(r, "Content-Security-Policy", text_of("page.csp"));
    http_set_header(r, "Referrer-Policy", "no-referrer");
    http_reply(r, 200, "text/html; charset=utf-8", page, strlen(page));
}

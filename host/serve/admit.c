/* admit.c: who may ask. With keys, who knows one, from wherever. Without, programs, and of pages in a browser those that this
 * machine or this server itself has: else any page that a user of this machine opens could make it compute and read the
 * answers, by asking for 127.0.0.1 (CORS), or by a name of its own that it points there (DNS rebinding). */
#include "api.h"
#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

/* Takes as long whatever the first difference is: as long as what was given is. */
static int is_key(const char *key, const char *given) {
    const size_t n = strlen(key), m = strlen(given);
    volatile unsigned char differ = n != m;
    for (size_t i = 0; i < m; i++) differ |= (unsigned char)(key[i % (n + 1)] ^ given[i]);
    return !differ;
}

/* All are looked at, whichever it is. */
static int knows_key(const server *s, const char *given) {
    int good = 0;
    for (size_t i = 0; given && i < s->n_keys; i++) good |= is_key(s->keys[i], given);
    return good;
}

static const char *bearer(const http_request *r) {
    const char *h = http_header(r, "Authorization");
    if (!h || strncasecmp(h, "Bearer ", 7)) return NULL;
    return h + 7 + strspn(h + 7, " ");
}

/* "HOST:PORT" or "[v6]:PORT" -> HOST, without brackets. */
static void host_of(char out[256], const char *s) {
    const size_t n = *s == '[' ? strcspn(++s, "]") : strcspn(s, ":/");
    snprintf(out, 256, "%.*s", (int)(n < 255 ? n : 255), s);
}

static int is_address(const char *host) {
    unsigned char a[16];
    return inet_pton(AF_INET, host, a) == 1 || inet_pton(AF_INET6, host, a) == 1;
}

static int is_loopback(const char *host) {
    unsigned char a[16];
    const size_t n = strlen(host);
    if (inet_pton(AF_INET, host, a) == 1) return a[0] == 127;
    return !strcmp(host, "::1") || !strncmp(host, "::ffff:127.", 11) || !strcasecmp(host, "localhost") ||
           (n > 10 && !strcasecmp(host + n - 10, ".localhost"));
}

static int may_page(const http_request *r, const char *origin) {
    char from[256], peer[256];
    const char *at = strstr(origin, "://"), *asked = http_header(r, "Host");
    if (!at) return 0; /* "null": a file, or a frame that hides where it is from */
    host_of(from, at + 3);
    host_of(peer, http_peer(r));
    if (is_loopback(from)) return 1;
    /* This server's own page. A name is good enough only where the browser is not on this machine: there it may be a
     * stranger's that points here. */
    return asked && !strcasecmp(at + 3, asked) && (is_address(from) || !is_loopback(peer));
}

int api_admit(server *s, int open, http_request *r) {
    const char *origin = http_header(r, "Origin");
    if (s->n_keys) {
        http_set_header(r, "Access-Control-Allow-Origin", "*");
        if (open || knows_key(s, bearer(r)) || knows_key(s, http_header(r, "x-api-key"))) return 0;
        api_error(r, 401, NULL, "no API key, or none that is known here: Authorization: Bearer KEY, or x-api-key: KEY");
        return -1;
    }
    if (!origin) return 0;
    http_set_header(r, "Vary", "Origin");
    if (may_page(r, origin)) {
        http_set_header(r, "Access-Control-Allow-Origin", origin);
        return 0;
    }
    if (open) return 0; /* the browser keeps the answer from the page */
    api_error(r, 403, NULL,
              "pages of %.100s may not use this server, which asks for no key: start it with --api-key-file", origin);
    return -1;
}

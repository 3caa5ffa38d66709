/* stub.c: until the parts that are still being written are merged; it goes with the last of them. */
#include "api.h"
__attribute__((weak)) void api_page(server *s, http_request *r){(void)s; http_reply(r,404,"text/plain","x",1);}

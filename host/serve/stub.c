/* stub.c: until the parts that are still being written are merged; it goes with the last of them. */
#include "api.h"
#include "runtime/qmoe_guide.h"
__attribute__((weak)) int qm_guide_open(qm_guide **o, const qm_engine *g, const qm_guide_opts *p, qm_err *e) { (void)o,(void)g,(void)p; return qm_fail(e, QM_ERR_UNSUPPORTED, "not yet"); }
__attribute__((weak)) void qm_guide_close(qm_guide *g) {(void)g;}
__attribute__((weak)) int qm_guided_open(qm_guided **o, const qm_guide *g, qm_err *e) {(void)o,(void)g,(void)e; return 0;}
__attribute__((weak)) void qm_guided_close(qm_guided *s) {(void)s;}
__attribute__((weak)) const uint32_t * qm_guided_mask(qm_guided *s) {(void)s; return 0;}
__attribute__((weak)) int qm_guided_accept(qm_guided *s, uint32_t id){(void)s,(void)id; return 0;}
__attribute__((weak)) void api_page(server *s, http_request *r){(void)s; http_reply(r,404,"text/plain","x",1);}
__attribute__((weak)) void api_messages(server *s, http_request *r){api_page(s,r);}
__attribute__((weak)) void api_count_tokens(server *s, http_request *r){api_page(s,r);}
__attribute__((weak)) void api_responses(server *s, http_request *r){api_page(s,r);}

/* order.h: the bits of a block in the order in which kernels take them apart (contracts/abi.h, "Five bits", "Six bits"). Packing puts
 * them so before it cuts the block into pieces (pack.c; on the device kernels/cu/repack.cu): as many bytes, nothing is lost. */
#ifndef QM_ORDER_H
#define QM_ORDER_H
#include <stdint.h>

void qm_order_five(uint8_t *dst, const uint8_t *block); /* of Q5_K, 176 bytes */
void qm_order_six(uint8_t *dst, const uint8_t *block);  /* of Q6_K, 210 */
#endif

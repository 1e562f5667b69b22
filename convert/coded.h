/* Rows of a weight that is stored as codes with scales beside it (the rows of quant_formats[] that are no GGUF type):
 * as fp32 numbers, or put into GGUF's blocks as they are. */
#ifndef CONVERT_CODED_H
#define CONVERT_CODED_H

#include "models/inventory.h"

struct coded {
    const struct checkpoint *ck;
    const struct model_tensor *tensor;
    uint64_t isa;
};

/* True when coded_rows knows the format. */
bool coded_is_known(const struct quant_format *f);
/* The type of GGUF that holds exactly these codes and scales (MXFP4, NVFP4); DTYPE_COUNT when there is none. */
enum dtype coded_twin(const struct quant_format *f, uint64_t cols);
/* weight_scale_2 of an NVFP4 weight, or 1 over the global scale; 1 for formats without. Also of GGUF's own. */
MUST_CHECK bool coded_scale(const struct coded *c, float *out, struct error *err);
/* input_scale; *has false when the format has none. */
MUST_CHECK bool coded_input_scale(const struct coded *c, float *out, bool *has, struct error *err);
/* n rows from row `first` on, [n, cols] fp32. ERR_FORMAT for a scale that is none. */
MUST_CHECK bool coded_rows(const struct coded *c, uint64_t first, uint64_t n, float *out, struct error *err);
/* The same rows in the blocks of coded_twin. */
MUST_CHECK bool coded_repack(const struct coded *c, uint64_t first, uint64_t n, uint8_t *out, struct error *err);

#endif

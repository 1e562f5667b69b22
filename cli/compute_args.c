#include "cli/compute_args.h"

#include <string.h>

bool compute_parse(const char *word, enum compute *out, struct error *err)
{
    *out = word && strcmp(word, "bf16") == 0 ? COMPUTE_BF16 : COMPUTE_FP32;
    if (!word || *out == COMPUTE_BF16 || strcmp(word, "fp32") == 0) return true;
    return error_set(err, ERR_USAGE, "option --compute: expected fp32 or bf16, found '%.64s'", word);
}

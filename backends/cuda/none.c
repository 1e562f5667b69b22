/* Stands for this folder in a program that was built without CUDA: the list can say why. */
#include "backends/backend.h"

#include <stdio.h>

static uint32_t no_devices(char *why_not, size_t why_size)
{
    snprintf(why_not, why_size, "this program was built without CUDA");
    return 0;
}

static bool no_op(enum op op)
{
    (void)op;
    return false;
}

const struct backend_ops backend_cuda = {.name = "cuda", .devices = no_devices, .has_op = no_op};

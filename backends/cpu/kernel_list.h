/* Declares every function that kernels.inc names; for the files that define them and for kernel.c. */
#ifndef BACKENDS_CPU_KERNEL_LIST_H
#define BACKENDS_CPU_KERNEL_LIST_H

#include "backends/cpu/kernel.h"

#define KERNEL(op, isa, fn) void fn(const struct kernel_args *a);
#include "backends/cpu/kernels.inc"
#undef KERNEL

#endif

/* The GPUs of this machine, as its driver tells them. */
#ifndef CLI_MACHINE_GPUS_H
#define CLI_MACHINE_GPUS_H

#include "pack/profile_select.h"

/* Name and memory through a backend that computes on GPUs; without one, the name alone from the driver's folder in
 * /proc. A machine with GPUs of several kinds counts as one with those of the first's name. None: count 0. */
MUST_CHECK bool machine_gpus(struct machine *out, struct error *err);

#endif

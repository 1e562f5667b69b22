/* The release of this program. It is written into plans and checkpoints, so it changes only with a release. */
#ifndef CORE_VERSION_H
#define CORE_VERSION_H

#define INGOT_VERSION "0.1.0"

#endif

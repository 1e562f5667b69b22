/* How a build knows that nobody touched what a stage read and wrote: after the stage, what the file system says of the
 * folders (folder_stamp) goes into OUT/.STAGE.stamp. A stage is skipped only while that still holds. */
#ifndef CLI_BUILD_STAMP_H
#define CLI_BUILD_STAMP_H

#include "core/error.h"

/* `second` may be NULL. False when there is no stamp, or another, or a folder cannot be listed. */
bool build_stamp_fits(const char *out, const char *stage, const char *first, const char *second);
MUST_CHECK bool build_stamp_save(const char *out, const char *stage, const char *first, const char *second,
                                 struct error *err);
/* Before the stage writes: from here until the next save its result counts as unfinished. */
MUST_CHECK bool build_stamp_drop(const char *out, const char *stage, struct error *err);

#endif

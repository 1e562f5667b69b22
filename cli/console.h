/* Progress on standard error: one live line on a terminal, plain lines elsewhere; and signals that ask to stop. */
#ifndef CLI_CONSOLE_H
#define CLI_CONSOLE_H

#include "core/progress.h"

struct console {
    bool quiet, is_terminal;
    char stage[32];
    int64_t began_ms, drawn_ms;
    bool line_open;
};

void console_open(struct console *c, bool quiet);
struct progress console_progress(struct console *c); /* borrows c */
void console_close(struct console *c);               /* ends an open line */
/* SIGINT, SIGTERM and SIGHUP ask the stage to stop at the next safe place; a second one kills. SIGPIPE is ignored:
 * writing to a closed pipe is an error. */
void console_catch_signals(void);

#endif

#include "cli/console.h"

#include "core/text.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define REDRAW_MS 100

static volatile sig_atomic_t stop_asked;

static void on_signal(int sig)
{
    if (stop_asked) {
        signal(sig, SIG_DFL);
        raise(sig);
    }
    stop_asked = 1;
}

void console_catch_signals(void)
{
    struct sigaction sa = {.sa_handler = on_signal};
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGHUP, &sa, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file size limit is an error of write, not a death */
}

static bool cancelled(void *ctx)
{
    (void)ctx;
    return stop_asked != 0;
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void end_line(struct console *c)
{
    if (c->line_open) fputc('\n', stderr);
    c->line_open = false;
}

static void stage_done(struct console *c)
{
    if (!c->stage[0]) return;
    double seconds = (double)(now_ms() - c->began_ms) / 1000;
    if (c->is_terminal) fprintf(stderr, "\r\033[K%-10s done in %.1f s\n", c->stage, seconds);
    else fprintf(stderr, "%-10s done in %.1f s\n", c->stage, seconds);
    c->line_open = false;
    c->stage[0] = '\0';
}

static void draw(struct console *c, const char *item, uint64_t done, uint64_t total)
{
    static const char bar[] = "########################";
    int width = (int)sizeof bar - 1, filled = total ? (int)((double)done / (double)total * width) : 0;
    char name[64] = "";
    if (item) error_printable(name, sizeof name, item, strlen(item));
    fprintf(stderr, "\r\033[K%-10s [%.*s%*s] %3.0f %%  %s", c->stage, filled, bar, width - filled, "",
            total ? 100.0 * (double)done / (double)total : 0, name);
    fflush(stderr);
    c->line_open = true;
}

static void update(void *ctx, const char *stage, const char *item, uint64_t done, uint64_t total)
{
    struct console *c = ctx;
    if (c->quiet) return;
    int64_t now = now_ms();
    if (strcmp(c->stage, stage) != 0) {
        stage_done(c);
        snprintf(c->stage, sizeof c->stage, "%s", stage);
        c->began_ms = now;
        c->drawn_ms = 0;
        if (!c->is_terminal) fprintf(stderr, "%-10s ...\n", stage);
    }
    if (c->is_terminal && now - c->drawn_ms >= REDRAW_MS) {
        draw(c, item, done, total);
        c->drawn_ms = now;
    }
}

static void note(void *ctx, const char *stage, const char *text)
{
    struct console *c = ctx;
    if (c->quiet) return;
    char line[ERROR_TEXT_MAX];
    error_printable(line, sizeof line, text, strlen(text));
    if (c->line_open) fprintf(stderr, "\r\033[K");
    c->line_open = false;
    fprintf(stderr, "%-10s %s\n", stage, line);
}

void console_open(struct console *c, bool quiet)
{
    *c = (struct console){.quiet = quiet};
    const char *term = getenv("TERM");
    c->is_terminal = isatty(STDERR_FILENO) && !getenv("CI") && !(term && strcmp(term, "dumb") == 0);
}

struct progress console_progress(struct console *c)
{
    return (struct progress){.update = update, .note = note, .cancelled = cancelled, .ctx = c};
}

void console_close(struct console *c)
{
    if (!c->quiet) stage_done(c);
    end_line(c);
}

#include "cli/key_args.h"

#include "core/cleanup.h"
#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <termios.h>

/* One line, without its end. */
static bool read_line(int fd, const char *from, char out[KEY_SECRET_MAX], struct error *err)
{
    size_t n = 0;
    for (;;) {
        char c;
        ssize_t k = read(fd, &c, 1);
        if (k < 0 && errno == EINTR) return error_set(err, ERR_CANCELLED, "asked for a passphrase, and interrupted");
        if (k < 0) return error_set_errno(err, "cannot read the passphrase from %s", from);
        if (k == 0 || c == '\n') break;
        if (n + 1 == KEY_SECRET_MAX)
            return error_set(err, ERR_USAGE, "the passphrase has more than %u bytes", KEY_SECRET_MAX - 1);
        out[n++] = c;
    }
    if (n && out[n - 1] == '\r') n--;
    out[n] = '\0';
    return true;
}

static bool ask_terminal(const char *prompt, const char *what, char out[KEY_SECRET_MAX], struct error *err)
{
    static const char name[] = "the terminal";
    CLEANUP(fd) int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    struct termios was, quiet;
    out[0] = '\0';
    if (fd < 0 || tcgetattr(fd, &was) != 0) return true; /* there is none: then there is no passphrase either */
    char printable[256];
    error_printable(printable, sizeof printable, what, strlen(what));
    dprintf(fd, "%s %s: ", prompt, printable);
    quiet = was;
    quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
    if (tcsetattr(fd, TCSAFLUSH, &quiet) != 0) return error_set_errno(err, "cannot silence %s", name);
    bool ok = read_line(fd, name, out, err);
    if (tcsetattr(fd, TCSAFLUSH, &was) != 0 && ok) ok = error_set_errno(err, "cannot restore %s", name);
    dprintf(fd, "\n");
    return ok;
}

static bool read_descriptor(const char *text, char out[KEY_SECRET_MAX], struct error *err)
{
    size_t n = strspn(text, "0123456789");
    if (n == 0 || n > 5 || text[n])
        return error_set(err, ERR_USAGE, "option --passphrase-fd: expected a descriptor's number, found '%.64s'", text);
    return read_line(atoi(text), "the descriptor of --passphrase-fd", out, err);
}

/* From option or variable; *found says whether either is there. */
static bool given(const struct key_args *a, char out[KEY_SECRET_MAX], bool *found, struct error *err)
{
    const char *name = a->passphrase_env ? a->passphrase_env : KEY_PASSPHRASE_ENV, *text = getenv(name);
    out[0] = '\0';
    *found = a->passphrase_fd || text;
    if (a->passphrase_fd && a->passphrase_env)
        return error_set(err, ERR_USAGE, "options --passphrase-env and --passphrase-fd exclude each other");
    if (a->passphrase_fd) return read_descriptor(a->passphrase_fd, out, err);
    if (a->passphrase_env && !text)
        return error_set(err, ERR_USAGE, "option --passphrase-env: there is no variable '%.128s'", name);
    if (text && strlen(text) >= KEY_SECRET_MAX)
        return error_set(err, ERR_USAGE, "variable '%.128s': more than %u bytes", name, KEY_SECRET_MAX - 1);
    if (text) strcpy(out, text);
    return true;
}

static bool ask(void *ctx, const char *what, char out[KEY_SECRET_MAX], struct error *err)
{
    bool found;
    return given(ctx, out, &found, err) && (found || ask_terminal("passphrase of", what, out, err));
}

struct key_secret key_args_secret(const struct key_args *args)
{
    return (struct key_secret){.ask = ask, .ctx = (void *)(uintptr_t)args};
}

bool key_args_open(const struct key_args *args, struct key **out, struct error *err)
{
    *out = NULL;
    if (!args->key) return error_set(err, ERR_USAGE, "option --key is missing");
    struct key_secret secret = key_args_secret(args);
    return key_open(args->key, &secret, out, err);
}

bool key_args_new_passphrase(const struct key_args *args, bool wanted, char out[KEY_SECRET_MAX], struct error *err)
{
    bool found;
    char again[KEY_SECRET_MAX];
    if (!given(args, out, &found, err)) return false;
    if (found || !wanted) return true;
    if (!ask_terminal("passphrase for", "the new key", out, err)) return false;
    bool ok = ask_terminal("the same again for", "the new key", again, err);
    if (ok && strcmp(out, again) != 0) ok = error_set(err, ERR_USAGE, "the two passphrases differ");
    secret_wipe(again, sizeof again);
    return ok;
}

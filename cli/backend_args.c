#include "cli/backend_args.h"

bool backend_forward(const struct common_args *common, const char *what, struct error *err)
{
    struct backend_choice c;
    struct error e = ERROR_INIT;
    bool found = backend_find(common->backend, &c, &e);
    if (found && (c.is_auto || c.ops == &backend_cpu)) return true;
    if ((found || e.code == ERR_DEVICE) && c.ops != &backend_cpu)
        return error_set(err, ERR_UNSUPPORTED,
                         "%s runs a forward pass, which backend '%s' has no kernels for yet; --backend auto and cpu "
                         "run it on the CPU",
                         what, c.ops->name);
    if (err) *err = e;
    return false;
}

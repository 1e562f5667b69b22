#include "engine/chat/chat_access.h"
#include "engine/chat/chat_compare.h"
#include "engine/chat/chat_filters.h"

/* Filters that Python evaluates while their result is walked over. Here the result is there at once, and a mistake on
 * the way waits in it until somebody walks that far; so `{% if x | selectattr(...) %}` is true as it is there. */

static bool iterator(struct chat_run *r, const struct chat_list *l, bool failed, struct chat_value *out)
{
    if (r->bounded || !chat_iterator_make(r, l->items, l->n, out)) return false;
    if (!failed) return true;
    struct error *e = chat_alloc(r, 1, sizeof *e);
    if (!e) return false;
    *e = *r->err;
    out->iterator->failure = e;
    return true;
}

struct step {
    const struct chat_callable *callable; /* a filter or a test; NULL: the value itself */
    const char *missing;                  /* the name of one that is not there */
    struct chat_call call;
    struct chat_value path, otherwise; /* CHAT_ABSENT: none */
    bool map, reject;
};

static bool run_step(struct chat_run *r, const struct step *s, struct chat_value item, struct chat_value *out,
                     bool *keep)
{
    struct chat_value v = item;
    if (s->path.kind != CHAT_ABSENT && s->path.kind != CHAT_NONE && !chat_path(r, item, s->path, s->otherwise, &v))
        return false;
    if (s->missing) return chat_fail(r, "there is no %s of this name", s->missing);
    if (s->callable && !chat_callable_run(r, s->callable, v, &s->call, &v)) return false;
    *out = s->map ? v : item;
    *keep = s->map || chat_truth(v) != s->reject;
    return true;
}

static bool walk(struct chat_run *r, const struct step *s, struct chat_value over, struct chat_value *out)
{
    struct chat_list kept = {0};
    struct chat_value *items, v;
    size_t n;
    bool keep = false, ok = chat_items(r, over, &items, &n);
    for (size_t i = 0; ok && i < n; i++) {
        ok = run_step(r, s, items[i], &v, &keep);
        if (ok && keep) ok = chat_list_add(r, &kept, v);
    }
    return iterator(r, &kept, !ok, out);
}

/* The filter or test that the arguments name from `first` on, and what is left of them. */
static bool find_callable(struct chat_run *r, struct step *s, const struct chat_call *call, size_t first)
{
    char name[64] = "";
    if (call->n <= first) return true;
    struct chat_value v = call->args[first];
    if (v.kind != CHAT_STRING)
        return chat_fail(r, "a %s is named by %s", s->map ? "filter" : "test", chat_kind_name(v));
    if (v.size < sizeof name) memcpy(name, v.text, v.size);
    s->callable = s->map ? chat_filter_find(name) : chat_test_find(name);
    if (!s->callable) s->missing = s->map ? "filter" : "test";
    s->call = (struct chat_call){call->args + first + 1, call->n - first - 1, call->named, call->n_named};
    return true;
}

static bool map(struct chat_run *r, struct chat_value v, const struct chat_call *call, struct chat_value *out)
{
    struct step s = {.map = true};
    bool ok = true;
    if (!chat_truth(v)) return chat_iterator_make(r, NULL, 0, out);
    if (call->n > 0) ok = find_callable(r, &s, call, 0);
    for (size_t i = 0; i < call->n_named && call->n == 0; i++) {
        if (chat_text_is(call->named[i].key, "attribute")) s.path = call->named[i].value;
        else if (chat_text_is(call->named[i].key, "default")) s.otherwise = call->named[i].value;
        else ok = chat_fail(r, "map: an argument by a name that it does not have");
    }
    if (ok && !s.callable && !s.missing && s.path.kind == CHAT_ABSENT)
        ok = chat_fail(r, "map: neither a filter nor an attribute");
    return ok ? walk(r, &s, v, out) : iterator(r, &(struct chat_list){0}, true, out);
}

static bool choose(struct chat_run *r, struct chat_value v, const struct chat_call *call, bool reject,
                   bool by_attribute, struct chat_value *out)
{
    struct step s = {.reject = reject};
    bool ok = true;
    if (!chat_truth(v)) return chat_iterator_make(r, NULL, 0, out);
    if (by_attribute && call->n == 0) ok = chat_fail(r, "the name of an attribute is missing");
    else if (by_attribute) s.path = call->args[0];
    ok = ok && find_callable(r, &s, call, by_attribute);
    return ok ? walk(r, &s, v, out) : iterator(r, &(struct chat_list){0}, true, out);
}

static bool select_items(struct chat_run *r, struct chat_value v, const struct chat_call *call, struct chat_value *out)
{
    return choose(r, v, call, false, false, out);
}

static bool reject_items(struct chat_run *r, struct chat_value v, const struct chat_call *call, struct chat_value *out)
{
    return choose(r, v, call, true, false, out);
}

static bool select_attr(struct chat_run *r, struct chat_value v, const struct chat_call *call, struct chat_value *out)
{
    return choose(r, v, call, false, true, out);
}

static bool reject_attr(struct chat_run *r, struct chat_value v, const struct chat_call *call, struct chat_value *out)
{
    return choose(r, v, call, true, true, out);
}

static bool items(struct chat_run *r, struct chat_value v, const struct chat_value *args, struct chat_value *out)
{
    struct chat_list pairs = {0};
    bool ok = v.kind == CHAT_UNDEFINED || v.kind == CHAT_DICT ||
              chat_fail(r, "items: %s is not a mapping", chat_kind_name(v));
    (void)args;
    for (uint32_t i = 0; v.kind == CHAT_DICT && i < v.dict->n && ok; i++) {
        struct chat_value pair;
        ok = chat_seq_make(r, CHAT_TUPLE, 2, &pair) && chat_list_add(r, &pairs, pair);
        if (!ok) break;
        pair.seq->items[0] = v.dict->pairs[i].key;
        pair.seq->items[1] = v.dict->pairs[i].value;
    }
    return iterator(r, &pairs, !ok, out);
}

const struct chat_callable chat_filters_lazy[] = {
    {"map", NULL, NULL, map},
    {"select", NULL, NULL, select_items},
    {"reject", NULL, NULL, reject_items},
    {"selectattr", NULL, NULL, select_attr},
    {"rejectattr", NULL, NULL, reject_attr},
    {"items", "", items, NULL},
    {NULL, NULL, NULL, NULL},
};

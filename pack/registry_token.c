/* The answer to a challenge: Basic credentials, or a token from the realm that a Bearer challenge names (the
 * distribution project's token authentication; with an identity token its OAuth2 form). */
#include "core/crypto.h"
#include "core/json.h"
#include "core/text.h"
#include "pack/docker_auth.h"
#include "pack/registry_call.h"
#include "pack/registry_header.h"

#define TOKEN_BYTES_MAX ((size_t)32 << 10) /* goes into a header */

static bool basic_value(const struct docker_auth *auth, char **out, struct error *err)
{
    char *pair = NULL, *encoded = NULL;
    *out = NULL;
    if (!auth->password) return true;
    int n = asprintf(&pair, "%s:%s", auth->user ? auth->user : "", auth->password);
    if (n < 0) return error_memory(err, 0);
    bool ok = base64_encode(bytes_of(pair, (size_t)n), &encoded, err);
    explicit_bzero(pair, (size_t)n);
    free(pair);
    if (ok && asprintf(out, "Basic %s", encoded) < 0) ok = error_memory(err, 0);
    if (encoded) explicit_bzero(encoded, strlen(encoded));
    free(encoded);
    return ok;
}

/* name=value, escaped; `first`: what stands before it. */
static bool add_field(struct text *t, const char *before, const char *name, const char *value, struct error *err)
{
    char *escaped = NULL;
    if (!http_escape(value, &escaped, err)) return false;
    text_add(t, "%s%s=%s", before, name, escaped);
    explicit_bzero(escaped, strlen(escaped));
    free(escaped);
    return true;
}

/* Of the query of a GET, or the form of a POST. */
static bool add_scopes(struct text *t, const struct auth_challenge *c, const char *const *scopes, bool joined,
                       struct error *err)
{
    struct text all = TEXT_INIT;
    bool known = !*c->scope, ok = true;
    for (const char *const *s = scopes; *s; s++) known |= strcmp(*s, c->scope) == 0;
    const char *asked = known ? NULL : c->scope;
    for (const char *const *s = scopes; ok && (*s || asked); s += *s != NULL) {
        const char *scope = *s ? *s : asked;
        if (joined) text_add(&all, "%s%s", all.size ? " " : "", scope);
        else ok = add_field(t, "&", "scope", scope, err);
        if (!*s) asked = NULL;
    }
    if (ok && joined) ok = all.failed ? error_memory(err, 0) : add_field(t, "&", "scope", all.data, err);
    text_free(&all);
    return ok;
}

/* {"token": T} or {"access_token": T} */
static bool read_token(const struct http_reply *rp, char **out, struct error *err)
{
    CLEANUP(json) json_t *doc = NULL;
    const char *token = NULL;
    if (json_parse(buffer_view(&rp->body), JSON_DIALECT_STRICT, "token", &doc, NULL)) {
        token = json_string_value(json_object_get(doc, "token"));
        if (!token) token = json_string_value(json_object_get(doc, "access_token"));
    }
    size_t n = token ? strlen(token) : 0, sound = 0;
    while (sound < n && token[sound] > 0x20 && token[sound] < 0x7f) sound++;
    if (n == 0 || sound < n || n > TOKEN_BYTES_MAX)
        return error_set(err, ERR_NETWORK, "the token service answers without a token");
    return asprintf(out, "Bearer %s", token) >= 0 ? true : error_memory(err, n);
}

static bool ask(struct http *http, const struct http_request *rq, char **out, struct error *err)
{
    __attribute__((cleanup(cleanup_http_reply))) struct http_reply rp = {0};
    if (!http_exchange(http, rq, &rp, err)) return error_wrap(err, "asking for a token");
    bool ok = rp.status == 200 ? read_token(&rp, out, err)
                               : error_set(err, ERR_NETWORK, "the token service answers %ld", rp.status);
    if (rp.body.data) explicit_bzero(rp.body.data, rp.body.size);
    return ok;
}

static void wipe_text(struct text *t)
{
    if (t->data) explicit_bzero(t->data, t->size);
    text_free(t);
}

static bool token_by_identity(struct http *http, const struct auth_challenge *c, const struct docker_auth *auth,
                              const char *const *scopes, char **out, struct error *err)
{
    struct text form = TEXT_INIT;
    text_add(&form, "grant_type=refresh_token&client_id=ingot");
    bool ok = add_field(&form, "&", "service", c->service, err) && add_scopes(&form, c, scopes, true, err) &&
              add_field(&form, "&", "refresh_token", auth->identity_token, err);
    if (ok && form.failed) ok = error_memory(err, 0);
    struct http_request rq = {.method = HTTP_POST,
                              .url = c->realm,
                              .headers = {"Content-Type: application/x-www-form-urlencoded"},
                              .body = bytes_of(form.data, form.size),
                              .reply_max = REGISTRY_ANSWER_MAX};
    ok = ok && ask(http, &rq, out, err);
    wipe_text(&form);
    return ok;
}

static bool token_by_query(struct http *http, const struct auth_challenge *c, const struct docker_auth *auth,
                           const char *const *scopes, char **out, struct error *err)
{
    struct text url = TEXT_INIT, header = TEXT_INIT;
    char *basic = NULL;
    text_add(&url, "%s", c->realm);
    bool ok = add_field(&url, strchr(c->realm, '?') ? "&" : "?", "service", c->service, err) &&
              add_scopes(&url, c, scopes, false, err) && basic_value(auth, &basic, err);
    if (basic) text_add(&header, "Authorization: %s", basic);
    if (ok && (url.failed || header.failed)) ok = error_memory(err, 0);
    struct http_request rq = {
        .method = HTTP_GET, .url = url.data, .headers = {header.data}, .reply_max = REGISTRY_ANSWER_MAX};
    ok = ok && ask(http, &rq, out, err);
    if (basic) explicit_bzero(basic, strlen(basic));
    free(basic);
    text_free(&url);
    wipe_text(&header);
    return ok;
}

bool registry_answer(struct http *http, const struct http_reply *rp, const struct docker_auth *auth,
                     const char *const *scopes, char **out, struct error *err)
{
    struct auth_challenge best = {0};
    *out = NULL;
    for (uint32_t i = 0; i < rp->n_challenges; i++) {
        struct auth_challenge c;
        if (auth_challenge_parse(rp->challenges[i], &c) && c.scheme > best.scheme) best = c;
    }
    if (best.scheme == AUTH_BASIC) return basic_value(auth, out, err);
    if (best.scheme != AUTH_BEARER) return true;
    if (auth->registry_token)
        return asprintf(out, "Bearer %s", auth->registry_token) >= 0 ? true : error_memory(err, 0);
    return auth->identity_token ? token_by_identity(http, &best, auth, scopes, out, err)
                                : token_by_query(http, &best, auth, scopes, out, err);
}

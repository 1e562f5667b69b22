/* Putting the layers on an engine's image: its layers in front of ours, its settings with what the profile says. */
#include "pack/pack_job.h"

#include "formats/signed.h"

#define PORT_DEFAULT 8000u /* of vLLM's server, where the profile says none */
#define TEXT_BYTES_MAX ((size_t)1 << 20)

/* "oci:DIR:TAG" or "oci:DIR:TAG@sha256:HEX". */
bool pack_base_open(struct pack_job *j, struct error *err)
{
    CLEANUP(free) char *text = strdup(j->o->base);
    struct digest wanted;
    char digest[OCI_DIGEST_SIZE];
    if (!text) return error_memory(err, 0);
    char *at = strstr(text, "@");
    if (at) *at++ = '\0';
    if (at && !oci_digest_parse(at, &wanted))
        return error_set(err, ERR_USAGE, "base '%.256s': behind '@' stands no sha256 digest", j->o->base);
    if (!oci_ref_parse(text, &j->base_ref, err) || !oci_layout_open_ref(&j->base_layout, &j->base_ref, err) ||
        !oci_base_open(&j->base, &j->base_layout, j->base_ref.tag, at ? &wanted : NULL, err))
        return error_wrap(err, "base '%.256s'", j->o->base);
    if (j->o->base_key && !signed_check(&j->base_layout, &j->base.digest, j->o->base_key, err))
        return error_wrap(err, "base '%.256s'", j->o->base);
    oci_digest_text(&j->base.digest, digest);
    if (!at)
        progress_note(j->o->progress, "pack", "the base is %s@%s: name it so to have this one again", text, digest);
    return true;
}

void pack_base_close(struct pack_job *j)
{
    oci_base_close(&j->base);
    oci_layout_close(&j->base_layout);
    oci_ref_close(&j->base_ref);
}

bool pack_base_copy(struct pack_job *j, struct oci_writer *w, struct error *err)
{
    for (uint32_t i = 0; i < j->base.n_layers; i++)
        if (!progress_go_on(j->o->progress, err) || !oci_writer_copy_blob(w, &j->base_layout, &j->base.layers[i], err))
            return error_wrap(err, "base '%.256s'", j->o->base);
    return true;
}

bool pack_base_annotate(const struct pack_job *j, json_t *annotations, struct error *err)
{
    char digest[OCI_DIGEST_SIZE];
    if (!j->o->base) return true;
    oci_digest_text(&j->base.digest, digest);
    return json_put(annotations, OCI_ANNOTATION_BASE_DIGEST, json_string(digest), err) &&
           json_put(annotations, OCI_ANNOTATION_BASE_NAME, json_string(j->base_ref.tag), err) &&
           json_put(annotations, OCI_ANNOTATION_BASE_LAYERS, json_sprintf("%u", j->base.n_layers), err);
}

/* Replaces KEY=... or appends. */
static bool set_env(json_t *env, const char *key, const char *value, struct error *err)
{
    size_t n = strlen(key);
    json_t *text = json_sprintf("%s=%s", key, value);
    for (size_t i = 0; i < json_array_size(env); i++) {
        const char *old = json_string_value(json_array_get(env, i));
        if (old && strncmp(old, key, n) == 0 && old[n] == '=')
            return json_array_set_new(env, i, text) == 0 ? true : error_memory(err, n);
    }
    return json_array_append_new(env, text) == 0 ? true : error_memory(err, n);
}

/* A member of the settings, made when it is not there; ERR_FORMAT when the base has another type there. */
static bool member(json_t *settings, const char *key, bool array, json_t **out, struct error *err)
{
    *out = json_object_get(settings, key);
    if (!*out || json_is_null(*out)) {
        if (!json_put(settings, key, array ? json_array() : json_object(), err)) return false;
        *out = json_object_get(settings, key);
    }
    if (array ? json_is_array(*out) : json_is_object(*out)) return true;
    return error_set(err, ERR_FORMAT, "base config: key '%s': expected %s, found %s", key,
                     array ? "an array" : "an object", json_brief(*out));
}

static bool load_text(const struct pack_job *j, const char *profile, const char *name, struct buffer *out,
                      struct error *err)
{
    CLEANUP(free) char *path = NULL;
    *out = (struct buffer){0};
    if (!path_join(&path, profile, name, err)) return false;
    if (folder_find(j->profiles, path) == NAME_NONE) return true;
    return folder_load(j->profiles, path, TEXT_BYTES_MAX, out, err);
}

/* Lines of KEY=VALUE; the file `env` of a profile. */
static bool add_env_file(const struct pack_job *j, const char *profile, json_t *env, struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    char *save = NULL;
    if (!load_text(j, profile, "env", &text, err)) return false;
    for (char *line = text.data ? strtok_r((char *)text.data, "\n", &save) : NULL; line;
         line = strtok_r(NULL, "\n", &save)) {
        char *value = strchr(line, '=');
        if (*line == '#') continue;
        if (!value || value == line)
            return error_set(err, ERR_FORMAT, "'%s/env': '%.128s' is not KEY=VALUE", profile, line);
        *value++ = '\0';
        if (!set_env(env, line, value, err)) return false;
    }
    return true;
}

/* "port: N" in the engine's own file. */
static bool port_of(const struct pack_job *j, const char *profile, unsigned long *port, struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    *port = PORT_DEFAULT;
    if (!load_text(j, profile, "vllm.yaml", &text, err)) return false;
    const char *line = text.data ? strstr((const char *)text.data, "\nport: ") : NULL;
    if (line) *port = strtoul(line + strlen("\nport: "), NULL, 10);
    if (*port > 0 && *port < 65536) return true;
    return error_set(err, ERR_FORMAT, "'%s/vllm.yaml': key 'port': %lu is no port", profile, *port);
}

/* The engine is started by the profile's command.sh; more options of the caller follow it. */
static bool start_profile(const struct pack_job *j, const struct pack_profile *p, json_t *settings, json_t *env,
                          struct error *err)
{
    const char *name = p->name, *engine = json_string_value(json_object_get(p->annotations, PACK_ANNOTATION_ENGINE));
    json_t *ports;
    unsigned long port;
    char key[24];
    CLEANUP(free) char *command = NULL;
    if (!add_env_file(j, name, env, err) || !port_of(j, name, &port, err) ||
        !member(settings, "ExposedPorts", false, &ports, err))
        return false;
    snprintf(key, sizeof key, "%lu/tcp", port);
    if (asprintf(&command, "/profiles/%s/command.sh", name) < 0) return error_memory(err, 0);
    json_object_del(settings, "Cmd");
    json_t *entrypoint = json_pack("[s,s]", "/bin/sh", command);
    return json_put(ports, key, json_object(), err) && json_put(settings, "Entrypoint", entrypoint, err) &&
           (strcmp(engine, "vllm") != 0 || pack_adapters_arguments(j, entrypoint, err));
}

bool pack_base_settings(const struct pack_job *j, uint32_t image, const json_t *annotations, json_t **out,
                        struct error *err)
{
    CLEANUP(json) json_t *settings = j->base.settings ? json_deep_copy(j->base.settings) : json_object();
    json_t *env, *labels;
    const char *key;
    json_t *value;
    if (!settings) return error_memory(err, 0);
    if (!member(settings, "Env", true, &env, err) || !member(settings, "Labels", false, &labels, err) ||
        !set_env(env, "MODEL", "/models", err) ||
        (j->n_carried && !set_env(env, "NIM_PEFT_SOURCE", "/adapters", err)) ||
        (j->n_list && !set_env(env, "NIM_MANIFEST_PATH", "/" PACK_NIM_PATH, err)))
        return false;
    json_object_foreach ((json_t *)(uintptr_t)annotations, key, value)
        if (!json_put(labels, key, json_string(json_string_value(value)), err)) return false;
    if (image > 0 && !start_profile(j, &j->list[image - 1], settings, env, err)) return false;
    *out = take_ptr(&settings);
    return true;
}

/* Chat templates: bounds, errors, and where templates come from. What they render is compared with transformers in
 * tests/golden/chat_templates.py. */
#include "tests/checks.h"

#include "engine/chat/chat_filters.h"
#include "engine/chat/chat_print.h"
#include "engine/chat/chat_run.h"
#include "engine/chat_template.h"

#include <sys/stat.h>

static const char conversation[] = "[{\"role\": \"user\", \"content\": \"hi\"}]";

static json_t *parsed(const char *text)
{
    json_t *j = NULL;
    CHECK_OK(json_parse(bytes_text(text), JSON_DIALECT_STRICT, "test", &j, e_));
    return j;
}

/* *text is the caller's. */
static bool render_with(const char *source, size_t n, const char *messages, const char *variables, char **text,
                        struct error *err)
{
    CLEANUP(chat_template) struct chat_template *t = NULL;
    CLEANUP(json) json_t *m = parsed(messages), *v = parsed(variables);
    struct chat_request q = {.messages = m, .variables = v, .now = {.tm_mday = 14, .tm_mon = 2, .tm_year = 126}};
    size_t size;
    return chat_template_open(&t, bytes_of(source, n), "t.jinja", err) &&
           chat_template_render(t, &q, text, &size, err);
}

static bool render(const char *source, struct error *err)
{
    CLEANUP(free) char *text = NULL;
    return render_with(source, strlen(source), conversation, "{}", &text, err);
}

static void check_text(const char *source, const char *messages, const char *variables, const char *want)
{
    CLEANUP(free) char *text = NULL;
    CHECK_OK(render_with(source, strlen(source), messages, variables, &text, e_));
    if (strcmp(text, want) != 0) fail_msg("%s: '%s', expected '%s'", source, text, want);
}

static void test_errors(void **state)
{
    static const struct {
        const char *source, *part;
        enum error_code code;
    } rows[] = {
        {"a\n{{ x.y }}", "t.jinja: line 2: 'x' is undefined", ERR_FORMAT},
        {"\n\n{{ messages[0].no.more }}", "t.jinja: line 3: a mapping has no 'no'", ERR_FORMAT},
        {"{{ raise_exception('not so: ' ~ 1) }}", "line 1: the template refuses this conversation: not so: 1", ERR_FORMAT},
        {"{{ 1 + 'a' }}", "'+' of an integer and a string", ERR_FORMAT},
        {"{{ 1 / 0 }}", "division by zero", ERR_FORMAT},
        {"{{ 'a' < 1 }}", "cannot order a string and an integer", ERR_FORMAT},
        {"{{ messages.append(1) }}", "'append' would change a value", ERR_FORMAT},
        {"{{ messages.__class__.x }}", "'__class__' would change a value, which templates may not", ERR_FORMAT},
        {"{{ none|length }}", "none has no length", ERR_FORMAT},
        {"{% for x in 5 %}{% endfor %}", "cannot walk over an integer", ERR_FORMAT},
        {"{% set a, b = [1, 2, 3] %}", "2 names are given 3 values", ERR_FORMAT},
        {"{% set messages.x = 1 %}", "not a namespace", ERR_FORMAT},
        {"{% macro f(a) %}{% endmacro %}{{ f(b=1) }}", "macro 'f' takes no argument 'b'", ERR_FORMAT},
        {"{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}", "macro 'f' takes 1 arguments and is given 2", ERR_FORMAT},
        {"{{ messages|tojson(indnt=1) }}", "'tojson' is given an argument by a name that it does not have", ERR_FORMAT},
        {"{{ messages|map('nofilter')|list }}", "there is no filter of this name", ERR_FORMAT},
        {"{{ missing|tojson }}", "tojson: an undefined value is not JSON", ERR_FORMAT},
        {"{{ messages|map('upper') }}", "an iterator is printed", ERR_FORMAT},
        {"{{ x|nofilter }}", "the filter 'nofilter' is not supported", ERR_UNSUPPORTED},
        {"{{ x is notest }}", "the test 'notest' is not supported", ERR_UNSUPPORTED},
        {"{% if true %}{{ x|nofilter }}{% endif %}", "the filter 'nofilter' is not supported", ERR_UNSUPPORTED},
        {"{% include 'x' %}", "'include' is not supported", ERR_UNSUPPORTED},
        {"{% for x in y recursive %}{% endfor %}", "recursive loops are not supported", ERR_UNSUPPORTED},
        {"{{ 'a'.encode() }}", "'encode' is not supported", ERR_UNSUPPORTED},
        {"{{ 9223372036854775807 + 1 }}", "an integer beyond 64 bits", ERR_UNSUPPORTED},
        {"{{ 10 ** 30 }}", "an integer beyond 64 bits", ERR_UNSUPPORTED},
        {"{{ 99999999999999999999 }}", "an integer beyond 64 bits", ERR_FORMAT},
        {"{% if x %}", "the template ends where 'endif' of the block of line 1 is missing", ERR_FORMAT},
        {"\n{% endif %}", "line 2: unexpected tag 'endif'", ERR_FORMAT},
        {"{% foo %}", "unexpected tag 'foo'", ERR_FORMAT},
        {"{% break %}", "'break' outside of a loop", ERR_FORMAT},
        {"{{ (1 }}", "a closing bracket without its opening one", ERR_FORMAT},
        {"{{ 1", "a print statement does not end", ERR_FORMAT},
        {"{{ 'a }}", "a string does not end", ERR_FORMAT},
        {"{# x", "a comment does not end", ERR_FORMAT},
        {"{% raw %}", "a raw block does not end", ERR_FORMAT},
        {"{{ ! }}", "unexpected '!'", ERR_FORMAT},
        {"{{ }}", "an expression is missing", ERR_FORMAT},
        {"{{ '\\ud83d' }}", "stands for no character", ERR_FORMAT},
        {"{% set 5 = 1 %}", "this cannot be assigned to", ERR_FORMAT},
        {"{{ f(a=1, 2) }}", "arguments in an order", ERR_FORMAT},
        {"a\xff", "t.jinja: not UTF-8 at byte 1", ERR_FORMAT},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) CHECK_FAILS(render(rows[i].source, e_), rows[i].code, rows[i].part);
    /* What is never reached may be unknown, as in Jinja2. */
    check_text("{% if false %}{{ x|nofilter }}{% endif %}ok", conversation, "{}", "ok");
}

/* n times `part` between the others; the caller frees. */
static char *repeated(const char *before, const char *part, size_t n, const char *after)
{
    size_t size = strlen(part);
    char *text = malloc(strlen(before) + n * size + strlen(after) + 1), *p = stpcpy(text, before);
    for (size_t i = 0; i < n; i++) p = stpcpy(p, part);
    strcpy(p, after);
    return text;
}

static void check_beyond(char *source, const char *part)
{
    CHECK_FAILS(render(source, e_), ERR_UNSUPPORTED, part);
    free(source);
}

static void test_bounds(void **state)
{
    (void)state;
    check_beyond(strdup("{% set r = range(99999) %}{% for a in r %}{% for b in r %}{% endfor %}{% endfor %}"), "steps");
    check_beyond(strdup("{% set r = range(99999) %}{% for a in r %}{% for b in r if a and not a %}{% endfor %}{% endfor %}"), "steps");
    check_beyond(strdup("{% set n = namespace(s='0123456789abcdef') %}{% for a in range(40) %}{% set n.s = n.s ~ n.s %}"
                        "{% endfor %}"), "values of more than 256 MiB");
    check_beyond(strdup("{% set r, s = range(99999), 'x' * 9999 %}{% for a in r %}{{ s }}{% endfor %}"),
                 "a text of more than 64 MiB");
    check_beyond(strdup("{% set n = namespace(l=[1]) %}{% for a in range(40) %}{% set n.l = n.l + n.l %}{% endfor %}"),
                 "values of more than 256 MiB");
    check_beyond(strdup("{{ [1] * 999999999999 }}"), "a list that is repeated too often");
    check_beyond(strdup("{{ 'ab' * 999999999999 }}"), "a text of more than 64 MiB");
    check_beyond(strdup("{{ 'x'.center(999999999999) }}"), "a text of more than 64 MiB");
    check_beyond(strdup("{{ '%999999999s' % 1 }}"), "a width of more than 10000");
    check_beyond(strdup("{{ range(100001)|length }}"), "range: more than 100000 items");
    check_beyond(strdup("{{ range(-9223372036854775807, 9223372036854775807)|length }}"), "range: more than 100000 items");
    check_beyond(strdup("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), "levels deep");
    check_beyond(strdup("{% set n = namespace() %}{% set n.n = n %}{{ n }}"), "levels deep");
    check_beyond(strdup("{% set n = namespace(l=[]) %}{% for a in range(5000) %}{% set n.l = [n.l] %}{% endfor %}{{ n.l }}"),
                 "levels deep");
    check_beyond(strdup("{% set n = namespace(l=[], m=[]) %}{% for a in range(5000) %}{% set n.l = [n.l] %}"
                        "{% set n.m = [n.m] %}{% endfor %}{{ n.l == n.m }}"), "levels deep");
    check_beyond(repeated("{{ 1", "+1", 5000, " }}"), "levels deep");
    check_beyond(repeated("{{ 1", "|abs", 5000, " }}"), "levels deep");
    /* A lazy filter does not hide a bound. */
    check_beyond(strdup("{% set x = [1]|map('center', 999999999999) %}"), "a text of more than 64 MiB");
    char *deep = repeated("{{ ", "(", 200, "");
    CHECK_FAILS(render(deep, e_), ERR_FORMAT, "line 1");
    free(deep);
    char *closing = repeated("", "]", 200, " }}");
    deep = repeated("{{ ", "[", 200, closing);
    free(closing);
    CHECK_FAILS(render(deep, e_), ERR_FORMAT, "nested more than 150 levels deep");
    free(deep);
    deep = repeated("", "{% if 1 %}", 200, "");
    CHECK_FAILS(render(deep, e_), ERR_FORMAT, "nested more than 150 levels deep");
    free(deep);
    deep = repeated("{{ ", "-", 200, "1 }}");
    CHECK_FAILS(render(deep, e_), ERR_FORMAT, "nested more than 150 levels deep");
    free(deep);
    deep = repeated("{{ ", "not ", 5000, "1 }}");
    CHECK_FAILS(render(deep, e_), ERR_UNSUPPORTED, "levels deep");
    free(deep);
    deep = repeated("", "0123456789abcdef", CHAT_TEMPLATE_MAX / 16, "+");
    CHECK_FAILS(render(deep, e_), ERR_UNSUPPORTED, "the template has more than 1024 KiB");
    free(deep);
}

/* Collecting a text piece by piece takes memory in proportion to its length. */
static void test_growing_text(void **state)
{
    (void)state;
    check_text("{% set n = namespace(s='') %}{% for a in range(60000) %}{% set n.s = n.s + 'sixteen letters.' %}"
               "{% endfor %}{{ n.s|length }} {{ n.s[-8:] }}",
               conversation, "{}", "960000 letters.");
    /* what was taken before it grew stays as it was */
    check_text("{% set a = 'x' * 300 + 'y' %}{% set b = a + 'b' %}{% set c = a + 'c' %}{{ b[-2:] }}{{ c[-2:] }}{{ a|length }}",
               conversation, "{}", "ybyc301");
}

static void test_messages(void **state)
{
    (void)state;
    check_text("{{ messages }}", "[{\"role\": \"user\", \"content\": null, \"x\": [null]}]", "{}",
               "[{'role': 'user', 'x': [None]}]");
    check_text("{{ messages }}", "[{\"content\": \"c\", \"reasoning\": \"r\", \"thinking\": null}]", "{}",
               "[{'thinking': 'r', 'content': 'c', 'reasoning': 'r', 'reasoning_content': 'r'}]");
    check_text("{{ tools }} {{ documents }} {{ add_generation_prompt }} {{ a }}", conversation, "{\"a\": {\"b\": 1.0}}",
               "None None False {'b': 1.0}");
    check_text("{{ strftime_now('%d %b %Y') }}", conversation, "{}", "14 Mar 2026");
    char *text = NULL;
    CHECK_FAILS(render_with("x", 1, "[]", "{}", &text, e_), ERR_FORMAT, "a conversation needs at least one");
    CHECK_FAILS(render_with("x", 1, "[1]", "{}", &text, e_), ERR_FORMAT, "messages: expected a list of objects");
    CHECK_FAILS(render_with("x", 1, "{}", "{}", &text, e_), ERR_FORMAT, "messages: expected a list of objects");
    CHECK_FAILS(render_with("x", 1, conversation, "{\"tools\": 1}", &text, e_), ERR_FORMAT, "the variable 'tools'");
}

/* Every filter, test and method of the lists with every kind of value: a text or a sentence, never more. */
static void test_lists(void **state)
{
    static const char *const values[] = {"none", "true", "5", "2.5", "'ab c'", "[1, 'b']", "(1,)", "range(3)", "{'a': 1}",
                                         "{'a': 1}.items()", "[2]|map('abs')", "namespace(a=1)", "missing", "range", "[]", "''"};
    static const char *const calls[] = {"", "(1)", "('a')", "('a', 'b')", "(1, 2, 3)", "(none)", "([])", "(a=1)"};
    const struct chat_callable *const lists[] = {chat_filters_text, chat_filters_seq, chat_filters_lazy, chat_filters_value,
                                                 chat_tests, chat_string_methods, chat_string_cuts, chat_list_methods,
                                                 chat_dict_methods};
    uint32_t n = 0, texts = 0;
    (void)state;
    for (size_t l = 0; l < sizeof lists / sizeof *lists; l++)
        for (const struct chat_callable *c = lists[l]; c->name; c++)
            for (size_t v = 0; v < sizeof values / sizeof *values; v++)
                for (size_t k = 0; k < sizeof calls / sizeof *calls; k++) {
                    char source[256];
                    struct error e = ERROR_INIT;
                    snprintf(source, sizeof source, l < 4   ? "{{ (%s)|%s%s is defined }}"
                                                    : l == 4 ? "{{ (%s) is %s%s }}"
                                                             : "{{ (%s).%s%s is defined }}",
                             values[v], c->name, l > 4 && !calls[k][0] ? "()" : calls[k]);
                    bool ok = render(source, &e);
                    if (!ok && !strstr(e.text, "t.jinja: line 1: ")) fail_msg("%s: '%s'", source, e.text);
                    texts += ok;
                    n++;
                }
    if (n < 10000 || texts < 2000) fail_msg("%u of %u rendered", texts, n);
    /* every name is there once */
    for (size_t l = 0; l < 5; l++)
        for (const struct chat_callable *c = lists[l]; c->name; c++)
            if ((l < 4 ? chat_filter_find(c->name) : chat_test_find(c->name)) != c) fail_msg("'%s' is listed twice", c->name);
}

/* Python's repr of floats. */
static void test_reals(void **state)
{
    static const struct {
        double f;
        const char *text;
    } rows[] = {{0, "0.0"},       {-0.0, "-0.0"},          {1, "1.0"},           {0.1, "0.1"},
                {1e16, "1e+16"},  {123456789012345680.0, "1.2345678901234568e+17"}, {9999999999999998.0, "9999999999999998.0"},
                {1e-4, "0.0001"}, {1e-5, "1e-05"},         {1.5e300, "1.5e+300"}, {0.1 + 0.2, "0.30000000000000004"},
                {-2.5, "-2.5"},   {1234567.891, "1234567.891"}, {5e-324, "5e-324"}, {1e100, "1e+100"}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[CHAT_REAL_TEXT];
        chat_real_text(rows[i].f, text);
        assert_string_equal(text, rows[i].text);
    }
}

static void put_file(const char *folder, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    CHECK_OK(file_save(path, bytes_text(text), 0644, e_));
}

/* What the folder's template renders. */
static void check_source(const char *path, const char *name, bool has_tools, const char *want)
{
    CLEANUP(folder) struct folder *f = NULL;
    CLEANUP(chat_template) struct chat_template *t = NULL;
    CLEANUP(json) json_t *tokens = NULL, *messages = parsed(conversation);
    CLEANUP(free) char *text = NULL;
    size_t n;
    CHECK_OK(folder_open(&f, path, e_));
    CHECK_OK(chat_template_find(&t, f, name, has_tools, e_));
    CHECK_OK(chat_tokens_read(&tokens, f, e_));
    CHECK_OK(chat_template_render(t, &(struct chat_request){.messages = messages, .tokens = tokens}, &text, &n, e_));
    if (strcmp(text, want) != 0) fail_msg("'%s', expected '%s'", text, want);
}

static void check_no_source(const char *path, const char *name, bool has_tools, const char *part)
{
    CLEANUP(folder) struct folder *f = NULL;
    CLEANUP(chat_template) struct chat_template *t = NULL;
    CHECK_OK(folder_open(&f, path, e_));
    CHECK_FAILS(chat_template_find(&t, f, name, has_tools, e_), ERR_FORMAT, part);
}

/* The order was compared with transformers' from_pretrained by hand. */
static void test_sources(void **state)
{
    const char *path = check_folder();
    char sub[128];
    (void)state;
    put_file(path, "config.json", "{}");
    check_no_source(path, NULL, false, "has no chat template");
    put_file(path, "chat_template.json", "{\"chat_template\": \"processor\"}");
    check_source(path, NULL, false, "processor");
    put_file(path, "tokenizer_config.json", "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"list tools\"}]}");
    check_source(path, NULL, true, "list tools");
    check_source(path, "tool_use", false, "list tools");
    check_no_source(path, NULL, false, "no chat template 'default'");
    put_file(path, "tokenizer_config.json",
             "{\"chat_template\": [{\"name\": \"default\", \"template\": \"list\"}, {\"name\": \"x\", \"template\": 5}]}");
    check_source(path, NULL, true, "list");
    check_no_source(path, "y", false, "no chat template 'y'");
    check_no_source(path, "x", false, "tokenizer_config.json: key 'chat_template': expected a string");
    put_file(path, "tokenizer_config.json",
             "{\"chat_template\": \"{{ bos_token }}{{ eos_token }}{{ pad_token }}{{ x }}{{ add_bos_token }}{{ unk_token is defined }}\","
             " \"bos_token\": \"<s>\", \"eos_token\": {\"content\": \"</s>\"}, \"pad_token\": null, \"add_bos_token\": true,"
             " \"extra_special_tokens\": {\"x\": \"<x>\"}}");
    check_source(path, NULL, false, "<s></s><x>False");
    put_file(path, "special_tokens_map.json", "{\"bos_token\": \"<b>\", \"pad_token\": {\"content\": \"<p>\"}}");
    check_source(path, NULL, false, "<b></s><p><x>False");
    put_file(path, "chat_template.jinja", "file");
    check_source(path, NULL, true, "file");
    snprintf(sub, sizeof sub, "%s/additional_chat_templates", path);
    assert_int_equal(mkdir(sub, 0755), 0);
    put_file(sub, "tool_use.jinja", "file for tools");
    check_source(path, NULL, true, "file for tools");
    check_source(path, NULL, false, "file");
    check_source(path, "default", true, "file");
    check_no_source(path, "../config", false, "no chat template");
    check_folder_remove(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors),   cmocka_unit_test(test_bounds), cmocka_unit_test(test_growing_text),
        cmocka_unit_test(test_messages), cmocka_unit_test(test_lists),  cmocka_unit_test(test_reals),
        cmocka_unit_test(test_sources),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

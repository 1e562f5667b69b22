#include "tests/checks.h"

#include "formats/checkpoint.h"

#include <sys/stat.h>

static char dir[64];
static struct folder *folder;

static int setup(void **state)
{
    (void)state;
    strcpy(dir, check_folder());
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    folder_close(folder);
    folder = NULL;
    check_folder_remove(dir);
    return 0;
}

static void put(const char *name, const void *data, size_t n)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    CHECK_OK(dir_make_parents(path, e_));
    FILE *f = fopen(path, "w");
    if (!f || fwrite(data, 1, n, f) != n || fclose(f) != 0) fail_msg("cannot write %s", path);
}

static void put_quoted(const char *name, const char *text)
{
    char copy[4096];
    snprintf(copy, sizeof copy, "%s", text);
    for (char *p = copy; *p; p++)
        if (*p == '\'') *p = '"';
    put(name, copy, strlen(copy));
}

/* A shard with one tensor of one byte for every letter of `names`. */
static void shard(const char *file, const char *names)
{
    char data[4096] = "", *p = data + 8;
    size_t n = strlen(names);
    *p++ = '{';
    for (size_t i = 0; i < n; i++)
        p += sprintf(p, "%s\"%c\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%zu,%zu]}", i ? "," : "", names[i], i, i + 1);
    *p++ = '}';
    store_le64((uint8_t *)data, (size_t)(p - data) - 8);
    put(file, data, (size_t)(p - data) + n);
}

static bool open_checkpoint(struct checkpoint **ck, struct error *err)
{
    *ck = NULL;
    folder_close(folder);
    return folder_open(&folder, dir, err) && checkpoint_open(ck, folder, err);
}

#define INDEX "model.safetensors.index.json"
#define S1 "model-00001-of-00002.safetensors"
#define S2 "model-00002-of-00002.safetensors"

static void two_shards(void)
{
    shard(S1, "ab");
    shard(S2, "c");
}

static void test_good(void **state)
{
    (void)state;
    static const struct { const char *index, *remark; } rows[] = {
        {"{'metadata':{'total_size':3},'weight_map':{'a':'" S1 "','b':'" S1 "','c':'" S2 "'}}", NULL},
        {"{'metadata':{'total_size':3.0,'total_parameters':3,'x':[{}]},'weight_map':{'c':'" S2 "','a':'" S1 "','\\u0062':'" S1 "'},'y':null}", NULL},
        {"{'weight_map':{'a':'" S1 "','c':'" S2 "','b':'" S1 "'}}", NULL},
        {"{'metadata':null,'weight_map':{'a':'" S1 "','b':'" S1 "','c':'" S2 "'}}", NULL},
        {"{'metadata':{},'weight_map':{'a':'" S1 "','b':'" S1 "','c':'" S2 "'}}", NULL},
        {"{'metadata':{'total_size':null},'weight_map':{'a':'" S1 "','b':'" S1 "','c':'" S2 "'}}", NULL},
        {"{'metadata':{'total_size':6},'weight_map':{'a':'" S1 "','b':'" S1 "','c':'" S2 "'}}",
         "total_size is 6, the tensors have 3 bytes"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CLEANUP(checkpoint) struct checkpoint *ck = NULL;
        two_shards();
        put_quoted(INDEX, rows[i].index);
        CHECK_OK(open_checkpoint(&ck, e_));
        assert_int_equal(checkpoint_count(ck), 3);
        assert_string_equal(checkpoint_tensor(ck, 2)->name, "c");
        assert_string_equal(folder_name(folder, checkpoint_tensor(ck, 2)->member), S2);
        uint32_t n;
        const struct checkpoint_file *files = checkpoint_files(ck, &n);
        assert_int_equal(n, 2);
        assert_string_equal(folder_name(folder, files[0].member), S1);
        assert_string_equal(folder_name(folder, files[1].member), S2);
        const char *remark = checkpoint_remark(ck, 0);
        if (rows[i].remark) assert_non_null(strstr(remark, rows[i].remark));
        else assert_null(remark);
    }
}

#define MAP(entries) "{'weight_map':{" entries "}}"
#define TOTAL(t) "{'metadata':{'total_size':" t "},'weight_map':{'a':'" S1 "','b':'" S1 "','c':'" S2 "'}}"

static void test_bad(void **state)
{
    (void)state;
    static const struct { const char *index, *why; } rows[] = {
        {"", "ends too early"}, {"[]", "expected an object"}, {"{}", "weight_map is missing"},
        {"{'weight_map':[]}", "weight_map must be an object"},
        {"{'weight_map':{}} x", "text after the value"}, {"{'weight_map':{'a':1}}", "expected the name of a file"},
        {"{'weight_map':{},'weight_map':{}}", "weight_map is there twice"},
        {MAP("'a':'" S1 "','b':'" S1 "'"), "'" S2 "' is there, but " INDEX " does not name it"},
        {MAP("'a':'" S1 "','c':'" S2 "'"), "'" S1 "': tensor 'b' is not in " INDEX},
        {MAP("'a':'" S1 "','b':'" S1 "','c':'" S2 "','d':'" S2 "'"), "tensor 'd' is not in '" S2 "'"},
        {MAP("'a':'" S1 "','b':'" S2 "','c':'" S2 "'"), "tensor 'b' should be in '" S2 "', it is in '" S1 "'"},
        {MAP("'a':'" S1 "','b':'" S1 "','c':'" S2 "','a':'" S1 "'"), "tensor 'a' is there twice"},
        {MAP("'a':'" S1 "','b':'" S1 "','c':'" S2 "','\\u0061':'" S1 "'"), "tensor 'a' is there twice"},
        {MAP("'a':'model-00003-of-00002.safetensors'"), "file 'model-00003-of-00002.safetensors' does not exist"},
        {MAP("'a':'../" S1 "'"), "is not a file name inside the folder"}, {MAP("'a':'/etc/passwd'"), "is not a file name inside"},
        {MAP("'a':''"), "is not a file name inside"}, {MAP("'a':'./" S1 "'"), "is not a file name inside"},
        {MAP("'a\\u0000':'" S1 "'"), "NUL byte"}, {MAP("'a':'" S1 "\\u0000'"), "NUL byte"}, {MAP("'\xff':'" S1 "'"), "invalid UTF-8"},
        {MAP("'a':'config.json'"), "file 'config.json' does not exist"}, {MAP("'a':'" INDEX "'"), "safetensors"},
        {TOTAL("'3'"), "total_size must be a number"}, {TOTAL("-3"), "total_size must be a number"},
        {TOTAL("3.5"), "total_size must be a number"},
        {TOTAL("1e999"), "total_size must be a number"}, {TOTAL("[]"), "total_size must be a number"},
        {TOTAL("3,'total_size':3"), "total_size is there twice"},
        {"{'metadata':1,'weight_map':{}}", "metadata must be an object"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct checkpoint *ck;
        two_shards();
        put_quoted(INDEX, rows[i].index);
        struct error e = ERROR_INIT;
        if (open_checkpoint(&ck, &e)) fail_msg("%s: taken", rows[i].index);
        char want[256];
        snprintf(want, sizeof want, "%s", rows[i].why);
        if (e.code != ERR_FORMAT || !strstr(e.text, want)) fail_msg("%s: %s, expected '%s'", rows[i].index, e.text, want);
    }
}

static void test_tensor_in_two_shards(void **state)
{
    (void)state;
    struct checkpoint *ck;
    shard(S1, "ab");
    shard(S2, "bc");
    put_quoted(INDEX, MAP("'a':'" S1 "','b':'" S1 "','c':'" S2 "'"));
    CHECK_FAILS(open_checkpoint(&ck, e_), ERR_FORMAT, "tensor 'b' is in '" S1 "' and in '" S2 "'");
}

/* Which files are the checkpoint: every row is a folder. */
static void test_files(void **state)
{
    (void)state;
    static const struct { const char *files[4]; const char *index, *why; enum error_code code; } rows[] = {
        {{"model.safetensors"}, NULL, NULL, ERR_NONE},
        {{"weights.safetensors"}, NULL, NULL, ERR_NONE},
        {{"model-00001-of-00001.safetensors"}, NULL, NULL, ERR_NONE},
        {{"model-1-of-1.safetensors"}, NULL, NULL, ERR_NONE},
        {{"model.safetensors", "consolidated.safetensors", "adapter_model.safetensors"}, NULL, NULL, ERR_NONE},
        {{"model.safetensors", "golden/golden.safetensors"}, NULL, NULL, ERR_NONE},
        {{"model-00001-of-000001.safetensors"}, MAP("'a':'model-00001-of-000001.safetensors'"), NULL, ERR_NONE},
        {{"weights/x.safetensors"}, MAP("'a':'weights/x.safetensors'"), NULL, ERR_NONE},
        {{S1, "consolidated.safetensors"}, MAP("'a':'" S1 "'"), NULL, ERR_NONE},
        {{S1, "other.safetensors"}, MAP("'a':'" S1 "'"), "remark: 'other.safetensors' is not in " INDEX, ERR_NONE},
        {{S1}, NULL, INDEX " is missing (1 of 2 shards are there, such as '" S1 "')", ERR_FORMAT},
        {{S2}, NULL, INDEX " is missing (1 of 2 shards", ERR_FORMAT},
        {{"model-1-of-61.safetensors", "model-10-of-61.safetensors"}, NULL, INDEX " is missing (2 of 61 shards", ERR_FORMAT},
        {{"model.safetensors", S2}, NULL, "'model.safetensors' and '" S2 "' are both there", ERR_FORMAT},
        {{"a.safetensors", "b.safetensors"}, NULL, "2 files end in .safetensors", ERR_FORMAT},
        {{S1, "model.safetensors"}, MAP("'a':'" S1 "'"), "'model.safetensors' is there, but " INDEX " does not name it", ERR_FORMAT},
        {{S1, "model_extra.safetensors"}, MAP("'a':'" S1 "'"), "'model_extra.safetensors' is there, but", ERR_FORMAT},
        {{"x.txt"}, MAP("'a':'" S1 "'"), "file '" S1 "' does not exist", ERR_FORMAT},
        {{"x.txt"}, NULL, "holds no checkpoint", ERR_FORMAT},
        {{"golden/golden.safetensors"}, NULL, "holds no checkpoint", ERR_FORMAT},
        {{"consolidated.safetensors", "params.json"}, NULL, NULL, ERR_NONE},
        {{"consolidated-00001-of-00002.safetensors", "params.json"}, NULL, "1 consolidated files are there", ERR_FORMAT},
        {{"consolidated.safetensors", "consolidated-00001-of-00001.safetensors", "params.json"}, NULL, "2 consolidated files", ERR_FORMAT},
        {{"consolidated-1.safetensors", "params.json"}, NULL, "is not one of numbered consolidated files", ERR_FORMAT},
        {{"consolidated.safetensors"}, NULL, "without its params.json", ERR_UNSUPPORTED},
        {{"consolidated-00001-of-00002.safetensors"}, NULL, "Mistral's own layout", ERR_UNSUPPORTED},
        {{"adapter_model.safetensors"}, NULL, "a LoRA adapter", ERR_UNSUPPORTED},
        {{"pytorch_model-00001-of-00002.bin"}, NULL, "pytorch_model.bin.index.json is missing ('pytorch_model-00001-of-00002.bin' is there)", ERR_FORMAT},
        {{"consolidated.00.pth"}, NULL, "the layout of Meta's own release", ERR_UNSUPPORTED}, {{"m.pt"}, NULL, "'m.pt' is not a file of torch.save", ERR_FORMAT},
        {{"m.nemo"}, NULL, "'m.nemo': tar member at byte 0 is cut", ERR_FORMAT}, {{"m.onnx"}, NULL, "ONNX", ERR_UNSUPPORTED},
        {{"iter_1/__0_0.distcp"}, NULL, "a PyTorch distributed checkpoint", ERR_UNSUPPORTED}, {{"w.npz"}, NULL, "NumPy", ERR_UNSUPPORTED},
        {{"tf_model.h5"}, NULL, "HDF5", ERR_UNSUPPORTED}, {{"flax_model.msgpack"}, NULL, "Flax", ERR_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t k = 0; k < 4 && rows[i].files[k]; k++) shard(rows[i].files[k], "a");
        if (rows[i].index) put_quoted(INDEX, rows[i].index);
        CLEANUP(checkpoint) struct checkpoint *ck = NULL;
        struct error e = ERROR_INIT;
        bool ok = open_checkpoint(&ck, &e);
        if (e.code != rows[i].code || ok != (rows[i].code == ERR_NONE)) fail_msg("row %zu (%s): %s", i, rows[i].files[0], e.text);
        if (!ok && !strstr(e.text, rows[i].why)) fail_msg("row %zu: %s, expected '%s'", i, e.text, rows[i].why);
        if (ok) assert_int_equal(checkpoint_count(ck), 1);
        if (ok && rows[i].why) assert_non_null(strstr(checkpoint_remark(ck, 0), rows[i].why + strlen("remark: ")));
        else if (ok) assert_null(checkpoint_remark(ck, 0));
        teardown(NULL);
        setup(NULL);
    }
}

static void test_shard_is_a_fifo(void **state)
{
    (void)state;
    char path[128];
    struct checkpoint *ck;
    shard(S1, "ab");
    snprintf(path, sizeof path, "%s/%s", dir, S2);
    assert_int_equal(mkfifo(path, 0666), 0);
    put_quoted(INDEX, MAP("'a':'" S1 "','b':'" S1 "','c':'" S2 "'"));
    alarm(5);
    CHECK_FAILS(open_checkpoint(&ck, e_), ERR_FORMAT, "file '" S2 "' does not exist");
    alarm(0);
}

/* Every checkpoint of the fixtures opens, with as many bytes as its index says. */
static void test_fixtures(void **state)
{
    (void)state;
    static const struct { const char *name; uint32_t n_tensors; uint64_t bytes; } rows[] = {
        {"nano-hybrid", 217, 18927552}, {"nano-experts", 271, 17690752}, {"nemotron_h_latent_mtp", 200, 874072}, {"qwen3", 46, 460288},
        {"deepseek_v3_fp8", 63, 1081216}, {"gpt_oss_mxfp4", 79, 344768}, {"llama_fp32_sharded", 30, 612672},
        {"mistral_small3", 41, 504448}};
    const char *shared = check_shared();
    if (!shared) skip();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[600];
        snprintf(path, sizeof path, "%s/fixtures/%s", shared, rows[i].name);
        CLEANUP(folder) struct folder *f = NULL;
        CLEANUP(checkpoint) struct checkpoint *ck = NULL;
        CHECK_OK(folder_open(&f, path, e_));
        CHECK_OK(checkpoint_open(&ck, f, e_));
        assert_int_equal(checkpoint_count(ck), rows[i].n_tensors);
        assert_int_equal(checkpoint_bytes(ck), rows[i].bytes);
        assert_null(checkpoint_remark(ck, 0));
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_good), TEST(test_bad), TEST(test_tensor_in_two_shards), TEST(test_files),
                                       TEST(test_shard_is_a_fifo), TEST(test_fixtures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The globals that pickles may name: all there are. */
#include "formats/pickle.h"

#define T PICKLE_FOR_TENSORS
#define M PICKLE_FOR_METADATA
#define STORAGE(name, type)                                                                                            \
    {                                                                                                                  \
        "torch", name "Storage", T, PICKLE_CALL_NEVER, type                                                            \
    }
#define DTYPE(name, type)                                                                                              \
    {                                                                                                                  \
        "torch", name, T | M, PICKLE_CALL_NEVER, type                                                                  \
    }
#define CLASS(module, name, where)                                                                                     \
    {                                                                                                                  \
        module, name, where, PICKLE_CALL_OBJECT, DTYPE_COUNT                                                           \
    }

static const struct pickle_global globals[] = {
    {"collections", "OrderedDict", T | M, PICKLE_CALL_DICT, DTYPE_COUNT},
    {"torch", "Size", T | M, PICKLE_CALL_SAME, DTYPE_COUNT},
    {"torch._utils", "_rebuild_tensor", T, PICKLE_CALL_TENSOR, DTYPE_COUNT},
    {"torch._utils", "_rebuild_tensor_v2", T, PICKLE_CALL_TENSOR, DTYPE_COUNT},
    {"torch._utils", "_rebuild_tensor_v3", T, PICKLE_CALL_TENSOR_V3, DTYPE_COUNT},
    {"torch._utils", "_rebuild_parameter", T, PICKLE_CALL_PARAMETER, DTYPE_COUNT},
    STORAGE("Float", DTYPE_F32),
    STORAGE("Double", DTYPE_F64),
    STORAGE("Half", DTYPE_F16),
    STORAGE("BFloat16", DTYPE_BF16),
    STORAGE("Long", DTYPE_I64),
    STORAGE("Int", DTYPE_I32),
    STORAGE("Short", DTYPE_I16),
    STORAGE("Char", DTYPE_I8),
    STORAGE("Byte", DTYPE_U8),
    STORAGE("Bool", DTYPE_BOOL),
    STORAGE("ComplexFloat", DTYPE_C64),
    {"torch.storage", "UntypedStorage", T, PICKLE_CALL_NEVER, DTYPE_U8},
    {"torch", "UntypedStorage", T, PICKLE_CALL_NEVER, DTYPE_U8},
    DTYPE("float32", DTYPE_F32),
    DTYPE("float64", DTYPE_F64),
    DTYPE("float16", DTYPE_F16),
    DTYPE("bfloat16", DTYPE_BF16),
    DTYPE("int64", DTYPE_I64),
    DTYPE("int32", DTYPE_I32),
    DTYPE("int16", DTYPE_I16),
    DTYPE("int8", DTYPE_I8),
    DTYPE("uint8", DTYPE_U8),
    DTYPE("uint16", DTYPE_U16),
    DTYPE("uint32", DTYPE_U32),
    DTYPE("uint64", DTYPE_U64),
    DTYPE("bool", DTYPE_BOOL),
    DTYPE("complex64", DTYPE_C64),
    DTYPE("float8_e4m3fn", DTYPE_F8_E4M3),
    DTYPE("float8_e5m2", DTYPE_F8_E5M2),
    DTYPE("float8_e4m3fnuz", DTYPE_F8_E4M3FNUZ),
    DTYPE("float8_e5m2fnuz", DTYPE_F8_E5M2FNUZ),
    DTYPE("float8_e8m0fnu", DTYPE_F8_E8M0),
    /* Names that stand for nothing here: extra states of layers in a state dict, which is skipped. */
    CLASS("_io", "BytesIO", T),
    CLASS("io", "BytesIO", T),
    CLASS("_codecs", "encode", T),
    /* What describes a distributed checkpoint. */
    CLASS("torch.distributed.checkpoint.metadata", "Metadata", M),
    CLASS("torch.distributed.checkpoint.metadata", "TensorStorageMetadata", M),
    CLASS("torch.distributed.checkpoint.metadata", "BytesStorageMetadata", M),
    CLASS("torch.distributed.checkpoint.metadata", "TensorProperties", M),
    CLASS("torch.distributed.checkpoint.metadata", "ChunkStorageMetadata", M),
    CLASS("torch.distributed.checkpoint.metadata", "MetadataIndex", M),
    CLASS("torch.distributed.checkpoint.metadata", "StorageMeta", M),
    CLASS("torch.distributed.checkpoint.metadata", "_MEM_FORMAT_ENCODING", M),
    CLASS("torch.distributed.checkpoint.filesystem", "_StorageInfo", M),
    CLASS("torch.distributed._shard.sharded_tensor.metadata", "TensorProperties", M),
    CLASS("torch.distributed._shard.sharded_tensor.metadata", "MEM_FORMAT_ENCODING", M),
    CLASS("torch.serialization", "_get_layout", M),
    CLASS("pathlib", "PosixPath", M),
    CLASS("pathlib", "PurePosixPath", M),
    CLASS("pathlib._local", "PosixPath", M),
};

static bool same(struct bytes a, const char *b)
{
    return strlen(b) == a.size && memcmp(a.data, b, a.size) == 0;
}

const struct pickle_global *pickle_global_find(struct bytes module, struct bytes name, uint32_t where)
{
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++)
        if ((globals[i].where & where) && same(module, globals[i].module) && same(name, globals[i].name))
            return &globals[i];
    return NULL;
}

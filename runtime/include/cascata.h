/* Cascata: run compiled models from C. API version 2.
 *
 *   CascataArtifact *artifact;
 *   CascataSession *session;
 *   cascata_artifact_load("model.cascata", &artifact);
 *   cascata_session_create(artifact, NULL, NULL, &session);
 *   cascata_session_set_input(session, 0, &x);
 *   cascata_session_run(session);
 *   cascata_session_get_output(session, 0, &y);
 *
 * Every function that can fail returns a CascataStatus; cascata_last_error() then
 * says what went wrong on this thread and what to do. No function unwinds or exits.
 *
 * Threads: artifacts and runtimes may be used from any number of threads at once. A
 * session holds the tensors bound to it and is used by one thread at a time; make one
 * session per thread, they share code, weights and threads.
 *
 * Ownership: what a _create or _load function returns is freed with the matching _free
 * function, in any order (a session keeps its artifact and runtime alive). Pointers
 * inside returned structs belong to the handle they were asked from.
 *
 * Link: libcascata_runtime.a with -lpthread -ldl -lm, or libcascata_runtime.so.
 */
#ifndef CASCATA_H
#define CASCATA_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Raised when something is added; what exists stays as it is within one soname. */
#define CASCATA_API_VERSION 2

typedef enum CascataStatus {
    CASCATA_OK = 0,
    /* A null pointer, an index out of range, text that is not UTF-8. */
    CASCATA_INVALID_ARGUMENT = 1,
    /* The artifact cannot be read, is damaged, or does not run on this CPU. */
    CASCATA_LOAD_FAILED = 2,
    /* Inputs or bound outputs do not fit the model; the error lists all problems. */
    CASCATA_INVALID_TENSOR = 3,
    /* The model itself reported an error for these inputs. */
    CASCATA_RUN_FAILED = 4,
    CASCATA_OUT_OF_MEMORY = 5,
    /* A bug of Cascata. */
    CASCATA_INTERNAL = 6,
    /* A CascataCancel asked the run to stop. */
    CASCATA_CANCELLED = 7
} CascataStatus;

typedef enum CascataDType {
    CASCATA_BOOL = 0,
    CASCATA_I8 = 1,
    CASCATA_U8 = 2,
    CASCATA_I16 = 3,
    CASCATA_U16 = 4,
    CASCATA_I32 = 5,
    CASCATA_U32 = 6,
    CASCATA_I64 = 7,
    CASCATA_U64 = 8,
    CASCATA_F16 = 9,
    CASCATA_BF16 = 10,
    CASCATA_F32 = 11,
    CASCATA_F64 = 12,
    CASCATA_STR = 13
} CascataDType;

/* What a port holds. Sessions of this version have tensors only. */
typedef enum CascataValueKind {
    CASCATA_TENSOR = 0,
    CASCATA_SEQUENCE = 1,
    CASCATA_OPTIONAL = 2,
    CASCATA_RESOURCE = 3
} CascataValueKind;

typedef enum CascataPortKind { CASCATA_INPUT = 0, CASCATA_OUTPUT = 1 } CascataPortKind;

/* A dense row-major tensor. Of CASCATA_STR, each element is its length in bytes (u32,
 * little-endian) and UTF-8; no memory can be bound for an output of strings. */
typedef struct CascataTensor {
    void *data;
    size_t bytes;
    const int64_t *dims;
    size_t rank;
    CascataDType dtype;
} CascataTensor;

/* An input or output of a session. */
typedef struct CascataPort {
    const char *name;
    /* The type with symbol names, e.g. "f32[B,128]". */
    const char *type;
    /* One number per axis, -1 where it depends on symbols. */
    const int64_t *dims;
    size_t rank;
    CascataDType dtype;
    CascataValueKind kind;
} CascataPort;

typedef struct CascataRuntime CascataRuntime;
typedef struct CascataArtifact CascataArtifact;
typedef struct CascataSession CascataSession;
typedef struct CascataCancel CascataCancel;

/* Options of loading; start from {0} and set `size`. */
typedef struct CascataLoadOptions {
    /* sizeof(CascataLoadOptions) */
    size_t size;
    /* Public keys as `cascata keygen` prints them, with spaces between: the artifact must be
     * signed with one of them. NULL: no signature is asked for. */
    const char *trusted_keys;
    /* Code of this level, e.g. "x86-64-v3". NULL: the best that the CPU has. */
    const char *level;
    /* Compare all weights with their hashes: 1 yes, -1 no, 0 if keys are given. */
    int32_t check_weights;
} CascataLoadOptions;

/* The version of the linked library's API; compare with CASCATA_API_VERSION. */
uint32_t cascata_api_version(void);

/* The version of the linked library, e.g. "0.1.0". */
const char *cascata_version(void);

/* What the last failed call on this thread says; "" if none failed. Valid until the
 * next failing call on this thread. */
const char *cascata_last_error(void);

/* A runtime with `threads` threads, the calling one included (0: one per CPU, 1: none
 * of its own). Sessions without a runtime share a default one with all CPUs. */
CascataStatus cascata_runtime_create(size_t threads, CascataRuntime **out);
void cascata_runtime_free(CascataRuntime *runtime);

/* Loads a file: checks it, maps its weights, picks the best code for this CPU. */
CascataStatus cascata_artifact_load(const char *path, CascataArtifact **out);

/* Loads an artifact from memory, which is copied. */
CascataStatus cascata_artifact_from_bytes(const void *data, size_t bytes, CascataArtifact **out);
/* The same with options (NULL: the defaults). */
CascataStatus cascata_artifact_load_with(const char *path, const CascataLoadOptions *options,
                                         CascataArtifact **out);
CascataStatus cascata_artifact_from_bytes_with(const void *data, size_t bytes,
                                               const CascataLoadOptions *options,
                                               CascataArtifact **out);
void cascata_artifact_free(CascataArtifact *artifact);

/* The entry points. */
size_t cascata_artifact_entry_count(const CascataArtifact *artifact);
/* NULL if there is no such entry. */
const char *cascata_artifact_entry_name(const CascataArtifact *artifact, size_t index);

/* A session of an entry point (NULL: the only one, or "main") on a runtime (NULL: the
 * default one). */
CascataStatus cascata_session_create(const CascataArtifact *artifact, const CascataRuntime *runtime,
                                     const char *entry, CascataSession **out);
void cascata_session_free(CascataSession *session);

/* The inputs and outputs. */
size_t cascata_session_port_count(const CascataSession *session, CascataPortKind kind);
CascataStatus cascata_session_port(const CascataSession *session, CascataPortKind kind, size_t index,
                                   CascataPort *out);
/* The index of the port called `name`. */
CascataStatus cascata_session_find_port(const CascataSession *session, CascataPortKind kind,
                                        const char *name, size_t *index);

/* Binds the caller's memory to an input. Nothing is copied but the dims: the memory
 * must stay as it is until the last run that uses it. Types are checked by the run. */
CascataStatus cascata_session_set_input(CascataSession *session, size_t index, const CascataTensor *tensor);

/* Binds the caller's memory to an output, which must not overlap other bound memory;
 * its dims must be those that the run computes. A null `tensor` unbinds: the session
 * then allocates the output. */
CascataStatus cascata_session_set_output(CascataSession *session, size_t index, const CascataTensor *tensor);

/* Runs once with the bound tensors. */
CascataStatus cascata_session_run(CascataSession *session);

/* Stops runs from another thread: a run looks at its token before each launch and ends with
 * CASCATA_CANCELLED. `request` and `reset` may be called from any thread, also while it runs;
 * NULL is ignored. */
CascataStatus cascata_cancel_create(CascataCancel **out);
void cascata_cancel_free(CascataCancel *cancel);
void cascata_cancel_request(const CascataCancel *cancel);
void cascata_cancel_reset(const CascataCancel *cancel);

/* Which token the session's next runs look at (NULL: none). The session keeps what it needs. */
CascataStatus cascata_session_set_cancel(CascataSession *session, const CascataCancel *cancel);

/* An output of the last successful run; valid until the next run or until it is freed. */
CascataStatus cascata_session_get_output(const CascataSession *session, size_t index, CascataTensor *out);

#ifdef __cplusplus
}
#endif

#endif /* CASCATA_H */

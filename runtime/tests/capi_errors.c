/* Misuse of the C API: every call must fail with a status and a text, none may crash.
 * argv[1] is the artifact of `triple` in tests/common. Prints "ok" at the end. */
#include "cascata.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPECT(what, call, status, part)                                            \
    do {                                                                            \
        CascataStatus got = (call);                                                 \
        if (got != (status) || !strstr(cascata_last_error(), part)) {               \
            printf("%s: status %d, '%s'\n", what, (int)got, cascata_last_error());  \
            exit(1);                                                                \
        }                                                                           \
    } while (0)

int main(int argc, char **argv) {
    (void)argc;
    CascataArtifact *artifact = NULL;
    CascataRuntime *runtime = NULL;
    CascataSession *session = NULL;
    size_t index;
    if (strcmp(cascata_last_error(), "") != 0) return 1;
    EXPECT("no path", cascata_artifact_load(NULL, &artifact), CASCATA_INVALID_ARGUMENT, "path is null");
    EXPECT("no file", cascata_artifact_load("/nowhere", &artifact), CASCATA_LOAD_FAILED, "/nowhere");
    EXPECT("not one", cascata_artifact_from_bytes("PK\3\4....", 8, &artifact), CASCATA_LOAD_FAILED, "not a Cascata");
    EXPECT("no out", cascata_artifact_load(argv[1], NULL), CASCATA_INVALID_ARGUMENT, "out is null");
    /* argv[2] is the same artifact signed with the key of argv[3]. */
    CascataLoadOptions options = {0};
    EXPECT("size", cascata_artifact_load_with(argv[2], &options, &artifact), CASCATA_INVALID_ARGUMENT, "options.size");
    options.size = sizeof options;
    options.trusted_keys = "hello";
    EXPECT("key", cascata_artifact_load_with(argv[2], &options, &artifact), CASCATA_INVALID_ARGUMENT, "not a key");
    options.trusted_keys = " ";
    EXPECT("no key", cascata_artifact_load_with(argv[2], &options, &artifact), CASCATA_INVALID_ARGUMENT, "holds no key");
    options.trusted_keys = argv[3];
    EXPECT("unsigned", cascata_artifact_load_with(argv[1], &options, &artifact), CASCATA_LOAD_FAILED, "not signed");
    EXPECT("signed", cascata_artifact_load_with(argv[2], &options, &artifact), CASCATA_OK, "");
    cascata_artifact_free(artifact);
    options.trusted_keys = "cascata-ed25519-public:0000000000000000000000000000000000000000000000000000000000000001";
    EXPECT("stranger", cascata_artifact_load_with(argv[2], &options, &artifact), CASCATA_LOAD_FAILED, "signed by somebody else");
    options.trusted_keys = NULL;
    options.level = "x86-64-v7";
    EXPECT("level", cascata_artifact_load_with(argv[1], &options, &artifact), CASCATA_LOAD_FAILED, "x86-64-v7");
    EXPECT("load", cascata_artifact_load(argv[1], &artifact), CASCATA_OK, "");
    EXPECT("runtime", cascata_runtime_create(2, &runtime), CASCATA_OK, "");
    EXPECT("no artifact", cascata_session_create(NULL, NULL, NULL, &session), CASCATA_INVALID_ARGUMENT, "artifact is null");
    EXPECT("no entry", cascata_session_create(artifact, runtime, "x", &session), CASCATA_LOAD_FAILED, "no entry point 'x'");
    EXPECT("session", cascata_session_create(artifact, runtime, "main", &session), CASCATA_OK, "");
    /* The session keeps what it needs. */
    cascata_artifact_free(artifact);
    cascata_runtime_free(runtime);
    EXPECT("no port", cascata_session_find_port(session, CASCATA_INPUT, "u", &index), CASCATA_INVALID_ARGUMENT, "no port 'u', only x");
    EXPECT("port", cascata_session_find_port(session, CASCATA_INPUT, "x", &index), CASCATA_OK, "");
    if (index != 0 || cascata_session_port_count(session, (CascataPortKind)7) != 0) return 1;
    EXPECT("unbound", cascata_session_run(session), CASCATA_INVALID_TENSOR, "input 'x' is missing; it is f32[B]");

    float x[4] = {1, 2, 3, 4}, y[4] = {0};
    int64_t four = 4, five = 5, none = -1;
    CascataTensor good = {x, sizeof x, &four, 1, CASCATA_F32};
    CascataTensor bad = {x, sizeof x, &five, 1, CASCATA_F32};
    CascataTensor odd = {x, sizeof x, &four, 1, (CascataDType)99};
    CascataTensor negative = {x, sizeof x, &none, 1, CASCATA_F32};
    CascataTensor null = {NULL, sizeof x, &four, 1, CASCATA_F32};
    CascataTensor out = {y, sizeof y, &four, 1, CASCATA_F32};
    CascataTensor result;
    EXPECT("range", cascata_session_set_input(session, 9, &good), CASCATA_INVALID_ARGUMENT, "input 9 is out of range");
    EXPECT("length", cascata_session_set_input(session, 0, &bad), CASCATA_INVALID_TENSOR, "takes 20 bytes and 16");
    EXPECT("dtype", cascata_session_set_input(session, 0, &odd), CASCATA_INVALID_ARGUMENT, "no dtype 99");
    EXPECT("negative", cascata_session_set_input(session, 0, &negative), CASCATA_INVALID_TENSOR, "has no size");
    EXPECT("data", cascata_session_set_input(session, 0, &null), CASCATA_INVALID_ARGUMENT, "null");
    EXPECT("early", cascata_session_get_output(session, 0, &result), CASCATA_INVALID_ARGUMENT, "before the first run");
    EXPECT("input", cascata_session_set_input(session, 0, &good), CASCATA_OK, "");
    EXPECT("output", cascata_session_set_output(session, 0, &out), CASCATA_OK, "");
    EXPECT("run", cascata_session_run(session), CASCATA_OK, "");
    EXPECT("get", cascata_session_get_output(session, 0, &result), CASCATA_OK, "");
    if (result.data != y || y[0] != 3 || y[3] != 12 || result.dims[0] != 4) return 1;
    EXPECT("unbind", cascata_session_set_output(session, 0, NULL), CASCATA_OK, "");
    EXPECT("run again", cascata_session_run(session), CASCATA_OK, "");
    EXPECT("get own", cascata_session_get_output(session, 0, &result), CASCATA_OK, "");
    if (result.data == y || ((float *)result.data)[3] != 12) return 1;
    CascataCancel *cancel = NULL;
    EXPECT("cancel", cascata_cancel_create(&cancel), CASCATA_OK, "");
    EXPECT("set cancel", cascata_session_set_cancel(session, cancel), CASCATA_OK, "");
    EXPECT("not asked", cascata_session_run(session), CASCATA_OK, "");
    cascata_cancel_request(cancel);
    EXPECT("asked", cascata_session_run(session), CASCATA_CANCELLED, "cancelled before step 0");
    cascata_cancel_reset(cancel);
    EXPECT("taken back", cascata_session_run(session), CASCATA_OK, "");
    cascata_cancel_request(cancel);
    EXPECT("no token", cascata_session_set_cancel(session, NULL), CASCATA_OK, "");
    EXPECT("no one asks", cascata_session_run(session), CASCATA_OK, "");
    cascata_cancel_request(NULL);
    cascata_cancel_free(cancel);
    cascata_session_free(session);
    cascata_session_free(NULL);
    printf("ok\n");
    return 0;
}

/* Runs a compiled model on inputs of a constant, and prints what comes out.
 *
 *   cc run.c -I../../runtime/include ../../target/release/libcascata_runtime.a \
 *      -lpthread -ldl -lm -o run
 *   ./run model.cascata 8        # every symbolic dim is 8
 */
#include "cascata.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(CascataStatus status) {
    if (status != CASCATA_OK) {
        fprintf(stderr, "error %d: %s\n", (int)status, cascata_last_error());
        exit(1);
    }
}

static size_t element_bytes(CascataDType dtype) {
    static const size_t bytes[] = {1, 1, 1, 2, 2, 4, 4, 8, 8, 2, 2, 4, 8, 0};
    return bytes[dtype];
}

/* A tensor of twos for an input port. */
static CascataTensor make_input(const CascataPort *port, int64_t symbol) {
    int64_t *dims = malloc((port->rank + 1) * sizeof *dims);
    size_t count = 1;
    for (size_t i = 0; i < port->rank; i++) {
        dims[i] = port->dims[i] < 0 ? symbol : port->dims[i];
        count *= (size_t)dims[i];
    }
    size_t bytes = count * element_bytes(port->dtype);
    void *data = calloc(bytes + 1, 1);
    for (size_t i = 0; i < count; i++) {
        if (port->dtype == CASCATA_F32) ((float *)data)[i] = 2.0f;
        if (port->dtype == CASCATA_I64) ((int64_t *)data)[i] = 2;
    }
    CascataTensor tensor = {data, bytes, dims, port->rank, port->dtype};
    return tensor;
}

static void print_output(const char *name, const CascataTensor *t) {
    printf("%s [", name);
    for (size_t i = 0; i < t->rank; i++) printf(i ? ",%lld" : "%lld", (long long)t->dims[i]);
    printf("] =");
    size_t count = t->bytes / element_bytes(t->dtype);
    for (size_t i = 0; i < count && i < 8; i++) {
        if (t->dtype == CASCATA_F32) printf(" %g", ((const float *)t->data)[i]);
        if (t->dtype == CASCATA_I64) printf(" %lld", (long long)((const int64_t *)t->data)[i]);
    }
    printf(count > 8 ? " ...\n" : "\n");
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: run MODEL.cascata [SYMBOL_VALUE]\n");
        return 2;
    }
    if (cascata_api_version() < CASCATA_API_VERSION) {
        fprintf(stderr, "the library is older than the header\n");
        return 2;
    }
    int64_t symbol = argc > 2 ? atoll(argv[2]) : 1;
    CascataArtifact *artifact;
    CascataSession *session;
    check(cascata_artifact_load(argv[1], &artifact));
    check(cascata_session_create(artifact, NULL, NULL, &session));
    printf("entry %s\n", cascata_artifact_entry_name(artifact, 0));

    size_t inputs = cascata_session_port_count(session, CASCATA_INPUT);
    CascataTensor *tensors = calloc(inputs + 1, sizeof *tensors);
    for (size_t i = 0; i < inputs; i++) {
        CascataPort port;
        check(cascata_session_port(session, CASCATA_INPUT, i, &port));
        printf("input %s: %s\n", port.name, port.type);
        tensors[i] = make_input(&port, symbol);
        check(cascata_session_set_input(session, i, &tensors[i]));
    }
    check(cascata_session_run(session));
    size_t outputs = cascata_session_port_count(session, CASCATA_OUTPUT);
    for (size_t i = 0; i < outputs; i++) {
        CascataPort port;
        CascataTensor output;
        check(cascata_session_port(session, CASCATA_OUTPUT, i, &port));
        check(cascata_session_get_output(session, i, &output));
        print_output(port.name, &output);
    }
    for (size_t i = 0; i < inputs; i++) {
        free(tensors[i].data);
        free((void *)tensors[i].dims);
    }
    free(tensors);
    cascata_session_free(session);
    cascata_artifact_free(artifact);
    return 0;
}

/* Test vectors: what goes into some calls of the model, as the graph takes it, and what came out where it was exported. */
#ifndef SAMPLES_H
#define SAMPLES_H

#include <stddef.h>
#include <stdint.h>

/* ONNX's numbers of the types; float16 is kept as its bits, bool as a byte. */
enum {
    SAMPLE_FLOAT = 1, SAMPLE_UINT8 = 2, SAMPLE_INT8 = 3, SAMPLE_UINT16 = 4, SAMPLE_INT16 = 5, SAMPLE_INT32 = 6, SAMPLE_INT64 = 7,
    SAMPLE_BOOL = 9, SAMPLE_FLOAT16 = 10, SAMPLE_DOUBLE = 11, SAMPLE_UINT32 = 12, SAMPLE_UINT64 = 13
};

typedef struct {
    const char *name;
    int type;
    size_t rank;
    const int64_t *dims;  /* of one call */
    size_t count;         /* numbers in one call */
    size_t bytes;         /* of one call */
    const void *data;     /* all calls, one after the other */
    double tolerance;     /* outputs: how far they may lie from these, as a share of their spread */
} sample_tensor;

extern const size_t sample_calls, sample_inputs, sample_outputs;
extern const sample_tensor sample_input[], sample_output[];
extern const int sample_threads, sample_classes; /* sample_classes: whether the first output has a score for each class */

#endif

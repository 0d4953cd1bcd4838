/* Is the model in this program the one that was exported, and does it answer here as it did there?
 *
 * With ONNX Runtime's C library the test vectors go through the model; the exit code is 0 where every output lies within its tolerance,
 * 1 where one does not or a byte of the model was changed, 2 where it cannot be run. Compiled with -DWITHOUT_ONNXRUNTIME it holds the
 * bytes against their SHA-256 and prints the vectors, for systems that have another runtime.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "samples.h"
#include "sha256.h"

static double half(uint16_t bits) {
    int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    double value = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
    if (exponent == 31) value = mantissa ? NAN : INFINITY;
    return bits >> 15 ? -value : value;
}

static double number(const sample_tensor *tensor, const void *data, size_t i) {
    switch (tensor->type) {
        case SAMPLE_FLOAT: return ((const float *)data)[i];
        case SAMPLE_DOUBLE: return ((const double *)data)[i];
        case SAMPLE_FLOAT16: return half(((const uint16_t *)data)[i]);
        case SAMPLE_INT8: return ((const int8_t *)data)[i];
        case SAMPLE_UINT16: return ((const uint16_t *)data)[i];
        case SAMPLE_INT16: return ((const int16_t *)data)[i];
        case SAMPLE_UINT32: return ((const uint32_t *)data)[i];
        case SAMPLE_INT32: return ((const int32_t *)data)[i];
        case SAMPLE_UINT64: return (double)((const uint64_t *)data)[i];
        case SAMPLE_INT64: return (double)((const int64_t *)data)[i];
        default: return ((const uint8_t *)data)[i]; /* uint8 and bool */
    }
}

static int bytes_are_right(void) {
    char found[65];
    sha256_hex(model_onnx, MODEL_SIZE, found);
    printf("model: %lu bytes, SHA-256 %s: %s\n", (unsigned long)MODEL_SIZE, found, strcmp(found, MODEL_SHA256) ? "NOT the exported one" : "ok");
    return !strcmp(found, MODEL_SHA256);
}

#ifdef WITHOUT_ONNXRUNTIME

static void told(const char *what, const sample_tensor *tensor) {
    for (size_t call = 0; call < sample_calls; call++) {
        const char *data = (const char *)tensor->data + call * tensor->bytes;
        printf("%s %s, call %lu:", what, tensor->name, (unsigned long)call);
        for (size_t i = 0; i < tensor->count && i < 8; i++) printf(" %.9g", number(tensor, data, i));
        printf("%s\n", tensor->count > 8 ? " ..." : "");
    }
}

int main(void) {
    int right = bytes_are_right();
    for (size_t i = 0; i < sample_inputs; i++) told("in ", &sample_input[i]);
    for (size_t i = 0; i < sample_outputs; i++) told("out", &sample_output[i]);
    return right ? 0 : 1;
}

#else

#include <onnxruntime_c_api.h>

static const OrtApi *api;

static void need(OrtStatus *status, const char *what) {
    if (!status) return;
    fprintf(stderr, "error: %s: %s\n", what, api->GetErrorMessage(status));
    exit(2);
}

static const void *filled(OrtValue *value, const sample_tensor *tensor) {
    OrtTensorTypeAndShapeInfo *info;
    size_t count;
    ONNXTensorElementDataType type;
    void *data;
    need(api->GetTensorTypeAndShape(value, &info), tensor->name);
    need(api->GetTensorShapeElementCount(info, &count), tensor->name);
    need(api->GetTensorElementType(info, &type), tensor->name);
    if (count != tensor->count || (int)type != tensor->type) {
        fprintf(stderr, "error: %s has %lu numbers of type %d, %lu of type %d were exported\n", tensor->name, (unsigned long)count, (int)type,
                (unsigned long)tensor->count, tensor->type);
        exit(2);
    }
    need(api->GetTensorMutableData(value, &data), tensor->name);
    api->ReleaseTensorTypeAndShapeInfo(info);
    return data;
}

static size_t best(const sample_tensor *tensor, const void *data) {
    size_t found = 0;
    for (size_t i = 1; i < tensor->count; i++)
        if (number(tensor, data, i) > number(tensor, data, found)) found = i;
    return found;
}

/* The length of the difference as a share of that of the expected outputs about their mean over the calls. */
static double share_off(const sample_tensor *tensor, const char *answers, double *most) {
    double difference = 0, about = 0, length = 0;
    for (size_t i = 0; i < tensor->count; i++) {
        double mean = 0;
        for (size_t call = 0; call < sample_calls; call++)
            mean += number(tensor, (const char *)tensor->data + call * tensor->bytes, i) / (double)sample_calls;
        for (size_t call = 0; call < sample_calls; call++) {
            double wanted = number(tensor, (const char *)tensor->data + call * tensor->bytes, i);
            double off = fabs(number(tensor, answers + call * tensor->bytes, i) - wanted);
            if (!(off <= *most)) *most = off; /* NaN, too */
            difference += off * off;
            about += (wanted - mean) * (wanted - mean);
            length += wanted * wanted;
        }
    }
    return sqrt(difference / (about > 0 ? about : length > 0 ? length : 1));
}

int main(void) {
    int right = bytes_are_right();
    OrtEnv *env;
    OrtSessionOptions *options;
    OrtSession *session;
    OrtMemoryInfo *memory;
    api = OrtGetApiBase()->GetApi(ORT_API_VERSION);
    if (!api) {
        fprintf(stderr, "error: this ONNX Runtime (%s) is older than the header that this was compiled with\n", OrtGetApiBase()->GetVersionString());
        return 2;
    }
    need(api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "model", &env), "environment");
    need(api->CreateSessionOptions(&options), "options");
    need(api->SetIntraOpNumThreads(options, sample_threads), "threads");
    need(api->SetSessionGraphOptimizationLevel(options, MODEL_OPTIMISATION), "graph optimisation");
    need(api->CreateSessionFromArray(env, model_onnx, MODEL_SIZE, options, &session), "model");
    need(api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory), "memory");

    const char **names = calloc(sample_inputs + sample_outputs, sizeof *names);
    OrtValue **values = calloc(sample_inputs + sample_outputs, sizeof *values);
    char **answers = calloc(sample_outputs, sizeof *answers);
    for (size_t i = 0; names && i < sample_inputs; i++) names[i] = sample_input[i].name;
    for (size_t i = 0; answers && names && i < sample_outputs; i++) {
        names[sample_inputs + i] = sample_output[i].name;
        answers[i] = malloc(sample_calls * sample_output[i].bytes);
        if (!answers[i]) return 2;
    }
    if (!names || !values || !answers) return 2;

    size_t same = 0;
    for (size_t call = 0; call < sample_calls; call++) {
        for (size_t i = 0; i < sample_inputs; i++) {
            const sample_tensor *in = &sample_input[i];
            /* ONNX Runtime reads it, and asks for a pointer that it may write through. */
            void *data = (void *)((const char *)in->data + call * in->bytes);
            need(api->CreateTensorWithDataAsOrtValue(memory, data, in->bytes, in->dims, in->rank, (ONNXTensorElementDataType)in->type, &values[i]), in->name);
        }
        for (size_t i = 0; i < sample_outputs; i++) values[sample_inputs + i] = NULL;
        need(api->Run(session, NULL, names, (const OrtValue *const *)values, sample_inputs, names + sample_inputs, sample_outputs, values + sample_inputs), "run");
        for (size_t i = 0; i < sample_outputs; i++)
            memcpy(answers[i] + call * sample_output[i].bytes, filled(values[sample_inputs + i], &sample_output[i]), sample_output[i].bytes);
        const void *wanted = (const char *)sample_output[0].data + call * sample_output[0].bytes;
        same += best(&sample_output[0], answers[0] + call * sample_output[0].bytes) == best(&sample_output[0], wanted);
        for (size_t i = 0; i < sample_inputs + sample_outputs; i++) api->ReleaseValue(values[i]);
    }
    for (size_t i = 0; i < sample_outputs; i++) {
        double most = 0, off = share_off(&sample_output[i], answers[i], &most);
        int fits = off <= sample_output[i].tolerance;
        printf("%s: max difference %.3g, %.2g of their spread (%g at most): %s\n", sample_output[i].name, most, off, sample_output[i].tolerance,
               fits ? "ok" : "DIFFERENT");
        right = right && fits;
        free(answers[i]);
    }
    if (sample_classes) printf("the same class in %lu of %lu calls\n", (unsigned long)same, (unsigned long)sample_calls);
    printf("ONNX Runtime %s\n", OrtGetApiBase()->GetVersionString());
    free(names);
    free(values);
    free(answers);
    api->ReleaseMemoryInfo(memory);
    api->ReleaseSession(session);
    api->ReleaseSessionOptions(options);
    api->ReleaseEnv(env);
    return right ? 0 : 1;
}

#endif

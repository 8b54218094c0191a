/* capture_query.c -- asking a stream about its capture, and steering it. */
#include "capture.h"

SIM_STREAM_API(cuStreamIsCapturing, cuStreamIsCapturing_ptsz,
               (CUstream handle, enum sim_capture_status *status), (handle, status))
{
    SIM_ENTER(cuStreamIsCapturing);
    struct sim_stream *stream;
    if (!status)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    if (stream == stream->context->legacy && sim_capture_in(stream->context))
        return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
    pthread_mutex_lock(&sim_capture_lock);
    const struct sim_capturing *part = stream->capture;
    *status = part ? part->capture->status : SIM_CAPTURE_NONE;
    pthread_mutex_unlock(&sim_capture_lock);
    return CUDA_SUCCESS;
}

/* The arrays stay valid until the stream's next call. */
static CUresult info(CUstream handle, bool per_thread, enum sim_capture_status *status, uint64_t *id,
                     CUgraph *graph, const CUgraphNode **before, const struct sim_graph_edge_data **data,
                     size_t *count)
{
    struct sim_stream *stream;
    if (!status || (data && !before))
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    if (stream == stream->context->legacy && sim_capture_in(stream->context))
        return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
    CUresult result = CUDA_SUCCESS;
    pthread_mutex_lock(&sim_capture_lock);
    const struct sim_capturing *part = stream->capture;
    *status = part ? part->capture->status : SIM_CAPTURE_NONE;
    if (*status == SIM_CAPTURE_ACTIVE) {
        if (id)
            *id = part->capture->id;
        if (graph)
            *graph = part->capture->graph;
        if (before)
            *before = part->before.node;
        if (count)
            *count = part->before.count;
        if (data)
            *data = part->before.data;
        else if (before && !sim_edges_plain(&part->before))
            result = CUDA_ERROR_LOSSY_QUERY;
    }
    pthread_mutex_unlock(&sim_capture_lock);
    return result;
}

SIM_STREAM_API(cuStreamGetCaptureInfo, cuStreamGetCaptureInfo_ptsz,
               (CUstream handle, enum sim_capture_status *status, uint64_t *id), (handle, status, id))
{
    SIM_ENTER(cuStreamGetCaptureInfo);
    return info(handle, per_thread, status, id, NULL, NULL, NULL, NULL);
}

SIM_STREAM_API(cuStreamGetCaptureInfo_v2, cuStreamGetCaptureInfo_v2_ptsz,
               (CUstream handle, enum sim_capture_status *status, uint64_t *id, CUgraph *graph,
                const CUgraphNode **before, size_t *count),
               (handle, status, id, graph, before, count))
{
    SIM_ENTER(cuStreamGetCaptureInfo_v2);
    return info(handle, per_thread, status, id, graph, before, NULL, count);
}

SIM_STREAM_API(cuStreamGetCaptureInfo_v3, cuStreamGetCaptureInfo_v3_ptsz,
               (CUstream handle, enum sim_capture_status *status, uint64_t *id, CUgraph *graph,
                const CUgraphNode **before, const struct sim_graph_edge_data **data, size_t *count),
               (handle, status, id, graph, before, data, count))
{
    SIM_ENTER(cuStreamGetCaptureInfo_v3);
    return info(handle, per_thread, status, id, graph, before, data, count);
}

static CUresult set_dependencies(struct sim_capturing *part, const CUgraphNode *before,
                                 const struct sim_graph_edge_data *data, size_t count, bool replace)
{
    if (!part)
        return CUDA_ERROR_ILLEGAL_STATE;
    if (part->capture->status != SIM_CAPTURE_ACTIVE)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    for (size_t i = 0; i < count; i++)
        if (!sim_is(before[i], SIM_GRAPH_NODE) || before[i]->graph != part->capture->graph ||
            (data && !sim_edge_valid(before[i], &data[i])))
            return CUDA_ERROR_INVALID_VALUE;
    struct sim_node_list list = {0};
    CUresult result = CUDA_SUCCESS;
    for (uint32_t i = 0; !replace && result == CUDA_SUCCESS && i < part->before.count; i++)
        result = sim_node_list_add(&list, part->before.node[i], &part->before.data[i]);
    for (size_t i = 0; result == CUDA_SUCCESS && i < count; i++)
        if (sim_node_list_find(&list, before[i]) == list.count)
            result = sim_node_list_add(&list, before[i], data ? &data[i] : NULL);
    struct sim_node_list old =
        result ? list : part->before; /* the new one may be made of the old one's array */
    if (result == CUDA_SUCCESS)
        part->before = list;
    sim_node_list_free(&old);
    return result;
}

static CUresult update(CUstream handle, bool per_thread, const CUgraphNode *before,
                       const struct sim_graph_edge_data *data, size_t count, unsigned flags)
{
    struct sim_stream *stream;
    if (flags > 1 || (count && !before)) /* 0 adds, 1 replaces */
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    pthread_mutex_lock(&sim_capture_lock);
    CUresult result = set_dependencies(stream->capture, before, data, count, flags != 0);
    pthread_mutex_unlock(&sim_capture_lock);
    return result;
}

SIM_STREAM_API(cuStreamUpdateCaptureDependencies, cuStreamUpdateCaptureDependencies_ptsz,
               (CUstream handle, const CUgraphNode *before, size_t count, unsigned flags),
               (handle, before, count, flags))
{
    SIM_ENTER(cuStreamUpdateCaptureDependencies);
    return update(handle, per_thread, before, NULL, count, flags);
}

SIM_STREAM_API(cuStreamUpdateCaptureDependencies_v2, cuStreamUpdateCaptureDependencies_v2_ptsz,
               (CUstream handle, const CUgraphNode *before, const struct sim_graph_edge_data *data,
                size_t count, unsigned flags),
               (handle, before, data, count, flags))
{
    SIM_ENTER(cuStreamUpdateCaptureDependencies_v2);
    return update(handle, per_thread, before, data, count, flags);
}

using System.Text.Json;
using Dynamo.Vllm.Core.Engines;

namespace Dynamo.Vllm.Engine.Direct;

/// <summary>What vLLM's loggers are told of a request that has ended, in seconds.</summary>
/// <remarks>As <c>IterationStats.update_from_finished_request</c> of vLLM.</remarks>
internal readonly record struct FinishedRequest
{
    private DirectRequest Request { get; init; }

    private FinishReason Reason { get; init; }

    private double EndToEnd { get; init; }

    public static FinishedRequest Of(DirectRequest request, FinishReason reason, double now) =>
        new()
        {
            Request = request,
            Reason = reason,
            EndToEnd = now - request.ArrivalTime,
        };

    /// <summary>Under the names of <c>FinishedRequestStats</c>.</summary>
    public void Write(Utf8JsonWriter json)
    {
        var decode = Request.LastTokenAt - Request.FirstTokenAt;
        json.WriteStartObject();
        json.WriteNumber("finish_reason"u8, (int)Reason - 1); // the engine's numbers begin at 0
        json.WriteNumber("e2e_latency"u8, EndToEnd);
        json.WriteNumber("num_prompt_tokens"u8, Request.PromptTokens);
        json.WriteNumber("num_preemptions"u8, Request.Preemptions);
        json.WriteNumber("num_generation_tokens"u8, Request.GeneratedTokens);
        json.WriteNumber("max_tokens_param"u8, Request.MaxTokens);
        json.WriteNumber("queued_time"u8, Request.ScheduledAt - Request.QueuedAt);
        json.WriteNumber("prefill_time"u8, Request.FirstTokenAt - Request.ScheduledAt);
        json.WriteNumber("decode_time"u8, decode);
        json.WriteNumber("inference_time"u8, Request.LastTokenAt - Request.ScheduledAt);
        // The first token is the prefill's.
        json.WriteNumber("mean_time_per_output_token"u8, Request.GeneratedTokens > 1 ? decode / (Request.GeneratedTokens - 1) : 0);
        json.WriteNumber("num_cached_tokens"u8, Request.CachedTokens);
        json.WriteEndObject();
    }
}

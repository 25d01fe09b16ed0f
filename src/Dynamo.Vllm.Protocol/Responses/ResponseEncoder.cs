using System.Buffers;
using System.Text.Json;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Protocol.Responses;

/// <summary>Bodies of response frames in MessagePack. Who sends one makes JSON of it where the request named that.</summary>
/// <remarks>
/// <code>
/// item  = { "data": { "data": LLMEngineOutput }, "complete_final": false }
/// error = { "data": { "event": "error", "error": DynamoError }, "complete_final": false }
/// end   = { "complete_final": true }
/// </code>
/// request-plane.md, 4.1; llm-errors.md, 1-2. Key order is the reference worker's. Golden files: tests/golden/llm/wire-frames.json.
/// </remarks>
public static class ResponseEncoder
{
    public static void WriteDelta(IBufferWriter<byte> output, TokenDelta delta)
    {
        var writer = new MessagePackWriter(output);
        BeginItem(writer);
        WriteOutput(output, writer, delta);
        EndItem(writer);
    }

    /// <summary>An item whose data is any JSON value: the endpoints beside generate.</summary>
    public static void WriteValue(IBufferWriter<byte> output, ReadOnlySpan<byte> json)
    {
        var writer = new MessagePackWriter(output);
        BeginItem(writer);
        MessagePackJson.WriteMessagePack(json, output);
        EndItem(writer);
    }

    /// <summary>An item whose data is the value itself, not wrapped once more: answers to recovery queries (kv-and-load.md, 8).</summary>
    public static void WriteBareValue(IBufferWriter<byte> output, ReadOnlySpan<byte> messagePack)
    {
        var writer = new MessagePackWriter(output);
        writer.WriteMapHeader(2);
        writer.WriteString("data"u8);
        output.Write(messagePack);
        EndItem(writer);
    }

    public static void WriteError(IBufferWriter<byte> output, DynamoError error)
    {
        var writer = new MessagePackWriter(output);
        writer.WriteMapHeader(2);
        writer.WriteString("data"u8);
        writer.WriteMapHeader(2);
        writer.WriteString("event"u8);
        writer.WriteString("error"u8);
        writer.WriteString("error"u8);
        WriteErrorObject(writer, error);
        EndItem(writer);
    }

    /// <summary>The normal end of a stream; also after an error item.</summary>
    public static void WriteFinal(IBufferWriter<byte> output)
    {
        var writer = new MessagePackWriter(output);
        writer.WriteMapHeader(1);
        writer.WriteString("complete_final"u8);
        writer.WriteBoolean(true);
    }

    /// <summary>The header of a refusal in the prologue, always JSON: <c>{"error":text,"typed_error":{...}}</c>.</summary>
    public static byte[] EncodeRefusal(DynamoError error)
    {
        var packed = new ArrayBufferWriter<byte>();
        var writer = new MessagePackWriter(packed);
        writer.WriteMapHeader(2);
        writer.WriteString("error"u8);
        writer.WriteString(error.Message);
        writer.WriteString("typed_error"u8);
        WriteErrorObject(writer, error);
        var json = new ArrayBufferWriter<byte>();
        MessagePackJson.Transcode(packed.WrittenSpan, json);
        return json.WrittenSpan.ToArray();
    }

    private static void BeginItem(MessagePackWriter writer)
    {
        writer.WriteMapHeader(2);
        writer.WriteString("data"u8);
        writer.WriteMapHeader(1);
        writer.WriteString("data"u8);
    }

    private static void EndItem(MessagePackWriter writer)
    {
        writer.WriteString("complete_final"u8);
        writer.WriteBoolean(false);
    }

    private static void WriteOutput(IBufferWriter<byte> output, MessagePackWriter writer, TokenDelta delta)
    {
        writer.WriteMapHeader(CountFields(delta));
        if (delta.Index is { } index)
        {
            writer.WriteString("index"u8);
            writer.WriteInteger(index);
        }

        writer.WriteString("token_ids"u8);
        writer.WriteArrayHeader(delta.TokenIds.Length);
        foreach (var id in delta.TokenIds.Span)
        {
            writer.WriteInteger(id);
        }

        if (delta.Logprobs is { } logprobs)
        {
            WriteLogprobs(writer, logprobs);
        }

        WriteJsonField(output, writer, "disaggregated_params"u8, delta.DisaggregatedParamsJson);
        if (delta.Usage is { } usage)
        {
            writer.WriteString("completion_usage"u8);
            WriteUsage(output, writer, usage);
        }

        if (delta.FinishReason is { } finishReason)
        {
            writer.WriteString("finish_reason"u8);
            writer.WriteString(finishReason);
        }

        WriteJsonField(output, writer, "engine_data"u8, delta.EngineDataJson);
        WriteJsonField(output, writer, "stop_reason"u8, delta.StopReasonJson);
    }

    private static int CountFields(TokenDelta delta) =>
        1
        + (delta.Index is null ? 0 : 1)
        + (delta.Logprobs is null ? 0 : 2)
        + (delta.DisaggregatedParamsJson is null ? 0 : 1)
        + (delta.Usage is null ? 0 : 1)
        + (delta.FinishReason is null ? 0 : 1)
        + (delta.EngineDataJson is null ? 0 : 1)
        + (delta.StopReasonJson is null ? 0 : 1);

    private static void WriteJsonField(
        IBufferWriter<byte> output,
        MessagePackWriter writer,
        ReadOnlySpan<byte> name,
        ReadOnlyMemory<byte>? json
    )
    {
        if (json is { } value)
        {
            writer.WriteString(name);
            MessagePackJson.WriteMessagePack(value.Span, output);
        }
    }

    private static void WriteLogprobs(MessagePackWriter writer, IReadOnlyList<TokenLogprobs> logprobs)
    {
        writer.WriteString("log_probs"u8);
        writer.WriteArrayHeader(logprobs.Count);
        foreach (var token in logprobs)
        {
            writer.WriteDouble(token.Selected);
        }

        writer.WriteString("top_logprobs"u8);
        writer.WriteArrayHeader(logprobs.Count);
        foreach (var token in logprobs)
        {
            writer.WriteArrayHeader(token.Top.Count);
            foreach (var candidate in token.Top)
            {
                WriteTopLogprob(writer, candidate);
            }
        }
    }

    private static void WriteTopLogprob(MessagePackWriter writer, in TopLogprob candidate)
    {
        writer.WriteMapHeader(5);
        writer.WriteString("rank"u8);
        if (candidate.Rank > 0)
        {
            writer.WriteInteger(candidate.Rank);
        }
        else
        {
            writer.WriteNil();
        }

        writer.WriteString("token_id"u8);
        writer.WriteInteger(candidate.TokenId);
        writer.WriteString("token"u8);
        writer.WriteString(candidate.TokenUtf8.Span);
        writer.WriteString("logprob"u8);
        writer.WriteDouble(candidate.Logprob);
        writer.WriteString("bytes"u8);
        if (candidate.TokenUtf8.IsEmpty)
        {
            // Null, not an empty list, when the text is empty (behaviour.md, 13).
            writer.WriteNil();
            return;
        }

        writer.WriteArrayHeader(candidate.TokenUtf8.Length);
        foreach (var octet in candidate.TokenUtf8.Span)
        {
            writer.WriteInteger(octet);
        }
    }

    private static void WriteUsage(IBufferWriter<byte> output, MessagePackWriter writer, in CompletionUsage usage)
    {
        writer.WriteMapHeader(4);
        writer.WriteString("prompt_tokens"u8);
        WriteNullable(writer, usage.PromptTokens);
        writer.WriteString("completion_tokens"u8);
        writer.WriteInteger(usage.CompletionTokens);
        writer.WriteString("total_tokens"u8);
        WriteNullable(writer, usage.PromptTokens + usage.CompletionTokens);
        writer.WriteString("prompt_tokens_details"u8);
        if (usage.DetailsJson is { } details)
        {
            MessagePackJson.WriteMessagePack(details.Span, output);
        }
        else if (usage.CachedTokens is { } cached)
        {
            writer.WriteMapHeader(1);
            writer.WriteString("cached_tokens"u8);
            writer.WriteInteger(cached);
        }
        else
        {
            writer.WriteNil();
        }
    }

    private static void WriteNullable(MessagePackWriter writer, int? value)
    {
        if (value is { } number)
        {
            writer.WriteInteger(number);
        }
        else
        {
            writer.WriteNil();
        }
    }

    private static void WriteErrorObject(MessagePackWriter writer, DynamoError error)
    {
        writer.WriteMapHeader(error.PublicMessage is null ? 5 : 6);
        writer.WriteString("error_type"u8);
        if (error.IsBackendType)
        {
            writer.WriteMapHeader(1);
            writer.WriteString("Backend"u8);
        }

        writer.WriteString(error.Type);
        writer.WriteString("class"u8);
        writer.WriteString(error.Class);
        writer.WriteString("reason"u8);
        writer.WriteString(error.Reason);
        writer.WriteString("message"u8);
        writer.WriteString(error.Message);
        writer.WriteString("diagnostic"u8);
        writer.WriteString(error.Message);
        if (error.PublicMessage is { } publicMessage)
        {
            writer.WriteString("public"u8);
            writer.WriteMapHeader(2);
            writer.WriteString("type"u8);
            writer.WriteString("message"u8);
            writer.WriteString("message"u8);
            writer.WriteString(publicMessage);
        }
    }
}

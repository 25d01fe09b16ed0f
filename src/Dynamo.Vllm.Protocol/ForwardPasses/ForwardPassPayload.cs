using System.Buffers;
using System.Globalization;
using System.Text.Json;
using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Protocol.ForwardPasses;

/// <summary>The engine's account of one forward pass, for trace files: what must be in it, and its JSON.</summary>
/// <remarks>
/// Checks, their order and their words are those of the reference's trace (seen of the official package); members that are not known stay.
/// kv-and-load.md, 12.
/// </remarks>
public static class ForwardPassPayload
{
    /// <summary>A usual one has some 400 bytes.</summary>
    public const int BytesMax = 16 * 1024;

    private const int VersionKnown = 1;

    private static readonly string[] Counts = ["num_prefill_requests", "sum_prefill_tokens", "num_decode_requests", "sum_decode_kv_tokens"];

    private static readonly string[] Variances = ["var_prefill_length", "var_decode_kv_tokens"];

    /// <param name="messagePack">As the engine sent it.</param>
    /// <param name="json">The same as one JSON object without line breaks.</param>
    /// <param name="problem">Why it is none, or null.</param>
    public static bool TryRead(ReadOnlySpan<byte> messagePack, out ReadOnlyMemory<byte> json, out string? problem)
    {
        json = default;
        if (messagePack.Length > BytesMax)
        {
            problem = string.Create(CultureInfo.InvariantCulture, $"FPM payload has {messagePack.Length} bytes, the limit is {BytesMax}");
            return false;
        }

        var buffer = new ArrayBufferWriter<byte>(1024);
        try
        {
            MessagePackJson.Transcode(messagePack, buffer, marksFloats: true);
        }
        catch (ProtocolException exception)
        {
            problem = $"decoding FPM msgpack: {exception.Message}";
            return false;
        }

        using var document = JsonDocument.Parse(buffer.WrittenMemory, new JsonDocumentOptions { MaxDepth = Limits.NestingDepthMax + 1 });
        problem = Check(document.RootElement);
        json = buffer.WrittenMemory;
        return problem is null;
    }

    private static string? Check(JsonElement pass)
    {
        if (pass.ValueKind != JsonValueKind.Object)
        {
            return "FPM payload is not a msgpack map";
        }

        if (Count(pass, "version") != VersionKnown)
        {
            return "FPM payload has unsupported or missing version";
        }

        if (!pass.TryGetProperty("worker_id", out var worker) || worker.ValueKind != JsonValueKind.String)
        {
            return "FPM payload has no string worker_id";
        }

        foreach (var name in (ReadOnlySpan<string>)["dp_rank", "counter_id"])
        {
            if (Count(pass, name) is null)
            {
                return $"FPM payload has no non-negative integer {name}";
            }
        }

        foreach (var name in (ReadOnlySpan<string>)["scheduled_requests", "queued_requests"])
        {
            if (!pass.TryGetProperty(name, out var requests) || requests.ValueKind != JsonValueKind.Object)
            {
                return $"FPM payload has no {name} map";
            }
        }

        var scheduled = pass.GetProperty("scheduled_requests");
        return CheckNumber(pass, "wall_time")
            ?? CheckRequests(scheduled)
            ?? CheckCount(scheduled, "sum_prefill_kv_tokens")
            ?? CheckRequests(pass.GetProperty("queued_requests"));
    }

    private static string? CheckRequests(JsonElement requests) =>
        Counts.Select(name => CheckCount(requests, name)).FirstOrDefault(problem => problem is not null)
        ?? Variances.Select(name => CheckNumber(requests, name)).FirstOrDefault(problem => problem is not null);

    private static string? CheckCount(JsonElement parent, string name) =>
        Count(parent, name) is null ? $"FPM field {name} must be a non-negative integer" : null;

    private static string? CheckNumber(JsonElement parent, string name) =>
        parent.TryGetProperty(name, out var value)
        && value.ValueKind == JsonValueKind.Number
        && value.GetDouble() is >= 0 and < double.PositiveInfinity
            ? null
            : $"FPM field {name} must be a finite non-negative number";

    private static ulong? Count(JsonElement parent, string name) =>
        parent.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Number && value.TryGetUInt64(out var count)
            ? count
            : null;
}

using System.Text.Json.Nodes;
using Dynamo.Vllm.Worker.NativeGrpc.Contract;
using Google.Protobuf;
using Grpc.Core;
using Grpc.Net.Client;

namespace Dynamo.Vllm.PeerTests;

/// <summary>The calls that were captured at vLLM's own server, made once more at a worker of ours.</summary>
internal sealed class NativeReplay(GrpcChannel channel)
{
    private static readonly JsonParser Parser = new(JsonParser.Settings.Default.WithIgnoreUnknownFields(true));

    /// <summary>Captured requests with their answers, by name; those with an answer too long to be kept whole are left out.</summary>
    public static IReadOnlyDictionary<string, JsonObject> Requests { get; } =
        GrpcCapture
            .CallsIn("grpc/native-calls.jsonl")
            .Where(call => call["messages"] is not null && call["partial"] is null)
            .ToDictionary(call => call["name"]!.GetValue<string>());

    /// <summary>Every message, or the error at the end, in the form of the capture.</summary>
    public Task<JsonObject> StreamAsync(JsonObject captured)
    {
        var request = Parser.Parse<GenerateRequest>(captured["request"]!.ToJsonString());
        var metadata = new Metadata();
        if (RankOf(captured["name"]!.GetValue<string>()) is { } rank)
        {
            metadata.Add("x-data-parallel-rank", rank);
        }

        var client = new Inference.InferenceClient(channel);
        return GrpcCapture.StreamAsync(limit => client.GenerateStream(request, metadata, cancellationToken: limit));
    }

    private static string? RankOf(string name) =>
        name switch
        {
            "dp rank 0" => "0",
            "dp rank 5" => "5",
            "dp rank bad" => "abc",
            _ => null,
        };
}

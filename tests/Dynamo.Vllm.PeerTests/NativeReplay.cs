using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Worker.NativeGrpc.Contract;
using Google.Protobuf;
using Grpc.Core;
using Grpc.Net.Client;

namespace Dynamo.Vllm.PeerTests;

/// <summary>The calls that were captured at vLLM's own server, made once more at a worker of ours.</summary>
internal sealed class NativeReplay(GrpcChannel channel)
{
    private static readonly JsonParser Parser = new(JsonParser.Settings.Default.WithIgnoreUnknownFields(true));

    private static readonly JsonFormatter Formatter = new(JsonFormatter.Settings.Default.WithPreserveProtoFieldNames(true));

    /// <summary>Captured requests with their answers, by name; those with an answer too long to be kept whole are left out.</summary>
    public static IReadOnlyDictionary<string, JsonObject> Requests { get; } =
        Golden
            .Text("grpc/native-calls.jsonl")
            .Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(line => JsonNode.Parse(line)!.AsObject())
            .Where(call => call["messages"] is not null && call["partial"] is null)
            .ToDictionary(call => call["name"]!.GetValue<string>());

    /// <summary>Every message, or the error at the end, in the form of the capture.</summary>
    public async Task<JsonObject> StreamAsync(JsonObject captured)
    {
        var request = Parser.Parse<GenerateRequest>(captured["request"]!.ToJsonString());
        var metadata = new Metadata();
        if (RankOf(captured["name"]!.GetValue<string>()) is { } rank)
        {
            metadata.Add("x-data-parallel-rank", rank);
        }

        using var limit = new CancellationTokenSource(TimeSpan.FromMinutes(1));
        using var call = new Inference.InferenceClient(channel).GenerateStream(request, metadata, cancellationToken: limit.Token);
        var messages = new JsonArray();
        try
        {
            while (await call.ResponseStream.MoveNext(limit.Token))
            {
                messages.Add(JsonNode.Parse(Formatter.Format(call.ResponseStream.Current)));
            }
        }
        catch (RpcException failure)
        {
            return new JsonObject
            {
                ["error"] = new JsonObject { ["code"] = Word(failure.StatusCode), ["details"] = failure.Status.Detail },
            };
        }

        return new JsonObject { ["messages"] = messages };
    }

    /// <summary>How gRPC writes a code.</summary>
    public static string Word(StatusCode code) =>
        string.Concat(
            code.ToString().Select((letter, i) => i > 0 && char.IsUpper(letter) ? $"_{letter}" : $"{char.ToUpperInvariant(letter)}")
        );

    private static string? RankOf(string name) =>
        name switch
        {
            "dp rank 0" => "0",
            "dp rank 5" => "5",
            "dp rank bad" => "abc",
            _ => null,
        };
}

using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;
using Google.Protobuf;
using Grpc.Core;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Calls that were captured at vLLM's servers, and ours in the form of the capture.</summary>
internal static class GrpcCapture
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(1);

    private static readonly JsonFormatter Formatter = new(JsonFormatter.Settings.Default.WithPreserveProtoFieldNames(true));

    /// <summary>Each line of a golden file is one.</summary>
    public static IEnumerable<JsonObject> CallsIn(string golden) =>
        Golden.Text(golden).Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => JsonNode.Parse(line)!.AsObject());

    /// <summary>Every message, or the error at the end.</summary>
    /// <param name="begin">Makes the call, which lasts no longer than its token.</param>
    public static async Task<JsonObject> StreamAsync<T>(Func<CancellationToken, AsyncServerStreamingCall<T>> begin)
        where T : IMessage
    {
        using var limit = new CancellationTokenSource(Limit);
        using var call = begin(limit.Token);
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
}

using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Worker.GatewayGrpc.Contract;
using Google.Protobuf;
using Google.Protobuf.Reflection;

namespace Dynamo.Vllm.UnitTests.Worker.GatewayGrpc;

/// <summary>Names and numbers of the fields, against what a gateway and vLLM's own server said, in the bytes of the published
/// contract.</summary>
public sealed class GatewayContractTests
{
    /// <summary>Unknown fields are a mistake here.</summary>
    private static readonly JsonParser Json = new(JsonParser.Settings.Default);

    [Fact]
    public void What_a_gateway_sends_is_known_to_the_last_field()
    {
        var calls = Lines("gateway-sends.jsonl").ToList();
        Assert.True(calls.Count > 5);
        var compared = 0;
        foreach (var call in calls)
        {
            var method = VllmEngineReflection.Descriptor.Services.Single().FindMethodByName(call["path"]!.GetValue<string>().Split('/')[2]);
            var request = Json.Parse(call["request"]!.ToJsonString(), method.InputType);
            compared += Compare(method.InputType, request, call["hex"]);
        }

        Assert.True(compared >= 3);
    }

    [Fact]
    public void What_vLLM_s_own_server_was_asked_and_answered_has_the_bytes_that_are_written_here()
    {
        var compared = 0;
        foreach (var call in Lines("gateway-calls.jsonl"))
        {
            if (call["request_hex"] is { } hex)
            {
                compared += Compare(GenerateRequest.Descriptor, Json.Parse<GenerateRequest>(call["request"]!.ToJsonString()), hex);
            }

            foreach (var (message, bytes) in call["messages"]?.AsArray().Zip(call["messages_hex"]?.AsArray() ?? []) ?? [])
            {
                compared += Compare(GenerateResponse.Descriptor, Json.Parse<GenerateResponse>(message!.ToJsonString()), bytes);
            }

            if (call["response_hex"] is { } answer)
            {
                var type = VllmEngineReflection.Descriptor.Services.Single().FindMethodByName(call["name"]!.GetValue<string>()).OutputType;
                compared += Compare(type, Json.Parse(call["response"]!.ToJsonString(), type), answer);
            }
        }

        Assert.True(compared > 50);
    }

    /// <summary>Later fields than those of the contract as it was published have no bytes to be compared with.</summary>
    [Fact]
    public void Fields_that_are_newer_than_the_published_contract_are_known_by_name() =>
        Assert.All(
            Lines("gateway-calls.jsonl").Where(call => call["response"] is not null),
            call =>
                Json.Parse(
                    call["response"]!.ToJsonString(),
                    VllmEngineReflection.Descriptor.Services.Single().FindMethodByName(call["name"]!.GetValue<string>()).OutputType
                )
        );

    private static int Compare(MessageDescriptor type, IMessage message, JsonNode? hex)
    {
        if (hex is null)
        {
            return 0;
        }

        var bytes = Convert.FromHexString(hex.GetValue<string>());
        Assert.Equal(type.Parser.ParseFrom(bytes), message);
        Assert.Equal(bytes, message.ToByteArray());
        return 1;
    }

    private static IEnumerable<JsonObject> Lines(string file) =>
        Golden.Text($"grpc/{file}").Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => JsonNode.Parse(line)!.AsObject());
}

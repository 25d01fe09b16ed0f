using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Worker.NativeGrpc.Contract;
using Google.Protobuf;
using Google.Protobuf.Reflection;

namespace Dynamo.Vllm.UnitTests.Worker.NativeGrpc;

/// <summary>The field numbers, against what a real client and a real server of the contract put on the wire.</summary>
public sealed class ContractTests
{
    private static readonly JsonParser Json = new(JsonParser.Settings.Default);

    [Fact]
    public void What_the_sidecar_sends_is_read_to_the_last_field_and_written_in_the_same_bytes()
    {
        var calls = Read("sidecar-calls.jsonl").ToList();
        Assert.True(calls.Count > 10);
        Assert.All(
            calls,
            call =>
            {
                var bytes = Convert.FromHexString(call["raw"]!.GetValue<string>());
                var type = MethodOf(call["path"]!.GetValue<string>()).InputType;
                var read = type.Parser.ParseFrom(bytes);
                Assert.Equal(Json.Parse(call["request"]!.ToJsonString(), type), read);
                Assert.Equal(bytes, read.ToByteArray());
            }
        );
    }

    [Fact]
    public void What_the_native_server_answers_has_the_bytes_that_are_written_here()
    {
        var answers = Read("native-calls.jsonl").Where(call => call["response_hex"] is not null).ToList();
        Assert.True(answers.Count > 5);
        Assert.All(
            answers,
            answer =>
            {
                var name = answer["name"]!.GetValue<string>();
                var type = name.StartsWith("unary", StringComparison.Ordinal)
                    ? GenerateResponse.Descriptor
                    : ControlReflection
                        .Descriptor.Services[0]
                        .Methods.Where(method => name.StartsWith(method.Name, StringComparison.Ordinal))
                        .MaxBy(method => method.Name.Length)!
                        .OutputType;
                var bytes = Convert.FromHexString(answer["response_hex"]!.GetValue<string>());
                Assert.Equal(bytes, Json.Parse(answer["response"]!.ToJsonString(), type).ToByteArray());
            }
        );
    }

    private static MethodDescriptor MethodOf(string path)
    {
        var parts = path.Split('/');
        var services = InferenceReflection.Descriptor.Services.Concat(ControlReflection.Descriptor.Services);
        return services.Single(service => service.FullName == parts[1]).FindMethodByName(parts[2]);
    }

    private static IEnumerable<JsonObject> Read(string file) =>
        Golden.Text($"grpc/{file}").Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => JsonNode.Parse(line)!.AsObject());
}

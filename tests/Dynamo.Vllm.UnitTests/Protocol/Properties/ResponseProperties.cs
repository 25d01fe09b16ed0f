using System.Buffers;
using System.Text;
using System.Text.Json.Nodes;
using CsCheck;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Responses;

namespace Dynamo.Vllm.UnitTests.Protocol.Properties;

/// <summary>Items of an answer, read back.</summary>
public sealed class ResponseProperties
{
    [Fact]
    public void An_item_holds_what_was_put_into_it() =>
        Gen.Select(
                Gen.Int.Array[0, 40],
                Gen.Int[0, 100].Nullable(),
                Gen.OneOf<string?>(null, "stop", "length", "cancelled"),
                Gen.Select(Gen.Int[0, int.MaxValue / 2].Nullable(), Gen.Int[0, int.MaxValue / 2], Gen.Int[0, 5].Nullable()),
                Gen.String.AlphaNumeric.Null()
            )
            .Sample(
                (tokens, index, finish, counts, stop) =>
                {
                    var delta = new TokenDelta
                    {
                        TokenIds = tokens,
                        Index = index,
                        FinishReason = finish,
                        Usage = new CompletionUsage(counts.Item1, counts.Item2, counts.Item3),
                        StopReasonJson = stop is null
                            ? default(ReadOnlyMemory<byte>?)
                            : Encoding.UTF8.GetBytes(JsonValue.Create(stop).ToJsonString()),
                    };
                    var output = new ArrayBufferWriter<byte>();
                    ResponseEncoder.WriteDelta(output, delta);
                    var data = JsonPayload.Parse(output.WrittenSpan, PayloadCodec.MessagePack)!["data"]!["data"]!;
                    Assert.Equal(tokens, data["token_ids"]!.AsArray().Select(token => token!.GetValue<int>()));
                    Assert.Equal(index, data["index"]?.GetValue<int>());
                    Assert.Equal(finish, data["finish_reason"]?.GetValue<string>());
                    Assert.Equal(stop, data["stop_reason"]?.GetValue<string>());
                    Assert.Equal(counts.Item2, data["completion_usage"]!["completion_tokens"]!.GetValue<int>());
                    Assert.Equal(counts.Item1, data["completion_usage"]!["prompt_tokens"]?.GetValue<int>());
                },
                iter: Damaged.Tries / 4
            );
}

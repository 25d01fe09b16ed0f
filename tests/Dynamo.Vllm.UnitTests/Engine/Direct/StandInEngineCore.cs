using System.Buffers;
using System.Net.Sockets;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol.MessagePack;
using Dynamo.Vllm.Protocol.Zmtp;

namespace Dynamo.Vllm.UnitTests.Engine.Direct;

/// <summary>The engine's side of the two connections.</summary>
internal sealed class StandInEngineCore : IAsyncDisposable
{
    private readonly ZmtpConnection _input;
    private readonly ZmtpConnection _output;
    private readonly ZmtpMessageReader _reader = new(framesKept: 2, 1 << 20);

    private StandInEngineCore(ZmtpConnection input, ZmtpConnection output)
    {
        _input = input;
        _output = output;
    }

    public static async Task<StandInEngineCore> ConnectAsync(JsonObject offer)
    {
        var input = await ConnectAsync((string)offer["input"]!, "DEALER"u8.ToArray());
        var output = await ConnectAsync((string)offer["output"]!, "PUSH"u8.ToArray());
        return new StandInEngineCore(input, output);
    }

    /// <summary>The next message: its type, and its body as JSON.</summary>
    public async Task<(byte Type, JsonArray Body)> ReceiveAsync()
    {
        while (true)
        {
            var result = await _input.Input.ReadAsync();
            var buffer = result.Buffer;
            if (_reader.TryRead(ref buffer))
            {
                var message = (_reader.Frame(0).Span[0], EngineFrames.ReadArray(_reader.Frame(1).Span));
                _input.Input.AdvanceTo(buffer.Start);
                return message;
            }

            Assert.False(result.IsCompleted);
            _input.Input.AdvanceTo(buffer.Start, buffer.End);
        }
    }

    /// <summary>A step with one output for each of these.</summary>
    public Task StepAsync(double timestamp, params (string Id, int[] Tokens, int? Finish)[] outputs)
    {
        var step = new JsonArray(
            0,
            new JsonArray([.. outputs.Select(output => (JsonNode)Output(output.Id, output.Tokens, output.Finish))]),
            new JsonObject { ["num_running_reqs"] = outputs.Length, ["kv_cache_usage"] = 0.25 },
            timestamp,
            null,
            null,
            null,
            null
        );
        var body = new ArrayBufferWriter<byte>();
        MessagePackJson.WriteMessagePack(System.Text.Encoding.UTF8.GetBytes(step.ToJsonString()), body);
        return SendAsync(body.WrittenMemory);
    }

    public async Task SendAsync(ReadOnlyMemory<byte> body)
    {
        ZmtpCodec.WriteFrameHeader(_output.Output, 0, body.Length);
        await _output.Output.WriteAsync(body);
    }

    public async ValueTask DisposeAsync()
    {
        await _input.DisposeAsync();
        await _output.DisposeAsync();
    }

    private static JsonArray Output(string id, int[] tokens, int? finish)
    {
        var output = new JsonArray([id, new JsonArray([.. tokens.Select(token => (JsonNode)token)]), .. new JsonNode?[16]]);
        output[5] = finish;
        return output;
    }

    private static async Task<ZmtpConnection> ConnectAsync(string address, byte[] type)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(address["ipc://".Length..]));
        return await ZmtpConnection.OpenAsync(new NetworkStream(socket, ownsSocket: true), type, _ => true, TimeProvider.System, default);
    }
}

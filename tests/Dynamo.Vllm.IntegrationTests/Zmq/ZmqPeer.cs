using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Dynamo.Vllm.IntegrationTests.Zmq;

using Dynamo.Vllm.Testing;

/// <summary>A real libzmq socket in a process of its own (zmq_peer.py).</summary>
internal sealed class ZmqPeer : IAsyncDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    /// <summary>Below the patience of one read, so that the message says what was sent in vain.</summary>
    private static readonly TimeSpan ArrivalLimit = TimeSpan.FromSeconds(20);

    private readonly Process _process;

    private ZmqPeer(Process process) => _process = process;

    public static ZmqPeer Start(params string[] arguments)
    {
        var start = new ProcessStartInfo(Peers.Python) { RedirectStandardInput = true, RedirectStandardOutput = true };
        start.ArgumentList.Add(Path.Combine(AppContext.BaseDirectory, "Zmq", "zmq_peer.py"));
        foreach (var argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        return new ZmqPeer(Process.Start(start)!);
    }

    /// <summary>The next line that has the field; others are passed over.</summary>
    public async Task<JsonNode> ReadAsync(string field)
    {
        while (true)
        {
            var line =
                await _process.StandardOutput.ReadLineAsync().WaitAsync(Patience)
                ?? throw new InvalidOperationException($"the libzmq peer ended while '{field}' was awaited");
            if (JsonNode.Parse(line)![field] is { } value)
            {
                return value;
            }
        }
    }

    /// <summary>Frames of the next message.</summary>
    public async Task<byte[][]> ReadFramesAsync() =>
        [.. (await ReadAsync("frames")).AsArray().Select(frame => Convert.FromHexString(frame!.GetValue<string>()))];

    public async Task SendAsync(params byte[][] frames) =>
        await WriteAsync(
            new JsonObject { ["send"] = new JsonArray([.. frames.Select(frame => JsonValue.Create(Convert.ToHexStringLower(frame)))]) }
        );

    public async Task WriteAsync(JsonObject command)
    {
        await _process.StandardInput.WriteLineAsync(JsonSerializer.Serialize(command));
        await _process.StandardInput.FlushAsync();
    }

    /// <summary>Publishers do not tell when they have taken a subscription, so
    /// it is sent again until something arrives (against style T2).</summary>
    public static async Task ArrivesAsync(Task arrived, Func<Task> send, string circumstances)
    {
        using var limit = new CancellationTokenSource(ArrivalLimit);
        while (!arrived.IsCompleted)
        {
            Assert.False(limit.IsCancellationRequested, $"nothing arrives {circumstances}");
            await send();
            await Task.WhenAny(arrived, Task.Delay(20));
        }

        await arrived;
    }

    public async ValueTask DisposeAsync()
    {
        _process.Kill(); // only the process that this peer started
        await _process.WaitForExitAsync();
        _process.Dispose();
    }
}

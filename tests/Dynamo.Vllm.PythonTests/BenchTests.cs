using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PythonTests;

/// <summary><c>bench</c> as a program, against a server of the test that cuts its packets where no event ends.</summary>
public sealed class BenchTests : IDisposable
{
    private const int Tokens = 6;
    private const int PacketBytes = 37;

    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly CancellationTokenSource _end = new();
    private readonly TemporaryFolder _folder = new();
    private int _connections;
    private int _answered;

    public BenchTests()
    {
        _listener.Start();
        Port = ((IPEndPoint)_listener.LocalEndpoint).Port.ToString(CultureInfo.InvariantCulture);
    }

    private string Port { get; }

    public void Dispose()
    {
        _end.Cancel();
        _listener.Dispose();
        _end.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public async Task A_run_is_summed_up_and_saved()
    {
        _ = ServeAsync(TimeSpan.FromMilliseconds(5));
        await using var bench = Start("--num-prompts", "40", "--max-concurrency", "4", "--result-filename", "run.json");
        Assert.Equal(0, await bench.ExitCodeAsync(Limit));
        Assert.Contains("Successful requests:                     40", bench.Lines);
        Assert.Contains("Total generated tokens:                  240", bench.Lines);
        Assert.Contains("Total input tokens:                      360", bench.Lines);
        Assert.Equal(4, _connections);
        var result = JsonNode.Parse(await File.ReadAllTextAsync(Path.Combine(_folder.Path, "run.json")))!;
        Assert.Equal((40, 0, "tiny"), ((int)result["completed"]!, (int)result["failed"]!, (string)result["model_id"]!));
        Assert.InRange((double)result["median_itl_ms"]!, 4, 200); // the server waits 5 ms before each
        Assert.InRange((double)result["mean_ttft_ms"]!, 4, 200);
    }

    [Fact]
    public async Task Ctrl_C_sums_up_what_was_done()
    {
        _ = ServeAsync(TimeSpan.FromMilliseconds(20));
        await using var bench = Start("--num-prompts", "16000", "--max-concurrency", "2");
        await Polling.UntilAsync("no request is answered", Limit, () => Task.FromResult(Volatile.Read(ref _answered) >= 4));
        bench.Signal("INT");
        Assert.Equal(130, await bench.ExitCodeAsync(Limit));
        var successful = bench.Lines.Single(line => line.StartsWith("Successful requests:", StringComparison.Ordinal));
        Assert.InRange(int.Parse(successful.Split(' ')[^1], CultureInfo.InvariantCulture), 3, 15_000);
        Assert.Contains("Failed requests:                         0", bench.Lines);
        Assert.Contains(bench.Lines, line => line.StartsWith("Stopped early: ", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Without_a_server_or_with_wrong_options_the_exit_code_says_so()
    {
        _listener.Stop();
        await using var bench = Start();
        Assert.Equal(1, await bench.ExitCodeAsync(Limit));
        Assert.Contains(bench.Lines, line => line.Contains("cannot be reached: ", StringComparison.Ordinal));
        await using var unknown = Start("--burstiness", "2");
        Assert.Equal(2, await unknown.ExitCodeAsync(Limit));
        Assert.Contains(unknown.Lines, line => line.Contains("'--burstiness'", StringComparison.Ordinal));
        await using var wrong = Start("--num-prompts", "0");
        Assert.Equal(2, await wrong.ExitCodeAsync(Limit));
    }

    private ChildProcess Start(params string[] arguments) =>
        new(
            "bench",
            "dotnet",
            [
                Path.Combine(AppContext.BaseDirectory, "Dynamo.Vllm.Worker.dll"),
                "bench",
                "--port",
                Port,
                "--output-len",
                Tokens.ToString(CultureInfo.InvariantCulture),
                "--result-dir",
                _folder.Path,
                "--save-result",
                .. arguments,
            ],
            new Dictionary<string, string>()
        );

    private async Task ServeAsync(TimeSpan pause)
    {
        while (!_end.IsCancellationRequested)
        {
            var client = await _listener.AcceptTcpClientAsync(_end.Token);
            Interlocked.Increment(ref _connections);
            _ = AnswerAsync(client, pause);
        }
    }

    /// <summary>One connection; the client ends it, at the latest with its process.</summary>
    private async Task AnswerAsync(TcpClient client, TimeSpan pause)
    {
        using (client)
        {
            client.NoDelay = true;
            var stream = client.GetStream();
            using var reader = new StreamReader(stream, Encoding.ASCII, leaveOpen: true);
            while (await reader.ReadLineAsync(_end.Token) is { Length: > 0 } first)
            {
                await SkipRequestAsync(reader);
                if (first.StartsWith("GET /v1/models ", StringComparison.Ordinal))
                {
                    const string models = """{"data":[{"id":"tiny"}]}""";
                    await stream.WriteAsync(
                        Encoding.ASCII.GetBytes($"HTTP/1.1 200 OK\r\nContent-Length: {models.Length}\r\n\r\n{models}"),
                        _end.Token
                    );
                    continue;
                }

                await stream.WriteAsync(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"u8.ToArray(),
                    _end.Token
                );
                for (var i = 0; i < Tokens; i++)
                {
                    await Task.Delay(pause, _end.Token);
                    await WriteAsync(stream, "data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"text\":\"a\"}]}\r\n\r\n");
                }

                await WriteAsync(stream, $"data: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":9,\"completion_tokens\":{Tokens}}}}}\n\n");
                await WriteAsync(stream, "data: [DONE]\n\n");
                await stream.WriteAsync("0\r\n\r\n"u8.ToArray(), _end.Token);
                Interlocked.Increment(ref _answered);
            }
        }
    }

    private async Task SkipRequestAsync(StreamReader reader)
    {
        var length = 0;
        while (await reader.ReadLineAsync(_end.Token) is { Length: > 0 } header)
        {
            if (header.StartsWith("Content-Length: ", StringComparison.OrdinalIgnoreCase))
            {
                length = int.Parse(header.AsSpan("Content-Length: ".Length), CultureInfo.InvariantCulture);
            }
        }

        if (length > 0)
        {
            await reader.ReadBlockAsync(new char[length], _end.Token);
        }
    }

    private async Task WriteAsync(NetworkStream stream, string text)
    {
        for (var rest = Encoding.ASCII.GetBytes(text).AsMemory(); rest.Length > 0; )
        {
            var packet = rest[..Math.Min(PacketBytes, rest.Length)];
            var size = Encoding.ASCII.GetBytes(packet.Length.ToString("x", CultureInfo.InvariantCulture) + "\r\n");
            await stream.WriteAsync(
                new byte[][] { size, packet.ToArray(), "\r\n"u8.ToArray() }
                    .SelectMany(part => part)
                    .ToArray(),
                _end.Token
            );
            rest = rest[packet.Length..];
        }
    }
}

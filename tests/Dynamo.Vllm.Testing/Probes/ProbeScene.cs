using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Transports.Client;

namespace Dynamo.Vllm.Testing.Probes;

/// <summary>A worker on the simulated engine in one of the situations, and its kubelet: a new connection for each probe.</summary>
public sealed class ProbeScene : IAsyncDisposable
{
    private const int Streams = 1000;
    private const int Connections = 1000;

    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    private readonly TemporaryFolder _store = new();
    private readonly TemporaryFolder _fault = new();
    private readonly List<IAsyncDisposable> _open = [];
    private readonly CancellationTokenSource _ending = new();
    private readonly HttpClient _http = new(new SocketsHttpHandler { PooledConnectionLifetime = TimeSpan.Zero });
    private readonly WorkerProcess _worker;

    private ProbeScene(ProbeSituation situation)
    {
        var stepMilliseconds = situation == ProbeSituation.ThousandStreams ? "100" : "10"; // 10,000 tokens a second in all
        string[] arguments = ["--simulated-step-time-ms", stepMilliseconds, "--max-num-seqs", "1024"];
        var environment =
            situation == ProbeSituation.InterpreterBusy ? PythonFault.Environment(_fault, PythonFault.HoldsTheLockWhenTold) : [];
        string[]? launcher = situation == ProbeSituation.ConnectionsFull ? ["prlimit", "--nofile=512"] : null;
        _worker = WorkerProcess.StartSimulated(_store.Path, arguments, environment, launcher);
    }

    /// <summary>In the situation once this returns.</summary>
    public static async Task<ProbeScene> OpenAsync(ProbeSituation situation)
    {
        var scene = new ProbeScene(situation);
        await scene._worker.ReadyAsync(Limit);
        switch (situation)
        {
            case ProbeSituation.InterpreterBusy:
                scene._fault.Write("hold", "");
                await scene._worker.Process.LineAsync("holding the lock", Limit);
                break;
            case ProbeSituation.EngineFrozen:
                await scene.StreamAsync(8);
                scene._worker.Process.Signal("STOP", scene._worker.FindEngineCore());
                break;
            case ProbeSituation.ThousandStreams:
                await scene.StreamAsync(Streams);
                break;
            case ProbeSituation.ConnectionsFull:
                await scene.FillAsync();
                break;
        }

        return scene;
    }

    /// <summary>Probes one path, one probe after the other.</summary>
    /// <exception cref="HttpRequestException">A probe got no answer, or not within the limit.</exception>
    public async Task<ProbeTimes> MeasureAsync(string path, int count, TimeSpan limit)
    {
        var times = new List<TimeSpan>(count);
        var statuses = new SortedSet<int>();
        var address = new Uri(_worker.Http.BaseAddress!, path);
        for (var i = 0; i < count; i++)
        {
            using var waiting = new CancellationTokenSource(limit);
            var started = Stopwatch.GetTimestamp();
            using var response = await _http.GetAsync(address, waiting.Token);
            await response.Content.ReadAsByteArrayAsync(waiting.Token);
            times.Add(Stopwatch.GetElapsedTime(started));
            statuses.Add((int)response.StatusCode);
        }

        times.Sort();
        return new ProbeTimes(path, times, [.. statuses]);
    }

    public async ValueTask DisposeAsync()
    {
        await _ending.CancelAsync();
        foreach (var open in _open)
        {
            await open.DisposeAsync();
        }

        await _worker.DisposeAsync();
        _http.Dispose();
        _ending.Dispose();
        _store.Dispose();
        _fault.Dispose();
    }

    /// <summary>Requests whose first token has come, and that go on.</summary>
    private async Task StreamAsync(int count)
    {
        var address = FileDirectoryReader.FindTcp(_store.Path, "generate")[0];
        var client = await WorkerClient.ConnectAsync(address, PayloadCodec.MessagePack, _ending.Token);
        _open.Add(client);
        var body = """{"token_ids":[1,2,3],"stop_conditions":{"max_tokens":1000,"ignore_eos":true}}"""u8.ToArray();
        var first = new FirstTokens(count);
        for (var i = 0; i < count; i++)
        {
            var call = await client.CallAsync(body, _ending.Token);
            _open.Insert(0, call);
            _ = ReadAsync(call, first);
        }

        await first.All.WaitAsync(Limit);
    }

    private async Task ReadAsync(WorkerCall call, FirstTokens first)
    {
        var isFirst = true;
        try
        {
            await foreach (var _ in call.ReadAsync(_ending.Token))
            {
                if (isFirst)
                {
                    first.Count();
                    isFirst = false;
                }
            }
        }
        catch (Exception exception)
            when (exception is OperationCanceledException or WorkerCallException or IOException or ObjectDisposedException)
        {
            // The scene ends, or the worker gave the request up: only its probes are looked at.
        }
    }

    private async Task FillAsync()
    {
        var port = _worker.Http.BaseAddress!.Port;
        for (var i = 0; i < Connections; i++)
        {
            var client = new TcpClient();
            _open.Add(new Closing(client));
            await client.ConnectAsync(IPAddress.Loopback, port);
        }
    }

    private sealed class FirstTokens(int missing)
    {
        private readonly TaskCompletionSource _all = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private int _missing = missing;

        public Task All => _all.Task;

        public void Count()
        {
            if (Interlocked.Decrement(ref _missing) == 0)
            {
                _all.TrySetResult();
            }
        }
    }

    private sealed class Closing(TcpClient client) : IAsyncDisposable
    {
        public ValueTask DisposeAsync()
        {
            client.Dispose();
            return ValueTask.CompletedTask;
        }
    }
}

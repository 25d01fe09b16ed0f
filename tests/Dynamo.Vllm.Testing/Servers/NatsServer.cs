namespace Dynamo.Vllm.Testing.Servers;

/// <summary>One real nats-server with the given configuration.</summary>
public sealed class NatsServer : IAsyncDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly string _configuration;
    private ServerProcess? _process;

    private NatsServer(string configuration, int port, bool secure)
    {
        Port = port;
        _configuration = _folder.Write(
            "nats.conf",
            $"listen: 127.0.0.1:{port}\nlame_duck_duration: 30s\nlame_duck_grace_period: 100ms\n{configuration}\n"
        );
        Url = $"{(secure ? "tls" : "nats")}://127.0.0.1:{port}";
    }

    public int Port { get; }

    public string Url { get; }

    public ServerProcess Process => _process ?? throw new InvalidOperationException("not started");

    public static async Task<NatsServer> StartAsync(string configuration = "", bool secure = false)
    {
        var server = new NatsServer(configuration, FreePorts.Next(), secure);
        await server.StartAgainAsync();
        return server;
    }

    /// <summary>Starts the server on the port that it had.</summary>
    public async Task StartAgainAsync() =>
        _process = await ServerProcess.StartAsync(
            ServerPrograms.Find(ServerPrograms.Nats) ?? ServerPrograms.Nats,
            ["-c", _configuration],
            "Server is ready",
            "apt-get install nats-server, or run tests/peers/setup"
        );

    /// <summary>The server says that it will stop, and closes its connections one by one.</summary>
    public void EnterLameDuckMode() => Process.Signal("USR2");

    public async ValueTask DisposeAsync()
    {
        if (_process is not null)
        {
            await _process.DisposeAsync();
        }

        _folder.Dispose();
    }
}

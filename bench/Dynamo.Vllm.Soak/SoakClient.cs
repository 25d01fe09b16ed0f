using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Testing.Network;
using Dynamo.Vllm.Transports.Client;

namespace Dynamo.Vllm.Soak;

/// <summary>One caller: a request after the other, through proxies that faults are injected into.</summary>
/// <remarks>Its loop owns everything but the fields that say what was injected; those are set by the source of faults.</remarks>
internal sealed class SoakClient : IAsyncDisposable
{
    private static readonly TimeSpan ConnectPause = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan FreezeTime = TimeSpan.FromSeconds(1);

    private readonly SoakTarget _target;
    private readonly SoakTally _tally;
    private readonly Random _random;
    private WorkerClient? _client;
    private FaultProxy? _requests;
    private volatile FaultProxy? _answers;
    private volatile CancellationTokenSource? _request;
    private volatile Planned? _planned;
    private volatile bool _isBroken; // by a fault: the way of requests is made anew
    private volatile bool _isSilenced;
    private bool _isAccepted;

    public SoakClient(int number, SoakTarget target, SoakTally tally)
    {
        _target = target;
        _tally = tally;
        _random = new Random((target.Options.Seed * 1000) + number);
    }

    public async Task RunAsync(CancellationToken stopping)
    {
        while (!stopping.IsCancellationRequested)
        {
            var planned = Interlocked.Exchange(ref _planned, null);
            var needsNewWay = _isBroken || planned?.Request is not null;
            _isBroken = false;
            _isSilenced = planned?.Silences ?? false;
            if (await TryConnectAsync(needsNewWay, planned?.Request) is { } client)
            {
                await RequestAsync(client, planned);
            }
            else
            {
                // Polls a server that is away.
                await Task.Delay(ConnectPause, stopping).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }

    /// <summary>Makes the next request meet a fault at a byte of its connection.</summary>
    public void Plan(FaultKind kind, int position) =>
        _planned = kind switch
        {
            FaultKind.CutAnswer => new Planned
            {
                Answer = new FaultPlan { CutAt = position, IsForOne = true },
                Breaks = true,
            },
            FaultKind.HalfCloseAnswer => new Planned
            {
                Answer = new FaultPlan { HalfCloseAt = position, IsForOne = true },
                Breaks = true,
            },
            FaultKind.HalfCloseCaller => new Planned
            {
                Caller = new FaultPlan { HalfCloseAt = 0 },
                Breaks = true,
            },
            FaultKind.FlipAnswer => new Planned
            {
                Answer = new FaultPlan { FlipAt = position },
                Breaks = true,
                Silences = true,
            },
            FaultKind.FlipRequest => new Planned
            {
                Request = new FaultPlan { FlipAt = position % 900 },
                Breaks = true,
                Silences = true,
            },
            FaultKind.SlowAnswer => new Planned
            {
                Answer = new FaultPlan { PieceBytesMax = 64, Delay = TimeSpan.FromMilliseconds(5) },
            },
            _ => throw new ArgumentOutOfRangeException(nameof(kind), kind, "happens now, not to the next request"),
        };

    public void CutAll()
    {
        _isBroken = true;
        _requests?.CutAll();
        _answers?.CutAll();
    }

    public async Task FreezeAsync(bool thenCut)
    {
        if (_answers is not { } answers)
        {
            return;
        }

        answers.Freeze();
        await Task.Delay(FreezeTime); // the fault itself
        if (thenCut)
        {
            CutAll();
        }

        answers.Thaw();
    }

    /// <summary>The process of this client is gone: its sockets close, and another takes its place.</summary>
    public void Kill()
    {
        _isBroken = true;
        try
        {
            _request?.Cancel();
        }
        catch (ObjectDisposedException)
        {
            // Between two requests.
        }
    }

    public ValueTask DisposeAsync() => DisconnectAsync();

    private async Task<WorkerClient?> TryConnectAsync(bool isNew, FaultPlan? requestPlan)
    {
        if (_client is not null && !isNew)
        {
            return _client;
        }

        await DisconnectAsync();
        if (await _target.AddressAsync() is not { } address)
        {
            return null;
        }

        using var limit = new CancellationTokenSource(_target.Options.RequestLimit);
        try
        {
            _client = _target.Nats is { } nats
                ? await WorkerClient.ConnectNatsAsync(nats.Url, address, PayloadCodec.MessagePack, limit.Token, StartAnswerProxy)
                : await WorkerClient.ConnectAsync(
                    ThroughProxy(address, requestPlan),
                    PayloadCodec.MessagePack,
                    limit.Token,
                    StartAnswerProxy
                );
            return _client;
        }
        catch (Exception exception)
            when (exception is NATS.Client.Core.NatsException or SocketException or IOException or OperationCanceledException)
        {
            await DisconnectAsync();
            return null;
        }
    }

    private int StartAnswerProxy(int port) => (_answers = FaultProxy.Start(port)).Port;

    private string ThroughProxy(string address, FaultPlan? plan)
    {
        var slash = address.IndexOf('/', StringComparison.Ordinal);
        var endpoint = System.Net.IPEndPoint.Parse(address[..slash]);
        _requests = FaultProxy.Start(endpoint.Port);
        _requests.ToTarget = plan ?? FaultPlan.None;
        return $"127.0.0.1:{_requests.Port}{address[slash..]}";
    }

    private async ValueTask DisconnectAsync()
    {
        if (_client is not null)
        {
            await _client.DisposeAsync();
        }

        if (_requests is not null)
        {
            await _requests.DisposeAsync();
        }

        if (_answers is { } answers)
        {
            await answers.DisposeAsync();
        }

        _client = null;
        _requests = null;
        _answers = null;
    }

    private async Task RequestAsync(WorkerClient client, Planned? planned)
    {
        _answers!.ToTarget = planned?.Answer ?? FaultPlan.None;
        _answers.ToClient = planned?.Caller ?? FaultPlan.None;
        var began = DateTime.UtcNow;
        var tokens = _random.Next(20, 120);
        var cancelAt = _random.Next(8) == 0 ? _random.Next(1, tokens) : int.MaxValue;
        _isAccepted = false;
        _tally.NoteSent();
        using var limit = new CancellationTokenSource(_target.Options.RequestLimit);
        using var killed = CancellationTokenSource.CreateLinkedTokenSource(limit.Token);
        _request = killed;
        Outcome outcome;
        var what = "";
        try
        {
            outcome = await CallAsync(client, began, tokens, cancelAt, killed.Token);
            what = outcome == Outcome.Unexplained ? "the stream ended without all of its tokens" : "";
        }
        catch (WorkerCallException exception)
        {
            (outcome, what) = (exception.IsRefusal ? Outcome.Refused : Outcome.Unexplained, exception.Message);
        }
        catch (OperationCanceledException)
        {
            outcome = limit.IsCancellationRequested ? Outcome.Hung : Outcome.Unexplained;
            what = $"began {began:HH:mm:ss}, {tokens} tokens, cancelled at {cancelAt}";
        }

        _request = null;
        if (outcome is Outcome.Unexplained or Outcome.Hung)
        {
            // A stream that has begun does not need the broker any more.
            var isExplained = _isBroken || planned is { Breaks: true } || (!_isAccepted && _tally.MetOutage(began));
            outcome = (outcome, isExplained) switch
            {
                (Outcome.Unexplained, true) => Outcome.Cut,
                (Outcome.Hung, _) when _isSilenced => Outcome.Silenced,
                _ => outcome,
            };
        }

        _isBroken |= outcome is not (Outcome.Complete or Outcome.Cancelled) || _isSilenced;
        _tally.NoteEnd(outcome, what);
    }

    private async Task<Outcome> CallAsync(
        WorkerClient client,
        DateTime began,
        int tokens,
        int cancelAt,
        CancellationToken cancellationToken
    )
    {
        await using var call = await client.CallAsync(Body(tokens), cancellationToken);
        _isAccepted = true;
        _tally.NoteAccepted(began);
        var received = 0;
        var isCancelled = false;
        var hasError = false;
        try
        {
            await foreach (var item in call.ReadAsync(cancellationToken))
            {
                hasError |= item.ContainsKey("error");
                received += ((item["data"] as JsonObject)?["token_ids"] as JsonArray)?.Count ?? 0; // whatever falsified bytes made of it
                if (received >= cancelAt && !isCancelled)
                {
                    isCancelled = true;
                    await call.KillAsync(cancellationToken);
                }
            }
        }
        catch (WorkerCallException) when (isCancelled)
        {
            return Outcome.Cancelled; // a worker that was told to stop sends nothing more and closes
        }

        if (isCancelled)
        {
            return Outcome.Cancelled;
        }

        return hasError ? Outcome.Refused
            : call.IsComplete && received == tokens ? Outcome.Complete
            : Outcome.Unexplained;
    }

    private byte[] Body(int tokens) =>
        Encoding.UTF8.GetBytes(
            new JsonObject
            {
                ["token_ids"] = new JsonArray([
                    .. Enumerable.Range(0, _random.Next(4, 64)).Select(_ => JsonValue.Create(_random.Next(10, 200))),
                ]),
                ["stop_conditions"] = new JsonObject { ["max_tokens"] = tokens, ["ignore_eos"] = true },
                ["sampling_options"] = new JsonObject { ["temperature"] = 0.0 },
            }.ToJsonString()
        );

    /// <summary>Faults for the connections of one request.</summary>
    private sealed record Planned
    {
        public FaultPlan? Request { get; init; }

        public FaultPlan? Answer { get; init; }

        public FaultPlan? Caller { get; init; }

        /// <summary>The request need not survive it.</summary>
        public bool Breaks { get; init; }

        /// <summary>Its caller may wait in vain for a beginning or an end.</summary>
        public bool Silences { get; init; }
    }
}

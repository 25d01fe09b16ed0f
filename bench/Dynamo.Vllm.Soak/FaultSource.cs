namespace Dynamo.Vllm.Soak;

/// <summary>Injects one fault after the other, of those that the planes allow.</summary>
internal sealed class FaultSource
{
    private static readonly TimeSpan OutageTime = TimeSpan.FromMilliseconds(500);

    private readonly SoakTarget _target;
    private readonly SoakTally _tally;
    private readonly IReadOnlyList<SoakClient> _clients;
    private readonly Random _random;
    private readonly FaultKind[] _kinds;

    public FaultSource(SoakTarget target, SoakTally tally, IReadOnlyList<SoakClient> clients)
    {
        _target = target;
        _tally = tally;
        _clients = clients;
        _random = new Random(target.Options.Seed);
        _kinds = [.. Enum.GetValues<FaultKind>().Where(IsPossible)];
    }

    public async Task RunAsync(CancellationToken stopping)
    {
        using var timer = new PeriodicTimer(_target.Options.FaultEvery);
        try
        {
            // Each kind once before any comes again, so that a short run has seen all of them.
            for (var next = 0; await timer.WaitForNextTickAsync(stopping); next++)
            {
                if (next % _kinds.Length == 0)
                {
                    _random.Shuffle(_kinds);
                }

                var kind = _kinds[next % _kinds.Length];
                _tally.NoteFault(kind);
                await InjectAsync(kind, _clients[_random.Next(_clients.Count)]);
            }
        }
        catch (OperationCanceledException) when (stopping.IsCancellationRequested)
        {
            // The end of the soak.
        }
    }

    private bool IsPossible(FaultKind kind) =>
        kind switch
        {
            FaultKind.FlipRequest => _target.Nats is null,
            FaultKind.RemoveRecord => _target.Etcd is null,
            FaultKind.RestartEtcd => _target.Etcd is not null,
            FaultKind.RestartNats => _target.Nats is not null,
            _ => true,
        };

    private async Task InjectAsync(FaultKind kind, SoakClient client)
    {
        switch (kind)
        {
            case FaultKind.CutAll:
                client.CutAll();
                break;
            case FaultKind.FreezeThenThaw or FaultKind.FreezeThenCut:
                await client.FreezeAsync(thenCut: kind == FaultKind.FreezeThenCut);
                break;
            case FaultKind.KillClient:
                client.Kill();
                break;
            case FaultKind.FreezeWorker:
                _target.Worker.Process.Signal("STOP");
                await Task.Delay(OutageTime); // the fault itself
                _target.Worker.Process.Signal("CONT");
                break;
            case FaultKind.RemoveRecord:
                _target.RemoveRecord();
                break;
            case FaultKind.RestartEtcd:
                await _target.Etcd!.Process.KillAsync();
                await Task.Delay(OutageTime);
                await _target.Etcd.StartAgainAsync();
                break;
            case FaultKind.RestartNats:
                _tally.NoteBrokerDown();
                await _target.Nats!.Process.KillAsync();
                await Task.Delay(OutageTime);
                await _target.Nats.StartAgainAsync();
                _tally.NoteBrokerUp();
                break;
            default:
                client.Plan(kind, _random.Next(1, 4000));
                break;
        }
    }
}

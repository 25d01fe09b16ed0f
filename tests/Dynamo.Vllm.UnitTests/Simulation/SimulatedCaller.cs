using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Responses;

namespace Dynamo.Vllm.UnitTests.Simulation;

/// <summary>A caller with a network in front of it: slow, broken, impatient or unreachable, as its seed wants.</summary>
/// <remarks>Remembers what it heard.</remarks>
internal sealed class SimulatedCaller : ICallHome
{
    private readonly TimeProvider _time;
    private readonly TimeSpan _writeTime;
    private readonly int _breaksAtItem;
    private RequestContext? _context;
    private long? _lastHeard;
    private Action? _itemSent;

    public SimulatedCaller(int number, Random random, TimeProvider time)
    {
        _time = time;
        Number = number;
        Tokens = random.Next(15) == 0 ? random.Next(2000, 5000) : random.Next(1, 40);
        DialTime = TimeSpan.FromMilliseconds(random.Next(0, 3) == 0 ? random.Next(0, 3000) : 0);
        IsReachable = random.Next(20) != 0;
        _writeTime = TimeSpan.FromMilliseconds(random.Next(6) == 0 ? random.Next(1, 400) : 0);
        _breaksAtItem = random.Next(12) == 0 ? random.Next(1, 10) : int.MaxValue;
        LeavesAfter = random.Next(8) == 0 ? TimeSpan.FromMilliseconds(random.Next(0, 4000)) : null;
        LeavesBy = random.Next(3) switch
        {
            0 => CancellationCause.Stop,
            1 => CancellationCause.Kill,
            _ => CancellationCause.Disconnect,
        };
    }

    public int Number { get; }

    /// <summary>How many it asks for.</summary>
    public int Tokens { get; }

    public TimeSpan DialTime { get; }

    public bool IsReachable { get; }

    public TimeSpan? LeavesAfter { get; }

    public CancellationCause LeavesBy { get; }

    public List<int> Heard { get; } = [];

    public DynamoError? Error { get; private set; }

    public int Ends { get; private set; }

    public int Disposals { get; private set; }

    /// <summary>Times that the memory of its request was given back.</summary>
    public int Releases { get; set; }

    /// <summary>From its prologue on: before that it may wait for its turn.</summary>
    public TimeSpan LongestSilence { get; private set; }

    public bool HasLeft { get; private set; }

    public bool IsBroken { get; private set; }

    /// <summary>What broke a promise of the stream, first of all.</summary>
    public string? Fault { get; private set; }

    public long BodyBytes => Heard.Count;

    public Action? ItemSent
    {
        set => _itemSent = value;
    }

    public void Watch(RequestContext context)
    {
        _context = context;
        if (HasLeft)
        {
            context.Cancel(LeavesBy);
        }
    }

    public void Leave()
    {
        HasLeft = true;
        _context?.Cancel(LeavesBy);
    }

    public async ValueTask AcceptAsync() => await TransmitAsync("prologue");

    public async ValueTask RefuseAsync(DynamoError error)
    {
        await TransmitAsync("refusal");
        Error = error;
        Ends++;
    }

    public async ValueTask WriteAsync(TokenDelta delta)
    {
        var tokens = delta.TokenIds.ToArray(); // the item is its owner's again when this returns
        await TransmitAsync("item");
        Heard.AddRange(tokens);
        if (Heard.Count > _breaksAtItem)
        {
            IsBroken = true;
            throw new IOException("connection reset");
        }

        _itemSent?.Invoke();
    }

    public async ValueTask WriteAsync(ReadOnlyMemory<byte> json) => await TransmitAsync("value");

    public async ValueTask WriteBareAsync(ReadOnlyMemory<byte> messagePack) => await TransmitAsync("value");

    public ValueTask WriteErrorAsync(DynamoError error)
    {
        Error = error;
        return ValueTask.CompletedTask;
    }

    public async ValueTask CompleteAsync()
    {
        await TransmitAsync("end");
        Ends++;
    }

    public ValueTask DisposeAsync()
    {
        Disposals++;
        return ValueTask.CompletedTask;
    }

    private async Task TransmitAsync(string what)
    {
        if (Ends > 0 || Disposals > 0)
        {
            Fault ??= $"{what} after the end";
        }

        if (_writeTime > TimeSpan.Zero)
        {
            await Task.Delay(_writeTime, _time);
        }

        if (IsBroken)
        {
            throw new IOException("connection reset");
        }

        if (_lastHeard is { } last && _time.GetElapsedTime(last) is var silence && silence > LongestSilence)
        {
            LongestSilence = silence;
        }

        _lastHeard = _time.GetTimestamp();
    }
}

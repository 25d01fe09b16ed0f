using Microsoft.Extensions.Time.Testing;

namespace Dynamo.Vllm.UnitTests.Core;

/// <summary>Time that a test moves, and that tells when the code under test waits for it again.</summary>
internal sealed class SignallingTime : FakeTimeProvider
{
    private readonly SemaphoreSlim _armed = new(0);

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        var timer = base.CreateTimer(callback, state, dueTime, period);
        _armed.Release();
        return timer;
    }

    /// <summary>Completes once for each timer. Bounded, so that code that never waits again fails its test.</summary>
    public async Task ArmedAsync()
    {
        if (!await _armed.WaitAsync(TimeSpan.FromSeconds(30)))
        {
            throw new TimeoutException("nothing waits for this time");
        }
    }
}

namespace Dynamo.Vllm.Core.Health.Stalls;

/// <summary>Whether the engine stands still because a control call makes
/// it: a sleep, a profile, new weights, an adapter. Thread-safe.</summary>
public sealed class ExpectedSilence
{
    private int _expected;

    public bool IsExpected => Volatile.Read(ref _expected) > 0;

    /// <summary>Until disposed, silence is no sign of a stall.</summary>
    public IDisposable Expect()
    {
        Interlocked.Increment(ref _expected);
        return new Expectation(this);
    }

    private sealed class Expectation(ExpectedSilence silence) : IDisposable
    {
        private int _isOver;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _isOver, 1) == 0)
            {
                Interlocked.Decrement(ref silence._expected);
            }
        }
    }
}

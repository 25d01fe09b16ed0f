using System.Collections.Immutable;

namespace Dynamo.Vllm.Worker.StartUp;

/// <summary>The steps of vLLM's load, as far as its processes have told of them. Thread-safe, and never waits: the threads that carry
/// the output of all processes tell it.</summary>
internal sealed class LoadSteps
{
    private readonly TimeProvider _time;
    private State _state = new([], null);

    public LoadSteps(TimeProvider time) => _time = time;

    /// <summary>Phases that have begun, with timestamps; each once.</summary>
    public ImmutableList<(LoadPhase Phase, long Since)> Begun => Volatile.Read(ref _state).Begun;

    /// <summary>How far the last bar is.</summary>
    public string? Detail => Volatile.Read(ref _state).Detail;

    public void Take(string line)
    {
        if (LoadLine.Read(line) is not { } told)
        {
            return;
        }

        var now = _time.GetTimestamp();
        State before;
        do
        {
            before = Volatile.Read(ref _state);
        } while (Interlocked.CompareExchange(ref _state, before.After(told, now), before) != before);
    }

    private sealed record State(ImmutableList<(LoadPhase Phase, long Since)> Begun, string? Detail)
    {
        public State After(LoadLine told, long now)
        {
            var isNew = Begun.IsEmpty || told.Phase > Begun[^1].Phase;
            return new State(isNew ? Begun.Add((told.Phase, now)) : Begun, told.Detail ?? (isNew ? null : Detail));
        }
    }
}

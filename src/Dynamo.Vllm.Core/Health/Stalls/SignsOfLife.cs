using Dynamo.Vllm.Core.Engines;

namespace Dynamo.Vllm.Core.Health.Stalls;

/// <summary>Asks the engine process, and the interpreter before it, whether
/// they are there. At most one question each is open. One caller.</summary>
internal sealed class SignsOfLife(IEngineControl engine)
{
    private Task? _engineAnswer;
    private Task? _interpreterAnswer;

    /// <summary>The engine has answered since this was asked last.</summary>
    public bool HasEngineAnswered()
    {
        if (_engineAnswer is not { IsCompleted: true } answer)
        {
            return false;
        }

        _engineAnswer = null;
        return answer.IsCompletedSuccessfully; // a failure is no sign of life; the monitor tells what it means
    }

    /// <summary>The interpreter owes no answer.</summary>
    public bool HasInterpreterAnswered()
    {
        if (_interpreterAnswer is { IsCompleted: true })
        {
            _interpreterAnswer = null;
        }

        return _interpreterAnswer is null;
    }

    /// <summary>Puts the questions that are not open already.</summary>
    public void Ask(bool isNeeded, CancellationToken cancellationToken)
    {
        if (!isNeeded)
        {
            return;
        }

        _engineAnswer ??= engine.RoundTripAsync(cancellationToken);
        _interpreterAnswer ??= engine.CheckHealthAsync(cancellationToken);
    }
}

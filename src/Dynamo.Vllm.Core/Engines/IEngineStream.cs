using System.Diagnostics.CodeAnalysis;

namespace Dynamo.Vllm.Core.Engines;

/// <summary>The outputs of one request. One reader; <see cref="Abort"/> may come from any thread.</summary>
/// <remarks>
/// Ends exactly once: with an output whose <see cref="EngineOutput.IsLast"/> is set, or with a
/// <see cref="Protocol.Errors.RequestFailedException"/> from <see cref="TryTake"/>.
/// </remarks>
public interface IEngineStream
{
    /// <summary>Completes when <see cref="TryTake"/> has something to give: an output or the failure.</summary>
    ValueTask WaitAsync();

    /// <summary>The next output. False: wait first.</summary>
    /// <exception cref="Protocol.Errors.RequestFailedException">The stream ended with an error.</exception>
    bool TryTake([NotNullWhen(true)] out EngineOutput? output);

    /// <summary>Asks the engine to stop. The stream still ends by itself, soon, with <see cref="FinishReason.Abort"/>.</summary>
    void Abort();

    /// <summary>Nobody reads any more: aborts if the stream has not ended, and drops what comes.</summary>
    void Abandon();
}

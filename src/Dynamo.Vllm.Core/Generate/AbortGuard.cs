using Dynamo.Vllm.Core.Engines;

namespace Dynamo.Vllm.Core.Generate;

/// <summary>Decides when an abort may reach the engine. Thread-safe.</summary>
/// <remarks>
/// While a decode worker pulls KV blocks from a prefill worker, an abort can crash the engine, so before the first output it is only
/// remembered (behaviour.md, 15). The stream then ends by itself right after that output.
/// </remarks>
public sealed class AbortGuard
{
    private readonly IEngineStream _stream;
    private readonly Lock _lock = new();
    private bool _isHeld;
    private bool _isAbortWanted;
    private bool _isEnded;

    /// <param name="stream">What to abort.</param>
    /// <param name="holdUntilFirstOutput">The engine must not be disturbed before its first output.</param>
    public AbortGuard(IEngineStream stream, bool holdUntilFirstOutput)
    {
        _stream = stream;
        _isHeld = holdUntilFirstOutput;
    }

    /// <summary>Aborts now, or when it is allowed.</summary>
    public void RequestAbort()
    {
        lock (_lock)
        {
            if (_isEnded || _isAbortWanted)
            {
                return;
            }

            _isAbortWanted = true;
            if (_isHeld)
            {
                return;
            }
        }

        _stream.Abort();
    }

    /// <summary>An output has arrived: aborts are allowed from now on.</summary>
    public void ObserveOutput()
    {
        lock (_lock)
        {
            if (!_isHeld)
            {
                return;
            }

            _isHeld = false;
            if (!_isAbortWanted)
            {
                return;
            }
        }

        _stream.Abort();
    }

    /// <summary>Reading has stopped. What has not ended is left to the engine without a reader.</summary>
    public void ObserveEnd()
    {
        bool held;
        lock (_lock)
        {
            _isEnded = true;
            held = _isHeld;
        }

        if (!held)
        {
            _stream.Abandon();
        }
    }
}

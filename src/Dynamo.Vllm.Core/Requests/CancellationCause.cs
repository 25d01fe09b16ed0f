namespace Dynamo.Vllm.Core.Requests;

/// <summary>Who ended a request before its time (style E6).</summary>
public enum CancellationCause
{
    None,

    /// <summary>The caller said kill.</summary>
    Kill,

    /// <summary>The caller said stop: it has what it wanted.</summary>
    Stop,

    /// <summary>The call-home connection broke or was closed by the caller.</summary>
    Disconnect,

    /// <summary>This worker is leaving and the drain budget is spent.</summary>
    Shutdown,

    /// <summary>An operator named the request. Its caller is still there, and gets the end as the engine tells it.</summary>
    Operator,
}

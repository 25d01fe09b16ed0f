namespace Dynamo.Vllm.Engine;

/// <summary>How the engine is hosted.</summary>
public sealed record VllmEngineOptions
{
    /// <summary>Interpreter or virtual environment chosen by the operator, or null to look for one.</summary>
    public string? Python { get; init; }

    /// <summary><c>stock</c>, <c>collector</c>, <c>raw</c> or <c>direct</c> (docs/design.md, 5).</summary>
    public string Drive { get; init; } = "raw";

    /// <summary>How far apart the items of a stream are at least; zero: a token leaves as soon as it is there.</summary>
    public TimeSpan ItemInterval { get; init; }

    public TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>Where Python and the engine's processes write their errors instead of to descriptor 2, or null for that.</summary>
    public int? ErrorDescriptor { get; init; }

    /// <summary>Of this user alone, for sockets of the direct drive; null: a new one where temporary files go.</summary>
    public string? SocketFolder { get; init; }

    /// <summary>Folder that holds the simulated <c>vllm</c> package, or null for the installed one.</summary>
    public string? SimulatedPath { get; init; }
}

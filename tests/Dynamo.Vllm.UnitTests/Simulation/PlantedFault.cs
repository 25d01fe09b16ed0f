namespace Dynamo.Vllm.UnitTests.Simulation;

/// <summary>What a run does wrong on purpose, so that it is known which faults the checks find.</summary>
internal enum PlantedFault
{
    None,

    /// <summary>The engine leaves a token out.</summary>
    TokenLost,

    /// <summary>The engine never ends a request, whatever it is told.</summary>
    EndLost,

    /// <summary>The stall watch is not there.</summary>
    NoStallWatch,

    /// <summary>Requests that are left when the drain ends are not aborted.</summary>
    NoAbort,

    /// <summary>Something makes the endpoint visible again after the worker has left.</summary>
    SeenAgain,
}

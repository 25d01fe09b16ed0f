namespace Dynamo.Vllm.Core.Discovery;

/// <summary>Why an endpoint that is served is not to be seen in discovery. Each
/// reason has one owner, which takes it back; leaving is none of them.</summary>
[Flags]
public enum HiddenReasons
{
    None = 0,

    /// <summary>A control call put the engine to sleep.</summary>
    Asleep = 1,

    /// <summary>The engine does not answer (docs/reliability.md, "A hung engine").</summary>
    EngineSuspect = 2,

    /// <summary>The operator wants the running requests finished before more come (docs/operations.md, "systemd").</summary>
    Reloading = 4,
}

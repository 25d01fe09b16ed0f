namespace Dynamo.Vllm.Core.Health.Stalls;

/// <summary>Looks at the engine's processes from outside, so that an engine that says nothing still tells something.</summary>
public interface IEngineActivitySource
{
    /// <summary>Does not wait for anything but the kernel's tables.</summary>
    /// <returns>Null if nothing can be said: no such processes, or some of them are on other hosts.</returns>
    EngineActivity? Read();
}

namespace Dynamo.Vllm.Worker.CommandLine;

/// <summary>How outputs leave vLLM.</summary>
public enum EngineDrive
{
    /// <summary>One batch per engine step.</summary>
    Collector,

    /// <summary>vLLM's own asynchronous generator, one per request.</summary>
    Stock,
}

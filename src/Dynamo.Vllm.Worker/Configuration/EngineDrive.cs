namespace Dynamo.Vllm.Worker.Configuration;

/// <summary>How requests enter vLLM and outputs leave it.</summary>
public enum EngineDrive
{
    /// <summary>Usual requests and their outputs pass the interpreter by; all others as with <see cref="Raw"/>.</summary>
    Direct,

    /// <summary>One batch per engine step; tokens in the middle of a plain request without vLLM's output objects.</summary>
    Raw,

    /// <summary>One batch per engine step, of vLLM's output objects.</summary>
    Collector,

    /// <summary>vLLM's own asynchronous generator, one per request.</summary>
    Stock,
}

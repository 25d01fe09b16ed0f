namespace Dynamo.Vllm.Core.Engines;

/// <summary>An engine that is given text and gives text. Thread-safe; no member blocks.</summary>
public interface ITextEngine
{
    /// <summary>Valid once the engine has started.</summary>
    EngineDescription Description { get; }

    /// <summary>Starts a request, whose outputs hold texts beside tokens.</summary>
    /// <exception cref="Protocol.Errors.RequestFailedException">The engine is gone, or its mailbox is full.</exception>
    IEngineStream Submit(TextEngineRequest request);
}
